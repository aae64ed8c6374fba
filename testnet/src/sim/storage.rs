//! What becomes of questions to storage: changed at once, durable with the next sync, told after it.

use super::checkers::{handoff, replica, stamps};
use super::plan::Fault;
use super::world::{Event, World};
use serde_bytes::ByteBuf;
use starling_crdt::mutated;
use starling_crdt::{Command, Context, Scrubbed, Storage};
use starling_protocol::ids::{PartitionId, StoreId};
use starling_protocol::input::Input;
use starling_protocol::store::{Answer, Question, answer};
use starling_protocol::time::Duration;
use std::collections::BTreeSet;

/// How long questions are gathered before a sync begins.
const GATHER: Duration = Duration::from_micros(50);
/// One question in so many is put off, and those after it with it; for how long, in microseconds.
const PUT_OFF: u64 = 8;
const PUT_OFF_US: (u64, u64) = (0, 2_000);
/// A key with fewer events is compared with the model after every step.
const OFTEN_BELOW: u64 = 60;
/// Of a slow disk, in milliseconds.
const SLOW_MS: (u64, u64) = (50, 1_000);

impl World {
    /// At once, or after more has come in, as by a peer that takes what is at hand first; in order in any case.
    pub fn questioned(&mut self, index: usize, id: StoreId, question: Question) {
        if self.nodes[index].questions.is_empty() && !self.disks.one_in(PUT_OFF) {
            return self.store(index, id, question);
        }
        let node = &mut self.nodes[index];
        node.questions.push((id, question));
        if node.questions.len() == 1 {
            let boot = node.boot;
            let after = Duration::from_micros(self.disks.between(PUT_OFF_US));
            self.schedule(after, Event::Ask { to: index, boot });
        }
    }

    pub fn ask_storage(&mut self, index: usize) {
        for (id, question) in std::mem::take(&mut self.nodes[index].questions) {
            self.store(index, id, question);
        }
    }

    fn store(&mut self, index: usize, id: StoreId, question: Question) {
        if let Question::Scrub { partition, max_bytes, elsewhere } = question {
            return self.scrub(index, id, partition, max_bytes, elsewhere);
        }
        let (changed, command, touched) = (changes(&question), command(&question), touched(&question));
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_mut() else { return };
        let seen = changed.filter(|_| command.is_some()).map(|p| replica.context(p).clone());
        let leaving = match &question {
            Question::LetGo { partition, .. } => Some((*partition, replica.context(*partition).clone())),
            _ => None,
        };
        let told = answer(replica, &mut node.disk, self.now, &question).expect("memory does not fail");
        node.dirty.extend(changed);
        self.check(stamps::check(&question, &told));
        let told = if matches!(told, Answer::Executed { .. }) {
            self.executed(changed, command, seen, &told);
            self.schedule_input(index, Duration::ZERO, Input::Stored { answers: vec![(id, told)] });
            Answer::Synced
        } else {
            told
        };
        if let (Some((partition, gone)), Answer::LetGo { done: true }) = (leaving, &told) {
            self.nodes[index].kept_damaged.take_if(|kept| *kept == partition);
            let outcome = handoff::check(self, index, partition, &gone);
            self.check(outcome);
            *self.nodes[index].let_go.entry(partition).or_default() += 1;
            self.nodes[index].released.entry(partition).or_default().union(&gone);
        }
        if let Some(partition) = changed {
            self.compare_with_model(index, partition, touched);
        }
        let unsynced = changed.is_some() && mutated!(AckUnsynced);
        if unsynced || matches!(told, Answer::Contexts { .. }) && mutated!(ReportUnsynced) {
            return self.schedule_input(index, Duration::ZERO, Input::Stored { answers: vec![(id, told)] });
        }
        self.tell_synced(index, id, told);
    }

    fn tell_synced(&mut self, index: usize, id: StoreId, told: Answer) {
        let node = &mut self.nodes[index];
        node.waiting.push((id, told));
        if node.waiting.len() == 1 && !node.is_syncing {
            let boot = node.boot;
            self.schedule(GATHER, Event::SyncBegins { to: index, boot });
        }
    }

