//! A write handed to an owner, which issues it: owners issue events.

use super::{Begin, Next, Scene, verdict};
use crate::ids::PeerId;
use crate::message::{Call, Refusal};
use crate::request::{AnswerKind, Failure, Outcome};
use crate::seats::Seats;
use crate::time::{Duration, Moment, Time};
use starling_crdt::Command;
use std::collections::VecDeque;

/// How much longer than the coordinator we wait, so that its verdict, good or bad, comes before ours.
const GRACE: Duration = Duration::from_millis(250);

/// Who may issue a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub peer: PeerId,
    /// What time it is there now, or a little less; `None`: not known.
    pub there: Option<Moment>,
}

pub(super) struct Forward {
    begin: Begin,
    /// Who was asked and may still begin.
    asked: Vec<Candidate>,
    /// The first owner that refused because it lacks something: the last resort.
    unfilled: Option<Candidate>,
    /// Who was asked as that.
    resorted: Option<PeerId>,
    /// Why others have refused, each reason once.
    refusals: Vec<Refusal>,
    /// When the last one asked may begin no more, by our own clock; `None`: it was not told, as we do not
    /// know what time it is there, so it alone is waited for.
    bound: Option<Time>,
    /// One that was asked was lost since: it may still begin, though it is not waited for.
    astray: bool,
    /// One that was asked may have carried it out, whatever the others say.
    in_doubt: bool,
    /// One has carried it out, while another may still begin.
    done: Option<Outcome>,
    candidates: VecDeque<Candidate>,
    began: Time,
}

impl Forward {
    /// `Err`: this peer is the first candidate; the write begins here.
    pub fn begin(
        scene: &mut Scene<'_>,
        begin: Begin,
        candidates: Vec<Candidate>,
    ) -> Result<(Self, Next), Box<Begin>> {
        if candidates.first().is_none_or(|first| first.peer == scene.me) {
            return Err(Box::new(begin));
        }
        let (asked, candidates, began) = (Vec::new(), candidates.into(), scene.now.time);
        let (bound, astray, in_doubt, done) = (None, false, false, None);
        let (unfilled, resorted, refusals) = (None, None, Vec::new());
        let mut forward = Self {
            begin,
            asked,
            unfilled,
            resorted,
            refusals,
            bound,
            astray,
            in_doubt,
            done,
            candidates,
            began,
        };
        match forward.ask_next(scene) {
            Next::Here(begin) => Err(begin),
            next => Ok((forward, next)),
        }
    }

    /// Hands it to the next, who must not begin any more once the one after that is asked: it would take
    /// effect a second time, later than what has been written meanwhile.
    fn ask_next(&mut self, scene: &mut Scene<'_>) -> Next {
        let first = self.asked.is_empty();
        let fit = |candidate: &Candidate| first || candidate.there.is_some() || candidate.peer == scene.me;
        self.candidates.retain(fit);
        let resort = self.take_last_resort().filter(fit);
        let last = resort.is_some();
        self.resorted = self.resorted.or(resort.map(|resort| resort.peer));
        let Some(Candidate { peer, there }) = resort.or_else(|| self.candidates.pop_front()) else {
            return if self.asked.is_empty() {
                Next::Here(Box::new(self.begin.clone()))
            } else {
                self.wait_in(scene)
            };
        };
        if peer == scene.me {
            return Next::Here(Box::new(self.begin.clone()));
        }
        let bound = self.deadline(scene).min(scene.now.time + scene.config.patience);
        self.in_doubt |= !self.asked.is_empty();
        (self.bound, self.astray) = (there.map(|_| bound), false);
        let until = there.map(|there| there.after(bound.since(self.began)));
        let Begin { key, command, r, w, explain, .. } = &self.begin;
        let (key, command, r, w, explain) = (key.clone(), command.clone(), *r, *w, *explain);
        scene.send(peer, Call::Forward { op: scene.op, key, command, r, w, explain, until, last });
        self.asked.push(Candidate { peer, there });
        self.wait_in(scene)
    }

    /// The one to ask once more, where no owner is left that was not asked: one that owns it and lacks something is
    /// better than those who own nothing.
    fn take_last_resort(&mut self) -> Option<Candidate> {
        let Self { begin, candidates, .. } = self;
        let has_owner = candidates.iter().any(|candidate| begin.seats.owns(candidate.peer));
        if has_owner { None } else { self.unfilled.take() }
    }

    pub fn awaits(&self, peer: PeerId) -> bool {
        self.asked.iter().any(|asked| asked.peer == peer)
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
        // That nothing was done is true of this one alone.
        if self.in_doubt && result.as_ref().is_err_and(Failure::is_undone) {
            return self.lost(scene, from, AnswerKind::Refused);
        }
        self.asked.retain(|asked| asked.peer != from);
        match (result, self.open_until(scene)) {
            (Ok(outcome), Some(bound)) => {
                marked!(DoneEarly);
                self.done.get_or_insert(outcome);
                Next::Wait(bound)
            }
            (result, _) => self.finish(scene, result),
        }
    }

