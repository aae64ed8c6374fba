//! Sets and counters beside those of the `crdts` crate, where both mean the same: sets whose additions are
//! all new, counters that nobody deletes, operations delivered in the order of issue.

mod common;

use common::{P, Peer, bytes, pull};
use crdts::{CmRDT, CvRDT, Orswot, PNCounter};
use proptest::prelude::*;
use starling_crdt::{Command, Reply};
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Action {
    Add(usize, u8),
    Remove(usize, u8),
    Merge(usize, usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let peer = 0..3_usize;
    let action = prop_oneof![
        3 => (peer.clone(), 0..6_u8).prop_map(|(at, member)| Action::Add(at, member)),
        2 => (peer.clone(), 0..6_u8).prop_map(|(at, member)| Action::Remove(at, member)),
        2 => (peer.clone(), peer).prop_map(|(to, from)| Action::Merge(to, from)),
    ];
    proptest::collection::vec(action, 0..60)
}

fn two<T>(all: &mut [T], to: usize, from: usize) -> (&mut T, &mut T) {
    let (left, right) = all.split_at_mut(to.max(from));
    let (low, high) = (&mut left[to.min(from)], &mut right[0]);
    if to < from { (low, high) } else { (high, low) }
}

fn members(peer: &mut Peer) -> BTreeSet<Vec<u8>> {
    match peer.execute("s", &Command::SMembers, 0).reply {
        Reply::Set(members) => members.into_iter().map(serde_bytes::ByteBuf::into_vec).collect(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_set_is_an_orswot(actions in actions()) {
        let mut peers: Vec<Peer> = (0..3).map(Peer::new).collect();
        let mut orswots: Vec<Orswot<Vec<u8>, u64>> = vec![Orswot::new(); 3];
        for action in actions {
            match action {
                Action::Add(at, member) => {
                    let member = vec![member];
                    let read = orswots[at].contains(&member);
                    let op = orswots[at].add(member.clone(), read.derive_add_ctx(at as u64));
                    orswots[at].apply(op);
                    peers[at].execute("s", &Command::SAdd { members: vec![member.into()] }, 1);
                }
                Action::Remove(at, member) => {
                    let member = vec![member];
                    let context = orswots[at].contains(&member).derive_rm_ctx();
                    let op = orswots[at].rm(member.clone(), context);
                    orswots[at].apply(op);
                    peers[at].execute("s", &Command::SRem { members: vec![member.into()] }, 1);
                }
                Action::Merge(to, from) if to != from => {
                    let other = orswots[from].clone();
                    orswots[to].merge(other);
                    let (to, from) = two(&mut peers, to, from);
                    pull(to, from, usize::MAX);
                }
                Action::Merge(..) => {}
            }
            for (peer, orswot) in peers.iter_mut().zip(&orswots) {
                let theirs: BTreeSet<Vec<u8>> = orswot.read().val.into_iter().collect();
                prop_assert_eq!(members(peer), theirs);
            }
        }
    }

    #[test]
    fn a_counter_is_a_pn_counter(
        steps in proptest::collection::vec((0..3_usize, 0..3_usize, -5_i64..9, any::<bool>()), 0..60)
    ) {
        let mut peers: Vec<Peer> = (0..3).map(Peer::new).collect();
        let mut counters: Vec<PNCounter<u64>> = vec![PNCounter::new(); 3];
        for (at, from, by, merge) in steps {
            if merge && at != from {
                let other = counters[from].clone();
                counters[at].merge(other);
                let (to, from) = two(&mut peers, at, from);
                pull(to, from, usize::MAX);
            } else {
                let steps = by.unsigned_abs();
                let op = match by < 0 {
                    true => counters[at].dec_many(at as u64, steps),
                    false => counters[at].inc_many(at as u64, steps),
                };
                counters[at].apply(op);
                peers[at].execute("n", &Command::IncrBy { by }, 1);
            }
            let value = counters[at].read().to_string();
            let shown = peers[at].execute("n", &Command::Get, 0).reply;
            let nothing = shown == Reply::Nil && value == "0";
            prop_assert!(nothing || shown == Reply::Bytes(bytes(&value)), "{:?}, not {}", shown, value);
        }
    }
}

#[test]
fn a_replica_that_lacks_most_takes_the_state_and_one_that_lacks_some_learns_it_in_small_parts() {
    let add = |i: u32| Command::SAdd { members: vec![bytes(&i.to_string())] };
    let (mut peer, mut late) = (Peer::new(0), Peer::new(9));
    (0..1_000).for_each(|i| drop(peer.execute("s", &add(i), 1)));
    pull(&mut late, &mut peer, 1_000);
    assert_eq!((members(&mut late).len(), late.replica.log_len(P)), (1_000, 0), "no event came by itself");

    (1_000..1_400).for_each(|i| drop(peer.execute("s", &add(i), 1)));
    pull(&mut late, &mut peer, 1_000);
    assert_eq!((members(&mut late).len(), late.replica.log_len(P)), (1_400, 400));
}
