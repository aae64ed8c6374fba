//! A read that owners alone have answered sees every write that owners alone had acknowledged before it
//! began: R+W>N (Lamport's regular register). Stand-ins promise no such thing, nor do W copies of which one
//! has been lost since.

use super::super::clients::{Op, Outcome};
use super::super::ledger::{Ledger, label};
use super::contents::written;
use starling_crdt::Reply;
use starling_protocol::ids::PeerId;
use starling_protocol::request::{AnswerKind, Asked, Role, Trace};
use starling_protocol::time::Time;
use std::collections::BTreeSet;

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
    let before = |op: &&Op| {
        op.key == read.key && op.by_owners && from < op.began && op.answered.is_some_and(|at| at < read.began)
    };
    for op in ops.iter().filter(before).filter(|op| matches!(op.outcome, Outcome::Ok(_))) {
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
    Ok(())
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
