//! What reads were answered, for as long as it holds: until an event touches the key.
//!
//! A read that comes again is answered from here, without the storage thread: two wake-ups are most of what a
//! read costs. Only what may be told is kept here, synced or, at an interval, written, and a change takes it out before it is carried out itself. So
//! whatever was acknowledged is seen (rule `ack-synced`), and a slice is one that this replica had: its context may
//! lack events of other keys that came since, and none of its own.
//!
//! Two generations stand in for least recently used, as in `cache`.

use serde_bytes::ByteBuf;
use starling_crdt::{Command, Slice};
use starling_protocol::ids::PartitionId;
use starling_protocol::store::{Answer, Question};
use std::collections::HashMap;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Bytes of one generation, of two.
const GENERATION_MAX: usize = 16 * 1024 * 1024;
/// Larger answers are not kept.
const ANSWER_MAX: usize = 16 * 1024;
/// Different commands of one key; when another comes, the first goes.
const COMMANDS_MAX: usize = 4;
/// What an answer, and a range of its context, take beside their bytes, roughly: even the smallest ordered map
/// has room for eleven.
const OVERHEAD: usize = 1280;
const RANGE: usize = 32;
/// What a cell takes beside its name and its value, roughly.
const CELL: usize = 128;

#[derive(Default)]
pub struct Reads {
    young: Generation,
    old: Generation,
}

/// What was read, and its digest once it was asked for again: that takes longer than all else about a read.
struct Kept {
    command: Command,
    slice: Arc<Slice>,
    digest: Option<u64>,
}

type Asked = Vec<Kept>;

#[derive(Default)]
struct Generation {
    partitions: HashMap<PartitionId, HashMap<ByteBuf, Asked>>,
    /// Of all that was ever kept in it.
    bytes: usize,
}

impl Reads {
    /// The answer, if it is kept.
    pub fn find(&mut self, question: &Question) -> Option<Answer> {
        let Question::Read { partition, key, command } = question else { return None };
        if let Some(kept) = self.young.find(*partition, key, command) {
            let digest = Some(*kept.digest.get_or_insert_with(|| kept.slice.digest()));
            return Some(Answer::Read { slice: Arc::clone(&kept.slice), digest });
        }
        let kept = self.old.find(*partition, key, command)?;
        let (slice, digest) = (Arc::clone(&kept.slice), kept.digest);
        self.keep(question, &slice, digest);
        Some(Answer::Read { slice, digest })
    }

    /// Keeps what was read, unless it is large. All that it tells of must be synced, or written where that is enough.
    pub fn keep(&mut self, question: &Question, slice: &Arc<Slice>, digest: Option<u64>) {
        let Question::Read { partition, key, command } = question else { return };
        // One page after the other of a large key would push out all that is asked for again.
        if matches!(command, Command::SScan { .. } | Command::HScan { .. }) {
            return;
        }
        let size = OVERHEAD + question.size() + size(slice);
        if size > ANSWER_MAX {
            return;
        }
        let kept = Kept { command: command.clone(), slice: Arc::clone(slice), digest };
        self.young.insert(*partition, key, kept);
        self.young.bytes += size;
        if self.young.bytes > GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Takes out what this may change.
    pub fn change(&mut self, question: &Question) {
        match question {
            Question::Execute { partition, key, command, .. } if command.writes() => {
                self.touch(*partition, key);
            }
            Question::Apply { partition, events, .. } => {
                let mut last = None;
                for event in events {
                    let put = event.puts.iter().map(|(cell, _)| &cell.key);
                    let dropped = event.drops.iter().map(|(target, _)| target.key());
                    // Almost always all are of one key.
                    for key in put.chain(dropped).filter(|key| last.replace(*key) != Some(*key)) {
                        self.touch(*partition, key);
                    }
                }
            }
            Question::Install { partition, .. }
            | Question::LetGo { partition, .. }
            | Question::Scrub { partition, .. }
            | Question::Filled { partition } => {
                self.young.partitions.remove(partition);
                self.old.partitions.remove(partition);
            }
            Question::Execute { .. }
            | Question::Read { .. }
            | Question::Keys { .. }
            | Question::Survey
            | Question::Contexts { .. }
            | Question::Missing { .. }
            | Question::Snapshot { .. }
            | Question::CutLog { .. }
            | Question::Came { .. } => {}
        }
    }

    fn touch(&mut self, partition: PartitionId, key: &ByteBuf) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(keys) = generation.partitions.get_mut(&partition) {
                keys.remove(key);
            }
        }
    }
}

/// What it takes in memory, roughly: of a large set the names, not the values, are what is large.
fn size(slice: &Slice) -> usize {
    let cells = slice.cells.iter().map(|(field, versions)| {
        let values: usize = versions.iter().map(|version| CELL + version.value.len()).sum();
        field.name().len() + values
    });
    let heads = [&slice.entries, &slice.members].into_iter().flat_map(|head| &head.names);
    let heads = heads.map(|(name, dots)| CELL + name.len() + dots.len() * RANGE);
    let removed = slice.removed.values().map(|dots| CELL + dots.range_count() * RANGE);
    cells.chain(heads).chain(removed).sum::<usize>() + slice.context.range_count() * RANGE
}

impl Generation {
    fn find(&mut self, partition: PartitionId, key: &ByteBuf, command: &Command) -> Option<&mut Kept> {
        let asked = self.partitions.get_mut(&partition)?.get_mut(key)?;
        asked.iter_mut().find(|kept| kept.command == *command)
    }

    fn insert(&mut self, partition: PartitionId, key: &ByteBuf, new: Kept) {
        let asked = self.partitions.entry(partition).or_default().entry(key.clone()).or_default();
        asked.retain(|kept| kept.command != new.command);
        if asked.len() >= COMMANDS_MAX {
            asked.remove(0);
        }
        // Almost always the only one.
        asked.reserve_exact(1);
        asked.push(new);
    }
}
