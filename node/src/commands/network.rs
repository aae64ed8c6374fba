//! Commands that Redis does not have: about copies, peers and the network.

use super::call::{only, parsed};
use super::explain::explain;
use super::failure::{failure_frame, mismatch};
use super::session::{Quorum, Session};
use super::{Arguments, BASE, Group, Kind, ONE_KEY, Run, Spec, find, subcommand, unknown_subcommand, upper};
use crate::render::{StatusPage, WherePage, json, reply, with_id};
use crate::resp::frame::Frame;
use crate::transport::{parse_peer, peer_text};
use starling_crdt::{Command, Reply, Sibling};
use starling_protocol::ids::PeerId;
use starling_protocol::member::Step;
use starling_protocol::request::{MemberView, Request, Response, Status};
use std::collections::BTreeSet;

/// Most members that are named where a word fits several.
const NAMED_MAX: usize = 8;

const OURS: Spec = Spec { group: Group::Network, ..BASE };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "quorum",
        arity: -1,
        usage: "[R W | DEFAULT]",
        summary: "How many copies this connection reads (R), and syncs before a write is acknowledged (W)",
        caveat: "R+W > N reads what was acknowledged; less answers while more peers are away. In the console \
                 one command can have its own: get k --r 1, set k v --w 3",
        example: "quorum 1 3",
        run: Run::Here(quorum),
        ..OURS
    },
    Spec {
        name: "with",
        arity: -4,
        usage: "R W command [argument ...]",
        summary: "Run one command at its own R and W; - means this connection's",
        example: "with 1 - get greeting",
        run: Run::Ask(|session, args| Box::pin(with(session, args))),
        ..OURS
    },
    Spec {
        name: "siblings",
        kind: Kind::Read,
        arity: -2,
        keys: ONE_KEY,
        usage: "key [JSON]",
        summary: "All values of a string that were written concurrently, the one that GET shows first",
        caveat: "the next SET replaces all of them",
        example: "siblings greeting",
        run: Run::Ask(|session, args| Box::pin(siblings(session, args))),
        ..OURS
    },
    Spec {
        name: "where",
        kind: Kind::Read,
        arity: -2,
        keys: ONE_KEY,
        usage: "key [JSON]",
        summary: "Which peers hold a key, and which stand in should they not answer",
        example: "where greeting",
        run: Run::Ask(|session, args| Box::pin(whereabouts(session, args))),
        ..OURS
    },
    Spec {
        name: "explain",
        arity: -2,
        usage: "[JSON] command [argument ...]",
        summary: "Run a command and tell who was asked, who answered in how long, and what it means",
        caveat: "the command is really run",
        example: "explain get greeting",
        run: Run::Ask(|session, args| Box::pin(explain(session, args))),
        ..OURS
    },
    Spec {
        name: "status",
        kind: Kind::Admin,
        arity: -1,
        usage: "[JSON]",
        summary: "The members of the network and their state, as this peer sees them",
        example: "status",
        run: Run::Ask(|session, args| Box::pin(status(session, args))),
        ..OURS
    },
    Spec {
        name: "leave",
        kind: Kind::Admin,
        arity: 1,
        summary: "This peer hands its share over to the others and leaves the network",
        caveat: "STATUS shows how far it is; stop the process once it has left: started again, it comes back",
        example: "leave",
        run: Run::Ask(|session, _| Box::pin(admin(session, Request::Leave))),
        ..OURS
    },
    Spec {
        name: "forget",
        kind: Kind::Admin,
        arity: 2,
        usage: "peer",
        summary: "A dead peer will not come back: others take its share",
        caveat: "writes that only it held are lost; in a network that is cut in two, say it in the larger part",
        example: "forget p4",
        run: Run::Ask(|session, args| Box::pin(forget(session, args))),
        ..OURS
    },
    Spec {
        name: "fault",
        kind: Kind::Admin,
        arity: -2,
        usage: "BLOCK peer [peer ...] | CLEAR | SHOW",
        summary: "Cut this peer off from exactly these others, as a pulled cable would",
        caveat: "for testnets: only at peers started with --faults",
        example: "fault show",
        run: Run::Ask(|session, args| Box::pin(fault(session, args))),
        ..OURS
    },
];

fn quorum(session: &mut Session, args: Arguments) -> Frame {
    let genesis = &session.server.peer.facts().genesis;
    match args.as_slice() {
        [] => {
            let Quorum { r, w } = session.quorum;
            let entry = |name: &str, copies: u8| (Frame::bulk(name), Frame::Int(copies.into()));
            Frame::Map(vec![
                entry("n", genesis.n),
                entry("r", r.unwrap_or(genesis.r)),
                entry("w", w.unwrap_or(genesis.w)),
            ])
        }
        [word] if upper(word) == "DEFAULT" => {
            session.quorum = Quorum::default();
            Frame::ok()
        }
        [r, w] => match (copies("R", r, genesis.n), copies("W", w, genesis.n)) {
            (Ok(r), Ok(w)) => {
                session.quorum = Quorum { r: Some(r), w: Some(w) };
                Frame::ok()
            }
            (Err(line), _) | (_, Err(line)) => Frame::error(line),
        },
        _ => Frame::error("ERR QUORUM takes R and W; usage: QUORUM [R W | DEFAULT]"),
    }
}

