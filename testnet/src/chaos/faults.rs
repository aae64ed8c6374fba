//! What befalls the processes: one fault after the other, each mended before the next; but the network may be bad
//! meanwhile.

use super::disks;
use super::proxy::{Proxies, Weather};
use crate::local::cut::Cut;
use crate::local::{Error, Interrupt, Missed, Network, resp, until};
use crate::sim::chance::{Chance, Concern};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long things last, in milliseconds.
const BETWEEN_MS: (u64, u64) = (200, 2_000);
const DOWN_MS: (u64, u64) = (100, 4_000);
const PAUSE_MS: (u64, u64) = (50, 5_000);
const CUT_MS: (u64, u64) = (500, 6_000);
const TWO_MS: (u64, u64) = (1_000, 6_000);
const FULL_MS: (u64, u64) = (500, 4_000);
const WEATHER_MS: (u64, u64) = (2_000, 15_000);
/// How much a bad network delays at most, in milliseconds, and how many of ten thousand it loses.
const DELAY_MS: (u64, u64) = (1, 60);
const LOSS: (u64, u64) = (10, 1_000);
/// How long everything must have worked before a disk is lost: a few turns of repair, so that no event is on
/// the disk alone.
const REPAIRED_AFTER: Duration = Duration::from_secs(12);
/// How long that may take to come about before the fault is given up.
const REPAIR_MAX: Duration = Duration::from_secs(40);

pub struct Faults {
    chance: Chance,
    began: Instant,
    /// Since when nothing is wrong.
    whole_since: Instant,
    /// Whose data directory was copied.
    copied: Option<usize>,
    proxies: Proxies,
    /// Until when the network is bad.
    bad_until: Option<Instant>,
    pub counts: BTreeMap<&'static str, u32>,
}

impl Faults {
    pub fn new(seed: u64, began: Instant, proxies: Proxies) -> Self {
        let (chance, counts) = (Chance::new(seed, Concern::Faults), BTreeMap::new());
        Self { chance, began, whole_since: began, copied: None, proxies, bad_until: None, counts }
    }

