//! Who is there: SWIM (Das, Gupta, Motivala 2002) with Lifeguard's additions (Dadgar, Phillips, Currey
//! 2018), and a full exchange of tables now and then.
//!
//! Each period one peer is pinged, in the order of a shuffled list; fewer while all is quiet (`quiet`). If
//! it does not answer, a few others are asked to try; if they get no answer either it is *suspect*, and
//! *dead* when the suspicion runs out before it refutes. Only a peer itself raises its incarnation, and so
//! only it can refute. All that is new rides on the pings and their answers. The dead are kept, for they may
//! own data, and one of them is tried each period for ever, so that the halves of a network that was cut
//! find each other.
//!
//! Beside its health each peer has a *standing*: how far it is on the way in or out (rule `settling`).
//! The sum and hash of all standings is the *view*, and every message carries the sender's.

use crate::config::Config;
use crate::ids::PeerId;
use crate::member::{ADDRESS_LEN_MAX, ADDRESSES_MAX, Health, Record, Standing, Step, View};
use crate::message::{Gossip, GossipBody};
use crate::time::{Duration, Time};
use dissemination::{Dissemination, Rumor};
use past::Past;
use probe::Probes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signing::Signing;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use suspicion::Suspicion;
use table::{Table, bare};

mod dissemination;
mod past;
mod probe;
mod quiet;
mod receive;
mod rounds;
pub mod signing;
mod speak;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;
/// In networks up to this size a step is told to every peer at once; in larger ones to a few, and rumors
/// do the rest.
const TELL_ALL_MAX: usize = 64;
const TELL_SOME: usize = 8;
/// Least time between two full tables sent to one peer.
const EXCHANGE_GAP: Duration = Duration::from_millis(200);
/// How long to wait for rumors before tables are exchanged because of a view that differs; twice as long
/// each time that this did not help, up to 12.8 s: one of both may have no room for what the other knows.
const DIFFERING_WAIT: Duration = Duration::from_millis(50);
const DISAGREEMENTS_MAX: u32 = 8;
/// Most exchanges that this peer begins in one period, strangers apart. When a large network starts or
/// heals, every pair finds a difference; if each exchanged tables, that were n^3 records.
const EXCHANGES_MAX: u32 = 8;

/// What membership asks of the world, and what it has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Send {
        to: PeerId,
        gossip: Gossip,
    },
    /// Have a connection to this peer.
    Connect {
        peer: PeerId,
        addresses: Vec<String>,
    },
    /// Another peer's health is now this. Told also of each peer that is new.
    Health {
        peer: PeerId,
        health: Health,
    },
    /// Another peer's standing is now this. Told also of each peer that is new.
    Stepped {
        peer: PeerId,
        step: Step,
    },
    /// Others believed this peer suspect or dead; this is its incarnation now.
    Refuted {
        incarnation: u64,
    },
    /// Another process speaks with this peer's key, and began after this one: this one has to stop.
    Outlived,
    /// Others know a later standing of this peer than it did: it has lost its table, or was forgotten. It
    /// has the standing now, and decides how to go on.
    Overruled {
        standing: Standing,
    },
    /// This peer was heard to have another view than before, or all that it knows was heard.
    ViewHeard {
        peer: PeerId,
    },
    /// The table is worth saving. At most once per input, and last.
    Changed,
    /// A peer sent what no honest one sends. At most once per message.
    Misbehaved {
        peer: PeerId,
        why: &'static str,
    },
}

/// Why a peer cannot be forgotten. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    #[error("a peer cannot forget itself; to take it out of the network let it leave")]
    Myself,
    #[error("no such peer is known here")]
    Unknown,
    #[error(
        "it is not dead as far as this peer knows; let it leave, or stop it and wait until it is shown dead"
    )]
    NotDead,
    #[error("it has left already")]
    Left,
    #[error("this peer only takes requests, and nobody would believe it; ask one that owns data")]
    NotAllowed,
}