fn copies(what: &str, word: &[u8], n: u8) -> Result<u8, String> {
    let copies = parsed::<u8>(what, word)?;
    if (1..=n).contains(&copies) { Ok(copies) } else { Err(format!("ERR {what} is from 1 to N, here {n}")) }
}

async fn with(session: &mut Session, mut args: Arguments) -> Frame {
    let n = session.server.peer.facts().genesis.n;
    let before = session.quorum;
    let own =
        |what, word: &[u8], before| if word == b"-" { Ok(before) } else { copies(what, word, n).map(Some) };
    let (r, w) = match (own("R", &args[0], before.r), own("W", &args[1], before.w)) {
        (Ok(r), Ok(w)) => (r, w),
        (Err(line), _) | (_, Err(line)) => return Frame::error(line),
    };
    let command = args.split_off(2);
    if !may_follow(&command[0]) {
        return Frame::error("ERR WITH takes a command on keys, SCAN or EXPLAIN");
    }
    session.quorum = Quorum { r, w };
    let frame = session.call(command).await;
    session.quorum = before;
    frame
}

/// What is about the connection itself would change it, and what was before is there again afterwards: RESET would
/// seem to have reset it. Nor is a transaction begun here.
pub fn may_follow(name: &[u8]) -> bool {
    find(name).is_some_and(|spec| spec.kind != Kind::Local || spec.name == "explain")
}

/// True if the word after the key asks for JSON; an error frame if it is another.
fn wants_json(of: &str, words: &[Vec<u8>]) -> Result<bool, Frame> {
    match words {
        [] => Ok(false),
        [word] if upper(word) == "JSON" => Ok(true),
        [word, ..] => Err(unknown_subcommand(of, &upper(word))),
    }
}

async fn siblings(session: &mut Session, mut args: Arguments) -> Frame {
    let as_json = match wants_json("siblings", &args[1..]) {
        Ok(as_json) => as_json,
        Err(frame) => return frame,
    };
    let key = std::mem::take(&mut args[0]);
    match session.ask(key.into(), Command::Siblings, false).await {
        Ok(outcome) => match only(vec![outcome.reply]) {
            Reply::Siblings(siblings) if as_json => Frame::bulk(json(&siblings_json(&siblings))),
            reply => super::session::frame_of(reply),
        },
        Err(failure) => failure_frame(&failure),
    }
}

fn siblings_json(siblings: &[Sibling]) -> serde_json::Value {
    let sibling = |sibling: &Sibling| {
        serde_json::json!({
            "value": reply::value(&Frame::bulk(sibling.value.to_vec())),
            "written_ms": sibling.stamp.wall_ms(),
            "dot": sibling.dot.to_string(),
        })
    };
    siblings.iter().map(sibling).collect()
}

async fn whereabouts(session: &mut Session, args: Arguments) -> Frame {
    let as_json = match wants_json("where", &args[1..]) {
        Ok(as_json) => as_json,
        Err(frame) => return frame,
    };
    match session.server.peer.request(Request::Where { key: args[0].clone().into() }).await {
        Response::Where(found) => {
            let page = WherePage::new(&args[0], &found);
            if as_json { Frame::bulk(json(&page)) } else { session.page(&page.text()) }
        }
        Response::Failed(failure) => failure_frame(&failure),
        _ => failure_frame(&mismatch()),
    }
}

async fn status(session: &mut Session, args: Arguments) -> Frame {
    let as_json = match wants_json("status", &args) {
        Ok(as_json) => as_json,
        Err(frame) => return frame,
    };
    match session.server.status().await {
        Ok(status) => {
            let mut page = admitted(session, &status);
            session.server.peer.paths().iter().for_each(|paths| page.add_paths(paths));
            if as_json { Frame::bulk(json(&page)) } else { session.page(&page.text()) }
        }
        Err(failure) => failure_frame(&failure),
    }
}

/// With what this peer knows of who is let in.
pub(super) fn admitted(session: &Session, status: &Status) -> StatusPage {
    let mut page = StatusPage::new(status);
    session.server.peer.admission().iter().for_each(|admission| page.add_admission(admission));
    page
}

async fn admin(session: &mut Session, request: Request) -> Frame {
    match session.server.peer.request(request).await {
        Response::Done => Frame::ok(),
        Response::Failed(failure) => failure_frame(&failure),
        _ => failure_frame(&mismatch()),
    }
}

async fn forget(session: &mut Session, args: Arguments) -> Frame {
    match session.server.status().await {
        Ok(status) => match resolve(&status, &args[0]) {
            Ok(peer) => admin(session, Request::Forget { peer }).await,
            Err(line) => Frame::error(line),
        },
        Err(failure) => failure_frame(&failure),
    }
}

