//! Requests of clients, and this peer's own coming and going.

use super::{Peer, atlas::Atlas};
use crate::coordinator::{Begin, Candidate, Client, check_copies};
use crate::effect::Effect;
use crate::ids::{PartitionId, PeerId, RequestId};
use crate::member::{Health, Record, Standing, Step};
use crate::message::{Call, Message, Refusal};
use crate::placement;
use crate::request::{
    Failure, FailureKind, MemberView, Outcome, Request, Response, ScanCursor, SeatView, Status, Whereabouts,
};
use crate::seats::{Map, Seat, Seats};
use crate::time::{Duration, Now};
use serde_bytes::ByteBuf;
use starling_crdt::cell::KEY_MAX;
use starling_crdt::{Command, CommandError, Reply};
use std::collections::BTreeSet;

/// Somebody asked this peer to leave, and waits.
pub(super) struct Leaving {
    pub clients: Vec<RequestId>,
}

/// Most clients that wait for one leave.
const LEAVERS_MAX: usize = 64;
/// The version of the standing of a peer that waits and has joined and stepped back once. Writes count on one that has
/// come further, which has taken one step more at least.
const STEPPED_BACK: u64 = 2;
/// Where nobody holds anything, how long one waits for each that comes before it to go on. That one may have lost what
/// it held, or have been told to leave, which it alone knows.
const GO_ON_WAIT: Duration = Duration::from_secs(10);

impl Peer {
    pub(super) fn requested(&mut self, now: Now, id: RequestId, request: Request) {
        let response = match request {
            Request::Data { key, command, r, w, explain } => {
                let result = self.data(now, Client::Local(id), key, command, (r, w), explain);
                result.err().map(|failure| Response::Data(Err(*failure)))
            }
            Request::Scan { cursor, limit } => self.scan(now, id, cursor, limit),
            Request::Status => Some(Response::Status(Box::new(self.status()))),
            Request::Where { key } => Some(Response::Where(self.whereabouts(&key))),
            Request::Leave => self.leave(now, id),
            Request::Forget { peer } => Some(self.forget(now, peer)),
        };
        if let Some(response) = response {
            self.effects.push_back(Effect::Reply { id, response });
        }
    }

    /// Who is concerned with a partition, as far as this peer knows.
    pub fn seats(&self, partition: PartitionId) -> Seats {
        Atlas::new(self.me, &self.membership, &self.placement).seats(partition)
    }

    /// Nobody who is known here holds anything: the table is still to come, or those who are to keep copies are; and what
    /// would be written now, with newcomers for owners, would have as few copies as there are of these.
    fn knows_no_owner(&self) -> bool {
        let is_out = |step| matches!(step, Step::Waiting | Step::Joining | Step::Left);
        self.membership.records().all(|record| record.weight == 0 || is_out(record.standing.step))
    }

    fn not_ready(&self) -> Failure {
        let others = |r: &Record| r.id != self.me && r.was_forgotten();
        not_ready(self.membership.records().any(others))
    }

    /// `Err`: refused at once.
    fn data(
        &mut self,
        now: Now,
        client: Client,
        key: ByteBuf,
        command: Command,
        (r, w): (Option<u8>, Option<u8>),
        explain: bool,
    ) -> Result<(), Box<Failure>> {
        let seats = self.seats(self.placement.partition_of(&key));
        if seats.read.is_empty() || self.knows_no_owner() {
            return Err(Box::new(self.not_ready()));
        }
        check_copies("R", r.unwrap_or(1), self.genesis.n)?;
        check_copies("W", w.unwrap_or(1), self.genesis.n)?;
        if let Some(asked) = w.filter(|w| usize::from(*w) > seats.new.len()) {
            return Err(Box::new(too_few_members(asked, seats.new.len())));
        }
        let (r, w) = (r.unwrap_or(self.genesis.r), w.unwrap_or(self.genesis.w));
        let begin = Begin { client, seats, key, command, r, w, explain };
        self.begin(now, begin);
        Ok(())
    }

