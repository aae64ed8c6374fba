//! The one state machine: owns the rooms and routes between them. It decides only on this peer's own coming and going,
//! and which owner a write goes to first.

mod admin;
mod atlas;
mod moments;
mod route;

use crate::config::{Config, Genesis};
use crate::coordinator::{self, Coordinator};
use crate::effect::Effect;
use crate::ids::{OpId, PartitionId, PeerId, StoreId};
use crate::input::Input;
use crate::member::{Health, Record, Standing, Step, View};
use crate::membership::signing::Signing;
use crate::membership::{self, Membership};
use crate::message::Message;
use crate::placement::Placement;
use crate::repair::{self, Repair};
use crate::replica::{self, Replica};
use crate::scan::{self, Scans};
use crate::time::{Now, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a peer is, at a start.
#[derive(Clone, Debug)]
pub struct Start {
    pub id: PeerId,
    pub name: String,
    pub zone: String,
    pub weight: u32,
    pub addresses: Vec<String>,
    /// Another number at every start: the actor of this life.
    pub life: u64,
    pub genesis: Genesis,
    /// How membership records are signed.
    pub signing: Arc<dyn Signing>,
    pub config: Config,
    pub seed: u64,
    /// The member table that was saved last, this peer's own record in it.
    pub table: Vec<Record>,
    /// This peer has just founded the network.
    pub founding: bool,
    /// The store is not the one that `table` was saved beside, or there is no table and nothing in the
    /// store: whatever this peer acknowledged before is gone. A store that is empty because nothing was
    /// ever written to it is not lost.
    pub fresh: bool,
    /// What has come to this peer in earlier lives and was not filled, as the store remembers it.
    pub came: BTreeSet<PartitionId>,
}

/// Whom an answer of storage is for.
#[derive(Clone, Copy, Debug)]
enum Asker {
    /// `issues`: where an event may come of it.
    Coordinator {
        op: OpId,
        issues: Option<PartitionId>,
    },
    Replica(u64),
    Repair(u64),
    Scan(OpId),
}

pub struct Peer {
    me: PeerId,
    life: u64,
    moments: moments::Moments,
    genesis: Genesis,
    clock_ahead_ms: u64,
    operations_max: usize,
    /// The store was lost, now or before an earlier start, and has not been filled since.
    amnesiac: bool,
    /// The disk is nearly full.
    is_low: bool,
    leaving: Option<admin::Leaving>,
    /// Since when nobody who is known here holds anything, if that is so.
    out_since: Option<Time>,
    /// The member table is to be saved, once what has come to this peer by it is noted.
    unsaved: bool,
    /// This peer's own standing in the table that was saved last.
    saved: Option<Standing>,
    membership: Membership,
    placement: Placement,
    coordinator: Coordinator,
    replica: Replica,
    repair: Repair,
    scans: Scans,
    /// The view that placement was last computed for.
    view: View,
    askers: BTreeMap<StoreId, Asker>,
    last_question: u64,
    effects: VecDeque<Effect>,
}

impl Peer {
    pub fn new(start: Start, now: Now) -> Self {
        let (me, unfilled, owned) = (own_record(&start, now), was_unfilled(&start), owned_otherwise(&start));
        let Start { id, life, genesis, signing, config, seed, table, fresh, came, .. } = start;
        let saved = table.iter().find(|record| record.id == id).map(|record| record.standing);
        let known = table.into_iter().filter(|record| record.id != id).collect();
        let limit = config.operations_max;
        let scans = Scans::new(id, life, genesis.partitions, &config);
        let mut peer = Self {
            me: id,
            life,
            moments: moments::Moments::default(),
            amnesiac: (fresh || unfilled) && me.standing.step != Step::Member,
            clock_ahead_ms: config.clock_ahead_ms,
            operations_max: limit,
            is_low: false,
            leaving: None,
            out_since: None,
            unsaved: false,
            saved,
            placement: Placement::new(genesis.partitions, genesis.n),
            coordinator: Coordinator::new(id, config.clone(), life),
            replica: Replica::new(limit),
            repair: Repair::new(config.clone(), life, now.time),
            membership: Membership::new(me, known, signing, config, seed, now.time),
            scans,
            genesis,
            view: View::default(),
            askers: BTreeMap::new(),
            last_question: 0,
            effects: VecDeque::new(),
        };
        peer.repair.came_before(came);
        owned.into_iter().for_each(|owned| peer.repair.owned_before(owned.into_iter()));
        peer.owners_changed(now);
        peer.route_repair(now);
        peer
    }

    /// Takes one input and returns what it asks of the world. All of it must be carried out before the
    /// next input: the borrow sees to that. Questions to storage may wait longer, in the order in which they came.
    #[must_use = "effects that are not carried out are lost"]
    pub fn handle(&mut self, now: Now, input: Input) -> impl Iterator<Item = Effect> + '_ {
        match input {
            Input::Received { from, message } => self.received(now, from, message),
            Input::Request { id, request } => self.requested(now, id, request),
            Input::Stored { answers } => self.stored(now, answers),
            Input::Connected { peer } => self.connected(now, peer),
            Input::Disconnected { peer } => self.gone(now, peer, Membership::disconnected),
            Input::Unreachable { peer } => self.gone(now, peer, Membership::unreachable),
            Input::Refused { peer } => self.gone(now, peer, Membership::refused),
            Input::Discovered { peer, addresses } => {
                self.gossip(now, |membership, out| membership.discovered(peer, addresses, out))
            }
            Input::Room { is_low } => self.room_changed(is_low),
            Input::Listening { addresses } => {
                self.gossip(now, |membership, out| membership.listening(now.time, addresses, out))
            }
            Input::Timeout => self.timeout(now),
        }
        self.effects.drain(..)
    }

    /// When `Input::Timeout` is due, at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        let times = [
            self.membership.next_timeout(),
            self.coordinator.next_timeout(),
            self.repair.next_timeout(),
            self.scans.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    /// The member table, as this peer has it.
    pub fn members(&self) -> impl Iterator<Item = &Record> {
        self.membership.records()
    }

    /// What this peer knows of all steps taken.
    pub fn known(&self) -> View {
        self.view
    }

    /// True if this peer knows each step of whoever has the view with this hash; then their answers count here.
    pub fn knows_view(&self, hash: u64) -> bool {
        self.membership.knows_view(hash)
    }

    /// Of each table that grows with what others ask and say: its name, its length, and the most that it may
    /// hold.
    pub fn tables(&self) -> Vec<(&'static str, usize, usize)> {
        let (members, members_max) = self.membership.size();
        let mut tables = vec![
            ("calls", self.replica.len(), self.operations_max),
            ("members", members, members_max),
            ("scans", self.scans.under_way(), scan::SCANS_MAX),
        ];
        tables.extend(self.coordinator.tables());
        tables.extend(self.repair.tables());
        tables
    }

    fn received(&mut self, now: Now, from: PeerId, message: Message) {
        match message {
            Message::Gossip(gossip) => {
                let sent = gossip.sent;
                self.gossip(now, |membership, out| membership.received(now.time, from, gossip, out));
                if let Some(sent) = sent {
                    let Self { moments, membership, .. } = self;
                    moments.hear(now.time, from, sent, |peer| membership.get(peer).is_some());
                }
            }
            Message::Call(call) if self.membership.has_met(from) => self.called(now, from, call),
            Message::Repair(message) if self.membership.has_met(from) => {
                message.view().into_iter().for_each(|view| self.heard_view(now, from, view));
                self.with_repair(now, |repair, scene| repair.received(scene, from, message))
            }
            Message::Call(_) | Message::Repair(_) => {}
        }
    }

    fn connected(&mut self, now: Now, peer: PeerId) {
        self.gossip(now, |membership, out| membership.connected(now.time, peer, out));
        self.with_repair(now, |repair, scene| repair.met(scene, peer));
    }

    fn gone(
        &mut self,
        now: Now,
        peer: PeerId,
        tell: fn(&mut Membership, Time, PeerId, &mut Vec<membership::Out>),
    ) {
        self.gossip(now, |membership, out| tell(membership, now.time, peer, out));
        self.give_up_on(now, peer);
    }

    /// Nothing more is to be expected of what was asked of this peer.
    fn give_up_on(&mut self, now: Now, peer: PeerId) {
        self.coordinator.unreachable(now, peer);
        self.repair.unreachable(peer);
        let failed = self.scans.unreachable(peer);
        failed.into_iter().for_each(|out| self.route_scan(out));
        self.route_coordinator(now);
    }

    fn room_changed(&mut self, is_low: bool) {
        self.is_low = is_low;
        if !is_low {
            self.repair.room_again();
        }
    }

    fn timeout(&mut self, now: Now) {
        let due = |time: Option<Time>| time.is_some_and(|time| time <= now.time);
        let acts = due(self.membership.next_timeout());
        if acts {
            self.gossip(now, |membership, out| membership.timeout(now.time, out));
        }
        if due(self.coordinator.next_timeout()) {
            self.coordinator.timeout(now);
            self.route_coordinator(now);
        }
        if due(self.scans.next_timeout()) {
            let failed = self.scans.timeout(now.time);
            failed.into_iter().for_each(|out| self.route_scan(out));
        }
        // Together with membership, so that an idle peer wakes once for both.
        if due(self.repair.next_timeout()) || acts && self.repair.may_tick(now.time) {
            self.take_turn(now);
            self.with_repair(now, |repair, scene| repair.timeout(scene));
        }
    }

    /// Speaks with membership, and follows up on what came of it.
    fn gossip(&mut self, now: Now, act: impl FnOnce(&mut Membership, &mut Vec<membership::Out>)) {
        let mut out = Vec::new();
        act(&mut self.membership, &mut out);
        for out in out {
            self.route_membership(now, out);
        }
        if self.membership.view() != self.view {
            self.owners_changed(now);
        }
        self.save_when_noted();
    }

    fn owners_changed(&mut self, now: Now) {
        self.view = self.membership.view();
        self.placement.update(self.membership.records());
        // First, so that what has come to this peer by it is known to be still to fill.
        self.with_repair(now, |repair, scene| repair.replanned(scene));
        let (view, atlas) = (self.view, atlas::Atlas::new(self.me, &self.membership, &self.placement));
        self.coordinator.replan(now, view, |partition| crate::seats::Map::seats(&atlas, partition));
        self.route_coordinator(now);
        self.take_turn(now);
    }

    fn with_repair(&mut self, now: Now, act: impl FnOnce(&mut Repair, &repair::Scene<'_>)) {
        let map = atlas::Atlas::new(self.me, &self.membership, &self.placement);
        let step = self.membership.me().standing.step;
        // Who comes is to be filled, or all others would wait for it; without room for that, it stops.
        let (w, is_low) = (self.genesis.w, self.is_low && step == Step::Member);
        let scene = repair::Scene { now, me: self.me, step, w, is_low, map: &map };
        act(&mut self.repair, &scene);
        self.route_repair(now);
    }
}

/// What this peer owned in its last life, if its weight or its zone was another then.
fn owned_otherwise(start: &Start) -> Option<Vec<PartitionId>> {
    let saved = start.table.iter().find(|record| record.id == start.id)?;
    let changed = saved.weight != start.weight || saved.zone != start.zone;
    changed.then(|| {
        let mut before = Placement::new(start.genesis.partitions, start.genesis.n);
        before.update(start.table.iter());
        before.partitions_of(start.id).collect()
    })
}

/// Whether the last life ended on the way in, before the store held what a member's must.
fn was_unfilled(start: &Start) -> bool {
    let own = start.table.iter().find(|record| record.id == start.id);
    own.is_some_and(|record| matches!(record.standing.step, Step::Waiting | Step::Joining))
}

/// This peer's record at a start. Having lost what it held, it begins as one that owns nothing; others
/// may know more steps of it than its own table tells.
fn own_record(start: &Start, now: Now) -> Record {
    let saved = start.table.iter().find(|record| record.id == start.id);
    let standing = match saved.map(|record| record.standing) {
        _ if start.founding => Standing { version: 1, step: Step::Member },
        None if !start.fresh && start.genesis.founder == start.id => {
            Standing { version: 1, step: Step::Member }
        }
        None => Standing { version: 0, step: Step::Waiting },
        Some(Standing { version, step }) if start.fresh || step == Step::Left => {
            Standing { version: version.saturating_add(1), step: Step::Waiting }
        }
        Some(standing) => standing,
    };
    Record {
        id: start.id,
        incarnation: saved.map_or(0, |record| record.incarnation.saturating_add(1)),
        health: Health::Alive,
        standing,
        life: start.life,
        started_ms: now.wall_ms,
        name: start.name.clone(),
        addresses: start.addresses.clone(),
        zone: start.zone.clone(),
        weight: start.weight,
        signature: None,
        certificates: Default::default(),
        voucher: None,
    }
}