/// The one member with that name, peer id, or unique beginning or end of a peer id.
pub(super) fn resolve(status: &Status, word: &[u8]) -> Result<PeerId, String> {
    let name = String::from_utf8_lossy(word);
    // As STATUS shortens peer ids; a name may begin so, too.
    let word = name.trim_start_matches(['…', '.']);
    let ids = || status.members.iter().map(|member| (member.id, peer_text(&member.id)));
    if let Some((id, _)) = ids().find(|(_, text)| *text == word) {
        return Ok(id);
    }
    let named = status.members.iter().filter(|member| member.name == name).map(|member| member.id);
    let like = ids().filter(|(_, text)| word.len() >= 4 && (text.starts_with(word) || text.ends_with(word)));
    let found: BTreeSet<PeerId> = named.chain(like.map(|(id, _)| id)).collect();
    match without_left(status, found).iter().collect::<Vec<_>>().as_slice() {
        [id] => Ok(**id),
        [] => Err(format!("ERR no member is called '{}'; STATUS lists them", super::shown(word.as_bytes()))),
        several => {
            let member = |id: &PeerId| status.members.iter().find(|member| member.id == *id);
            let text = |member: &MemberView| with_id(&member.name, &peer_text(&member.id));
            let several: Vec<_> =
                several.iter().filter_map(|id| member(id)).take(NAMED_MAX).map(text).collect();
            let (word, several) = (super::shown(word.as_bytes()), several.join(", "));
            Err(format!("ERR '{word}' fits several members: {several}; use the id"))
        }
    }
}

/// One who has left is meant only where nobody else can be.
fn without_left(status: &Status, found: BTreeSet<PeerId>) -> BTreeSet<PeerId> {
    let left =
        |id: &PeerId| status.members.iter().any(|member| member.id == *id && member.step == Step::Left);
    let here: BTreeSet<PeerId> = found.iter().copied().filter(|id| !left(id)).collect();
    if here.is_empty() { found } else { here }
}

async fn fault(session: &mut Session, args: Arguments) -> Frame {
    let Some(faults) = session.server.peer.faults().cloned() else {
        return Frame::error("ERR this peer was not started with --faults; FAULT is for testnets");
    };
    let (word, names) = subcommand(args);
    match (word.as_str(), names.as_slice()) {
        ("SHOW", []) => {
            Frame::Array(faults.blocked().iter().map(|peer| Frame::bulk(peer_text(peer))).collect())
        }
        ("CLEAR", []) => {
            faults.block(BTreeSet::new());
            Frame::ok()
        }
        ("BLOCK", [_, ..]) => match named_peers(session, &names).await {
            Ok(peers) => {
                faults.block(peers);
                Frame::ok()
            }
            Err(frame) => frame,
        },
        _ => unknown_subcommand("fault", &word),
    }
}

/// Peers by their ids, also those not known yet, or by the names of members.
async fn named_peers(session: &Session, names: &[Vec<u8>]) -> Result<BTreeSet<PeerId>, Frame> {
    let status = session.server.status().await.map_err(|failure| failure_frame(&failure))?;
    let peer = |name: &Vec<u8>| match std::str::from_utf8(name).ok().and_then(parse_peer) {
        Some(peer) => Ok(peer),
        None => resolve(&status, name),
    };
    names.iter().map(peer).collect::<Result<_, _>>().map_err(Frame::error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests as fixtures;
    use starling_protocol::member::Health;

    fn member(n: u64, name: &str, step: Step) -> MemberView {
        MemberView { name: name.into(), ..fixtures::member(n, Health::Alive, step) }
    }

    #[test]
    fn members_are_found_as_status_writes_them_and_those_who_have_left_come_last() {
        let members = vec![
            member(1, "a", Step::Member),
            member(2, "a", Step::Left),
            member(3, "b", Step::Left),
            member(4, ".a", Step::Member),
        ];
        let status = Status { members, ..fixtures::status() };
        let found = |word: &str| resolve(&status, word.as_bytes());
        let id = PeerId::numbered(1);
        let short = crate::render::short(&peer_text(&id));
        assert!(short.starts_with('…'));
        assert_eq!(found(&short), Ok(id));
        assert_eq!(found(&short.replace('…', "...")), Ok(id));
        assert_eq!(found("a"), Ok(id), "the other one has left");
        assert_eq!(found("b"), Ok(PeerId::numbered(3)), "nobody else is called so");
        assert_eq!(found(".a"), Ok(PeerId::numbered(4)), "a name may begin so");
        assert!(found("...").unwrap_err().contains("no member is called"));
        let members = vec![member(1, "a", Step::Member), member(2, "a", Step::Member)];
        let line = resolve(&Status { members, ..fixtures::status() }, b"a").unwrap_err();
        assert!(line.contains(&format!("a {short}, a …")), "{line}");
    }
}