    fn begin(&mut self, now: Now, begin: Begin) {
        if begin.key.len() > KEY_MAX {
            let (size, limit) = (begin.key.len() as u64, KEY_MAX as u64);
            let reply = Reply::Error(CommandError::TooLong { what: "the key".into(), size, limit });
            return self.done(begin.client, Ok(Outcome { reply, hidden: 0, trace: None }));
        }
        if !begin.command.writes() {
            self.coordinator.read(now, begin);
        } else if self.takes(&begin.command) && self.issues(&begin.seats) {
            self.coordinator.write(now, begin);
        } else {
            let candidates = self.issuers(now, &begin);
            if candidates.is_empty() && !self.takes(&begin.command) {
                return self.done(begin.client, Err(no_room()));
            }
            self.coordinator.forward(now, begin, candidates);
        }
        self.route_coordinator(now);
    }

    /// Who may issue a write that this peer should not, best first: owners that are alive, then suspect ones, then
    /// this peer if it is an owner that has not caught up, then those who are only to become owners, then whoever
    /// stands in. Not this peer if it has no room, or would only find nothing to remove.
    fn issuers(&self, now: Now, Begin { seats, command, .. }: &Begin) -> Vec<Candidate> {
        let rank = |seat: &Seat| {
            let (comes, is_me) = (!seats.old.contains(seat), seat.peer == self.me);
            let at_once = seat.health == Health::Alive && self.membership.is_connected(seat.peer);
            (comes, is_me, !at_once)
        };
        let mut owners: Vec<_> = seats.owners().into_iter().filter(|seat| !seat.is_dead()).collect();
        owners.sort_by_key(rank);
        let candidate = |Seat { peer, .. }| Candidate { peer, there: self.moments.of(now.time, peer) };
        let fit = self.takes(command) && (command.grows() || !self.is_worst(seats));
        let takes = |seat: &Seat| seat.peer != self.me || fit;
        owners.into_iter().chain(seats.stand_ins()).filter(takes).map(candidate).collect()
    }

    /// Whether there is room for what a command brings.
    fn takes(&self, command: &Command) -> bool {
        !self.is_low || !command.grows()
    }

    /// True if this peer is an owner that has caught up: nobody is better to issue a write.
    fn issues(&self, seats: &Seats) -> bool {
        seats.owns(self.me) && self.repair.is_proven(self.me, seats, self.genesis.w)
    }

    /// Another peer asks us to issue a write: we do, whatever we think of who owns it, unless there is no room for it,
    /// or what we held is lost or still to come and it may ask another that is alive. `last`: it has.
    pub(super) fn forwarded_here(
        &mut self,
        now: Now,
        client: Client,
        key: ByteBuf,
        command: Command,
        (r, w): (u8, u8),
        (explain, last): (bool, bool),
    ) {
        let sound = command.writes() && key.len() <= KEY_MAX && !self.knows_no_owner();
        let checked = check_copies("R", r, self.genesis.n).and(check_copies("W", w, self.genesis.n));
        if let Err(failure) = checked.and(if sound { Ok(()) } else { Err(self.not_ready().into()) }) {
            return self.done(client, Err(*failure));
        }
        let seats = self.seats(self.placement.partition_of(&key));
        let refusal = match () {
            () if !self.takes(&command) => Some(Refusal::NoRoom),
            () if self.is_worst(&seats) && !last => Some(Refusal::NotFilled),
            () => None,
        };
        if let (Client::Peer { peer, op, .. }, Some(why)) = (client, refusal) {
            return self.send(peer, Message::Call(Call::Refused { op, why }));
        }
        self.coordinator.write(now, Begin { client, seats, key, command, r, w, explain });
        self.route_coordinator(now);
    }

    /// True if others own what has come to this peer and is not filled here yet. Cheap for all that has not come.
    pub(super) fn is_unfilled(&self, partition: PartitionId) -> bool {
        self.repair.has_come(partition) && self.repair.is_unfilled(self.me, &self.seats(partition))
    }

    /// True if a scan would miss keys here that it finds with another.
    pub(super) fn lacks_keys(&self, partition: PartitionId) -> bool {
        self.is_unfilled(partition) || self.is_worst(&self.seats(partition))
    }

