//! Rare branches, and which of them were reached: seeds that never go there show nothing about them. Only with the
//! feature `mutants`.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    static REACHED: RefCell<BTreeSet<Mark>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes that this branch was reached, on this thread.
pub fn reach(mark: Mark) {
    REACHED.with_borrow_mut(|reached| reached.insert(mark));
}

/// The branches reached on this thread since the last call.
pub fn take() -> BTreeSet<Mark> {
    REACHED.take()
}

macro_rules! marks {
    ($(#[doc = $what:literal] $mark:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $(#[doc = $what] $mark,)*
        }

        impl Mark {
            pub const ALL: &[Mark] = &[$(Mark::$mark,)*];

            /// What happens there.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mark::$mark => $what,)*
                }
            }
        }
    };
}

// Nobody gets where a peer takes a new actor because others know a later dot of its own: no start keeps the actor of
// the one before. That, and contexts without room for one more range, is for the tests of this crate.
marks! {
    // One partition's state.
    /// A removal waits for what it removes.
    RemovalWaits,
    /// A version comes that was removed before it came.
    RemovedBefore,
    /// An event comes whose value has been replaced since.
    ValueReplaced,
    /// The log lacks an event that another asks for.
    LogGap,
    /// Of what is missing, an event that would come later drops one that would come first.
    LogInverted,
    /// A state transfer is more than one piece.
    StateInPieces,
    /// A cell with several versions is more than one piece of a state transfer may hold.
    CellInParts,
    /// A state transfer takes away what its sender has seen removed.
    StateRemoves,
    /// A state transfer has what was seen here, and may have been removed.
    StateKnown,
    /// A deletion puts a base beside another's running total.
    CounterBase,
    /// The actor of a chain of totals drops it, as all of it is deleted.
    ChainDropped,
    /// A partition is let go, and the own counter there kept.
    CounterKept,
    /// More has come to a partition than its owners were heard to hold: it is not let go.
    LetGoRefused,
    /// A partition is damaged, and given up.
    GivenUp,

    // Operations.
    /// A write is refused, as its coordinator knows fewer steps.
    WriteBehind,
    /// An answer does not count, as who gave it may know steps that its coordinator does not.
    AnsweredApart,
    /// A read is refused, as its coordinator knows fewer steps.
    ReadBehind,
    /// A read is refused by a peer that is not filled.
    ReadNotFilled,
    /// A read is refused, as the partition was damaged and is not filled again.
    ReadDamaged,
    /// A stand-in is asked to hold a write for an owner.
    StandIn,
    /// A stand-in for a stand-in that did not answer is asked.
    StandInAgain,
    /// Owners change while a write is under way, and it is sent to another one.
    WriteReplanned,
    /// Owners change while a read is under way, and the answer of a former one is dropped.
    ReadReplanned,
    /// A digest differs, and the cells are asked for.
    DigestDiffers,
    /// Who gave a digest does not give the cells.
    DigestDropped,
    /// All that have answered a read hold nothing, and an owner is waited for.
    ReadWaits,
    /// A write is handed to another issuer, as the first is silent or lost.
    HandedOn,
    /// A write is handed to another issuer, as the first has refused it.
    IssuerRefused,
    /// A write was done, while another that was asked may still begin it.
    DoneEarly,
    /// A write that was handed here is refused, as the time to begin it is past.
    TooLate,
    /// A write is handed here twice.
    TakenTwice,

    // Repair, and changes of owners.
    /// A state transfer begins.
    StateBegun,
    /// A piece of a state transfer is kept aside for the others.
    StateStaged,
    /// What was sent was made for a context that is gone.
    StaleSession,
    /// One that has what is lacked here is told so later, as another is sending it.
    PutOff,
    /// A state transfer waits, as there are too many.
    StateWaits,
    /// A report comes of one for whom something is still being read.
    ReportBeforePush,
    /// What is under way has not moved, and is given up.
    Stalled,
    /// The log is cut above what all owners hold, as it is full.
    LogFull,
    /// What another sends is not taken, as the disk is nearly full.
    NoRoom,
    /// A removal is taken that may wait for what was not taken, as the disk is nearly full.
    RemovedUnseen,
    /// Contexts were read under an earlier table, and are read again.
    ContextsAgain,
    /// A damaged partition is kept, as more has come to it than another has told to have.
    DamageKept,
    /// A damaged partition is filled again.
    FilledAgain,
    /// A peer starts again that was not filled yet with what had come to it.
    CameBefore,
    /// A joining peer steps back, as it is another's turn.
    SteppedBack,
    /// A leaving peer stays, as too few others would keep copies.
    StayedAfterAll,
    /// A peer that has lost what it held, or was forgotten, begins anew.
    BegunAnew,

    // Membership.
    /// A suspicion is refuted by whom it is of.
    Refuted,
    /// One that was dead is alive.
    Revived,
    /// Another is said to be dead, and gets the least time to refute.
    SaidDead,
    /// A peer hears of a later standing of its own than it knows.
    Overruled,
    /// Others have no answer either, and say so.
    Nack,
}
