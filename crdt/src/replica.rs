//! The replica: all partitions of one peer, and the dots it issues.

use crate::cell::EVENT_MAX;
use crate::context::{COUNTER_MAX, RANGES_MAX, first_u64};
use crate::partition::{Loaded, Partition, Snapshot};
use crate::partitions::Partitions;
use crate::rows::{self, Kind};
use crate::types::{self, Change, Issuer};
use crate::{
    Actor, Cell, Clock, Command, CommandError, Context, Dot, Event, Fingerprint, Key, Missing, Piece, Reply,
    Scrubbed, Slice, Storage, StorageError, Target,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The number of a partition.
pub type PartitionId = u16;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub reply: Reply,
    /// Concurrent values that the reply does not show.
    pub hidden: u32,
    /// What other replicas need. `None`: nothing has changed.
    pub event: Option<Event>,
}

/// A partition in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Hash of the context: equal hashes, equal data.
    pub context: u64,
    /// Sum over the live cells, for the scrub.
    pub fingerprint: Fingerprint,
    /// Dots in the context.
    pub events: u64,
    /// Keys with live cells. A counter that has been deleted keeps what others had counted, each until it counts there
    /// again; of actors that have ended, as one does with each start of its peer, for ever.
    pub keys: u64,
    /// Live cells.
    pub cells: u64,
}

/// All partitions of one peer.
///
/// Every change is in the storage when a method returns, and durable once the storage commits. After
/// a [`StorageError`] memory and storage may differ: open again.
#[derive(Debug)]
pub struct Replica {
    actor: Actor,
    seed: u64,
    clock: Clock,
    partitions: Partitions,
    /// Own counters of partitions that were let go (rule `letgo-actor`).
    floors: BTreeMap<PartitionId, u64>,
    /// Partitions that were damaged, and have not been filled again yet.
    given_up: BTreeSet<PartitionId>,
    /// Partitions that have come to this peer, and have not been filled yet.
    came: BTreeSet<PartitionId>,
    /// The context of a partition of which nothing is held.
    empty: Context,
}

impl Replica {
    /// Reads what storage holds. `actor`: a fresh random id, unless this very directory was closed cleanly
    /// by a replica of that id (rule `actor`). `seed`: fresh at every start; actors taken later come from it.
    pub fn open(storage: &(impl Storage + ?Sized), actor: Actor, seed: u64) -> Result<Self, StorageError> {
        let mut replica = Self {
            actor,
            seed,
            clock: Clock::default(),
            partitions: Partitions::default(),
            floors: BTreeMap::new(),
            given_up: BTreeSet::new(),
            came: BTreeSet::new(),
            empty: Context::new(),
        };
        let mut next = Some(0);
        while let Some(from) = next {
            let Some(p) = first_partition(storage, from)? else { break };
            replica.load(storage, p)?;
            next = p.checked_add(1);
        }
        Ok(replica)
    }

    fn load(&mut self, s: &(impl Storage + ?Sized), p: PartitionId) -> Result<(), StorageError> {
        let row = rows::row(p, Kind::Own);
        if let Some(value) = s.get(&row)? {
            let (actor, counter): (Actor, u64) = rows::decode(&row, &value)?;
            if actor == self.actor {
                self.floors.insert(p, counter);
            }
        }
        if s.get(&rows::row(p, Kind::GivenUp))?.is_some() {
            self.given_up.insert(p);
        }
        if s.get(&rows::row(p, Kind::Came))?.is_some() {
            self.came.insert(p);
        }
        if let Some(partition) = Partition::load(s, p)? {
            self.clock.witness(partition.stamp);
            *self.partitions.get_or_new(p) = partition;
        }
        Ok(())
    }