    /// True if this peer has lost what it held, or has not taken what came, or has not been filled with what it has come
    /// to own, and another owner is alive that has, for all we know.
    fn is_worst(&self, seats: &Seats) -> bool {
        let has_lost = |peer| self.repair.is_told_unfilled(seats.partition, peer);
        let is_fit =
            |seat: &Seat| seat.peer != self.me && seat.health == Health::Alive && !has_lost(seat.peer);
        let lacks = self.repair.is_refilling(seats.partition)
            || self.repair.has_missed(seats.partition)
            || self.repair.is_unfilled(self.me, seats);
        lacks && seats.old.iter().any(is_fit)
    }

    fn scan(&mut self, now: Now, id: RequestId, cursor: ScanCursor, limit: u16) -> Option<Response> {
        if cursor.partition >= self.genesis.partitions {
            return Some(Response::Keys { keys: Vec::new(), next: None });
        }
        let seats = self.seats(cursor.partition);
        let mut owners: Vec<_> = seats.read.iter().filter(|seat| !seat.is_dead()).collect();
        let lacks = self.lacks_keys(seats.partition);
        owners.sort_by_key(|seat| match seat.peer == self.me {
            true => (lacks, false, seat.health),
            false => (false, true, seat.health),
        });
        if owners.is_empty() || self.knows_no_owner() {
            return Some(Response::Failed(self.not_ready()));
        }
        let limit = limit.clamp(1, crate::store::KEYS_MAX);
        let out = self.scans.begin(now.time, id, owners.iter().map(|seat| seat.peer), cursor, limit);
        self.route_scan(out);
        None
    }

    fn whereabouts(&self, key: &[u8]) -> Whereabouts {
        let seats = self.seats(self.placement.partition_of(key));
        let view = |seat: Seat| SeatView {
            peer: seat.peer,
            name: self.name_of(seat.peer),
            health: seat.health,
            step: self.membership.get(seat.peer).map_or(Step::Left, |record| record.standing.step),
        };
        Whereabouts {
            partition: seats.partition,
            owners: seats.owners().into_iter().map(view).collect(),
            stand_ins: seats.stand_ins().map(view).collect(),
        }
    }

    fn status(&self) -> Status {
        let Self { me, genesis, coordinator, repair, .. } = self;
        let atlas = Atlas::new(*me, &self.membership, &self.placement);
        let owned = |peer| u32::try_from(atlas.owned_by(peer).len()).unwrap_or(u32::MAX);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let member = |record: &Record| MemberView {
            id: record.id,
            name: record.name.clone(),
            health: record.health,
            step: record.standing.step,
            incarnation: record.incarnation,
            addresses: record.addresses.clone(),
            zone: record.zone.clone(),
            weight: record.weight,
            share: owned(record.id) * 1000 / u32::from(genesis.partitions),
        };
        Status {
            me: *me,
            network: genesis.network_id(),
            network_name: genesis.name.clone(),
            partitions: genesis.partitions,
            n: genesis.n,
            r: genesis.r,
            w: genesis.w,
            members: self.membership.records().map(member).collect(),
            owned: owned(*me),
            held_for_others: count(repair.foreign()),
            repairing: count(repair.repairing()),
            operations: count(coordinator.len()),
            is_low: self.is_low,
            forged: self.membership.forged(),
        }
    }

    fn forget(&mut self, now: Now, peer: PeerId) -> Response {
        let mut forgotten = Ok(());
        self.gossip(now, |membership, out| forgotten = membership.forget(now.time, peer, out));
        match forgotten {
            Ok(()) => Response::Done,
            Err(error) => Response::Failed(invalid(error.to_string(), "STATUS lists the members")),
        }
    }

    fn leave(&mut self, now: Now, id: RequestId) -> Option<Response> {
        if let Some(failure) = self.too_few_remain() {
            return Some(Response::Failed(failure));
        }
        let leaving = self.leaving.get_or_insert(Leaving { clients: Vec::new() });
        if leaving.clients.len() >= LEAVERS_MAX {
            return Some(Response::Failed(invalid("it is leaving already".into(), "watch STATUS")));
        }
        leaving.clients.push(id);
        self.take_turn(now);
        None
    }

