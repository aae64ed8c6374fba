//! What was made for another life, or for a context that has been let go since, is not taken in (rule `session`).

use super::super::world::Node;
use starling_protocol::effect::Effect;
use starling_protocol::ids::PartitionId;
use starling_protocol::message::{Message, Repair};
use starling_protocol::store::Question;

/// The partition and the session that a message of repair was made for.
pub fn made_for(message: &Message) -> Option<(PartitionId, u64)> {
    match message {
        Message::Repair(Repair::Events { session, partition, .. }) => Some((*partition, *session)),
        Message::Repair(Repair::State { session, partition, .. }) => Some((*partition, *session)),
        _ => None,
    }
}

/// `effects` came of a message that was made for this.
pub fn check(node: &Node, made_for: (PartitionId, u64), effects: &[Effect]) -> Result<(), String> {
    let (partition, session) = made_for;
    let current = node.life.wrapping_add(node.let_go.get(&partition).copied().unwrap_or(0));
    let takes = |effect: &Effect| {
        matches!(effect, Effect::Store { question: Question::Apply { .. } | Question::Install { .. }, .. })
    };
    if session == current || !effects.iter().any(takes) {
        return Ok(());
    }
    Err(format!("takes in what was made for another context of partition {partition}"))
}
