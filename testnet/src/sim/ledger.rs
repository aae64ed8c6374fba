//! What an all-seeing observer knows: every event issued, and every disk on which it has been synced.

use super::model::Model;
use starling_crdt::{Cell, Command, Context, Dot, Event, Field, Key, Target};
use starling_protocol::ids::PartitionId;
use starling_protocol::time::Time;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An event, for all time.
pub struct Issued {
    pub event: Event,
    /// Which peers have had it synced on their disk, a bit each.
    pub synced: u128,
    /// A client was told that it is kept.
    pub acknowledged: bool,
    pub at: Time,
}

pub type Name = (PartitionId, Dot);

/// So many versions are few.
const FEW: u64 = 8;
/// Most bytes of a value or an element in a label.
const WORD_MAX: usize = 24;

#[derive(Default)]
pub struct Ledger {
    pub events: BTreeMap<Name, Issued>,
    /// The events that came of a command, by what makes it unlike others.
    by_command: BTreeMap<String, Vec<Name>>,
    /// The events that drop a version, by that version, where they name few.
    by_dropped: BTreeMap<Name, Vec<Dot>>,
    /// Those that drop all that their issuer had seen, by the key.
    clearing: BTreeMap<(PartitionId, Vec<u8>), Vec<Dot>>,
    pub model: Model,
    /// Whose disk is gone, or stays away for ever: what is on it alone need not be seen.
    pub away: u128,
}

/// A command with its key, in words. Two of one kind may be the same: removals, retries.
pub fn label(key: &[u8], command: &Command) -> String {
    let key = String::from_utf8_lossy(key);
    match command {
        Command::SAdd { members } => format!("{key} add {}", words(members)),
        Command::SRem { members } => format!("{key} remove {}", words(members)),
        Command::Set { value } => format!("{key} set {}", word(value)),
        Command::IncrBy { by } => format!("{key} count {by}"),
        Command::HSet { entries } => {
            let entries = entries.iter().flat_map(|(field, value)| [field.clone(), value.clone()]);
            format!("{key} put {}", words(&entries.collect::<Vec<_>>()))
        }
        Command::HDel { fields } => format!("{key} unput {}", words(fields)),
        other => format!("{key} {other:?}"),
    }
}

/// Whether clients say it again after silence, or by chance.
fn is_repeated(label: &str) -> bool {
    [" add ", " remove ", " unput ", " Del"].iter().any(|verb| label.contains(verb))
}

fn words(parts: &[serde_bytes::ByteBuf]) -> String {
    parts.iter().map(|part| word(part)).collect::<Vec<_>>().join(" ")
}

/// The beginning tells it from all others.
fn word(part: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&part[..part.len().min(WORD_MAX)])
}

impl Ledger {
    /// Enters a new event, that of a command carried out where `seen` had been seen. `Err`: its dot has been
    /// issued before, or a client had its answer already.
    pub fn issue(
        &mut self,
        partition: PartitionId,
        (key, command): (&[u8], &Command),
        event: &Event,
        seen: Context,
        at: Time,
    ) -> Result<(), String> {
        let name = (partition, event.dot);
        if let Some(before) = self.events.get(&name) {
            return Err(format!("dot {:?} was issued twice: {:?}, then {event:?}", name, before.event));
        }
        let label = label(key, command);
        if self.of(&label).any(|(_, before)| before.acknowledged) && !is_repeated(&label) {
            return Err(format!("acknowledged, and takes effect again after that: {label}"));
        }
        let issued = Issued { event: event.clone(), synced: 0, acknowledged: false, at };
        self.events.insert(name, issued);
        self.by_command.entry(label).or_default().push(name);
        self.note_drops(partition, key, event);
        self.model.issued(partition, key, command, event, seen);
        Ok(())
    }

    /// These dots are on that peer's disk now. `Err`: nobody ever issued one of them.
    pub fn synced(&mut self, partition: PartitionId, dots: &Context, peer: usize) -> Result<(), String> {
        for (actor, start, end) in dots.ranges() {
            for counter in start..=end {
                let name = (partition, Dot::new(actor, counter));
                let issued = self.events.get_mut(&name).ok_or(format!("{name:?} was never issued"))?;
                issued.synced |= 1 << peer;
            }
        }
        Ok(())
    }