    /// Why this peer may not leave, if it may not (rule `enough`): fewer than W others would keep copies, if all whose
    /// place changes went. One that keeps none may always leave.
    fn too_few_remain(&self) -> Option<Failure> {
        let keeps = |r: &&Record| r.id != self.me && keeps_copies(r);
        let remain = self.membership.records().filter(keeps).count();
        let w = usize::from(self.genesis.w);
        let why = || format!("only {remain} of the {w} members that a write needs would remain");
        let few = remain < w && self.holds_any() && !mutated!(LeaveTooFew);
        few.then(|| invalid(why(), "let others join first"))
    }

    /// Whether others would have to take over what this peer owns. Who only comes is nobody's owner yet.
    fn holds_any(&self) -> bool {
        let me = self.membership.me();
        me.weight > 0 && !matches!(me.standing.step, Step::Waiting | Step::Joining | Step::Left)
    }

    /// Repair has come to the end of a step. The last owners began to leave together, or one of those who were to stay
    /// has begun anew meanwhile: then nobody goes on, and `take_turn` says who steps back.
    pub(super) fn come_further(&mut self, now: Now, step: Step) {
        let may = match step {
            Step::Arriving => !self.may_yet_be_filled(now),
            Step::Departing => self.too_few_remain().is_none(),
            _ => true,
        };
        if may {
            self.take_step(now, step);
        }
    }

    /// Nobody is there to fill a peer that comes, but one of those that wait may go on, and has what was written. The
    /// last of them does so after waiting for each before it, and is heard to within one wait more.
    fn may_yet_be_filled(&self, now: Now) -> bool {
        let wait = self.may_go_on().len().try_into().ok().and_then(|all| GO_ON_WAIT.checked_mul(all));
        self.out_since.is_some_and(|since| wait.is_none_or(|wait| now.time.since(since) < wait))
    }

    /// Changes of owners are made one at a time in the whole network: begins ours when it is our turn,
    /// steps back when another's comes first, and tells who waits when we have left.
    pub(super) fn take_turn(&mut self, now: Now) {
        self.out_since = self.knows_no_owner().then(|| self.out_since.unwrap_or(now.time));
        // A step is saved at once, with the table: see `Repair::is_noting`.
        if self.repair.is_noting() {
            return;
        }
        let here = self.membership.me().standing.step;
        // The steps of one that keeps no copies move nothing: it waits for nobody, and nobody for it.
        let keeps_none = self.membership.me().weight == 0;
        let turn =
            keeps_none || placement::turn(self.membership.records()) == Some(self.me) || mutated!(IgnoreTurn);
        match here {
            Step::Waiting if self.leaving.is_none() && self.goes_on(now) => self.take_step(now, Step::Member),
            Step::Waiting if self.leaving.is_none() && turn && !self.is_alone() => {
                self.take_step(now, Step::Joining)
            }
            Step::Waiting if self.leaving.is_some() => self.take_step(now, Step::Left),
            Step::Joining if !turn || self.leaving.is_some() => {
                marked!(SteppedBack);
                self.take_step(now, Step::Waiting)
            }
            Step::Member if self.leaving.is_some() && (keeps_none || self.nobody_changes()) => {
                match self.too_few_remain() {
                    Some(failure) => self.stay(failure),
                    None => self.take_step(now, Step::Leaving),
                }
            }
            // One whose turn it is waits for others who began at the same time: they step back. Reads went to it until
            // now, as they go to a member.
            Step::Leaving if !(turn && self.others_change()) && self.too_few_remain().is_some() => {
                marked!(StayedAfterAll);
                self.take_step(now, Step::Member)
            }
            Step::Left if self.repair.foreign() == 0 => self.farewell(),
            _ => {}
        }
    }

    /// Nobody else keeps copies: one that waits has lost what it held, its table too, and to begin anew is for no peer
    /// to decide. But the first that comes to a founder that keeps none has nothing to be filled with; nor has one that
    /// had begun to join, and stepped back for another, or lost its disk before it was filled.
    fn is_alone(&self) -> bool {
        let (me, founder) = (self.membership.me(), self.genesis.founder);
        let held_nothing = me.standing.version <= STEPPED_BACK;
        let is_first = |r: &Record| held_nothing && r.id == founder && r.standing.step == Step::Member;
        self.membership.records().all(|r| r.id == me.id || !keeps_copies(r) && !is_first(r))
    }