    /// What is damaged is found, and nothing else is.
    fn scrub(
        &mut self,
        index: usize,
        id: StoreId,
        partition: PartitionId,
        max_bytes: usize,
        elsewhere: Option<Context>,
    ) {
        let node = &self.nodes[index];
        // What was told before must have been synced.
        let elsewhere = elsewhere.filter(|_| !node.is_syncing && node.waiting.is_empty());
        let before = elsewhere.is_some().then(|| self.rot(index, partition)).flatten();
        // All at once, so that nothing damaged is read before.
        let max_bytes = if before.is_some() { usize::MAX } else { max_bytes };
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_mut() else { return };
        let is_damaged = before.is_some() || node.kept_damaged == Some(partition);
        let goes = is_damaged
            && elsewhere.as_ref().is_some_and(|held| held.contains_all(replica.context(partition)));
        let question = Question::Scrub { partition, max_bytes, elsewhere };
        let told = answer(replica, &mut node.disk, self.now, &question).expect("memory does not fail");
        let is_right = match told {
            Answer::GivenUp => goes,
            Answer::Scrubbed(found) => !goes && is_damaged == (found == Scrubbed::Damaged),
            _ => false,
        };
        if told == Answer::GivenUp {
            (node.kept_damaged, self.disk_lost) = (None, self.now);
            *node.let_go.entry(partition).or_default() += 1;
            node.dirty.insert(partition);
            self.compare_with_model(index, partition, Touched::All);
        } else if let Some((row, value)) = before {
            // Nobody but the scrub sees it, so that whatever else is read is right.
            node.disk.put(&row, &value);
            node.kept_damaged = Some(partition);
        }
        if !is_right {
            self.check(Err(format!(
                "partition {partition}: damaged {is_damaged}, to go {goes}, told {told:?}"
            )));
        }
        self.tell_synced(index, id, told);
    }

    /// Damages what is to be looked at, if that is due, and tells the row that was damaged. As with any disk that is lost,
    /// all that is on it must be elsewhere.
    fn rot(&mut self, index: usize, partition: PartitionId) -> Option<(Vec<u8>, Vec<u8>)> {
        if !self.nodes[index].rots || !self.can_lose(index) || !self.is_whole(index) {
            return None;
        }
        let node = &mut self.nodes[index];
        let replica = node.replica.as_mut()?;
        // What the scrub has passed already would be seen in the next round only.
        let found = replica.scrub(&node.disk, partition, usize::MAX).expect("memory does not fail");
        let before = node.disk.flip(partition, &mut self.disks);
        if found == Scrubbed::Damaged {
            self.check(Err(format!("partition {partition} is damaged, and nothing has damaged it")));
        }
        before.as_ref()?;
        self.tell(Some(index), || format!("a bit of partition {partition} is not what was written"));
        (self.nodes[index].rots, self.disk_lost) = (false, self.now);
        self.befell(Fault::BitRot);
        before
    }

    fn executed(
        &mut self,
        partition: Option<PartitionId>,
        command: Option<(ByteBuf, Command)>,
        seen: Option<Context>,
        told: &Answer,
    ) {
        if let (Answer::Executed { event: Some(event), .. }, Some(p), Some((key, command))) =
            (told, partition, command)
        {
            let entered = self.ledger.issue(p, (&key, &command), event, seen.unwrap_or_default(), self.now);
            self.mix(event.dot.actor.0 ^ event.dot.counter);
            self.check(entered);
        }
    }

