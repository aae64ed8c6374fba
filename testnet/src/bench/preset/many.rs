//! Many peers: what they cost while nothing happens, whether they take one another for dead that are not, and how
//! soon they know of one that is lost.

use super::Bound::AtMost;
use super::goal::{Goal, Unit};
use super::watch::{self, Loss};
use super::{Preset, Target, median, usage};
use crate::local::{Error, Missed, Network, until};
use std::time::{Duration, Instant};

/// How many peers: the first are watched while nothing happens as well.
const CROWDS: [usize; 2] = [20, 50];
/// How many peers are lost, one after another, to see when the others know.
const LOSSES: u32 = 5;
/// Before anything is measured nothing is left to be told: while peers have news for one another they say more, and
/// notice sooner.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// While nothing is new a peer looks after its neighbour every 1.5 s, in step with the last news. So each of the losses
/// comes at another moment of that.
const STEP: Duration = Duration::from_millis(300);
/// For a minute after they came in peers tell one another more of revocations, and until a while later each compares
/// what it holds with all others for the first time, one every 5 s.
const STEADY_WITHIN: Duration = Duration::from_secs(120);
/// How long one peer is paused, how often, and how many times: nobody is to take it for dead.
const PAUSED: Duration = Duration::from_secs(2);
const PAUSED_EVERY: Duration = Duration::from_secs(20);
const PAUSES: usize = 5;

impl Preset<'_> {
    pub(super) fn many(&mut self) -> Result<(), Error> {
        let [few, crowd] = CROWDS;
        let mut peers = self.found(few)?;
        self.idle(&mut peers)?;
        self.paused(&mut peers)?;
        self.lost(&mut peers)?;
        drop(peers);
        let mut peers = self.found(crowd)?;
        self.lost(&mut peers)
    }

    fn idle(&mut self, target: &mut Target) -> Result<(), Error> {
        let (peers, span) = (target.pids.len(), Duration::from_secs(self.options.idle));
        self.rest(STEADY_WITHIN)?;
        eprintln!("{peers} idle peers, {} s", span.as_secs());
        let deaths = self.deaths(target)?;
        let (before, began) = (usage::of(&target.pids), Instant::now());
        self.rest(span)?;
        let minutes = began.elapsed().as_secs_f64() / 60.0 * peers as f64;
        let after = usage::of(&target.pids);
        let (cpu, sent) = (after.cpu - before.cpu, after.wire.saturating_sub(before.wire) as f64);
        let what = format!("CPU per idle peer and minute, {peers} peers");
        self.goal(&what, cpu / minutes, Unit::Seconds, AtMost(0.1));
        let goal =
            Goal::new("bytes sent by an idle peer", sent / minutes / 60.0, Unit::PerSecond, AtMost(300.0));
        self.report.goals.push(goal.remark("all that went over the loopback interface; see wire below"));
        let deaths = (self.deaths(target)? - deaths) as f64;
        let what = format!("taken for dead in {} idle seconds", span.as_secs());
        let goal = Goal::new(&what, deaths, Unit::Count, AtMost(0.0));
        self.report.goals.push(goal.remark("the goal is for 10 minutes; --idle 600"));
        Ok(())
    }

    fn paused(&mut self, target: &mut Target) -> Result<(), Error> {
        let deaths = self.deaths(target)?;
        for pause in 1..=PAUSES {
            eprintln!("pause {pause} of {PAUSES} of one peer");
            own(target).pause(0);
            let rested = self.rest(PAUSED);
            own(target).resume(0)?;
            rested.and_then(|()| self.rest(PAUSED_EVERY - PAUSED))?;
        }
        let deaths = (self.deaths(target)? - deaths) as f64;
        let what = "taken for dead, one peer paused for 2 s every 20 s";
        self.goal(what, deaths, Unit::Count, AtMost(0.0));
        Ok(())
    }

    fn lost(&mut self, target: &mut Target) -> Result<(), Error> {
        let (peers, deaths) = (target.pids.len(), self.deaths(target)?);
        self.rest(SETTLED_WITHIN)?;
        for (loss, within) in [(Loss::Killed, 1.0), (Loss::Cut, 4.0)] {
            let mut delays = Vec::new();
            for round in 1..=LOSSES {
                eprintln!("a peer of {peers} is {}, {round} of {LOSSES}", loss.name());
                let network = own(target);
                delays.extend(watch::detections(network, loss, self.interrupt)?);
                let last = peers - 1;
                match loss {
                    Loss::Killed => network.start(last)?,
                    Loss::Cut => network.set_cut(None)?,
                }
                network.await_members()?;
                self.rest(SETTLED_WITHIN + STEP * round)?;
            }
            delays.sort_by(f64::total_cmp);
            let what = format!("a peer of {peers} is {}: the others know, median", loss.name());
            self.goal(&what, median(&delays), Unit::Seconds, AtMost(within));
        }
        // Else none would be seen where there should be none, either.
        if self.deaths(target)? < deaths + LOSSES as usize {
            return Err(Error::Words(
                "peers were lost, and no log tells that others took them for dead".into(),
            ));
        }
        Ok(())
    }

    fn deaths(&self, target: &mut Target) -> Result<usize, Error> {
        watch::deaths(own(target))
    }

    /// Errors: interrupted.
    fn rest(&self, span: Duration) -> Result<(), Error> {
        match until(Instant::now() + span, self.interrupt, || None::<()>) {
            Err(Missed::Interrupted) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}

pub(super) fn own(target: &mut Target) -> &mut Network {
    &mut target.own().expect("these peers were started here").network
}
