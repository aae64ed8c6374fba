//! The other end of an operation: turns a coordinator's calls into questions to storage, and storage's
//! answers into acknowledgements.
//!
//! An acknowledgement exists only after storage has answered, and storage answers only what is synced
//! (rule `ack-synced`).

use crate::ids::{OpId, PartitionId, PeerId};
use crate::member::{Step, View};
use crate::message::{APPLIED_MAX, Call, Refusal};
use crate::store::{Answer, KEYS_MAX, Question};
use serde_bytes::ByteBuf;
use starling_crdt::cell::KEY_MAX;
use starling_crdt::{Command, Event, Stamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What this peer knows at the moment of a call.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub view: View,
    /// How far this peer itself has come.
    pub step: Step,
    pub partitions: u16,
    /// False for a scan of a partition that this peer does not own, and for a copy that it holds for others.
    pub owns: bool,
    /// False for what this peer lacks too much of to answer, while another may that has it.
    pub whole: bool,
    /// Stamps beyond this are refused.
    pub latest: Stamp,
}

impl Scene {
    fn is_filled(&self) -> bool {
        matches!(self.step, Step::Arriving | Step::Member | Step::Leaving) && self.whole
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Send {
        to: PeerId,
        call: Call,
    },
    Store {
        ticket: u64,
        question: Question,
    },
    /// This peer knows fewer steps than we do.
    Teach {
        peer: PeerId,
    },
    /// A copy came of a partition; if we don't own it, it is to be handed over.
    Kept {
        partition: PartitionId,
    },
}

/// A call that waits for storage.
struct Pending {
    from: PeerId,
    op: OpId,
    /// The hash of the view under which it was taken up.
    under: u64,
    kind: Kind,
}

enum Kind {
    Apply { partition: PartitionId },
    Cells,
    Digest,
    Keys,
}

/// The calls of others that are being carried out here.
pub struct Replica {
    pending: BTreeMap<u64, Pending>,
    /// What is synced and not acknowledged yet, by whom to tell, and under which view.
    synced: BTreeMap<(PeerId, u64), Vec<OpId>>,
    last: u64,
    /// Most calls at once; one more is refused.
    limit: usize,
}

impl Replica {
    pub fn new(limit: usize) -> Self {
        Self { pending: BTreeMap::new(), synced: BTreeMap::new(), last: 0, limit }
    }

    /// Calls being carried out.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes up a call of a coordinator. Other calls are none of this room's business.
    pub fn called(&mut self, scene: Scene, from: PeerId, call: Call) -> Vec<Out> {
        match call {
            Call::Apply { op, view, partition, event, held_for } => {
                let mut out = self.apply(scene, from, op, view, partition, Arc::unwrap_or_clone(event));
                if held_for.is_some() && mutated!(StandInUnsynced) {
                    out.push(Out::Send {
                        to: from,
                        call: Call::Applied { ops: vec![op], under: scene.view.hash },
                    });
                }
                out
            }
            Call::Read { op, view, partition, key, command, digest } => {
                self.read(scene, from, op, view, (partition, key, command), digest)
            }
            // Whoever has let a partition go would say that it has no keys.
            Call::Keys { op, .. } if !scene.owns => {
                let call = Call::Refused { op, why: Refusal::NotFilled };
                vec![Out::Teach { peer: from }, Out::Send { to: from, call }]
            }
            Call::Keys { op, .. } if !scene.is_filled() => refuse(from, op, Refusal::NotFilled),
            Call::Keys { op, partition, after, limit, .. } => {
                let question = Question::Keys { partition, after, limit: limit.min(KEYS_MAX) };
                self.ask(scene, from, op, partition, Kind::Keys, question)
            }
            _ => Vec::new(),
        }
    }

    fn apply(
        &mut self,
        scene: Scene,
        from: PeerId,
        op: OpId,
        view: View,
        partition: PartitionId,
        event: Event,
    ) -> Vec<Out> {
        if view.is_behind(&scene.view) && !mutated!(ApplyAnyView) {
            marked!(WriteBehind);
            return behind(scene, from, op);
        }
        if event.stamp > scene.latest {
            return refuse(from, op, Refusal::ClockAhead);
        }
        let question = Question::Apply { partition, events: vec![event], held_for_others: !scene.owns };
        self.ask(scene, from, op, partition, Kind::Apply { partition }, question)
    }

    fn read(
        &mut self,
        scene: Scene,
        from: PeerId,
        op: OpId,
        view: View,
        (partition, key, command): (PartitionId, ByteBuf, Command),
        digest: bool,
    ) -> Vec<Out> {
        if view.is_behind(&scene.view) && !mutated!(ReadAnyView) {
            marked!(ReadBehind);
            return behind(scene, from, op);
        }
        if !scene.is_filled() && !mutated!(ReadUnfilled) {
            marked!(ReadNotFilled);
            return refuse(from, op, Refusal::NotFilled);
        }
        if key.len() > KEY_MAX || command.writes() {
            return refuse(from, op, Refusal::Malformed);
        }
        let kind = if digest { Kind::Digest } else { Kind::Cells };
        self.ask(scene, from, op, partition, kind, Question::Read { partition, key, command })
    }