    fn compare_with_model(&mut self, index: usize, partition: PartitionId, touched: Touched) {
        let mut keys = match touched {
            Touched::Keys(keys) => keys,
            Touched::All => self.ledger.model.keys(partition),
        };
        // The more was written to a key, the rarer it is looked at: a look goes over all of it.
        keys.retain(|key| {
            let events = self.ledger.model.of(partition, key).len() as u64;
            self.checks.one_in(events / OFTEN_BELOW + 1)
        });
        let node = &self.nodes[index];
        let Some(replica) = &node.replica else { return };
        let right = |key: &Vec<u8>| replica::check(&self.ledger, replica, &node.disk, partition, key);
        let wrong = keys.iter().find_map(|key| Some((key, right(key).err()?)));
        if let Some((key, _)) = &wrong {
            let (seen, cells) =
                (replica.context(partition), replica.snapshot(&node.disk, partition, usize::MAX));
            self.tell(Some(index), || format!("has seen {seen:?}, and holds {cells:?}"));
            for event in self.ledger.model.of(partition, key) {
                self.tell(None, || format!("{event:?}"));
            }
        }
        let outcome = wrong.map_or(Ok(()), |(_, why)| Err(format!("{}: {why}", node.name)));
        self.check(outcome);
    }

    pub fn sync_begins(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_ref().filter(|_| !node.is_syncing) else { return };
        let dirty = std::mem::take(&mut node.dirty);
        node.syncing = dirty.into_iter().map(|p| (p, replica.context(p).clone())).collect();
        node.answers = std::mem::take(&mut node.waiting);
        node.is_syncing = true;
        node.releasing = std::mem::take(&mut node.released);
        node.disk.begin_sync();
        let (boot, slow) = (node.boot, node.slow_until > now);
        let took = Duration::from_micros(self.disks.between(self.plan.sync_us));
        let took = if slow { self.disks.span_ms(SLOW_MS) } else { took };
        self.schedule(took, Event::SyncEnds { to: index, boot });
    }

    pub fn sync_ends(&mut self, index: usize) {
        if std::mem::take(&mut self.nodes[index].disk_fails) {
            self.tell(Some(index), || "cannot sync, and stops".into());
            self.befell(Fault::DiskFails);
            self.stop(index, false);
            return self.start_later(index);
        }
        self.nodes[index].disk.end_sync();
        self.nodes[index].is_syncing = false;
        self.made_durable(index);
        let node = &mut self.nodes[index];
        let (answers, boot) = (std::mem::take(&mut node.answers), node.boot);
        if !node.waiting.is_empty() {
            self.schedule(GATHER, Event::SyncBegins { to: index, boot });
        }
        // One by one as well: then what is checked around an input sees each answer by itself.
        if self.disks.one_in(2) {
            self.input(index, Input::Stored { answers });
        } else {
            for answer in answers {
                self.input(index, Input::Stored { answers: vec![answer] });
            }
        }
        self.nodes[index].releasing.clear();
    }

    /// What was being synced is now on the disk for good.
    pub fn made_durable(&mut self, index: usize) {
        for (partition, context) in std::mem::take(&mut self.nodes[index].syncing) {
            let before = self.nodes[index].durable.insert(partition, context.clone()).unwrap_or_default();
            let entered = self.ledger.synced(partition, &context.difference(&before), index);
            self.check(entered);
        }
    }
}

fn changes(question: &Question) -> Option<PartitionId> {
    match question {
        Question::Execute { partition, .. } | Question::Apply { partition, .. } => Some(*partition),
        Question::Install { partition, .. } | Question::LetGo { partition, .. } => Some(*partition),
        _ => None,
    }
}

fn command(question: &Question) -> Option<(ByteBuf, Command)> {
    match question {
        Question::Execute { key, command, .. } => Some((key.clone(), command.clone())),
        _ => None,
    }
}

/// The keys of its partition that a question may change.
enum Touched {
    Keys(BTreeSet<Vec<u8>>),
    All,
}

fn touched(question: &Question) -> Touched {
    match question {
        Question::Execute { key, .. } => Touched::Keys([key.to_vec()].into()),
        Question::Apply { events, .. } => {
            let puts = events.iter().flat_map(|event| &event.puts).map(|(cell, _)| cell.key.to_vec());
            let drops = events.iter().flat_map(|event| &event.drops).map(|(to, _)| to.key().to_vec());
            Touched::Keys(puts.chain(drops).collect())
        }
        _ => Touched::All,
    }
}
