//! `EXPLAIN`: runs a command and tells how it went.

use super::failure::failure_line;
use super::session::{Session, frame_of};
use super::{Arguments, DataCall, Prepared, Spec, elements, prepare, upper};
use crate::render::explain::ExplainPage;
use crate::render::json;
use crate::resp::frame::Frame;
use serde_bytes::ByteBuf;
use starling_crdt::Command;
use starling_protocol::request::Trace;

/// Most keys of one command that are explained.
const KEYS_MAX: usize = 16;

pub async fn explain(session: &mut Session, mut args: Arguments) -> Frame {
    let as_json = args.len() > 1 && upper(&args[0]) == "JSON";
    if as_json {
        args.remove(0);
    }
    let name = upper(&args[0]);
    let (spec, plan) = match session.admit(prepare(args)) {
        Prepared::Data(DataCall { spec, plan, .. }) if plan.len() <= KEYS_MAX => (spec, plan),
        Prepared::Data(_) => return Frame::error(format!("ERR EXPLAIN takes at most {KEYS_MAX} keys")),
        Prepared::Refused(frame) => return frame,
        Prepared::Other(spec, args) => match elements::plan(session, spec.name, args) {
            Some(Ok(plan)) => (spec, plan),
            Some(Err(line)) => return Frame::error(line),
            None => {
                return Frame::error(format!(
                    "ERR EXPLAIN cannot take {name}; it takes commands such as GET key"
                ));
            }
        },
    };
    let mut pages = Vec::new();
    for (key, command) in plan {
        pages.push(explain_one(session, spec, key, command).await);
    }
    match pages.as_slice() {
        [page] if as_json => Frame::bulk(json(page)),
        pages if as_json => Frame::bulk(json(&pages)),
        pages => session.page(&pages.iter().map(ExplainPage::text).collect::<Vec<_>>().join("\n\n")),
    }
}

async fn explain_one(session: &Session, spec: &Spec, key: ByteBuf, command: Command) -> ExplainPage {
    let n = session.server.peer.facts().genesis.n;
    let page = |trace: Option<&Trace>| ExplainPage::new(spec.name, &key, trace, n);
    match session.ask(key.clone(), command, true).await {
        Ok(outcome) => page(outcome.trace.as_deref()).with_reply(&frame_of(outcome.reply), outcome.hidden),
        Err(failure) => page(failure.trace.as_deref()).with_error(failure_line(&failure)),
    }
}