/// One peer's part in the membership protocol. Inputs are methods; what follows is pushed to `out`, and
/// has to be carried out before the next input.
#[derive(Clone, Debug)]
pub struct Membership {
    config: Config,
    signing: Arc<dyn Signing>,
    /// Records that were not signed by their subjects.
    forged: u64,
    /// Of the lives that seemed to begin after this one, the one that it has outdone last. If that is later again, it
    /// is another process, and no life that this peer has forgotten.
    outdone: Option<u64>,
    rng: ChaCha8Rng,
    table: Table,
    past: Past,
    probes: Probes,
    suspicions: BTreeMap<PeerId, Suspicion>,
    rumors: Dissemination,
    /// Whom to probe in this round, last first, and whom of the dead to try after which.
    round: Vec<PeerId>,
    tried: Option<PeerId>,
    probe_at: Time,
    /// When that probe is due once it is no longer quiet.
    hurried_at: Time,
    /// When the neighbour was last probed.
    watched_at: Time,
    retry_at: Time,
    exchange_at: Time,
    /// No more than one burst of tries of the dead before this.
    burst_after: Time,
    /// Those with a connection, members or not.
    connected: BTreeSet<PeerId>,
    /// Those of them of whom nothing was held when the connection came.
    strangers: BTreeSet<PeerId>,
    /// Those whose machine says that they do not run, until there is a connection or another life.
    refused: BTreeSet<PeerId>,
    /// Those who were told something they had not asked for, in this period.
    answered: BTreeSet<PeerId>,
    /// All were told in this period that this peer is alive.
    has_refuted: bool,
    /// At which incarnation others last believed this peer suspect or dead, and who has said so since the last probe.
    doubted: Option<u64>,
    doubters: BTreeSet<PeerId>,
    /// When a full table was last sent to whom; only those of the last `EXCHANGE_GAP`.
    exchanged: BTreeMap<PeerId, Time>,
    /// Exchanges begun in this period.
    exchanges: u32,
    /// Those whose view differs, and when to exchange tables with them if it then still does.
    differing: BTreeMap<PeerId, Time>,
    /// Those who were probed out of turn in this period.
    looked_into: BTreeSet<PeerId>,
    started: bool,
    changed: bool,
}

impl Membership {
    /// `me`: this peer's own record, which must be sane, or others drop it. `known`: the table as last saved, maybe
    /// with an earlier `me`, above whose incarnation this life begins. Records that are not sane are dropped. The
    /// first timeout is due at once.
    pub fn new(
        me: Record,
        mut known: Vec<Record>,
        signing: Arc<dyn Signing>,
        config: Config,
        seed: u64,
        now: Time,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let probes = Probes::new(&config, rng.random::<u32>().into());
        known.retain(|record| record.id == me.id || (record.is_sane() && signing.is_signed(record)));
        let me = Record { certificates: signing.certificates(), ..me };
        let table = Table::new(me, known, config.members_max, now);
        let mut membership = Self {
            rng,
            signing,
            forged: 0,
            table,
            past: Past::default(),
            probes,
            suspicions: BTreeMap::new(),
            rumors: Dissemination::default(),
            round: Vec::new(),
            tried: None,
            probe_at: now,
            hurried_at: now,
            watched_at: now,
            retry_at: now,
            exchange_at: now,
            burst_after: now,
            connected: BTreeSet::new(),
            strangers: BTreeSet::new(),
            refused: BTreeSet::new(),
            answered: BTreeSet::new(),
            has_refuted: false,
            doubted: None,
            doubters: BTreeSet::new(),
            exchanged: BTreeMap::new(),
            exchanges: 0,
            outdone: None,
            differing: BTreeMap::new(),
            looked_into: BTreeSet::new(),
            started: false,
            changed: false,
            config,
        };
        membership.begin(now);
        membership
    }

    /// A connection to this peer stands: tables are compared, and exchanged if they differ; at once if it
    /// is unknown or was dead.
    pub fn connected(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) {
        if self.connected.len() < self.config.members_max * 2 {
            self.connected.insert(peer);
            if !self.table.holds(peer) {
                self.strangers.insert(peer);
            }
        }
        if self.refused.remove(&peer)
            && let Some(suspicion) = self.suspicions.get_mut(&peer)
        {
            suspicion.refused(false);
        }
        match self.table.other(peer).map(|record| record.health) {
            None if self.table.is_full() => {}
            None => self.exchange(now, peer, true, out),
            Some(Health::Dead) if self.is_one_of_some() && self.may_exchange() => {
                self.exchange(now, peer, true, out)
            }
            Some(_) => {
                let digest = self.table.digest();
                self.send(peer, GossipBody::Compare { digest }, vec![self.table.me().clone()], out);
            }
        }
        self.finish(now, out);
    }