    pub fn network_counts(&self) -> BTreeMap<&'static str, u64> {
        self.proxies.counts().into_iter().collect()
    }

    pub fn strike_until(
        &mut self,
        end: Instant,
        network: &mut Network,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        // Short runs have it too.
        self.turn_bad();
        while Instant::now() < end {
            self.wait(BETWEEN_MS, interrupt)?;
            self.calm_down();
            let peers = network.seats().len();
            let at = usize::try_from(self.chance.below(peers as u64)).unwrap_or(0);
            match self.chance.below(15) {
                0..=2 => self.kill(at, network, interrupt)?,
                3 => self.kill_two(at, network, interrupt)?,
                4..=5 => self.pause(at, network, interrupt)?,
                6..=7 => self.cut(network, interrupt)?,
                8 => self.copy_or_roll_back(at, end, network, interrupt)?,
                9 => self.clone_peer(at, network, interrupt)?,
                10 => self.fill_disk(at, network, interrupt)?,
                11 => self.wipe(at, end, network, interrupt)?,
                _ => self.turn_bad(),
            }
        }
        Ok(())
    }

    /// From now on, whatever else happens, all that passes between peers is delayed, and some of it lost.
    fn turn_bad(&mut self) {
        let most = self.chance.between(DELAY_MS);
        let weather =
            Weather { delay_ms: (self.chance.below(most + 1), most), loss: self.chance.between(LOSS) };
        let Weather { delay_ms: (least, _), loss } = weather;
        let what = format!(
            "the network delays by {least} to {most} ms, and loses {}.{:02} %",
            loss / 100,
            loss % 100
        );
        self.tell("bad network", &what);
        self.proxies.set(weather);
        self.bad_until = Some(Instant::now() + self.chance.span_ms(WEATHER_MS));
    }

    fn calm_down(&mut self) {
        if self.bad_until.take_if(|until| *until <= Instant::now()).is_some() {
            self.proxies.set(Weather::default());
            eprintln!("{:6.1} s  the network is good again", self.began.elapsed().as_secs_f32());
        }
    }

    fn tell(&mut self, fault: &'static str, what: &str) {
        *self.counts.entry(fault).or_default() += 1;
        eprintln!("{:6.1} s  {what}", self.began.elapsed().as_secs_f32());
    }

    fn wait(&mut self, span: (u64, u64), interrupt: &Interrupt) -> Result<(), Error> {
        let end = Instant::now() + self.chance.span_ms(span);
        match until(end, interrupt, || None::<()>) {
            Err(Missed::Interrupted) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    fn kill(&mut self, at: usize, network: &mut Network, interrupt: &Interrupt) -> Result<(), Error> {
        self.tell("kill", &format!("p{} is killed", at + 1));
        network.kill(at);
        self.wait(DOWN_MS, interrupt)?;
        self.mended(network.start(at))
    }

    fn kill_two(&mut self, at: usize, network: &mut Network, interrupt: &Interrupt) -> Result<(), Error> {
        let other = (at + 1) % network.seats().len();
        self.tell("kill two", &format!("p{} and p{} are killed", at + 1, other + 1));
        network.kill(at);
        network.kill(other);
        self.wait(DOWN_MS, interrupt)?;
        let outcome = network.start(at).and_then(|()| network.start(other));
        self.mended(outcome)
    }

    fn pause(&mut self, at: usize, network: &mut Network, interrupt: &Interrupt) -> Result<(), Error> {
        self.tell("pause", &format!("p{} stands still", at + 1));
        network.pause(at);
        self.wait(PAUSE_MS, interrupt)?;
        self.mended(network.resume(at))
    }

    fn cut(&mut self, network: &mut Network, interrupt: &Interrupt) -> Result<(), Error> {
        let names: Vec<String> = network.names().into_iter().map(str::to_owned).collect();
        let from = usize::try_from(self.chance.below(names.len() as u64)).unwrap_or(0);
        let length = usize::try_from(self.chance.between((1, names.len() as u64 / 2))).unwrap_or(1);
        let turned = names.iter().cycle().skip(from).take(names.len()).cloned();
        let mut words: Vec<String> = turned.collect();
        words.insert(length, "|".into());
        self.tell("cut", &format!("cut {}", words.join(" ")));
        let cut = Cut::parse(&words, &network.names())?;
        network.set_cut(Some(cut))?;
        self.wait(CUT_MS, interrupt)?;
        self.mended(network.set_cut(None))
    }

    fn mended(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        self.whole_since = Instant::now();
        outcome
    }

    /// True once everything has worked for so long that all is repaired.
    fn is_repaired(&self, end: Instant, network: &Network, interrupt: &Interrupt) -> Result<bool, Error> {
        let all = network.seats().len();
        let whole = |port: u16| {
            let Ok(status) = resp::status(port) else { return false };
            let members = resp::members(&status).filter(resp::Member::is_alive_member).count();
            members == all && status["held_for_others"] == 0 && status["repairing"] == 0
        };
        let deadline = end.min(Instant::now() + REPAIR_MAX);
        let waited = until(deadline, interrupt, || {
            let long = self.whole_since.elapsed() >= REPAIRED_AFTER;
            (long && network.seats().iter().all(|seat| whole(seat.resp))).then_some(())
        });
        match waited {
            Err(Missed::Interrupted) => Err(Error::Interrupted),
            outcome => Ok(outcome.is_ok()),
        }
    }

    fn wipe(
        &mut self,
        at: usize,
        end: Instant,
        network: &mut Network,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        if !self.is_repaired(end, network, interrupt)? {
            return Ok(());
        }
        self.tell("wipe", &format!("the disk of p{} is replaced", at + 1));
        network.kill(at);
        network.wipe(at)?;
        let outcome = network.start(at).and_then(|()| network.await_member(at).map(drop));
        self.mended(outcome)
    }

    /// A copy is made of one that is killed; later that one loses all that came since.
    fn copy_or_roll_back(
        &mut self,
        at: usize,
        end: Instant,
        network: &mut Network,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let (at, copied) = match self.copied {
            Some(copied) => (copied, true),
            None => (at, false),
        };
        if copied && !self.is_repaired(end, network, interrupt)? {
            return Ok(());
        }
        network.kill(at);
        let (dir, copy) = (network.dir_of(&network.seats()[at]), network.dir().join("copy"));
        if copied {
            self.tell("roll back", &format!("the disk of p{} is put back to a copy", at + 1));
            disks::copy(&copy, &dir)?;
        } else {
            self.tell("copy", &format!("p{} is killed, and its disk copied", at + 1));
            disks::copy(&dir, &copy)?;
        }
        self.copied = (!copied).then_some(at);
        self.mended(network.start(at))
    }

    /// A second process from a copy of a peer's directory: the same peer, twice. Either may stop because of the other.
    fn clone_peer(&mut self, at: usize, network: &mut Network, interrupt: &Interrupt) -> Result<(), Error> {
        self.tell("clone", &format!("p{} runs twice, from its disk and from a copy of it", at + 1));
        network.kill(at);
        let (dir, copy) = (network.dir_of(&network.seats()[at]), network.dir().join("clone"));
        disks::copy(&dir, &copy)?;
        network.start(at)?;
        let second = network.start_copy(at, &copy)?;
        self.wait(TWO_MS, interrupt)?;
        drop(second);
        // It may be about to stop, though the other has gone by now.
        network.kill(at);
        self.mended(network.start(at))
    }

    /// Nothing more fits on a peer's disk; what it makes of that is its own affair. Then there is room again.
    fn fill_disk(&mut self, at: usize, network: &mut Network, interrupt: &Interrupt) -> Result<(), Error> {
        network.kill(at);
        let small = match disks::Small::under(&network.dir_of(&network.seats()[at])) {
            Ok(small) => small,
            Err(why) => {
                eprintln!("skipped: no disk of p{} can be filled: {why}", at + 1);
                return self.mended(network.start(at));
            }
        };
        network.start(at)?;
        self.tell("disk full", &format!("the disk of p{} is full", at + 1));
        small.fill()?;
        self.wait(FULL_MS, interrupt)?;
        network.kill(at);
        small.take_away()?;
        self.mended(network.start(at))
    }

    /// Whatever is still wrong is put right.
    pub fn mend_all(&mut self, network: &mut Network) -> Result<(), Error> {
        self.proxies.set(Weather::default());
        for index in 0..network.seats().len() {
            if network.is_paused(index) {
                network.resume(index)?;
            }
            if !network.is_running(index) {
                network.start(index)?;
            }
        }
        network.set_cut(None)?;
        network.await_members()
    }
}
