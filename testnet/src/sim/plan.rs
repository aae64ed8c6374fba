//! What is drawn from the seed before anything happens.

use super::chance::{Chance, Concern};
use starling_crdt::cell::VALUE_MAX;
use starling_protocol::config::Config;
use starling_protocol::time::Duration;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// 3 to 5 peers, two minutes
    Lite,
    /// 3 to 9 peers, five minutes, other quorums, longer distances
    Swarm,
    /// 3 to 5 peers, one minute; owners change all the time, and clients hardly wait
    Churn,
    /// 3 to 5 peers, and what no network should have to bear: a hundred that join at once, a peer that runs twice,
    /// one that returns after everybody has forgotten it, values as large as they may be
    Hostile,
    /// 100 and 1,000 peers, ten minutes, membership alone: one seed, and a table
    Scale,
}

/// A fault that may befall a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Crash,
    Pause,
    Cut,
    OneWayCut,
    Flap,
    Clog,
    SlowDisk,
    Wipe,
    RollBack,
    ClockJump,
    Join,
    Leave,
    PowerLoss,
    /// A frame of an earlier connection comes again.
    Replay,
    /// Again, as soon as it has come back.
    CrashTwice,
    /// For up to an hour.
    LongPause,
    /// Two halves, and one peer that sees both.
    Bridge,
    /// One peer's frames vanish on their way to one other.
    HalfOpen,
    /// A sync fails, or the disk is full: the peer stops, and nothing of that sync is kept.
    DiskFails,
    /// A disk is nearly full for a while: its peer takes nothing more.
    LowDisk,
    /// A new peer starts from a copy of another's disk.
    Clone,
    /// A clock runs too fast or too slow.
    Drift,
    /// A peer is gone for good, is forgotten, and another comes.
    Replace,
    /// Two halves, and each admits a peer.
    JoinInHalves,
    /// A bit on a disk is not what was written, just before the scrub looks.
    BitRot,
    /// A second process runs from a copy of a peer's disk, with its key. Profile hostile alone, as those below.
    Twin,
    /// A hundred peers join at once.
    Crowd,
    /// A peer is forgotten, and comes back when nothing is left of it in the others' tables.
    Absence,
}

/// Those that every profile draws.
pub const FAULTS: [Fault; 25] = [
    Fault::Crash,
    Fault::Pause,
    Fault::Cut,
    Fault::OneWayCut,
    Fault::Flap,
    Fault::Clog,
    Fault::SlowDisk,
    Fault::Wipe,
    Fault::RollBack,
    Fault::ClockJump,
    Fault::Join,
    Fault::Leave,
    Fault::PowerLoss,
    Fault::Replay,
    Fault::CrashTwice,
    Fault::LongPause,
    Fault::Bridge,
    Fault::HalfOpen,
    Fault::DiskFails,
    Fault::LowDisk,
    Fault::Clone,
    Fault::Drift,
    Fault::Replace,
    Fault::JoinInHalves,
    Fault::BitRot,
];

/// How many join at once.
pub const CROWD: usize = 100;
/// Longer than what has left is kept in any table (an hour, see `membership::table`).
pub const ABSENCE: Duration = Duration::from_secs(3_900);

/// What the person who started the simulation has fixed.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    pub profile: Profile,
    pub peers: Option<u64>,
    pub minutes: Option<u64>,
}

/// The drawn options of one seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub peers: usize,
    /// Most peers at once, with those that join.
    pub peers_max: usize,
    pub partitions: u16,
    pub n: u8,
    pub r: u8,
    pub w: u8,
    pub span: Duration,
    /// Messages are encoded and decoded on their way.
    pub wire: bool,
    /// Microseconds from peer to peer.
    pub latency_us: (u64, u64),
    /// Frames in ten thousand that are lost, that come twice, that come late and out of order.
    pub lost: u64,
    pub twice: u64,
    pub late: u64,
    /// Microseconds of a sync.
    pub sync_us: (u64, u64),
    /// Milliseconds by which a clock may differ from the right time, either way.
    pub skew_ms: u64,
    pub clients: usize,
    /// Milliseconds between two operations of a client, on average.
    pub think_ms: u64,
    /// Keys of each type.
    pub keys: u64,
    /// Most bytes of a value that is written as a whole; 0: a few digits.
    pub value_max: u64,
    /// Milliseconds between two faults, on average.
    pub fault_every_ms: u64,
    /// See the fields of `Config` of these names.
    pub repair_batch: usize,
    pub scrub_batch: usize,
    pub log_step: u64,
    pub log_max: u64,
    /// In the end one peer is not healed, but stays away for ever.
    pub freezes: bool,
    /// The peer that owns nothing, if there is one.
    pub client: Option<usize>,
    /// How often each fault is drawn, relative to the others. 0: never.
    pub weights: Vec<(Fault, u64)>,
}

