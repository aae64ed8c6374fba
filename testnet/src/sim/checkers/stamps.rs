//! No stamp is further ahead of its issuer's clock than clocks are followed, whatever was seen: else those whose clocks
//! are right would not take it.

use starling_crdt::{FOLLOWED_MS, Stamp};
use starling_protocol::store::{Answer, Question};

pub fn check(question: &Question, told: &Answer) -> Result<(), String> {
    let (Question::Execute { wall_ms, .. }, Answer::Executed { event: Some(event), .. }) = (question, told)
    else {
        return Ok(());
    };
    // One more than what is followed, where the clock stands still.
    if event.stamp.0 <= Stamp::at(wall_ms + FOLLOWED_MS).0 + 1 {
        return Ok(());
    }
    Err(format!(
        "{:?} is stamped {} ms ahead of its issuer's clock",
        event.dot,
        event.stamp.wall_ms() - wall_ms
    ))
}