    fn ask(
        &mut self,
        scene: Scene,
        from: PeerId,
        op: OpId,
        partition: PartitionId,
        kind: Kind,
        question: Question,
    ) -> Vec<Out> {
        if partition >= scene.partitions {
            return refuse(from, op, Refusal::Malformed);
        }
        if self.pending.len() >= self.limit {
            return refuse(from, op, Refusal::Busy);
        }
        self.last += 1;
        self.pending.insert(self.last, Pending { from, op, under: scene.view.hash, kind });
        vec![Out::Store { ticket: self.last, question }]
    }

    /// Storage has answered what a ticket asked. A copy that is synced is told of by `acknowledge`.
    pub fn stored(&mut self, ticket: u64, answer: Answer) -> Vec<Out> {
        let Some(Pending { from, op, under, kind }) = self.pending.remove(&ticket) else { return Vec::new() };
        let call = match (&kind, answer) {
            (Kind::Apply { partition }, Answer::Applied { refused: 0 }) => {
                self.synced.entry((from, under)).or_default().push(op);
                return vec![Out::Kept { partition: *partition }];
            }
            (Kind::Apply { .. }, Answer::NoRoom) => return refuse(from, op, Refusal::NoRoom),
            (Kind::Cells, Answer::Read { slice, .. }) => Call::ReadSlice { op, under, slice },
            (Kind::Digest, Answer::Read { slice, digest }) => {
                Call::ReadDigest { op, under, digest: digest.unwrap_or_else(|| slice.digest()) }
            }
            (Kind::Keys, Answer::Keys { keys, more }) => Call::KeysFound { op, keys, more },
            (_, Answer::NotFilled) => Call::Refused { op, why: Refusal::NotFilled },
            _ => Call::Refused { op, why: Refusal::Malformed },
        };
        let said = Out::Send { to: from, call };
        match kind {
            Kind::Apply { partition } => vec![said, Out::Kept { partition }],
            _ => vec![said],
        }
    }

