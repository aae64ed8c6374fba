//! Telling one another what is held.

use super::{Out, Pending, Repair, Scene, Told};
use crate::config::Config;
use crate::ids::{PartitionId, PeerId};
use crate::member::View;
use crate::message::{Held, Repair as Message};
use crate::store::Question;
use crate::time::{Duration, Time};
use starling_crdt::context::{Context, RANGES_MAX, first_u64};
use std::collections::{BTreeMap, BTreeSet};

type Contexts = Vec<(PartitionId, Context)>;

/// Most intervals of contexts in one report, so that it stays far below the longest frame.
const REPORT_INTERVALS: usize = 100_000;
/// Ranges of contexts that are kept of what one other has told, beyond as many as are held here: four partitions that
/// are as torn as any may be, some 12 MB.
const TOLD_RANGES: usize = 4 * RANGES_MAX;
/// A partition where reads differ is sent to repair at most this often.
const DIFFER_PERIOD: Duration = Duration::from_secs(1);
/// With whom nothing differed is asked again after this, if nothing has changed here. What has changed there, they ask
/// about; what neither has noticed, this finds.
const SAME_PERIOD: Duration = Duration::from_secs(300);

/// While much is written, the next comparison comes up to so many times sooner: until it is known what all owners hold,
/// the log grows, and what is cut soon need not go from memory to tables.
const SOONER: u32 = 10;
/// Much: since the last one, logs have grown by a quarter of `log_step`, on average.
const MUCH: u64 = 4;

/// When the next other owner is compared with.
pub(super) struct Turn {
    /// At the latest.
    due: Time,
    /// At the earliest.
    from: Time,
    /// Events kept since the last one.
    pub(super) kept: u64,
}

impl Turn {
    pub fn after(last: Time, config: &Config) -> Self {
        Self { due: last + config.repair_period, from: last + config.repair_period / SOONER, kept: 0 }
    }
}

impl Repair {
    pub(super) fn next_compare(&self) -> Time {
        let is_much = MUCH * self.turn.kept > self.config.log_step * self.holding.len() as u64;
        if is_much { self.turn.from } else { self.turn.due }
    }

    /// Compares with the next co-owner in turn.
    pub(super) fn compare_next(&mut self, scene: &Scene<'_>) {
        let others: Vec<_> = scene.map.others().into_iter().filter(|p| self.reachable(scene, *p)).collect();
        let next = others.iter().find(|p| Some(**p) > self.compared).or(others.first()).copied();
        self.compared = next;
        if self.same.len() > others.len() {
            self.same.retain(|peer, _| others.contains(peer));
        }
        if let Some(peer) = next {
            self.compare(scene, peer);
        }
    }

    /// Compares with those that have just come into reach.
    pub(super) fn meet_all(&mut self, scene: &Scene<'_>) {
        for peer in std::mem::take(&mut self.meet) {
            if self.reachable(scene, peer) {
                self.same.remove(&peer);
                self.compare(scene, peer);
            }
        }
    }

    fn compare(&mut self, scene: &Scene<'_>, to: PeerId) {
        let partitions = shared(scene, to);
        if !partitions.is_empty() {
            self.ask_store(Pending::Compare { to }, Question::Contexts { partitions });
        }
    }

    /// Our contexts were read under another table than we have now. Told as of now they would count for what was
    /// written since by those who knew no more (rule `view`).
    pub(super) fn ask_again(&mut self, scene: &Scene<'_>, pending: Pending, contexts: Contexts) {
        match pending {
            Pending::Survey => self.surveyed(scene, contexts),
            Pending::Compare { to } => self.compare(scene, to),
            Pending::Check { .. } => {}
            pending => {
                marked!(ContextsAgain);
                let partitions = contexts.into_iter().map(|(partition, _)| partition).collect();
                self.ask_store(pending, Question::Contexts { partitions });
            }
        }
    }

    /// While something of it is being filled, no hash of all is compared: "the same" is taken for a whole copy.
    pub(super) fn send_compare(&mut self, scene: &Scene<'_>, to: PeerId, contexts: Contexts) {
        let (view, hash) = (scene.map.view(), hash(&contexts));
        let is_same = |(under, found, at): &(View, u64, Time)| {
            (*under, *found) == (view, hash) && scene.now.time.since(*at) < SAME_PERIOD
        };
        let is_known = self.same.get(&to).is_some_and(is_same);
        if !is_known && !self.are_filled(&contexts) {
            // Once is enough: they compare too, and are filled or ask others.
            self.same.insert(to, (view, hash, scene.now.time));
            return self.send_hashes(scene, to, contexts);
        }
        self.remember(contexts);
        if !is_known {
            self.send(to, Message::Compare { view, hash });
        }
    }

