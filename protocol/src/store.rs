//! Storage is asked and answers, like a peer: an acknowledgement can only exist after the answer.
//!
//! `answer` carries one question out; `node` and the simulator call the same one. Whoever drives it
//! commits what a group of questions has changed, syncs, and only then hands the answers to the peer.
//! The one exception is `Executed`, which goes out before the sync, so that other copies are written
//! meanwhile; `Synced` follows it.

use crate::ids::PartitionId;
use crate::time::Time;
use serde_bytes::ByteBuf;
use starling_crdt::{
    Command, Context, Event, Missing, Piece, Replica, Reply, Scrubbed, Slice, Storage, StorageError, Version,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most keys in one answer: with the longest keys that is 16 MiB, less than a frame.
pub const KEYS_MAX: u16 = 1024;

/// Most bytes in memory, roughly, of removals that wait for what they remove, where a copy is to be held for others.
/// Whoever stands in has not seen what is removed or replaced: all of it waits in memory until the owners are back, over
/// restarts too. So much are a hundred thousand fields or values.
pub const WAITING_MAX: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    Execute {
        partition: PartitionId,
        key: ByteBuf,
        command: Command,
        wall_ms: u64,
        /// Not after this: another may have been asked to carry it out. `None`: at any time.
        until: Option<Time>,
    },
    Apply {
        partition: PartitionId,
        events: Vec<Event>,
        /// This peer does not own the partition: not all that removals would leave waiting is taken.
        held_for_others: bool,
    },
    Read {
        partition: PartitionId,
        key: ByteBuf,
        command: Command,
    },
    Keys {
        partition: PartitionId,
        after: Option<ByteBuf>,
        limit: u16,
    },
    /// The synced contexts of all partitions of which anything is held, and which were given up.
    Survey,
    /// The synced contexts of these partitions.
    Contexts {
        partitions: Vec<PartitionId>,
    },
    Missing {
        partition: PartitionId,
        context: Context,
        max_bytes: usize,
    },
    Snapshot {
        partition: PartitionId,
        max_bytes: usize,
    },
    Install {
        partition: PartitionId,
        pieces: Vec<Piece>,
    },
    /// Drop the partition if all of it is within `held`, at that moment (rule `letgo-now`).
    LetGo {
        partition: PartitionId,
        held: Context,
    },
    CutLog {
        partition: PartitionId,
        below: Context,
    },
    /// Look at the next stretch of a partition; damaged, it is given up at once (rule `cells-with-context`), if all of it
    /// is `elsewhere` at that moment. What was asked before must be synced first: a copy acknowledged after this must not
    /// be one given up.
    Scrub {
        partition: PartitionId,
        max_bytes: usize,
        /// What another owner has told that it holds. Beyond that it may be the last copy, and stays as it is.
        elsewhere: Option<Context>,
    },
    /// What was given up has been filled again.
    Filled {
        partition: PartitionId,
    },
    /// Remember until the next start, or until another is told: these have come to this peer, and are not filled yet.
    Came {
        partitions: BTreeSet<PartitionId>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `event`: what was issued, if anything. Not yet synced.
    Executed {
        reply: Reply,
        hidden: u32,
        event: Option<Event>,
    },
    /// What `Executed` told is synced now.
    Synced,
    /// It was not carried out: that might not begin any more.
    Late,
    /// `refused` events were malformed. All others are synced.
    Applied {
        refused: usize,
    },
    /// None of the events was applied: too much would wait here for what they remove, see `WAITING_MAX`.
    NoRoom,
    /// Shared, as whoever keeps it to answer the same again does not copy it. Such a one may know its digest.
    Read {
        slice: Arc<Slice>,
        digest: Option<u64>,
    },
    Keys {
        keys: Vec<ByteBuf>,
        more: bool,
    },
    Surveyed {
        contexts: Vec<(PartitionId, Context)>,
        /// Of each of these, the events that are in its log.
        logs: Vec<(PartitionId, u64)>,
        given_up: Vec<PartitionId>,
    },
    Contexts {
        contexts: Vec<(PartitionId, Context)>,
    },
    Missing(Missing),
    Snapshot {
        pieces: Vec<Piece>,
    },
    Installed {
        done: bool,
    },
    LetGo {
        done: bool,
    },
    /// A stretch was cut; this is left of what was to be.
    Cut {
        left: Context,
    },
    Scrubbed(Scrubbed),
    /// It was damaged, and is given up.
    GivenUp,
    Filled,
    /// What has come is remembered.
    Came,
    /// The partition was given up, and lacks what others have.
    NotFilled,
}

impl Question {
    /// Bytes of data that it carries, roughly: what a queue of questions is bounded by.
    pub fn size(&self) -> usize {
        match self {
            Question::Execute { key, command, .. } | Question::Read { key, command, .. } => {
                key.len() + command_size(command)
            }
            Question::Apply { events, .. } => events.iter().map(Event::size).sum(),
            Question::Install { pieces, .. } => pieces.iter().map(Piece::size).sum(),
            Question::Survey | Question::Keys { .. } | Question::Contexts { .. } => 0,
            Question::Missing { .. } | Question::Scrub { .. } | Question::Filled { .. } => 0,
            Question::Came { .. } => 0,
            Question::Snapshot { .. } | Question::LetGo { .. } | Question::CutLog { .. } => 0,
        }
    }

    /// Cells that it names, or of which it asks for so many, to be read or changed.
    pub fn names(&self) -> usize {
        match self {
            Question::Execute { command, .. } | Question::Read { command, .. } => match command {
                Command::HSet { entries } => entries.len(),
                Command::SScan { limit, .. } | Command::HScan { limit, .. } => *limit as usize,
                command => names_of(command).len().max(1),
            },
            Question::Apply { events, .. } => {
                events.iter().map(|event| event.puts.len() + event.drops.len()).sum()
            }
            _ => 0,
        }
    }
}

impl Answer {
    /// Bytes of data that it carries, roughly.
    pub fn size(&self) -> usize {
        match self {
            Answer::Executed { event, .. } => event.as_ref().map_or(0, Event::size),
            Answer::Read { slice, .. } => {
                let values =
                    |versions: &[Version]| versions.iter().map(|version| version.value.len()).sum::<usize>();
                let cells = slice.cells.iter();
                let cells = cells.map(|(field, versions)| NAME + field.name().len() + values(versions));
                let removed = slice.removed.iter().map(|(field, dots)| {
                    NAME + field.as_ref().map_or(0, |field| field.name().len()) + RANGE * dots.range_count()
                });
                cells.chain(removed).sum()
            }
            Answer::Keys { keys, .. } => keys.iter().map(|key| key.len()).sum(),
            Answer::Missing(Missing::Events { events, .. }) => events.iter().map(Event::size).sum(),
            Answer::Snapshot { pieces } => pieces.iter().map(Piece::size).sum(),
            Answer::Missing(_) | Answer::Contexts { .. } | Answer::Applied { .. } => 0,
            Answer::Synced | Answer::Late | Answer::NoRoom => 0,
            Answer::Surveyed { .. } | Answer::Installed { .. } | Answer::LetGo { .. } => 0,
            Answer::Cut { .. } => 0,
            Answer::Scrubbed(_) | Answer::GivenUp | Answer::Filled | Answer::Came | Answer::NotFilled => 0,
        }
    }
}

/// What a name takes in memory beside its bytes, however short it is: where it lies and how long it is.
const NAME: usize = 32;
/// And what a range of a context takes.
const RANGE: usize = 32;

fn command_size(command: &Command) -> usize {
    match command {
        Command::Set { value } => value.len(),
        Command::HSet { entries } => {
            entries.iter().map(|(field, value)| 2 * NAME + field.len() + value.len()).sum()
        }
        command => total(names_of(command)),
    }
}

/// The members or fields that it names without values.
fn names_of(command: &Command) -> &[ByteBuf] {
    match command {
        Command::SAdd { members: names } | Command::SRem { members: names } => names,
        Command::SMIsMember { members: names } => names,
        Command::HDel { fields: names } | Command::HMGet { fields: names } => names,
        _ => &[],
    }
}

fn total(names: &[ByteBuf]) -> usize {
    names.iter().map(|name| NAME + name.len()).sum()
}

#[cfg(test)]
mod tests;

/// Carries out one question; `now`: what time it is at this peer. What it changes lies in `storage`, not yet
/// committed; so the answer to anything but `Execute` must not leave before that is synced (rules `ack-synced`,
/// `report-synced`).
///
/// Errors: storage failed. `replica` and `storage` may then disagree; nothing may be asked of them again.
pub fn answer(
    replica: &mut Replica,
    storage: &mut impl Storage,
    now: Time,
    question: &Question,
) -> Result<Answer, StorageError> {
    Ok(match *question {
        Question::Execute { until: Some(until), .. } if now > until => Answer::Late,
        Question::Execute { partition, ref key, ref command, wall_ms, .. } => {
            let done = replica.execute(storage, partition, key, command, wall_ms)?;
            Answer::Executed { reply: done.reply, hidden: done.hidden, event: done.event }
        }
        Question::Apply { partition, ref events, held_for_others: true }
            if !events.iter().all(|event| replica.lets_wait(partition, event, WAITING_MAX)) =>
        {
            Answer::NoRoom
        }
        Question::Apply { partition, ref events, .. } => apply(replica, storage, partition, events)?,
        Question::Read { partition, .. } | Question::Keys { partition, .. }
            if replica.given_up().contains(&partition) && !mutated!(ReadUnfilled) =>
        {
            marked!(ReadDamaged);
            Answer::NotFilled
        }
        Question::Read { partition, ref key, ref command } => {
            let slice = Arc::new(replica.read(storage, partition, key, command)?);
            Answer::Read { slice, digest: None }
        }
        Question::Keys { partition, ref after, limit } => {
            keys(replica, storage, partition, after.as_deref().map(|key| &key[..]), limit)?
        }
        Question::Survey => Answer::Surveyed {
            contexts: replica.partitions().map(|p| (p, replica.context(p).clone())).collect(),
            logs: replica.partitions().map(|p| (p, replica.log_len(p))).collect(),
            given_up: replica.given_up().iter().copied().collect(),
        },
        Question::Contexts { ref partitions } => Answer::Contexts {
            contexts: partitions.iter().map(|&p| (p, replica.context(p).clone())).collect(),
        },
        Question::Missing { partition, ref context, max_bytes } => {
            Answer::Missing(replica.missing(storage, partition, context, max_bytes)?)
        }
        Question::Snapshot { partition, max_bytes } => {
            Answer::Snapshot { pieces: replica.snapshot(storage, partition, max_bytes)? }
        }
        Question::Install { partition, ref pieces } => {
            Answer::Installed { done: replica.install(storage, partition, pieces)? }
        }
        Question::LetGo { partition, ref held } => {
            Answer::LetGo { done: replica.let_go(storage, partition, held)? }
        }
        Question::CutLog { partition, ref below } => {
            Answer::Cut { left: replica.cut_log(storage, partition, below)? }
        }
        Question::Scrub { partition, max_bytes, ref elsewhere } => {
            scrub(replica, storage, partition, max_bytes, elsewhere.as_ref())?
        }
        Question::Filled { partition } => {
            replica.filled(storage, partition);
            Answer::Filled
        }
        Question::Came { ref partitions } => {
            replica.note_came(storage, partitions);
            Answer::Came
        }
    })
}

fn scrub(
    replica: &mut Replica,
    storage: &mut impl Storage,
    partition: PartitionId,
    max_bytes: usize,
    elsewhere: Option<&Context>,
) -> Result<Answer, StorageError> {
    let found = replica.scrub(storage, partition, max_bytes)?;
    let is_elsewhere = elsewhere.is_some_and(|held| held.contains_all(replica.context(partition)));
    if found == Scrubbed::Damaged && is_elsewhere {
        replica.give_up(storage, partition)?;
        return Ok(Answer::GivenUp);
    }
    marked!(DamageKept if found == Scrubbed::Damaged && elsewhere.is_some());
    Ok(Answer::Scrubbed(found))
}

/// Whatever was well-formed is in the context afterwards, new or not; what is not there was refused.
fn apply(
    replica: &mut Replica,
    storage: &mut impl Storage,
    partition: PartitionId,
    events: &[Event],
) -> Result<Answer, StorageError> {
    let mut refused = 0;
    for event in events {
        replica.apply(storage, partition, event)?;
        if !replica.context(partition).contains(event.dot) {
            refused += 1;
        }
    }
    Ok(Answer::Applied { refused })
}

/// One more key than asked for tells whether there are more.
fn keys(
    replica: &Replica,
    storage: &impl Storage,
    partition: PartitionId,
    after: Option<&[u8]>,
    limit: u16,
) -> Result<Answer, StorageError> {
    let limit = usize::from(limit.min(KEYS_MAX));
    let mut keys = replica.keys(storage, partition, after, limit + 1)?;
    let more = keys.len() > limit;
    keys.truncate(limit);
    Ok(Answer::Keys { keys, more })
}