    /// Every peer that would keep copies was forgotten, or waits, or only comes: the two sides of a cut have forgotten
    /// each other, and have met. What was written is with these alone. The lowest that lives and has lost nothing goes on
    /// as a member; the others hand over to it what they hold, and join it.
    fn goes_on(&self, now: Now) -> bool {
        let before = self.may_go_on().iter().position(|peer| *peer == self.me);
        let wait = before.and_then(|before| GO_ON_WAIT.checked_mul(before.try_into().ok()?));
        let has_waited = |wait| self.out_since.is_some_and(|since| now.time.since(since) >= wait);
        !self.amnesiac && wait.is_some_and(has_waited)
    }

    /// Those that live and were members once, as far as others know, where nobody holds anything.
    fn may_go_on(&self) -> BTreeSet<PeerId> {
        let was_member = |r: &&Record| {
            let Standing { version, step } = r.standing;
            let is_back = step == Step::Waiting && version > STEPPED_BACK || r.was_forgotten();
            r.weight > 0 && r.health != Health::Dead && is_back
        };
        self.membership.records().filter(was_member).map(|record| record.id).collect()
    }

    /// One that is dead changes nothing any more, and steps back for nobody.
    fn others_change(&self) -> bool {
        let changes = |r: &Record| r.id != self.me && r.health != Health::Dead && !is_settled(r);
        self.membership.records().any(changes)
    }

    fn nobody_changes(&self) -> bool {
        self.membership.records().all(is_settled) || mutated!(IgnoreTurn)
    }

    fn farewell(&mut self) {
        self.tell_leavers(&Response::Done);
    }

    /// Others have left since this peer was told to.
    fn stay(&mut self, failure: Failure) {
        self.tell_leavers(&Response::Failed(failure));
        self.leaving = None;
    }

    fn tell_leavers(&mut self, response: &Response) {
        let clients = self.leaving.as_mut().map(|leaving| std::mem::take(&mut leaving.clients));
        for id in clients.unwrap_or_default() {
            self.effects.push_back(Effect::Reply { id, response: response.clone() });
        }
    }
}

/// Whether it owns partitions and goes on owning them, where its weight and the others' give it any.
fn keeps_copies(record: &Record) -> bool {
    record.weight > 0 && record.standing.step == Step::Member
}

/// Whether no owner changes by it.
fn is_settled(record: &Record) -> bool {
    record.weight == 0 || matches!(record.standing.step, Step::Member | Step::Waiting | Step::Left)
}

fn invalid(why: String, hint: &str) -> Failure {
    let (kind, state) = (FailureKind::Invalid, "nothing was done".to_owned());
    Failure { kind, why, state, hint: hint.to_owned(), trace: None }
}

fn no_room() -> Failure {
    Failure {
        kind: FailureKind::Busy,
        why: "the disk of this peer is nearly full, and no other may take the write".into(),
        state: "nothing was done".into(),
        hint: "free some space there, or start more peers; reads and removals go on".into(),
        trace: None,
    }
}

/// `forgotten`: peers are known, but they were forgotten.
fn not_ready(forgotten: bool) -> Failure {
    let (why, hint) = match forgotten {
        false => (
            "this peer has not found the members of its network yet",
            "see STATUS; start another peer of the network, or join by its address",
        ),
        true => (
            "each peer that is known here was forgotten, or has lost what it held",
            "see STATUS; start a peer that has its data still",
        ),
    };
    let (kind, state) = (FailureKind::NotReady, "nothing was done".to_owned());
    Failure { kind, why: why.to_owned(), state, hint: hint.to_owned(), trace: None }
}

fn too_few_members(asked: u8, members: usize) -> Failure {
    let why = format!("W={asked} is more than the members that keep copies now: {members}");
    invalid(why, "let more peers join, or accept fewer copies")
}