    /// Tells each coordinator which of its copies are synced since the last call: in one message, as they were in one
    /// commit.
    pub fn acknowledge(&mut self) -> Vec<Out> {
        let mut out = Vec::new();
        for ((to, under), ops) in std::mem::take(&mut self.synced) {
            let calls = ops.chunks(APPLIED_MAX).map(|ops| Call::Applied { ops: ops.to_vec(), under });
            out.extend(calls.map(|call| Out::Send { to, call }));
        }
        out
    }
}

fn behind(scene: Scene, from: PeerId, op: OpId) -> Vec<Out> {
    let call = Call::Behind { op, view: scene.view };
    vec![Out::Teach { peer: from }, Out::Send { to: from, call }]
}

fn refuse(from: PeerId, op: OpId, why: Refusal) -> Vec<Out> {
    vec![Out::Send { to: from, call: Call::Refused { op, why } }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_crdt::{Actor, Dot};

    const HERE: Scene = Scene {
        view: View { steps: 5, hash: 55 },
        step: Step::Member,
        partitions: 8,
        owns: true,
        whole: true,
        latest: Stamp(1_000),
    };

    fn apply(view: View, partition: PartitionId, stamp: u64) -> Call {
        let dot = Dot::new(Actor(1), 1);
        let event = Event { dot, stamp: Stamp(stamp), puts: Vec::new(), drops: Vec::new() };
        Call::Apply { op: OpId(1), view, partition, event: Arc::new(event), held_for: None }
    }

    fn read(view: View) -> Call {
        let (key, command) = (ByteBuf::from("k"), Command::Get);
        Call::Read { op: OpId(2), view, partition: 1, key, command, digest: true }
    }

    fn scan() -> Call {
        Call::Keys { op: OpId(3), partition: 1, after: None, limit: 10, last: false }
    }

    fn refusal(out: &[Out]) -> Option<Refusal> {
        out.iter().find_map(|out| match out {
            Out::Send { call: Call::Refused { why, .. }, .. } => Some(*why),
            _ => None,
        })
    }

    #[test]
    fn an_event_is_acknowledged_only_when_storage_has_answered() {
        let (mut replica, from) = (Replica::new(4), PeerId::numbered(2));
        let asked = replica.called(HERE, from, apply(HERE.view, 1, 10));
        assert!(matches!(asked[..], [Out::Store { ticket: 1, question: Question::Apply { .. } }]));
        assert!(replica.acknowledge().is_empty());
        assert_eq!(replica.stored(1, Answer::Applied { refused: 0 }), [Out::Kept { partition: 1 }]);
        let told = Call::Applied { ops: vec![OpId(1)], under: 55 };
        assert_eq!(replica.acknowledge(), [Out::Send { to: from, call: told }]);
        assert!(replica.stored(1, Answer::Applied { refused: 0 }).is_empty(), "only once");
        assert!(replica.acknowledge().is_empty(), "only once");
    }

    #[test]
    fn what_is_synced_at_once_is_acknowledged_at_once_to_each_and_no_more_than_fit() {
        let count = APPLIED_MAX as u64 + 2;
        let (mut replica, [a, b]) = (Replica::new(count as usize), [2, 3].map(PeerId::numbered));
        for op in 1..=count {
            let Call::Apply { view, partition, event, .. } = apply(HERE.view, 1, 10) else { unreachable!() };
            let call = Call::Apply { op: OpId(op), view, partition, event, held_for: None };
            replica.called(HERE, if op == 2 { b } else { a }, call);
        }
        (1..=count).for_each(|ticket| drop(replica.stored(ticket, Answer::Applied { refused: 0 })));
        let told = replica.acknowledge().into_iter().map(|out| match out {
            Out::Send { to, call: Call::Applied { ops, under: 55 } } => {
                (to, ops.len(), ops[0], ops[ops.len() - 1])
            }
            other => panic!("{other:?}"),
        });
        let (last, before) = (OpId(count), OpId(count - 1));
        let expected = [(a, APPLIED_MAX, OpId(1), before), (a, 1, last, last), (b, 1, OpId(2), OpId(2))];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_that_knows_fewer_steps_is_refused_and_taught() {
        let (mut replica, from) = (Replica::new(4), PeerId::numbered(2));
        for call in [apply(View { steps: 4, hash: 44 }, 1, 10), read(View { steps: 5, hash: 54 })] {
            let out = replica.called(HERE, from, call);
            assert!(
                matches!(out[..], [Out::Teach { .. }, Out::Send { call: Call::Behind { .. }, .. }]),
                "{out:?}"
            );
        }
        assert!(matches!(
            replica.called(HERE, from, read(View { steps: 6, hash: 66 }))[..],
            [Out::Store { .. }]
        ));
    }

    #[test]
    fn one_that_is_not_filled_answers_no_read_and_keeps_what_it_is_given() {
        let (mut replica, from) = (Replica::new(4), PeerId::numbered(2));
        let joining = Scene { step: Step::Joining, ..HERE };
        assert_eq!(refusal(&replica.called(joining, from, read(HERE.view))), Some(Refusal::NotFilled));
        assert!(matches!(replica.called(joining, from, apply(HERE.view, 1, 10))[..], [Out::Store { .. }]));
    }

    #[test]
    fn one_that_is_not_filled_answers_no_scan() {
        let (mut replica, from) = (Replica::new(4), PeerId::numbered(2));
        for scene in [Scene { step: Step::Joining, ..HERE }, Scene { whole: false, ..HERE }] {
            for call in [scan(), read(HERE.view)] {
                assert_eq!(refusal(&replica.called(scene, from, call)), Some(Refusal::NotFilled));
            }
        }
    }

    #[test]
    fn one_that_does_not_own_what_is_scanned_says_so_and_teaches_who_does() {
        let (mut replica, from) = (Replica::new(4), PeerId::numbered(2));
        let out = replica.called(Scene { owns: false, ..HERE }, from, scan());
        assert_eq!((out[0].clone(), refusal(&out)), (Out::Teach { peer: from }, Some(Refusal::NotFilled)));
        assert!(matches!(replica.called(HERE, from, scan())[..], [Out::Store { .. }]));
    }

    #[test]
    fn a_copy_held_for_others_is_refused_where_too_much_would_wait() {
        let (mut replica, from) = (Replica::new(4), PeerId::numbered(2));
        for owns in [true, false] {
            let asked = replica.called(Scene { owns, ..HERE }, from, apply(HERE.view, 1, 10));
            let [Out::Store { question: Question::Apply { held_for_others, .. }, .. }] = asked[..] else {
                panic!("{asked:?}")
            };
            assert_eq!(held_for_others, !owns);
        }
        let told = replica.stored(2, Answer::NoRoom);
        assert_eq!((told.len(), refusal(&told)), (1, Some(Refusal::NoRoom)), "nothing was kept");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let (mut replica, from) = (Replica::new(1), PeerId::numbered(2));
        let ahead = replica.called(HERE, from, apply(HERE.view, 1, 1_001));
        assert_eq!(refusal(&ahead), Some(Refusal::ClockAhead));
        assert_eq!(refusal(&replica.called(HERE, from, apply(HERE.view, 8, 10))), Some(Refusal::Malformed));
        replica.called(HERE, from, apply(HERE.view, 1, 10));
        assert_eq!(refusal(&replica.called(HERE, from, read(HERE.view))), Some(Refusal::Busy));
    }
}
