//! What an operation came to, in words.

use super::ballot::{Ballot, unnamed};
use super::read::Read;
use super::write::Write;
use super::{Begin, Scene};
use crate::ids::PeerId;
use crate::member::Health;
use crate::message::Refusal;
use crate::request::{AnswerKind, Failure, FailureKind, Named, Role, Trace};
use crate::seats::{Seat, Seats};
use crate::time::Time;

pub(super) fn busy(limit: usize) -> Failure {
    Failure {
        kind: FailureKind::Busy,
        why: format!("{limit} operations are under way here already"),
        state: "nothing was done".into(),
        hint: "try again shortly, or at another peer".into(),
        trace: None,
    }
}

pub(super) fn not_forwarded(trace: Option<Box<Trace>>) -> Failure {
    Failure {
        kind: FailureKind::Timeout,
        why: "the owner that was to carry it out did not answer".into(),
        state: "it may or may not have taken effect".into(),
        hint: "read the key before you try again".into(),
        trace,
    }
}

pub(super) fn refused_by_all(refusals: &[Refusal], trace: Option<Box<Trace>>) -> Failure {
    let reasons: Vec<_> = refusals.iter().map(|why| reason(*why)).collect();
    let why = format!("none of those who may carry it out takes it: {}", reasons.join("; "));
    let hint = match refusals.iter().any(|why| matches!(why, Refusal::NoRoom | Refusal::NotFilled)) {
        true => "see `starling doctor` and the logs there; more room, or more peers, help",
        false => "try again shortly, or at another peer",
    };
    let (kind, state, hint) = (FailureKind::Busy, "nothing was done".into(), hint.into());
    Failure { kind, why, state, hint, trace }
}

fn reason(why: Refusal) -> &'static str {
    match why {
        Refusal::NoRoom => "disks are nearly full",
        Refusal::NotFilled => "copies are not whole, and being filled",
        Refusal::Late => "it came too late",
        Refusal::Busy => "too much is under way",
        Refusal::ClockAhead | Refusal::Malformed => "it is not what can be kept",
    }
}

/// The parts of a trace that every operation has.
struct Story<'a> {
    seats: &'a Seats,
    r: u8,
    w: u8,
    write: bool,
    began: Time,
}

impl Story<'_> {
    fn trace(self, ballot: Option<&Ballot>, verdict: String, scene: &Scene<'_>) -> Box<Trace> {
        let Self { seats, r, w, write, began } = self;
        let took = scene.now.time.since(began).as_micros();
        Box::new(Trace {
            partition: seats.partition,
            coordinator: unnamed(scene.me),
            n: u8::try_from(seats.read.len()).unwrap_or(u8::MAX),
            r,
            w,
            write,
            asked: ballot.map(|ballot| ballot.report(&seats.owners())).unwrap_or_default(),
            stand_ins: stand_ins_left(seats, ballot, scene.me),
            took_us: u64::try_from(took).unwrap_or(u64::MAX),
            verdict,
        })
    }
}

fn of_write(write: &Write) -> Story<'_> {
    Story { seats: &write.seats, r: write.r, w: write.w, write: true, began: write.began }
}

fn of_read(read: &Read) -> Story<'_> {
    Story { seats: &read.seats, r: read.r, w: read.w, write: false, began: read.began }
}

pub(super) fn forwarded(begin: &Begin, began: Time, is_undone: bool, scene: &Scene<'_>) -> Box<Trace> {
    let story = Story { seats: &begin.seats, r: begin.r, w: begin.w, write: true, began };
    let verdict = match is_undone {
        true => "handed to others, all of whom refused; nothing was done",
        false => "handed to an owner that did not answer; the outcome is unknown",
    };
    story.trace(None, verdict.into(), scene)
}

pub(super) fn unchanged(write: &Write, scene: &Scene<'_>) -> Box<Trace> {
    let verdict = "nothing to change, as this owner sees it: no copy was written".into();
    of_write(write).trace(None, verdict, scene)
}