    pub(super) fn check(&mut self, scene: &Scene<'_>, from: PeerId, view: View, hash: u64) {
        if view.hash == scene.map.view().hash {
            let partitions = shared(scene, from);
            self.ask_store(Pending::Check { from, hash }, Question::Contexts { partitions });
        }
    }

    pub(super) fn answer_compare(
        &mut self,
        scene: &Scene<'_>,
        from: PeerId,
        theirs: u64,
        contexts: Contexts,
    ) {
        if hash(&contexts) != theirs {
            return self.send_hashes(scene, from, contexts);
        }
        // Who compares by one hash is filled, though we may not be.
        if self.are_filled(&contexts) {
            self.send(from, Message::Same { view: scene.map.view(), hash: theirs });
        }
        self.note_same(scene, from, theirs, contexts);
    }

    fn are_filled(&self, contexts: &Contexts) -> bool {
        contexts.iter().all(|(partition, _)| self.is_filled(*partition))
    }

    fn send_hashes(&mut self, scene: &Scene<'_>, to: PeerId, contexts: Contexts) {
        let hashes = contexts.iter().map(|(partition, context)| (*partition, context.hash())).collect();
        self.remember(contexts);
        self.send(to, Message::Hashes { view: scene.map.view(), hashes });
    }

    /// They had the very contexts whose hash we sent; unless ours have changed since.
    pub(super) fn agreed(&mut self, scene: &Scene<'_>, from: PeerId, view: View, theirs: u64) {
        let empty = Context::default();
        let ours = |p: PartitionId| (p, self.mine.get(&p).unwrap_or(&empty).clone());
        let contexts: Contexts = shared(scene, from).into_iter().map(ours).collect();
        if view.hash == scene.map.view().hash && hash(&contexts) == theirs {
            self.note_same(scene, from, theirs, contexts);
        }
    }

    fn note_same(&mut self, scene: &Scene<'_>, from: PeerId, hash: u64, contexts: Contexts) {
        let view = scene.map.view();
        self.same.insert(from, (view, hash, scene.now.time));
        for (partition, context) in contexts {
            // Which session it has come to hold just this in, only a report says.
            let told = self.told(partition, from).filter(|told| told.context == context);
            let session = told.and_then(|told| told.session);
            let told = Told { view, session, context: context.clone(), filled: true };
            self.told.entry(partition).or_default().insert(from, told);
            self.remember(vec![(partition, context)]);
            self.consider(scene, partition, from);
        }
    }

    pub(super) fn sift(
        &mut self,
        scene: &Scene<'_>,
        from: PeerId,
        view: View,
        hashes: Vec<(PartitionId, u64)>,
    ) {
        if view.hash != scene.map.view().hash {
            return;
        }
        // Each partition once, however often it is named.
        let hashes: BTreeMap<_, _> =
            hashes.into_iter().filter(|(partition, _)| *partition < scene.map.partitions()).collect();
        let partitions = hashes.keys().copied().collect();
        self.ask_store(Pending::Sift { from, hashes }, Question::Contexts { partitions });
    }

    pub(super) fn report_differing(
        &mut self,
        scene: &Scene<'_>,
        from: PeerId,
        theirs: &BTreeMap<PartitionId, u64>,
        mut contexts: Contexts,
    ) {
        contexts.retain(|(p, context)| theirs.get(p) != Some(&context.hash()));
        let concealed = contexts.extract_if(.., |(p, _)| self.conceals(scene, *p));
        let partitions: Vec<_> = concealed.map(|(partition, _)| partition).collect();
        if !partitions.is_empty() {
            // What they lack, their own report tells.
            self.send(from, Message::Ask { partitions });
        }
        // Of a partition that is empty here we lack all that they have.
        contexts.retain(|(p, context)| !context.is_empty() || self.expect(scene.now.time, *p, from));
        self.send_report(scene, from, contexts);
    }

    /// Tells `to` what we have synced of these.
    pub(super) fn report_to(&mut self, scene: &Scene<'_>, to: PeerId, mut partitions: Vec<PartitionId>) {
        partitions.retain(|partition| *partition < scene.map.partitions());
        partitions.sort_unstable();
        partitions.dedup();
        if to != scene.me && !partitions.is_empty() {
            self.ask_store(Pending::Report { to }, Question::Contexts { partitions });
        }
    }

