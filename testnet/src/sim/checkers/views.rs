//! Who knows fewer steps is refused, and who is not filled answers no reads (rule `settling`).

use starling_protocol::effect::Effect;
use starling_protocol::member::{Step, View};
use starling_protocol::message::{Call, Message};
use starling_protocol::store::Question;

/// `message` came to one that knew `known` and had come as far as the first of `steps`; `effects` came of it, and maybe the
/// step to the second, before it answered.
pub fn check(known: View, steps: [Step; 2], message: &Asked, effects: &[Effect]) -> Result<(), String> {
    let asks = |is: fn(&Question) -> bool| {
        effects.iter().any(|effect| matches!(effect, Effect::Store { question, .. } if is(question)))
    };
    let is_filled = steps.iter().any(|step| matches!(step, Step::Arriving | Step::Member | Step::Leaving));
    match message {
        Asked::Apply(view) if view.is_behind(&known) && asks(|q| matches!(q, Question::Apply { .. })) => {
            Err("takes a write of one that knows fewer steps".into())
        }
        Asked::Read(view) if view.is_behind(&known) && asks(|q| matches!(q, Question::Read { .. })) => {
            Err("answers a read of one that knows fewer steps".into())
        }
        Asked::Read(_) if !is_filled && asks(|q| matches!(q, Question::Read { .. })) => {
            Err(format!("is {:?}, not filled, and answers a read", steps[1]))
        }
        _ => Ok(()),
    }
}

/// What a coordinator asked, and what it knew.
#[derive(Clone, Copy)]
pub enum Asked {
    Apply(View),
    Read(View),
    Other,
}

impl From<&Message> for Asked {
    fn from(message: &Message) -> Self {
        match message {
            Message::Call(Call::Apply { view, .. }) => Asked::Apply(*view),
            Message::Call(Call::Read { view, .. }) => Asked::Read(*view),
            _ => Asked::Other,
        }
    }
}
