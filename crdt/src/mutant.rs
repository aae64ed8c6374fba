//! Rules broken on purpose, one at a time, to see that the tests find each. Only with the feature `mutants`.

use crate::types::Change;
use crate::{Context, Slice};
use std::cell::Cell;

thread_local! {
    static PLAYED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Plays this mutant from now on, on this thread; `None`: the real thing.
pub fn play(mutant: Option<Mutant>) {
    PLAYED.set(mutant);
}

/// True while this mutant is played.
pub fn is(mutant: Mutant) -> bool {
    PLAYED.get() == Some(mutant)
}

/// What becomes of a change when its drops are wrong.
pub(crate) fn spoiled(mut change: Change, seen: &Slice) -> Change {
    let live: Context = seen.cells.values().flatten().map(|version| version.dot).collect();
    for (field, dots) in &mut change.drops {
        let is_put = change.puts.iter().any(|(put, _)| Some(put) == field.as_ref());
        if is_put && is(Mutant::PutBlind) {
            *dots = Context::new();
        } else if is(Mutant::RemoveLiveOnly) {
            *dots = dots.intersect(&live);
        }
    }
    change
}

macro_rules! mutants {
    ($(#[doc = $what:literal] $mutant:ident = $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $what] $mutant,)*
        }

        impl Mutant {
            pub const ALL: &[Mutant] = &[$(Mutant::$mutant,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Mutant::$mutant => $name,)*
                }
            }

            /// What it does.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$mutant => $what,)*
                }
            }
        }
    };
}

mutants! {
    // The disk and its driver.
    /// An event from another is acknowledged before it is synced.
    AckUnsynced = "ack-unsynced",
    /// A stand-in acknowledges before its storage has answered.
    StandInUnsynced = "stand-in-unsynced",
    /// The issuer's own copy counts before it is synced.
    OwnUnsynced = "own-unsynced",
    /// Contexts are told before what they name is synced.
    ReportUnsynced = "report-unsynced",
    /// A peer keeps its actor over crashes and lost disks.
    ReuseActor = "reuse-actor",

    // One partition's state.
    /// An event that was applied already is applied again.
    ApplyTwice = "apply-twice",
    /// A removal that came before what it removes is forgotten.
    DropDeferred = "drop-deferred",
    /// A removal names the live dots only, not all that its issuer has seen.
    RemoveLiveOnly = "remove-live-only",
    /// A put leaves what it sees live.
    PutBlind = "put-blind",
    /// A deletion drops the running totals of others.
    DropTotals = "drop-totals",
    /// What is rebuilt from the log is sent oldest first.
    OldestFirst = "oldest-first",
    /// What drops another may come after it, if clocks were wrong.
    IgnoreInversion = "ignore-inversion",
    /// Stamps follow whatever was seen.
    FollowAnyClock = "follow-any-clock",
    /// Of an event that is rebuilt from the log only the first cell is sent.
    FirstCellOnly = "first-cell-only",
    /// A state transfer leaves what its sender has seen removed.
    KeepGone = "keep-gone",
    /// A state transfer brings back what was removed here.
    InstallKnown = "install-known",
    /// The first piece of a state transfer is installed without the others.
    Unstaged = "unstaged",
    /// A partition goes whatever has come to it since the owners were asked.
    LetGoBlind = "let-go-blind",
    /// The own counter goes with a partition that is let go.
    ForgetCounter = "forget-counter",

    // Handoff, repair, and changes of owners.
    /// A partition is let go before its owners hold it.
    LetGoEarly = "let-go-early",
    /// Reports count whatever table their sender had.
    ReportAnyView = "report-any-view",
    /// What was made for another life, or before letting go, is taken in.
    IgnoreSession = "ignore-session",
    /// What was held for others is forgotten in a restart.
    ForgetHeld = "forget-held",
    /// What is held for others from now on is not noted.
    IgnoreHeld = "ignore-held",
    /// A joining peer does not wait until it is filled.
    FillBlind = "fill-blind",
    /// A leaving peer does not wait until the others are filled.
    DrainBlind = "drain-blind",
    /// A step is taken whoever knows the last one.
    SettleBlind = "settle-blind",
    /// Owners change in more than one way at a time.
    IgnoreTurn = "ignore-turn",
    /// A peer leaves though too few others would keep copies.
    LeaveTooFew = "leave-too-few",
    /// A write of one that knows fewer steps is taken.
    ApplyAnyView = "apply-any-view",
    /// A read of one that knows fewer steps is answered.
    ReadAnyView = "read-any-view",
    /// One that is not filled answers reads.
    ReadUnfilled = "read-unfilled",
    /// A peer that lost its disk goes on as the member that it was.
    IgnoreAmnesia = "ignore-amnesia",

    // Operations.
    /// While owners change a write needs copies of the old ones alone.
    OneGroup = "one-group",
    /// A write that comes twice to its issuer is done twice.
    TakeTwice = "take-twice",
    /// An increment without an answer is handed to another peer as well.
    RetryAnything = "retry-anything",
    /// A read does not look at what differs.
    IgnoreDigests = "ignore-digests",
    /// A write that may yet take effect is said not to have been done.
    DenyWrites = "deny-writes",
    /// Every write is refused.
    RefuseWrites = "refuse-writes",

    // Membership.
    /// A peer that is suspected does not refute.
    ForgetRefutation = "forget-refutation",
    /// The dead are never tried again.
    ForgetDead = "forget-dead",
    /// An older incarnation wins against a newer one.
    OldIncarnation = "old-incarnation",
    /// An earlier step of a peer wins against a later one.
    OldStanding = "old-standing",
}
