//! The member table, and how claims of others merge into it.

use crate::ids::PeerId;
use crate::member::{Health, Record, Standing, Step, View, Voucher};
use crate::time::{Duration, Time};
use serde_bytes::ByteBuf;
use starling_crdt::context::first_u64;
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How long a peer that has left and is dead stays in the table, for people to see, while there is room.
const RETENTION: Duration = Duration::from_secs(3600);
/// Of how many forgotten peers the last standing is kept, so that an old table cannot bring them back.
/// Beyond that those go of whom no certificates are known, then the lowest standings.
pub(super) const FORGOTTEN_MAX: usize = 1024;
/// How far a third peer's claim may be ahead of what is known. Incarnations and versions grow by one at a
/// time, so an honest one is never that far; a forged one that were the highest possible could never be
/// refuted. What a peer says of itself is not bounded so: it may have been forced that far.
const LEAP_MAX: u64 = 1 << 32;

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub record: Record,
    /// What it was last heard to know.
    pub view: View,
    /// How many exchanges in a row did not make its view this peer's.
    pub disagreements: u32,
    /// Since when it is both left and dead.
    gone_since: Option<Time>,
}

impl Member {
    fn new(record: Record) -> Self {
        Self { record, view: View::default(), disagreements: 0, gone_since: None }
    }
}

/// What is kept of a peer that has left and is dead, once it is out of the table.
#[derive(Clone, Debug)]
struct Forgotten {
    standing: Standing,
    certificates: ByteBuf,
    voucher: Option<Voucher>,
}

impl Forgotten {
    fn of(Record { standing, certificates, voucher, .. }: Record) -> Self {
        Self { standing, certificates, voucher }
    }

    /// Its incarnation is 0, below that of any life, so that it says nothing of the peer's health should the peer have
    /// come back.
    fn bare(&self, id: PeerId) -> Record {
        let Self { standing, certificates, voucher } = self.clone();
        Record {
            id,
            incarnation: 0,
            health: Health::Dead,
            standing,
            life: 0,
            started_ms: 0,
            name: String::new(),
            addresses: Vec::new(),
            zone: String::new(),
            weight: 0,
            signature: None,
            certificates,
            voucher,
        }
    }
}

/// What a claim has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Its incarnation or health.
    pub life: bool,
    /// Before, if it was known.
    pub was: Option<Health>,
    pub addresses: bool,
    pub stepped: bool,
    /// Anything that the view is made of.
    pub view: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    me: Record,
    members: BTreeMap<PeerId, Member>,
    forgotten: BTreeMap<PeerId, Forgotten>,
    members_max: usize,
    view: Cell<Option<View>>,
    digest: Cell<Option<u64>>,
    living: Cell<Option<usize>>,
}

impl Table {
    /// A record of `me` among the known ones is of an earlier life: this one takes its standing, and an
    /// incarnation and a start above its.
    pub fn new(mut me: Record, known: Vec<Record>, members_max: usize, now: Time) -> Self {
        // 0 is for bare records: see `Forgotten`.
        me.incarnation = me.incarnation.max(1);
        for earlier in known.iter().filter(|record| record.id == me.id && record.is_sane()) {
            me.incarnation = me.incarnation.max(earlier.incarnation + 1);
            me.started_ms = me.started_ms.max(earlier.started_ms + 1);
            me.standing = me.standing.max(earlier.standing);
        }
        let members = BTreeMap::new();
        let forgotten = BTreeMap::new();
        let (view, digest, living) = (Cell::new(None), Cell::new(None), Cell::new(None));
        let mut table = Self { me, members, forgotten, members_max, view, digest, living };
        for record in known.into_iter().filter(Record::is_sane) {
            if record.id != table.me.id {
                table.merge(now, record);
            }
        }
        table
    }

    pub fn me(&self) -> &Record {
        &self.me
    }

