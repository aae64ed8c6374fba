//! Failures of operations, as one line for clients.

use crate::resp::frame::Frame;
use starling_protocol::request::{Failure, FailureKind};

/// `QUORUM why; state; hint`. The first word is for programs, the rest for people.
pub fn failure_line(failure: &Failure) -> String {
    let mut said = vec![failure.why.as_str(), &failure.state, &failure.hint];
    said.retain(|part| !part.is_empty());
    format!("{} {}", code(failure.kind), said.join("; "))
}

pub fn failure_frame(failure: &Failure) -> Frame {
    Frame::error(failure_line(failure))
}

fn code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Quorum => "QUORUM",
        FailureKind::Timeout => "TIMEOUT",
        FailureKind::Busy => "BUSY",
        FailureKind::NotReady => "NOTREADY",
        FailureKind::Invalid => "ERR",
    }
}

/// The peer gave an answer of another kind than was asked for.
pub fn mismatch() -> Failure {
    Failure {
        kind: FailureKind::Timeout,
        why: "the peer answered something else than it was asked".into(),
        state: "the outcome is unknown".into(),
        hint: "this is a bug of Starling; please report it".into(),
        trace: None,
    }
}