    /// The last connection to this peer is gone: it is probed at once.
    pub fn disconnected(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) {
        self.connected.remove(&peer);
        self.strangers.remove(&peer);
        self.look_into(now, peer, out);
        self.finish(now, out);
    }

    /// Whether a connection to this peer stands, as far as is known.
    pub fn is_connected(&self, peer: PeerId) -> bool {
        self.connected.contains(&peer)
    }

    /// No connection to this peer could be had: others are asked to probe it, at once if it was being
    /// probed.
    pub fn unreachable(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) {
        self.connected.remove(&peer);
        self.strangers.remove(&peer);
        let outcomes = self.probes.unreachable(peer);
        self.probes_came_to(now, outcomes, out);
        if self.health(peer) == Health::Alive && self.probes.probing(peer).is_none() {
            self.look_into(now, peer, out);
        }
        self.finish(now, out);
    }

    /// The machine where the last connection to this peer led says that it does not run: nothing that is
    /// paused, slow or cut off says so. It is probed as if unreachable, and dead sooner if others agree.
    pub fn refused(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) {
        if self.table.other(peer).is_some_and(|record| record.health != Health::Dead) {
            self.refused.insert(peer);
        }
        if let Some(suspicion) = self.suspicions.get_mut(&peer) {
            suspicion.refused(true);
        }
        self.unreachable(now, peer, out);
    }

    /// Somebody may be at these addresses. Whether it is a peer of this network shows once it speaks.
    pub fn discovered(&mut self, peer: PeerId, mut addresses: Vec<String>, out: &mut Vec<Out>) {
        addresses.retain(|address| address.len() <= ADDRESS_LEN_MAX);
        addresses.truncate(ADDRESSES_MAX);
        if peer != self.me().id && !self.connected.contains(&peer) && !addresses.is_empty() {
            out.push(Out::Connect { peer, addresses });
        }
    }

    /// Where this peer itself listens now. Beyond `ADDRESSES_MAX` the last are not told to others.
    pub fn listening(&mut self, now: Time, mut addresses: Vec<String>, out: &mut Vec<Out>) {
        addresses.retain(|address| address.len() <= ADDRESS_LEN_MAX);
        addresses.truncate(ADDRESSES_MAX);
        if addresses != self.me().addresses {
            self.raise_me(self.me().incarnation + 1, |me| me.addresses = addresses);
        }
        self.finish(now, out);
    }

    /// This peer takes a step, and tells; but first it is saved, as whoever hears of it counts on it.
    pub fn take_step(&mut self, now: Time, step: Step, out: &mut Vec<Out>) {
        self.table.change_me(|me| me.standing = Standing { version: me.standing.version + 1, step });
        self.vouch_for_me();
        self.changed = true;
        let mut told = Vec::new();
        self.tell(self.me().clone(), &mut told);
        self.finish(now, out);
        out.append(&mut told);
    }

    /// An operator knows that this peer, dead here, will not come back: it is `Left`. If it does come
    /// back it learns so, and begins anew. Errors: nothing was done.
    pub fn forget(&mut self, now: Time, peer: PeerId, out: &mut Vec<Out>) -> Result<(), ForgetError> {
        if peer == self.me().id {
            return Err(ForgetError::Myself);
        }
        if !self.signing.may_forget() {
            return Err(ForgetError::NotAllowed);
        }
        let mut record = self.table.other(peer).ok_or(ForgetError::Unknown)?.clone();
        if record.standing.step == Step::Left {
            return Err(ForgetError::Left);
        }
        if record.health != Health::Dead {
            return Err(ForgetError::NotDead);
        }
        record.standing = Standing { version: record.standing.version + 1, step: Step::Left };
        record.voucher = self.signing.vouch(peer, record.standing);
        self.table.merge(now, record.clone());
        self.changed = true;
        out.push(Out::Stepped { peer, step: Step::Left });
        // One that was saved without certificates nobody else believes; that it has left, they do.
        let is_unproven = self.signing.lacks_proof(&record);
        self.tell(if is_unproven { bare(record) } else { record }, out);
        self.finish(now, out);
        Ok(())
    }

    /// Sends the whole table and asks for theirs: one of both lacks a step. Not twice within 200 ms, but
    /// after them if views then still differ; in a large network, in the next period if this one had its share.
    pub fn send_table(&mut self, now: Time, to: PeerId, out: &mut Vec<Out>) {
        let all = self.table.living() <= TELL_ALL_MAX || self.exchanged_lately(now, to).is_some();
        if all || self.may_exchange() {
            self.exchange(now, to, true, out);
        } else {
            self.differing.entry(to).or_insert(self.retry_at.min(now + self.config.probe_period));
        }
        self.finish(now, out);
    }