    pub fn change_me(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.me);
        self.forget_cached(true);
    }

    /// The record of a peer, this one or another.
    pub fn get(&self, peer: PeerId) -> Option<&Record> {
        if peer == self.me.id { Some(&self.me) } else { self.other(peer) }
    }

    /// Another peer of the table.
    pub fn other(&self, peer: PeerId) -> Option<&Record> {
        self.members.get(&peer).map(|member| &member.record)
    }

    pub fn member_mut(&mut self, peer: PeerId) -> Option<&mut Member> {
        self.members.get_mut(&peer)
    }

    pub fn view_of(&self, peer: PeerId) -> Option<View> {
        self.members.get(&peer).map(|member| member.view)
    }

    pub fn others(&self) -> impl Iterator<Item = &Record> {
        self.members.values().map(|member| &member.record)
    }

    pub fn others_not_dead(&self) -> impl Iterator<Item = &Record> {
        self.others().filter(|record| record.health != Health::Dead)
    }

    /// All others, from the one after this on, and then those before.
    pub fn others_after(&self, peer: Option<PeerId>) -> impl Iterator<Item = &Record> {
        let from = peer.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.members.range((from, Bound::Unbounded));
        let before = peer.map(|peer| self.members.range(..=peer)).into_iter().flatten();
        after.chain(before).map(|(_, member)| &member.record)
    }

    /// This peer's own first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        std::iter::once(&self.me).chain(self.others())
    }

    /// All that another needs to know the same: the records, and bare ones of those forgotten.
    pub fn everything(&self) -> Vec<Record> {
        let forgotten = self.forgotten.iter().map(|(peer, forgotten)| forgotten.bare(*peer));
        self.records().cloned().chain(forgotten).collect()
    }

    /// True if none is dead and none has left.
    pub fn all_live(&self) -> bool {
        self.living() > self.members.len()
    }

    /// How many answer or may yet, this peer among them.
    pub fn living(&self) -> usize {
        let living = self.living.get().unwrap_or_else(|| self.records().filter(|r| lives(r)).count());
        self.living.set(Some(living));
        living
    }

    /// Whoever is gone makes room when it is needed.
    pub fn is_full(&self) -> bool {
        self.has_no_place() && !self.others().any(is_gone)
    }

    fn has_no_place(&self) -> bool {
        self.members.len() + 1 >= self.members_max
    }

    /// What is held of another: its record, or a bare one if it is forgotten.
    pub fn held(&self, peer: PeerId) -> Option<Record> {
        let forgotten = || self.forgotten.get(&peer).map(|forgotten| forgotten.bare(peer));
        self.other(peer).cloned().or_else(forgotten)
    }

    /// How far a peer is known to have come, be it out of the table.
    pub fn standing(&self, peer: PeerId) -> Option<Standing> {
        self.get(peer).map(|record| record.standing).or_else(|| Some(self.forgotten.get(&peer)?.standing))
    }

    /// True if just this is kept of a forgotten peer.
    pub fn keeps(&self, claim: &Record) -> bool {
        let known = self.forgotten.get(&claim.id).filter(|known| known.standing == claim.standing);
        known.is_some_and(|known| known.bare(claim.id) == *claim)
    }

    /// True if anything is held of another.
    pub fn holds(&self, peer: PeerId) -> bool {
        self.members.contains_key(&peer) || self.is_forgotten(peer)
    }

    pub fn is_forgotten(&self, peer: PeerId) -> bool {
        self.forgotten.contains_key(&peer)
    }

    /// False if no honest peer can have got there: see `LEAP_MAX`.
    pub fn is_plausible(&self, from: PeerId, claim: &Record) -> bool {
        let incarnation = self.get(claim.id).map_or(0, |record| record.incarnation);
        let version = self.standing(claim.id).map_or(0, |standing| standing.version);
        from == claim.id
            || (claim.incarnation <= incarnation.saturating_add(LEAP_MAX)
                && claim.standing.version <= version.saturating_add(LEAP_MAX))
    }

    /// False if what is known already, of this peer or another, stands against all of the claim, or if there is no room
    /// for its subject: whether or not it is true, it changes nothing.
    pub fn is_news(&self, claim: &Record) -> bool {
        let Some(known) = self.get(claim.id) else {
            let last = self.forgotten.get(&claim.id);
            return last.is_none_or(|last| claim.standing > last.standing)
                && (is_gone(claim) || !self.is_full());
        };
        let may_win = match claim.incarnation.cmp(&known.incarnation) {
            Ordering::Less => mutated!(OldIncarnation),
            Ordering::Equal if claim.id == self.me.id => {
                claim.health != Health::Alive || description(claim) != description(known)
            }
            Ordering::Equal => claim.health > known.health || description(claim) > description(known),
            Ordering::Greater => true,
        };
        may_win
            || mutated!(OldStanding)
            || claim.standing > known.standing
            || known.voucher.is_none() && claim.voucher.is_some()
    }

    /// Takes in a sane claim about another peer. A higher incarnation wins, then the worse health (SWIM,
    /// section 4.2); the standing merges by itself. The order in which claims come makes no difference. A
    /// peer that is unknown is admitted, unless the table is full: then it is ignored, until there is room.
    pub fn merge(&mut self, now: Time, claim: Record) -> Change {
        let (change, as_many) = match self.members.get_mut(&claim.id) {
            Some(Member { record, gone_since, .. }) => {
                let lived = lives(record);
                (merge_known(record, claim, now, gone_since), lived == lives(record))
            }
            None => (self.admit(claim), false),
        };
        if change != Change::default() {
            let living = self.living.get().filter(|_| as_many);
            self.forget_cached(change.view);
            self.living.set(living);
        }
        change
    }

    fn admit(&mut self, claim: Record) -> Change {
        let id = claim.id;
        if self.forgotten.get(&id).is_some_and(|last| last.standing >= claim.standing) {
            return Change::default();
        }
        if is_gone(&claim) {
            self.keep_forgotten(claim);
            let stepped = self.is_forgotten(id);
            return Change { stepped, view: stepped, ..Change::default() };
        }
        if self.is_full() {
            return Change::default();
        }
        if self.has_no_place() {
            let gone = self.members.iter().filter(|(_, member)| is_gone(&member.record));
            let longest = gone.min_by_key(|(id, member)| (member.gone_since, **id)).map(|(id, _)| *id);
            self.put_out(longest);
        }
        self.forgotten.remove(&id);
        self.members.insert(id, Member::new(claim));
        Change { life: true, was: None, addresses: true, stepped: true, view: true }
    }

    /// Puts those that are gone for long out of the table. Views and digests stay as they were.
    pub fn forget_gone(&mut self, now: Time) -> bool {
        let is_old = |member: &Member| member.gone_since.is_some_and(|since| now.since(since) >= RETENTION);
        let old: Vec<PeerId> =
            self.members.iter().filter(|(_, member)| is_old(member)).map(|(id, _)| *id).collect();
        let is_any_old = !old.is_empty();
        self.put_out(old);
        is_any_old
    }

    fn put_out(&mut self, gone: impl IntoIterator<Item = PeerId>) {
        for id in gone {
            if let Some(member) = self.members.remove(&id) {
                self.keep_forgotten(member.record);
                self.forget_cached(true);
            }
        }
    }

    fn keep_forgotten(&mut self, record: Record) {
        let id = record.id;
        let mut new = Forgotten::of(record);
        if let Some(last) = self.forgotten.remove(&id).filter(|_| new.certificates.is_empty()) {
            new.certificates = last.certificates;
        }
        self.forgotten.insert(id, new);
        if self.forgotten.len() > FORGOTTEN_MAX {
            // Whoever may forget another can say so of names that nobody has: these have no certificates.
            let worth = |forgotten: &Forgotten| (!forgotten.certificates.is_empty(), forgotten.standing);
            let lowest = self.forgotten.iter().min_by_key(|(id, forgotten)| (worth(forgotten), **id));
            if let Some(lowest) = lowest.map(|(id, _)| *id) {
                self.forgotten.remove(&lowest);
            }
        }
    }

    /// Over the standing, weight and zone of all that have not left, in the order of their ids. `steps`
    /// counts those that have left too, forgotten or not: it never falls.
    pub fn view(&self) -> View {
        let view = self.view.get().unwrap_or_else(|| {
            let versions = self.records().map(|record| record.standing.version);
            let forgotten = self.forgotten.values().map(|forgotten| forgotten.standing.version);
            let steps = versions.chain(forgotten).fold(0, u64::wrapping_add);
            View { steps, hash: view_hash(self.in_order()) }
        });
        self.view.set(Some(view));
        view
    }

    /// Over all that is known of everybody. Of those that have left only the standing counts, so that it
    /// does not matter who has forgotten them already.
    pub fn digest(&self) -> u64 {
        let digest = self.digest.get().unwrap_or_else(|| {
            let mut hasher = blake3::Hasher::new();
            let mut left: BTreeMap<_, _> =
                self.forgotten.iter().map(|(id, forgotten)| (*id, forgotten.standing)).collect();
            for record in self.in_order() {
                if record.standing.step == Step::Left {
                    left.insert(record.id, record.standing);
                    continue;
                }
                hasher.update(&record.id.0).update(&record.standing.version.to_be_bytes());
                hasher.update(&[record.standing.step as u8, record.health as u8]);
                hasher.update(&record.incarnation.to_be_bytes()).update(&record.life.to_be_bytes());
            }
            for (id, standing) in left {
                hasher.update(&id.0).update(&standing.version.to_be_bytes());
            }
            first_u64(&hasher.finalize())
        });
        self.digest.set(Some(digest));
        digest
    }

    fn in_order(&self) -> impl Iterator<Item = &Record> {
        let before = self.members.range(..self.me.id).map(|(_, member)| &member.record);
        let after = self.members.range(self.me.id..).map(|(_, member)| &member.record);
        before.chain(std::iter::once(&self.me)).chain(after)
    }

    /// In a large network health changes often, and the view hardly ever.
    fn forget_cached(&self, view: bool) {
        if view {
            self.view.set(None);
        }
        self.digest.set(None);
        self.living.set(None);
    }
}