impl Plan {
    pub fn draw(seed: u64, wishes: &Wishes) -> Self {
        let mut chance = Chance::new(seed, Concern::Plan);
        let lite = wishes.profile != Profile::Swarm;
        let drawn = chance.between(if lite { (3, 5) } else { (3, 9) });
        let peers = usize::try_from(wishes.peers.unwrap_or(drawn)).unwrap_or(3);
        let minutes = wishes.minutes.unwrap_or(match wishes.profile {
            Profile::Lite | Profile::Hostile => 2,
            Profile::Swarm => 5,
            Profile::Churn => 1,
            Profile::Scale => 10,
        });
        let far = !lite && chance.one_in(3);
        let rough = chance.one_in(2);
        let w = if lite || chance.one_in(2) { 2 } else { chance.between((1, 3)) };
        let mut plan = Self {
            seed,
            peers,
            peers_max: peers + 3,
            partitions: if lite { 8 } else { 1 << chance.between((0, 5)) },
            n: 3,
            r: if w == 1 { 3 } else { 2 },
            w: u8::try_from(w).unwrap_or(2),
            span: Duration::from_secs(60 * minutes),
            wire: chance.one_in(8),
            latency_us: if far { (20_000, 80_000) } else { (100, 2_000) },
            lost: if rough { chance.below(200) } else { 0 },
            twice: if rough { chance.below(200) } else { 0 },
            late: if rough { chance.below(200) } else { 0 },
            sync_us: (200, chance.between((1_000, 20_000))),
            skew_ms: if chance.one_in(2) { chance.below(6 * 3_600_000) } else { 0 },
            clients: usize::try_from(chance.between((1, 4))).unwrap_or(1),
            think_ms: chance.between((200, 2_000)),
            keys: chance.between((1, 8)),
            value_max: 0,
            fault_every_ms: chance.between((1_000, 10_000)),
            repair_batch: Config::default().repair_batch,
            scrub_batch: Config::default().scrub_batch,
            log_step: Config::default().log_step,
            log_max: Config::default().log_max,
            freezes: false,
            client: None,
            weights: FAULTS.iter().map(|fault| (*fault, weight(*fault, w, seed))).collect(),
        };
        plan.tighten(&mut chance);
        if !lite && plan.peers >= 5 && Chance::named(seed, "owners").one_in(2) {
            (plan.n, plan.r, plan.w) = (5, 3, 3);
        }
        plan.freezes = chance.one_in(4) && plan.w == 2;
        match wishes.profile {
            Profile::Churn => plan.churn(&mut chance),
            Profile::Hostile => plan.hostile(&mut chance),
            _ => {}
        }
        // N others stay.
        if plan.peers > usize::from(plan.n) && chance.one_in(3) {
            plan.client = Some(1);
        }
        plan
    }

    /// No disk is lost: then every read by owners must see what owners had acknowledged.
    fn churn(&mut self, chance: &mut Chance) {
        (self.think_ms, self.keys) = (chance.between((20, 150)), chance.between((1, 3)));
        self.fault_every_ms = chance.between((300, 2_000));
        for (fault, weight) in &mut self.weights {
            *weight = match fault {
                Fault::Wipe | Fault::RollBack | Fault::Replace | Fault::BitRot => 0,
                Fault::Join | Fault::Leave => 12,
                _ => *weight / 2,
            };
        }
    }

    /// One of four. All keep to one key of each type.
    fn hostile(&mut self, chance: &mut Chance) {
        (self.keys, self.think_ms) = (1, chance.between((20, 200)));
        match chance.below(4) {
            0 => {
                (self.value_max, self.think_ms) = (VALUE_MAX as u64, chance.between((500, 2_000)));
            }
            1 => self.weights.push((Fault::Twin, 30)),
            2 => {
                (self.think_ms, self.peers_max) = (chance.between((500, 2_000)), self.peers + CROWD);
                self.weights.push((Fault::Crowd, 12));
            }
            _ => {
                self.span = ABSENCE + Duration::from_secs(900);
                (self.think_ms, self.fault_every_ms) = (chance.between((5_000, 10_000)), 30_000);
                self.weights.push((Fault::Absence, 30));
            }
        }
    }

    /// Small batches and short logs, so that what takes a large store otherwise happens in a small one.
    fn tighten(&mut self, chance: &mut Chance) {
        if chance.one_in(2) {
            self.repair_batch = usize::try_from(chance.between((1, 2_000))).unwrap_or(1);
            self.scrub_batch = usize::try_from(chance.between((1, 500))).unwrap_or(1);
        }
        if chance.one_in(2) {
            self.log_step = chance.between((1, 32));
            self.log_max = self.log_step * chance.between((2, 8));
        }
    }
}

/// Drawn for each fault by itself, so that one more, or one that is forbidden, changes no other draw.
fn weight(fault: Fault, w: u64, seed: u64) -> u64 {
    let mut chance = Chance::named(seed, &format!("{fault:?}"));
    let drawn = if chance.one_in(4) { 0 } else { chance.between((1, 8)) };
    match fault {
        // With W=1 an acknowledged event may be on one disk alone.
        Fault::Wipe | Fault::RollBack | Fault::Replace | Fault::BitRot if w == 1 => 0,
        Fault::PowerLoss | Fault::Leave | Fault::Clone | Fault::Replace => drawn / 3,
        Fault::LongPause | Fault::JoinInHalves => drawn / 3,
        _ => drawn,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peers, partitions, n, r, w, span, wire, latency_us, lost, twice, late, .. } = self;
        write!(f, "{peers} peers, {partitions} partitions, N={n} R={r} W={w}, {} s", span.as_secs())?;
        write!(
            f,
            ", latency {}-{} us, of 10000 frames {lost} lost {twice} twice",
            latency_us.0, latency_us.1
        )?;
        write!(f, " {late} late, wire {wire}, sync {}-{} us", self.sync_us.0, self.sync_us.1)?;
        write!(f, ", clocks {} s off, {} clients", self.skew_ms / 1000, self.clients)?;
        write!(f, " every {} ms, {} keys", self.think_ms, self.keys)?;
        write!(f, ", repair by {} bytes, logs of {} to {}", self.repair_batch, self.log_step, self.log_max)?;
        write!(f, "{}", if self.freezes { ", one stays away in the end" } else { "" })?;
        write!(f, "{}", if self.client.is_some() { ", one owns nothing" } else { "" })?;
        write!(f, ", a fault every {} ms:", self.fault_every_ms)?;
        self.weights.iter().try_for_each(|(fault, weight)| write!(f, " {fault:?}={weight}"))
    }
}