    /// While one that was asked and has not answered may still begin: what it does must not come after
    /// the client was told that all is done.
    fn open_until(&self, scene: &Scene<'_>) -> Option<Time> {
        let may_begin = self.astray || !self.asked.is_empty();
        self.bound.filter(|bound| may_begin && *bound > scene.now.time)
    }

    fn finish(&mut self, scene: &mut Scene<'_>, result: Result<Outcome, Failure>) -> Next {
        scene.done(self.begin.client, self.done.take().map_or(result, Ok));
        Next::Over
    }

    /// What is refused for want of room, or for what is lacking, by an owner that answers, is for no stand-in: it holds
    /// nothing, and its owners go on answering reads without it.
    pub fn refused(&mut self, scene: &mut Scene<'_>, peer: PeerId, why: Refusal) -> Next {
        let Some(asked) = self.asked.iter().find(|asked| asked.peer == peer).copied() else {
            return Next::Keep;
        };
        let is_owner = self.begin.seats.owns(peer);
        match why {
            // The last resort lacks something as well, and does not refuse for that: this was said before.
            Refusal::NotFilled if self.resorted == Some(peer) => return Next::Keep,
            Refusal::NotFilled if is_owner => drop(self.unfilled.get_or_insert(asked)),
            Refusal::NoRoom if is_owner => self.forget_stand_ins(),
            _ => {}
        }
        if !self.refusals.contains(&why) {
            self.refusals.push(why);
        }
        self.lost(scene, peer, AnswerKind::Refused)
    }

    /// One that refused has not begun. Any other may have carried the write out and died before it could
    /// tell: only what may be done twice is then handed to another, when the one lost can begin no more.
    pub fn lost(&mut self, scene: &mut Scene<'_>, peer: PeerId, how: AnswerKind) -> Next {
        if !self.awaits(peer) {
            return Next::Keep;
        }
        self.asked.retain(|asked| asked.peer != peer);
        self.astray |= how != AnswerKind::Refused;
        self.in_doubt |= self.astray;
        let alone = self.asked.is_empty();
        if let Some(outcome) = self.done.take_if(|_| alone && !self.astray) {
            return self.finish(scene, Ok(outcome));
        }
        if self.done.is_some() {
            return Next::Keep;
        }
        if how == AnswerKind::Refused && !self.begin.command.grows() {
            self.forget_stand_ins();
        }
        if alone && how == AnswerKind::Refused && self.has_more() {
            marked!(IssuerRefused);
            return self.ask_next(scene);
        }
        match self.bound {
            Some(bound) if alone && self.has_another() => Next::Wait(bound.max(scene.now.time)),
            _ if alone => self.fail(scene),
            _ => Next::Keep,
        }
    }

    /// Where an owner answers, one that holds nothing would only find nothing to remove, and say so.
    fn forget_stand_ins(&mut self) {
        let Self { begin, candidates, .. } = self;
        candidates.retain(|candidate| begin.seats.owns(candidate.peer));
    }

    pub fn seats(&self) -> &Seats {
        &self.begin.seats
    }

    /// Should it come to be carried out here, then by the owners of that moment.
    pub fn replan(&mut self, seats: Seats) -> Next {
        self.begin.seats = seats;
        Next::Keep
    }

    pub fn alarm(&mut self, scene: &mut Scene<'_>) -> Next {
        if let Some(outcome) = self.done.take() {
            return self.finish(scene, Ok(outcome));
        }
        if scene.now.time >= self.deadline(scene) {
            return self.fail(scene);
        }
        marked!(HandedOn if self.has_another());
        self.ask_next(scene)
    }

    fn fail(&mut self, scene: &mut Scene<'_>) -> Next {
        let is_undone = !self.in_doubt && self.asked.is_empty();
        let trace = self.begin.explain.then(|| verdict::forwarded(&self.begin, self.began, is_undone, scene));
        let failure = if is_undone {
            verdict::refused_by_all(&self.refusals, trace)
        } else {
            verdict::not_forwarded(trace)
        };
        scene.done(self.begin.client, Err(failure));
        Next::Over
    }

    fn deadline(&self, scene: &Scene<'_>) -> Time {
        self.began + scene.config.deadline + GRACE
    }

    /// The one that is asked now gets twice the patience, since it waits for others itself; all the time
    /// there is where nobody else may be asked after it.
    fn wait_in(&self, scene: &Scene<'_>) -> Next {
        let deadline = self.deadline(scene);
        let silent = scene.now.time + scene.config.patience * 2;
        Next::Wait(if self.has_another() { deadline.min(silent) } else { deadline })
    }

    /// Whether another may be asked while it is not known what became of those before.
    fn has_another(&self) -> bool {
        self.bound.is_some() && is_idempotent(&self.begin.command) && self.has_more()
    }

    fn has_more(&self) -> bool {
        !self.candidates.is_empty() || self.unfilled.is_some()
    }
}

/// Done twice, by two peers, it leaves what once would have left.
fn is_idempotent(command: &Command) -> bool {
    !matches!(command, Command::IncrBy { .. }) || mutated!(RetryAnything)
}