    pub(super) fn send_report(&mut self, scene: &Scene<'_>, to: PeerId, contexts: Contexts) {
        self.remember(contexts.clone());
        self.note_lacking(scene, to, &contexts);
        let view = scene.map.view();
        let mut held: Vec<Held> = Vec::new();
        let mut intervals = 0;
        for (partition, context) in contexts {
            intervals += context.ranges().count();
            let (session, filled) = (self.session(partition), self.is_filled(partition));
            held.push(Held { partition, session, context, filled });
            if intervals >= REPORT_INTERVALS {
                intervals = 0;
                self.send(to, Message::Report { view, held: std::mem::take(&mut held) });
            }
        }
        if !held.is_empty() {
            self.send(to, Message::Report { view, held });
        }
    }

    /// Who is told what we hold sends what it has beyond that; once it has nothing, others are told.
    fn note_lacking(&mut self, scene: &Scene<'_>, to: PeerId, contexts: &Contexts) {
        for (partition, mine) in contexts.iter().filter(|(p, _)| scene.map.owns(scene.me, *p)) {
            match self.told(*partition, to) {
                Some(told) if !mine.contains_all(&told.context) => {
                    self.coming.told(scene.now.time, *partition, to)
                }
                // Its hash said that it has something, of which it has told nothing yet, or something older.
                None if scene.map.owns(to, *partition) => {}
                Some(_) if mine.is_empty() => {}
                _ => self.coming.done(*partition, to),
            }
        }
        self.tell_put_off(scene, contexts.iter().map(|(partition, _)| *partition));
    }

    /// Takes note of what another holds, and has it held against what we hold.
    pub(super) fn weigh(&mut self, scene: &Scene<'_>, from: PeerId, view: View, held: Vec<Held>) {
        let mut partitions = BTreeSet::new();
        let mut room = self.room_for_told(from);
        for Held { partition, session, context, filled } in
            held.into_iter().take(scene.map.partitions().into())
        {
            let before = self.told(partition, from).map_or(0, |told| told.context.range_count());
            let left = (room + before).checked_sub(context.range_count());
            if left.is_none() {
                self.forget_session(partition, from, session);
            }
            if let Some(left) = left.filter(|_| partition < scene.map.partitions()) {
                room = left;
                partitions.insert(partition);
                self.end_push((partition, from), session);
                let told = Told { view, session: Some(session), context, filled };
                self.told.entry(partition).or_default().insert(from, told);
            }
        }
        if !partitions.is_empty() {
            let partitions = partitions.into_iter().collect();
            self.ask_store(Pending::Weigh { from }, Question::Contexts { partitions });
        }
    }

    /// How many ranges more one may tell of: as many as we hold ourselves, and of some partitions as many as there may
    /// be. One that tells of more goes on unheard there; what it told before still holds, since contexts only grow within
    /// a session.
    fn room_for_told(&self, from: PeerId) -> usize {
        let told = self.told.values().filter_map(|by| by.get(&from));
        let told: usize = told.map(|told| told.context.range_count()).sum();
        let mine: usize = self.mine.values().map(Context::range_count).sum();
        (TOLD_RANGES + mine).saturating_sub(told)
    }

    /// What it told in an earlier session counts no more.
    fn forget_session(&mut self, partition: PartitionId, from: PeerId, session: u64) {
        if self.told(partition, from).is_some_and(|told| told.session != Some(session)) {
            self.told.entry(partition).or_default().remove(&from);
            self.end_push((partition, from), session);
        }
    }

    pub(super) fn weighed(&mut self, scene: &Scene<'_>, from: PeerId, contexts: Contexts) {
        let mut lacking = Contexts::new();
        let weighed: Vec<_> = contexts.iter().map(|(partition, _)| *partition).collect();
        for (partition, mine) in contexts {
            let Some(told) = self.told(partition, from) else { continue };
            let (they_lack, we_lack) = (!told.context.contains_all(&mine), !mine.contains_all(&told.context));
            if they_lack && scene.map.owns(from, partition) {
                self.todo.entry((partition, from)).or_default();
            }
            if !we_lack {
                self.coming.done(partition, from);
            } else if scene.map.owns(scene.me, partition) && !self.conceals(scene, partition) {
                lacking.push((partition, mine.clone()));
            }
            self.remember(vec![(partition, mine)]);
            self.consider(scene, partition, from);
        }
        lacking.retain(|(partition, _)| self.expect(scene.now.time, *partition, from));
        self.send_report(scene, from, lacking);
        self.tell_put_off(scene, weighed.into_iter());
        self.settle(scene, false);
    }

    /// Draws what follows from what is now known of one other's copy.
    fn consider(&mut self, scene: &Scene<'_>, partition: PartitionId, from: PeerId) {
        self.note_proof(scene, partition, from);
        self.note_handed(scene, partition, from);
        self.scrub_kept(scene, partition);
        if self.foreign.contains(&partition) {
            self.let_go(scene, partition);
        } else {
            self.cut_log(scene, partition);
        }
    }