pub(super) fn written(write: &Write, scene: &Scene<'_>) -> Box<Trace> {
    let (have, need) = write.tally();
    let mut verdict = format!("synced on {have} of the {need} copies needed");
    verdict += &match stand_ins(&write.ballot, &write.seats) {
        0 => String::new(),
        1 => ", one of them at a stand-in that hands it to its owner later".into(),
        n => format!(", {n} of them at stand-ins that hand it to its owners later"),
    };
    verdict +=
        if write.seats.old == write.seats.new { "" } else { ", of the owners before and after a change" };
    of_write(write).trace(Some(&write.ballot), verdict, scene)
}

pub(super) fn not_written(write: &Write, scene: &Scene<'_>) -> Failure {
    let (have, need) = write.tally();
    let late = late(write.began, scene);
    let why = format!("write not acknowledged: {have} of the {need} copies needed were synced{late}");
    let state = if write.is_issued() {
        "it is kept where it was synced, and may still reach the others".into()
    } else {
        "this peer's storage has not answered; it may or may not have taken effect".into()
    };
    let hint = what_to_do(&write.ballot, &write.seats, "--w");
    let trace = Some(of_write(write).trace(Some(&write.ballot), why.clone(), scene));
    let kind = if mutated!(DenyWrites) { FailureKind::Busy } else { FailureKind::Quorum };
    Failure { kind, why, state, hint, trace }
}

pub(super) fn read(read: &Read, scene: &Scene<'_>) -> Box<Trace> {
    let differ = read.ballot.with(AnswerKind::Differs).len();
    let mut verdict = format!("{} of {} answers needed came", read.answers(), read.need);
    verdict += &match differ {
        0 if read.answers() > 1 => " and agree".into(),
        0 => String::new(),
        n => format!("; {n} differed: all were merged, and the difference is being repaired"),
    };
    verdict += match stand_ins(&read.ballot, &read.seats) {
        0 => "",
        _ => "; with stand-ins among them, an older write may be missing until its owners are back",
    };
    of_read(read).trace(Some(&read.ballot), verdict, scene)
}

pub(super) fn not_read(read: &Read, scene: &Scene<'_>) -> Failure {
    let (heard, need, late) = (read.heard(), read.need, late(read.began, scene));
    let why = format!("read not answered: {heard} of the {need} copies needed answered{late}");
    let hint = what_to_do(&read.ballot, &read.seats, "--r");
    let trace = Some(of_read(read).trace(Some(&read.ballot), why.clone(), scene));
    Failure { kind: FailureKind::Quorum, why, state: "nothing was changed".into(), hint, trace }
}

/// Nothing of one that has failed before its deadline: there is nobody left to wait for.
fn late(began: Time, scene: &Scene<'_>) -> &'static str {
    if scene.now.time < began + scene.config.deadline { "" } else { " in time" }
}

/// Of one that too few copies have answered. `flag`: by which fewer are accepted.
fn what_to_do(ballot: &Ballot, seats: &Seats, flag: &str) -> String {
    let fewer = format!("accept fewer copies ({flag} 1, or QUORUM)");
    let owners = seats.owners();
    let refused = ballot.with(AnswerKind::Refused);
    let has_refused = |seat: &Seat| refused.contains(&seat.peer) && !ballot.awaits(seat.peer);
    match owners.iter().all(|seat| seat.health == Health::Alive) {
        false => format!("{fewer}, or see STATUS for who is away"),
        true if owners.iter().any(has_refused) => format!(
            "an owner that is there has refused: it is being filled, or short of room or time; see `starling doctor` \
             and the log there, or try again later; or {fewer}"
        ),
        true => format!(
            "all who own it are there, so they or the way to them are overloaded: ask for less at once, or try again \
             shortly; or {fewer}"
        ),
    }
}

fn stand_ins_left(seats: &Seats, ballot: Option<&Ballot>, me: PeerId) -> Vec<Named> {
    let asked = |peer| peer == me || ballot.is_some_and(|ballot| ballot.has(peer));
    seats.stand_ins().filter(|seat| !asked(seat.peer)).map(|seat| unnamed(seat.peer)).collect()
}

/// Copies that were written to, or read from, somebody in an owner's place.
fn stand_ins(ballot: &Ballot, seats: &Seats) -> usize {
    let counted = |answer| matches!(answer, AnswerKind::Ok | AnswerKind::Differs);
    let asked = ballot.report(&seats.owners());
    asked.iter().filter(|a| counted(a.answer) && matches!(a.role, Role::StandIn { .. })).count()
}
