//! A read that owners alone have answered sees every write that owners alone had acknowledged before it
//! began, and nothing that such a write had removed: R+W>N (Lamport's regular register). Stand-ins promise no such
//! thing, nor do W copies of which one has been lost since.

use super::super::clients::{Op, Outcome};
use super::super::ledger::{Ledger, label};
use super::contents::written;
use starling_crdt::{Dot, Field, Reply};
use starling_protocol::ids::PeerId;
use starling_protocol::request::{AnswerKind, Asked, Role, Trace};
use starling_protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// True where every copy that counted was an owner's, and there were as many as asked for. `knows`: whether a peer
/// knows what it is; one whose disk was put back may take itself for the owner that it was.
pub fn by_owners(trace: &Trace, knows: impl Fn(PeerId) -> bool) -> bool {
    let counted = |answer| matches!(answer, AnswerKind::Ok | AnswerKind::Differs);
    let copies: Vec<_> = trace.asked.iter().filter(|asked| counted(asked.answer)).collect();
    let need = usize::from(if trace.write { trace.w } else { trace.r });
    let is_owner = |asked: &&Asked| asked.role == Role::Owner && knows(asked.peer.id);
    copies.len() >= need.min(trace.n.into()) && copies.iter().all(is_owner)
}

/// What `read` was told, against all that was written before it began, but nothing that began before `from`: of
/// that a copy may have gone with its disk, after it was synced and before it was acknowledged.
pub fn check(ops: &[Op], ledger: &Ledger, read: &Op, from: Time) -> Result<(), String> {
    let Outcome::Ok(reply) = &read.outcome else { return Ok(()) };
    let Some(found) = names(reply) else { return Ok(()) };
    let mut removed = BTreeSet::new();
    for op in ops.iter().filter(|op| is_before(op, read, from)) {
        removed.extend(only_event(ledger, op));
        for (name, field) in written(&op.command) {
            if found.contains(name) {
                continue;
            }
            let label = label(op.key.as_bytes(), &op.command);
            let mut events = ledger.of(&label).peekable();
            let kept = |name| !ledger.droppers(name, op.key.as_bytes(), &field).any(|by| by.synced != 0);
            if events.peek().is_some() && events.all(|(name, issued)| issued.synced != 0 && kept(name)) {
                let (began, read) = (read.began, &read.command);
                return Err(format!(
                    "{label}: acknowledged by owners, and not seen by a {read:?} at {began:?}"
                ));
            }
        }
    }
    stays_removed(ops, ledger, read, &found, &removed)
}

/// Owners alone had acknowledged it before the read began.
fn is_before(op: &Op, read: &Op, from: Time) -> bool {
    let over = op.answered.is_some_and(|at| at < read.began);
    op.key == read.key && op.by_owners && from < op.began && over && matches!(op.outcome, Outcome::Ok(_))
}

/// The event that was acknowledged, where it can be told from those of others in the same words. A removal that found
/// nothing may have made none.
fn only_event(ledger: &Ledger, op: &Op) -> Option<Dot> {
    let label = label(op.key.as_bytes(), &op.command);
    let meanwhile = |at: Time| op.began <= at && op.answered.is_some_and(|end| at <= end);
    let mut events = ledger.of(&label).filter(|(_, issued)| meanwhile(issued.at)).map(|((_, dot), _)| dot);
    let event = events.next().filter(|_| op.outcome != Outcome::Ok(Reply::Int(0)))?;
    events.next().is_none().then_some(event)
}

/// What is found must have been put there by an event that none of these, acknowledged before the read began, has
/// dropped: it may have been added again, even by one that had not seen the removal.
fn stays_removed(
    ops: &[Op],
    ledger: &Ledger,
    read: &Op,
    found: &BTreeSet<&[u8]>,
    removed: &BTreeSet<Dot>,
) -> Result<(), String> {
    let mut gone: BTreeMap<&[u8], bool> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.key == read.key && op.outcome != Outcome::Refused) {
        for (name, field) in written(&op.command).into_iter().filter(|(name, _)| found.contains(name)) {
            let gone = gone.entry(name).or_insert(true);
            *gone = *gone && is_dropped_by(removed, ledger, op, &field);
        }
    }
    let Some((name, _)) = gone.into_iter().find(|(_, gone)| *gone) else { return Ok(()) };
    Err(format!(
        "{}: {} was removed, acknowledged by owners, and is seen by a {:?} at {:?}",
        read.key,
        String::from_utf8_lossy(name),
        read.command,
        read.began
    ))
}

/// Whether this has events, and each was dropped by one of those.
fn is_dropped_by(removed: &BTreeSet<Dot>, ledger: &Ledger, op: &Op, field: &Field) -> bool {
    let key = op.key.as_bytes();
    let label = label(key, &op.command);
    let mut events = ledger.of(&label).peekable();
    let is_dropped = |name| ledger.droppers(name, key, field).any(|by| removed.contains(&by.event.dot));
    !removed.is_empty() && events.peek().is_some() && events.all(|(name, _)| is_dropped(name))
}

fn names(reply: &Reply) -> Option<BTreeSet<&[u8]>> {
    match reply {
        Reply::Nil => Some(BTreeSet::new()),
        Reply::Set(names) => Some(names.iter().map(|name| &name[..]).collect()),
        Reply::Siblings(all) => Some(all.iter().map(|sibling| &sibling.value[..]).collect()),
        Reply::Array(all) => all
            .iter()
            .map(|one| match one {
                Reply::Bytes(name) => Some(&name[..]),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ledger::example::{issue, one};
    use starling_crdt::Command;

    fn asked(command: &Command, reply: Reply, (began, answered): (u64, u64)) -> Op {
        let op = Op::done("s0".into(), command.clone(), Outcome::Ok(reply));
        let mut op = op.between(Time(began), Time(answered));
        op.by_owners = true;
        op
    }

    /// What is said of an element that was added, removed, and is seen by a read that begins at 50.
    fn seen(removed: Op, added_again: Option<&[u64]>) -> Result<(), String> {
        let (mut ledger, [add, remove]) = (Ledger::default(), one());
        issue(&mut ledger, (1, Time(10)), &add, &[], 2);
        issue(&mut ledger, (2, Time(30)), &remove, &[1], 2);
        if let Some(seen) = added_again {
            issue(&mut ledger, (3, Time(40)), &add, seen, 2);
        }
        let ops = [asked(&add, Reply::Int(1), (5, 15)), removed];
        let found = Reply::Set(vec![serde_bytes::ByteBuf::from("1")]);
        check(&ops, &ledger, &asked(&Command::SMembers, found, (50, 60)), Time(0))
    }

    #[test]
    fn what_owners_had_removed_before_a_read_began_is_not_in_its_answer() {
        let [_, remove] = one();
        let removal = |reply, span| asked(&remove, Reply::Int(reply), span);
        assert!(seen(removal(1, (25, 45)), None).is_err());
        assert!(seen(removal(1, (25, 45)), Some(&[])).is_ok(), "it was added again");
        assert!(seen(removal(1, (25, 55)), None).is_ok(), "it was not acknowledged yet");
        assert!(seen(removal(0, (25, 45)), None).is_ok(), "it found nothing: the event is another's");
        assert!(seen(removal(1, (35, 45)), None).is_ok(), "the event is another's");
        let mut by_stand_ins = removal(1, (25, 45));
        by_stand_ins.by_owners = false;
        assert!(seen(by_stand_ins, None).is_ok());
    }
}
