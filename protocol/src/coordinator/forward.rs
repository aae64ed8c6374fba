//! A write handed to an owner, which issues it: owners issue events.

use super::{Begin, Next, Scene, verdict};
use crate::ids::PeerId;
use crate::message::Call;
use crate::request::{Failure, Outcome};
use crate::time::{Duration, Time};
use starling_crdt::Command;
use std::collections::VecDeque;

/// How much longer than the coordinator we wait, so that its verdict, good or bad, comes before ours.
const GRACE: Duration = Duration::from_millis(250);

pub(super) struct Forward {
    begin: Begin,
    /// Who was asked; the last one is still expected to answer.
    asked: Vec<PeerId>,
    candidates: VecDeque<PeerId>,
    began: Time,
}

impl Forward {
    /// `Err`: this peer is the first candidate; the write begins here.
    pub fn begin(
        scene: &mut Scene<'_>,
        begin: Begin,
        candidates: Vec<PeerId>,
    ) -> Result<(Self, Next), Box<Begin>> {
        if candidates.first().is_none_or(|first| *first == scene.me) {
            return Err(Box::new(begin));
        }
        let (asked, candidates, began) = (Vec::new(), candidates.into(), scene.now.time);
        let mut forward = Self { begin, asked, candidates, began };
        match forward.ask_next(scene) {
            Next::Here(begin) => Err(begin),
            next => Ok((forward, next)),
        }
    }

    fn ask_next(&mut self, scene: &mut Scene<'_>) -> Next {
        let Some(peer) = self.candidates.pop_front() else {
            return if self.asked.is_empty() {
                Next::Here(Box::new(self.begin.clone()))
            } else {
                self.wait_in(scene)
            };
        };
        if peer == scene.me {
            return Next::Here(Box::new(self.begin.clone()));
        }
        let Begin { key, command, r, w, explain, .. } = &self.begin;
        let (key, command, r, w, explain) = (key.clone(), command.clone(), *r, *w, *explain);
        scene.send(peer, Call::Forward { op: scene.op, key, command, r, w, explain });
        self.asked.push(peer);
        self.wait_in(scene)
    }

    pub fn awaits(&self, peer: PeerId) -> bool {
        self.asked.contains(&peer)
    }

    pub fn answered(
        &mut self,
        scene: &mut Scene<'_>,
        from: PeerId,
        result: Result<Outcome, Failure>,
    ) -> Next {
        if !self.awaits(from) {
            return Next::Keep;
        }
        scene.done(self.begin.client, result);
        Next::Over
    }

    /// It may have carried the write out and died before it could tell. Only what may be done twice is
    /// handed to another.
    pub fn lost(&mut self, scene: &mut Scene<'_>, peer: PeerId) -> Next {
        self.asked.retain(|asked| *asked != peer);
        if is_idempotent(&self.begin.command) && !self.candidates.is_empty() {
            return self.ask_next(scene);
        }
        if self.asked.is_empty() { self.fail(scene) } else { Next::Keep }
    }

    pub fn alarm(&mut self, scene: &mut Scene<'_>) -> Next {
        if scene.now.time >= self.deadline(scene) {
            return self.fail(scene);
        }
        if is_idempotent(&self.begin.command) { self.ask_next(scene) } else { self.wait_in(scene) }
    }

    fn fail(&mut self, scene: &mut Scene<'_>) -> Next {
        let trace = self.begin.explain.then(|| verdict::forwarded(&self.begin, self.began, scene));
        scene.done(self.begin.client, Err(verdict::not_forwarded(trace)));
        Next::Over
    }

    fn deadline(&self, scene: &Scene<'_>) -> Time {
        self.began + scene.config.deadline + GRACE
    }

    /// A silent owner gets twice the patience, since it waits for others itself.
    fn wait_in(&self, scene: &Scene<'_>) -> Next {
        let deadline = self.deadline(scene);
        if self.candidates.is_empty() || !is_idempotent(&self.begin.command) {
            return Next::Wait(deadline);
        }
        Next::Wait(deadline.min(scene.now.time + scene.config.patience * 2))
    }
}

/// Done twice, by two peers, it leaves what once would have left.
fn is_idempotent(command: &Command) -> bool {
    !matches!(command, Command::IncrBy { .. }) || mutated!(RetryAnything)
}