    /// The actor of the next dot.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// The partitions of which something is held, in order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        let held = self.partitions.iter().filter(|held| !held.context.is_empty());
        held.map(|held| held.id)
    }

    /// All dots applied in a partition.
    pub fn context(&self, p: PartitionId) -> &Context {
        self.partitions.get(p).map_or(&self.empty, |held| &held.context)
    }

    pub fn summary(&self, p: PartitionId) -> Summary {
        self.with(p, |partition| Summary {
            context: partition.context.hash(),
            fingerprint: partition.fingerprint,
            events: partition.context.len(),
            keys: partition.keys,
            cells: partition.cells,
        })
    }

    /// Carries out a command on one key. `wall_ms`: milliseconds since the Unix epoch, for the event's stamp.
    pub fn execute(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        key: &[u8],
        command: &Command,
        wall_ms: u64,
    ) -> Result<Executed, StorageError> {
        if let Err(error) = command.check(key) {
            return Ok(Executed::reply(Reply::Error(error)));
        }
        let loaded = self.with(p, |partition| partition.read(s, key, &command.needs()))?;
        if !command.writes() {
            let answered = command.answer(&loaded.slice);
            return Ok(Executed { reply: answered.reply, hidden: answered.hidden, event: None });
        }
        let change = self.change(p, key, command, &loaded);
        if change.puts.is_empty() && change.drops.is_empty() {
            return Ok(Executed::reply(change.reply));
        }
        let puts = change.puts.into_iter().map(|(field, value)| (Cell::new(key, field), Some(value)));
        let drops = change.drops.into_iter();
        let drops = drops.map(|(field, dots)| (Target::at((Key::from(key), field)), dots));
        let event = self.event(p, puts.collect(), drops.collect(), wall_ms);
        if let Some(error) = self.refusal(p, &event) {
            return Ok(Executed::reply(Reply::Error(error)));
        }
        self.partition_mut(p).apply(s, &event, Some(loaded.into_seed(key)))?;
        Ok(Executed { event: Some(event), ..Executed::reply(change.reply) })
    }

    fn change(&mut self, p: PartitionId, key: &[u8], command: &Command, loaded: &Loaded) -> Change {
        let next = self.next_dot(p).counter;
        let issuer = Issuer { key, actor: self.actor, next, floor: self.floor(p), context: self.context(p) };
        #[cfg(feature = "mutants")]
        return crate::mutant::spoiled(command.change(&loaded.slice, &issuer), &loaded.slice);
        #[cfg(not(feature = "mutants"))]
        command.change(&loaded.slice, &issuer)
    }

    /// Issues an event that no command makes. For tests of the store under the data types.
    #[doc(hidden)]
    pub fn issue(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        puts: Vec<(Cell, Option<ByteBuf>)>,
        drops: Vec<(Target, Context)>,
        wall_ms: u64,
    ) -> Result<Event, StorageError> {
        let event = self.event(p, puts, drops, wall_ms);
        self.partition_mut(p).apply(s, &event, None)?;
        Ok(event)
    }

    /// Gives a change its dot and stamp.
    fn event(
        &mut self,
        p: PartitionId,
        puts: Vec<(Cell, Option<ByteBuf>)>,
        drops: Vec<(Target, Context)>,
        wall_ms: u64,
    ) -> Event {
        Event { dot: self.next_dot(p), stamp: self.clock.tick(wall_ms), puts, drops }
    }

    /// Why an own event must not be issued: others would refuse it, or there is no room for its dot.
    fn refusal(&self, p: PartitionId, event: &Event) -> Option<CommandError> {
        if event.check().is_err() {
            return Some(types::too_long("the change", event.size(), EVENT_MAX));
        }
        let context = self.context(p);
        let torn = CommandError::Torn { limit: RANGES_MAX as u64 };
        (!context.has_room(event.dot)).then_some(torn)
    }

    /// Applies an event from elsewhere: any order, any number of times. True where it was new. A malformed
    /// event is refused, and one whose contexts have too many gaps: false, and its dot is not in the context.
    pub fn apply(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        event: &Event,
    ) -> Result<bool, StorageError> {
        if event.check().is_err() {
            return Ok(false);
        }
        self.clock.witness(event.stamp);
        self.notice(p, event.dot.actor, event.dot.counter);
        for (_, dots) in &event.drops {
            self.witness(p, dots);
        }
        self.partition_mut(p).apply(s, event, None)
    }

    /// Whether all that this event removes, and is not there yet, may wait for it: whether what waits in all partitions
    /// would then take at most `most` bytes in memory, roughly. Of what has been applied nothing more waits.
    pub fn lets_wait(&self, p: PartitionId, event: &Event, most: usize) -> bool {
        let more = self.with(p, |partition| partition.bytes_to_wait(event));
        let waiting = || self.partitions.iter().map(Partition::waiting_bytes).sum::<usize>();
        more == 0 || waiting().saturating_add(more) <= most
    }

    /// The part of a key that the command needs, to be answered with [`Command::answer`], alone or
    /// merged with what other replicas have.
    pub fn read(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        key: &[u8],
        command: &Command,
    ) -> Result<Slice, StorageError> {
        if command.check(key).is_err() {
            return Ok(Slice::default());
        }
        let needs = command.needs();
        let slice = self.with(p, |partition| {
            let mut slice = partition.read(s, key, &needs)?.slice;
            partition.add_removed(key, &needs, &mut slice);
            Ok(slice)
        })?;
        Ok(Slice { context: self.context(p).clone(), ..slice })
    }

    /// What a replica with this context lacks, at most about `max_bytes` of it, but at least one event.
    pub fn missing(
        &mut self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        context: &Context,
        max_bytes: usize,
    ) -> Result<Missing, StorageError> {
        self.witness(p, context);
        self.with(p, |partition| partition.missing(s, context, max_bytes))
    }

    /// The whole state of a partition at this instant, the log left out, in pieces of about
    /// `max_bytes_per_piece`; at least one piece, and no version is cut in two.
    pub fn snapshot(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        max_bytes_per_piece: usize,
    ) -> Result<Vec<Piece>, StorageError> {
        self.with(p, |partition| partition.snapshot(s, max_bytes_per_piece))
    }

    /// Merges a snapshot in one step (rule `staged`). False: the pieces are not one whole, sound
    /// snapshot, or their contexts have too many gaps, and nothing has changed.
    pub fn install(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        pieces: &[Piece],
    ) -> Result<bool, StorageError> {
        let Some(snapshot) = Snapshot::assemble(pieces) else {
            return Ok(false);
        };
        self.witness(p, snapshot.context);
        self.clock.witness(snapshot.stamp);
        for dots in snapshot.deferred.values() {
            self.witness(p, dots);
        }
        self.partition_mut(p).install(s, &snapshot)
    }

    /// Gives a partition up, if all that it holds now is within `held` (rule `letgo-now`). The own
    /// counter there stays (rule `letgo-actor`).
    pub fn let_go(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        held: &Context,
    ) -> Result<bool, StorageError> {
        self.witness(p, held);
        if !held.contains_all(self.context(p)) && !mutated!(LetGoBlind) {
            marked!(LetGoRefused);
            return Ok(false);
        }
        let counter = self.own_counter(p);
        s.delete_all(rows::begin(p))?;
        self.partitions.remove(p);
        self.given_up.remove(&p);
        self.came.remove(&p);
        if counter > 0 && !mutated!(ForgetCounter) {
            marked!(CounterKept);
            let row = rows::row(p, Kind::Own);
            s.put(&row, &rows::encode(&(self.actor, counter)));
            self.floors.insert(p, counter);
        }
        Ok(true)
    }

    /// Gives a partition up whatever others have: its rows are damaged (rule `cells-with-context`). It is to be
    /// filled again by others, which is remembered until `filled`, and issues under a new actor.
    pub fn give_up(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId) -> Result<(), StorageError> {
        marked!(GivenUp);
        s.delete_all(rows::begin(p))?;
        self.partitions.remove(p);
        s.put(&rows::row(p, Kind::GivenUp), &rows::encode(&()));
        self.given_up.insert(p);
        self.came.remove(&p);
        self.take_actor();
        Ok(())
    }

    /// What was given up has been filled again.
    pub fn filled(&mut self, s: &mut (impl Storage + ?Sized), p: PartitionId) {
        if self.given_up.remove(&p) {
            s.delete(&rows::row(p, Kind::GivenUp));
        }
    }

    /// Remembers which partitions have come to this peer and are to be filled by others: these, and no more.
    pub fn note_came(&mut self, s: &mut (impl Storage + ?Sized), came: &BTreeSet<PartitionId>) {
        for p in self.came.difference(came) {
            s.delete(&rows::row(*p, Kind::Came));
        }
        for p in came.difference(&self.came) {
            s.put(&rows::row(*p, Kind::Came), &rows::encode(&()));
        }
        self.came.clone_from(came);
    }

    /// Partitions that have come to this peer, and lack what others have.
    pub fn came(&self) -> &BTreeSet<PartitionId> {
        &self.came
    }

    /// Partitions that were given up, and lack what others have: nothing that is read there is right.
    pub fn given_up(&self) -> &BTreeSet<PartitionId> {
        &self.given_up
    }

    /// Forgets a stretch of the log of what is in `below`, and returns what is left of that. Loses nothing: who lacks
    /// it gets a state transfer.
    pub fn cut_log(
        &mut self,
        s: &mut (impl Storage + ?Sized),
        p: PartitionId,
        below: &Context,
    ) -> Result<Context, StorageError> {
        self.witness(p, below);
        match self.partitions.get_mut(p) {
            Some(partition) => partition.cut_log(s, below),
            None => Ok(Context::new()),
        }
    }

    /// Events in the log of a partition.
    pub fn log_len(&self, p: PartitionId) -> u64 {
        self.with(p, |partition| partition.log)
    }

    /// Keys that exist for a reader, after `after`, at most `limit`, in the order of storage: by length,
    /// then by bytes.
    pub fn keys(
        &self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Key>, StorageError> {
        self.with(p, |partition| partition.keys(s, after, limit, types::exists))
    }

    /// Computes fingerprint and counts anew from the rows, about `max_bytes` of them at a call; call by call
    /// it goes through the partition, and begins anew after its end.
    pub fn scrub(
        &mut self,
        s: &(impl Storage + ?Sized),
        p: PartitionId,
        max_bytes: usize,
    ) -> Result<Scrubbed, StorageError> {
        self.partitions.get_mut(p).map_or(Ok(Scrubbed::Sound), |partition| partition.scrub(s, max_bytes))
    }

    /// Looks at what another replica has seen. An own dot there that is not known here was issued in
    /// a life that this directory has lost: a new actor is taken before the next dot (rule `actor`).
    pub fn witness(&mut self, p: PartitionId, context: &Context) {
        let seen = context.max(self.actor);
        if seen > 0 {
            self.notice(p, self.actor, seen);
        }
    }

    fn notice(&mut self, p: PartitionId, actor: Actor, counter: u64) {
        if actor == self.actor && counter > self.own_counter(p) {
            self.take_actor();
        }
    }

    fn take_actor(&mut self) {
        let material = [self.seed.to_be_bytes(), self.actor.0.to_be_bytes()].concat();
        self.actor = Actor(first_u64(&blake3::hash(&material)));
        self.floors.clear();
    }

    fn next_dot(&mut self, p: PartitionId) -> Dot {
        if self.own_counter(p) >= COUNTER_MAX {
            self.take_actor();
        }
        Dot::new(self.actor, self.own_counter(p) + 1)
    }

    /// The last dot issued in a partition.
    fn own_counter(&self, p: PartitionId) -> u64 {
        self.context(p).max(self.actor).max(self.floor(p))
    }

    fn floor(&self, p: PartitionId) -> u64 {
        self.floors.get(&p).copied().unwrap_or(0)
    }

    /// A partition of which nothing is held is an empty one.
    fn with<T>(&self, p: PartitionId, ask: impl FnOnce(&Partition) -> T) -> T {
        match self.partitions.get(p) {
            Some(partition) => ask(partition),
            None => ask(&Partition::new(p)),
        }
    }

    fn partition_mut(&mut self, p: PartitionId) -> &mut Partition {
        self.partitions.get_or_new(p)
    }
}

impl Executed {
    fn reply(reply: Reply) -> Self {
        Self { reply, hidden: 0, event: None }
    }
}

/// The first partition from `from` on that has a row.
fn first_partition(
    s: &(impl Storage + ?Sized),
    from: PartitionId,
) -> Result<Option<PartitionId>, StorageError> {
    let mut found = None;
    let to = rows::whole(PartitionId::MAX).1;
    s.scan(&rows::row(from, Kind::Meta), &to, &mut |row, _| {
        found = row.first_chunk().map(|id| PartitionId::from_be_bytes(*id));
        ControlFlow::Break(())
    })?;
    Ok(found)
}