/// What is kept of a peer that has left and is dead.
pub fn bare(record: Record) -> Record {
    let id = record.id;
    Forgotten::of(record).bare(id)
}

/// The hash of the view of whoever has these records, in the order of their ids.
pub fn view_hash<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for record in records.filter(|record| record.standing.step != Step::Left) {
        hasher.update(&record.id.0).update(&record.standing.version.to_be_bytes());
        hasher.update(&[record.standing.step as u8]).update(&record.weight.to_be_bytes());
        hasher.update(&(record.zone.len() as u64).to_be_bytes()).update(record.zone.as_bytes());
    }
    first_u64(&hasher.finalize())
}

fn lives(record: &Record) -> bool {
    record.health != Health::Dead && record.standing.step != Step::Left
}

fn merge_known(known: &mut Record, claim: Record, now: Time, gone_since: &mut Option<Time>) -> Change {
    let mut change = Change { was: Some(known.health), ..Change::default() };
    if claim.standing > known.standing || claim.standing < known.standing && mutated!(OldStanding) {
        known.standing = claim.standing;
        known.voucher.clone_from(&claim.voucher);
        (change.stepped, change.view) = (true, true);
    } else if known.voucher.is_none() && claim.standing == known.standing {
        known.voucher.clone_from(&claim.voucher);
    }
    if claim.incarnation >= known.incarnation || mutated!(OldIncarnation) {
        let newer = claim.incarnation > known.incarnation || mutated!(OldIncarnation);
        let health = if newer { claim.health } else { known.health.max(claim.health) };
        let describes = newer || description(&claim) > description(known);
        change.life = newer || describes || health != known.health;
        change.addresses = describes && claim.addresses != known.addresses;
        change.view |= describes && (claim.weight != known.weight || claim.zone != known.zone);
        known.health = health;
        if describes {
            *known = Record { standing: known.standing, voucher: known.voucher.take(), health, ..claim };
        }
    }
    if !is_gone(known) {
        *gone_since = None;
    } else if gone_since.is_none() {
        *gone_since = Some(now);
    }
    if change.life || change.stepped { change } else { Change::default() }
}

/// What else a record says. A peer that lost its incarnation may have said two things under one; it will
/// raise it when it hears, but should it die before, all must still agree.
fn description(record: &Record) -> impl Ord + '_ {
    (record.life, record.started_ms, record.weight, &record.zone, &record.name, &record.addresses)
}

fn is_gone(record: &Record) -> bool {
    record.standing.step == Step::Left && record.health == Health::Dead
}