    /// What was cut in an earlier life is not cut again, and with it what came since: who lacks a few events would be
    /// sent the whole state.
    pub(super) fn note_logs(&mut self, contexts: &Contexts, logs: Vec<(PartitionId, u64)>) {
        let logs: BTreeMap<_, _> = logs.into_iter().collect();
        self.cut.extend(contexts.iter().filter_map(|(partition, context)| {
            logs.get(partition).map(|log| (*partition, context.len().saturating_sub(*log)))
        }));
    }

    /// Cuts the log below what all owners have reported (synced, same table), and above that when it is full.
    fn cut_log(&mut self, scene: &Scene<'_>, partition: PartitionId) {
        let Some(mine) = self.mine.get(&partition) else { return };
        let done = self.cut.get(&partition).copied().unwrap_or(0);
        let is_enough = |below: &Context| below.len() >= done + self.config.log_step;
        if !is_enough(mine) {
            return;
        }
        let held = self.held_by_all(scene, partition, mine).filter(is_enough);
        let is_full = mine.len() >= done + self.config.log_max;
        marked!(LogFull if held.is_none() && is_full);
        // One that has told once and is away since would hold the log up for ever.
        let Some(below) = held.or_else(|| is_full.then(|| mine.clone())) else { return };
        self.cut.insert(partition, below.len());
        self.ask_cut(partition, below);
    }

    /// A stretch at a time, so that others have their turn.
    pub(super) fn ask_cut(&mut self, partition: PartitionId, below: Context) {
        if !below.is_empty() {
            self.ask_store(Pending::Cut { partition }, Question::CutLog { partition, below });
        }
    }

    /// What every owner but this peer has told, under the present table, that it has synced; and `mine`.
    pub(super) fn held_by_all(
        &self,
        scene: &Scene<'_>,
        partition: PartitionId,
        mine: &Context,
    ) -> Option<Context> {
        let view = scene.map.view();
        let mut held = mine.clone();
        for seat in scene.map.seats(partition).owners() {
            if seat.peer != scene.me {
                let told = self
                    .told(partition, seat.peer)
                    .filter(|told| told.view.hash == view.hash || mutated!(ReportAnyView))?;
                held = held.intersect(&told.context);
            }
        }
        Some(held)
    }

    /// A read saw replicas that differ.
    pub fn differ(&mut self, scene: &Scene<'_>, partition: PartitionId, peers: &[PeerId]) {
        let last = self.differed.get(&partition).copied();
        if last.is_some_and(|last| scene.now.time.since(last) < DIFFER_PERIOD) {
            return;
        }
        self.differed.insert(partition, scene.now.time);
        if peers.contains(&scene.me) && scene.map.owns(scene.me, partition) {
            peers.iter().for_each(|peer| self.exchange(scene, *peer, partition));
            return;
        }
        // What this peer holds of others' it hands over anyway.
        let mut others = peers.iter().filter(|peer| **peer != scene.me);
        let Some(first) = others.next() else { return };
        for with in others {
            self.out.push(Out::Send { to: *first, message: Message::Meet { partition, with: *with } });
        }
    }

    /// A read at `from` saw that our copy and that of `with` differ. It is told only who is there, and of what we hold
    /// or own: each that is told takes a link.
    pub(super) fn introduced(&mut self, scene: &Scene<'_>, partition: PartitionId, with: PeerId) {
        let concerned = self.holding.contains(&partition) || scene.map.owns(scene.me, partition);
        if self.reachable(scene, with) && concerned {
            self.exchange(scene, with, partition);
        }
    }

    /// Each gets what it lacks, but for what is not taken here.
    fn exchange(&mut self, scene: &Scene<'_>, with: PeerId, partition: PartitionId) {
        let partitions = vec![partition];
        if !self.conceals(scene, partition) {
            self.report_to(scene, with, partitions);
        } else if with != scene.me {
            self.send(with, Message::Ask { partitions });
        }
    }

    pub(super) fn remember(&mut self, contexts: Contexts) {
        self.fresh.extend(contexts.iter().map(|(partition, _)| *partition));
        self.mine.extend(contexts);
    }
}

/// Partitions that both own.
fn shared(scene: &Scene<'_>, other: PeerId) -> Vec<PartitionId> {
    let theirs = scene.map.owned_by(other);
    let mut ours = scene.map.owned_by(scene.me);
    ours.retain(|partition| theirs.binary_search(partition).is_ok());
    ours
}

pub(super) fn hash(contexts: &[(PartitionId, Context)]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for (partition, context) in contexts {
        hasher.update(&partition.to_be_bytes());
        hasher.update(&context.hash().to_be_bytes());
    }
    first_u64(&hasher.finalize())
}