    pub fn of(&self, label: &str) -> impl Iterator<Item = (Name, &Issued)> {
        let names = self.by_command.get(label).into_iter().flatten();
        names.filter_map(|name| Some((*name, self.events.get(name)?)))
    }

    pub fn acknowledge(&mut self, label: &str) {
        for name in self.by_command.get(label).into_iter().flatten() {
            if let Some(issued) = self.events.get_mut(name) {
                issued.acknowledged = true;
            }
        }
    }

    /// Some disk has had it, and not only those that are gone.
    pub fn is_kept(&self, issued: &Issued) -> bool {
        issued.synced & !self.away != 0
    }

    /// True if another event drops anything of what this one has put.
    pub fn is_dropped(&self, name: Name) -> bool {
        let Some(Issued { event, .. }) = self.events.get(&name) else { return false };
        event.puts.iter().any(|(cell, _)| self.droppers(name, &cell.key, &cell.field).next().is_some())
    }

    fn note_drops(&mut self, partition: PartitionId, key: &[u8], event: &Event) {
        for (_, dots) in &event.drops {
            if dots.len() > FEW {
                self.clearing.entry((partition, key.to_vec())).or_default().push(event.dot);
                continue;
            }
            for (actor, start, end) in dots.ranges() {
                for dropped in (start..=end).map(|counter| (partition, Dot::new(actor, counter))) {
                    self.by_dropped.entry(dropped).or_default().push(event.dot);
                }
            }
        }
    }

    /// All events that drop what that one put into a field, some of them twice.
    pub fn droppers(
        &self,
        (partition, dot): Name,
        key: &[u8],
        field: &Field,
    ) -> impl Iterator<Item = &Issued> {
        let few = self.by_dropped.get(&(partition, dot)).into_iter().flatten();
        let clearing = self.clearing.get(&(partition, key.to_vec())).into_iter().flatten();
        let events = few.chain(clearing).filter_map(move |dot| self.events.get(&(partition, *dot)));
        let cell = Cell { key: Key::from(key), field: field.clone() };
        let covers = move |target: &Target| target.covers(&cell);
        let drops = move |issued: &&Issued| {
            issued.event.drops.iter().any(|(target, dots)| covers(target) && dots.contains(dot))
        };
        events.filter(drops)
    }
}

/// Events for tests of checkers: in partition 0, by actor 1.
#[cfg(test)]
pub mod example {
    use super::*;

    pub fn dot(counter: u64) -> Dot {
        Dot::new(starling_crdt::Actor(1), counter)
    }

    /// An element is added, or removed where these were seen, and is synced on so many disks.
    pub fn issue(
        ledger: &mut Ledger,
        (counter, at): (u64, Time),
        command: &Command,
        seen: &[u64],
        copies: usize,
    ) {
        let (key, dot) = (b"s0", dot(counter));
        let seen: Context = seen.iter().map(|counter| self::dot(*counter)).collect();
        let (Command::SAdd { members } | Command::SRem { members }) = command else { panic!("{command:?}") };
        let cell = Cell { key: Key::from(&key[..]), field: Field::Member(members[0].clone()) };
        let (mut puts, mut drops) = (Vec::new(), Vec::new());
        match command {
            Command::SAdd { .. } => puts.push((cell, Some(Default::default()))),
            _ => drops.push((Target::Cell(cell), seen.clone())),
        }
        let event = Event { dot, stamp: starling_crdt::Stamp::at(counter), puts, drops };
        ledger.issue(0, (key, command), &event, seen, at).expect("it is new");
        let dots: Context = [dot].into_iter().collect();
        (0..copies).for_each(|peer| ledger.synced(0, &dots, peer).expect("it was issued"));
    }

    pub fn one() -> [Command; 2] {
        let members = vec![serde_bytes::ByteBuf::from("1")];
        [Command::SAdd { members: members.clone() }, Command::SRem { members }]
    }
}
