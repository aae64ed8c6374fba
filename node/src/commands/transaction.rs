//! Transactions are refused, and with MULTI all up to its end: clients send both at once, before they can know, and
//! count on all of it or nothing.

use super::session::Session;
use super::{refused, shown};
use crate::resp::frame::Frame;

/// The answer to a command of a transaction, which is not run. `None`: it belongs to none, or ends the connection or
/// what it remembers.
pub fn refused(session: &mut Session, words: &[Vec<u8>]) -> Option<Frame> {
    let name = words.first()?;
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if !session.in_refused {
        // One with arguments begins none with Redis, either.
        session.in_refused = session.is_in() && is("multi") && words.len() == 1;
        return None;
    }
    if is("quit") || is("reset") {
        return None;
    }
    session.in_refused = !is("exec") && !is("discard");
    if is("discard") {
        return Some(Frame::ok());
    }
    Some(Frame::error(if is("exec") {
        // As with Redis where a command was wrong; clients then show the error of that one, here MULTI's.
        format!("EXECABORT nothing was done: {}", refused::unknown(b"multi"))
    } else {
        let name = shown(name).to_ascii_uppercase();
        refused::line(&name, "is not done within a refused MULTI", "EXEC or DISCARD ends that")
    }))
}