    /// A message of any kind said that the peer has this view. If it lacks a step, tables are exchanged.
    pub fn heard_view(&mut self, now: Time, peer: PeerId, view: View, out: &mut Vec<Out>) {
        let mine = self.table.view();
        let Some(member) = self.table.member_mut(peer) else { return };
        if member.view != view {
            member.view = view;
            out.push(Out::ViewHeard { peer });
        }
        if view.hash == mine.hash {
            member.disagreements = 0;
        } else if view.is_behind(&mine) {
            let wait = DIFFERING_WAIT * (1 << member.disagreements.min(DISAGREEMENTS_MAX));
            self.differing.entry(peer).or_insert(now + wait);
        }
    }

    /// Records that were dropped because their subjects had not signed them.
    pub fn forged(&self) -> u64 {
        self.forged
    }

    pub fn me(&self) -> &Record {
        self.table.me()
    }

    /// The record of a peer, this one or another.
    pub fn get(&self, peer: PeerId) -> Option<&Record> {
        self.table.get(peer)
    }

    /// Whether this peer is a member or was one: who has left and was forgotten may still hold what it
    /// has to hand over.
    pub fn has_met(&self, peer: PeerId) -> bool {
        self.get(peer).is_some() || self.table.is_forgotten(peer)
    }

    /// How many records there are, and how many there may be.
    pub fn size(&self) -> (usize, usize) {
        (self.table.records().count(), self.config.members_max)
    }

    /// All records, this peer's own first, then in the order of their ids.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.table.records()
    }

    /// All that `new` wants to be given in another life: the records, and what is kept of forgotten peers.
    pub fn table(&self) -> Vec<Record> {
        self.table.everything()
    }

    pub fn view(&self) -> View {
        self.table.view()
    }

    /// True if this peer knows each step of whoever has the view with this hash. False may mean that it has forgotten
    /// that it does.
    pub fn knows_view(&self, hash: u64) -> bool {
        self.view().hash == hash || self.past.contains(hash)
    }

    /// What another peer was last heard to know; nothing of it was heard yet if that is all zero.
    pub fn view_of(&self, peer: PeerId) -> Option<View> {
        self.table.view_of(peer)
    }

    /// A peer that is unknown counts as dead.
    pub fn health(&self, peer: PeerId) -> Health {
        self.get(peer).map_or(Health::Dead, |record| record.health)
    }

    fn begin(&mut self, now: Time) {
        self.sign_me();
        self.vouch_for_me();
        self.past.note(self.view().hash);
        let living = self.table.living();
        for record in self.table.others().filter(|record| record.health == Health::Suspect) {
            let suspicion = Suspicion::new(now, record.incarnation, living, &self.config);
            self.suspicions.insert(record.id, suspicion);
        }
        self.rumors.add(Rumor::About(self.me().id));
        // Somewhere in their periods, so that peers that were started together do not all speak at once.
        self.probe_at = now + self.config.probe_period * self.rng.random_range(1..=1000) / 1000;
        self.hurried_at = self.probe_at;
        self.exchange_at = now + self.config.exchange_period * self.rng.random_range(1..=1000) / 1000;
    }

    /// Changes what others are told of this peer, under a higher incarnation.
    fn raise_me(&mut self, incarnation: u64, change: impl FnOnce(&mut Record)) {
        self.table.change_me(|me| {
            change(me);
            me.incarnation = incarnation;
        });
        self.sign_me();
        self.rumors.add(Rumor::About(self.me().id));
        self.changed = true;
    }

    fn sign_me(&mut self) {
        let signature = self.signing.sign(self.table.me());
        self.table.change_me(|me| me.signature = signature);
    }

    fn vouch_for_me(&mut self) {
        let voucher = self.signing.vouch(self.me().id, self.me().standing);
        self.table.change_me(|me| me.voucher = voucher);
    }

    fn finish(&mut self, now: Time, out: &mut Vec<Out>) {
        self.hurry_unless_quiet(now);
        if std::mem::take(&mut self.changed) {
            self.past.note(self.view().hash);
            out.push(Out::Changed);
        }
    }
}
