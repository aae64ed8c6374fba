//! Commands about the connection itself.

use super::session::{ClientFacts, Quorum, Session};
use super::{
    Arguments, BASE, Group, Run, Spec, help, refused, shown, subcommand, text, unknown_subcommand, upper,
};
use crate::resp::frame::{Frame, Version};
use starling_protocol::admission::token::Token;
use std::collections::BTreeSet;
use std::sync::PoisonError;

const LOCAL: Spec = Spec { group: Group::Connection, ..BASE };
/// Longest name that a client may give itself or its library.
const NAME_MAX: usize = 128;
/// The version of Redis whose replies ours follow; some clients choose their words by it.
pub const REDIS_VERSION: &str = "7.2.0";

pub const SPECS: &[Spec] = &[
    Spec {
        name: "ping",
        arity: -1,
        usage: "[message]",
        summary: "Answer PONG, or the message",
        example: "ping",
        run: Run::Here(ping),
        ..LOCAL
    },
    Spec {
        name: "echo",
        arity: 2,
        usage: "message",
        summary: "Answer the message",
        example: "echo hello",
        run: Run::Here(|_, mut args| args.pop().map_or(Frame::Null, Frame::Bulk)),
        ..LOCAL
    },
    Spec {
        name: "hello",
        arity: -1,
        usage: "[2|3 [AUTH default|token password] [SETNAME name]]",
        summary: "Choose RESP2 or RESP3, and tell about the peer",
        example: "hello 3",
        run: Run::Here(hello),
        ..LOCAL
    },
    Spec {
        name: "auth",
        arity: -2,
        usage: "[username] password",
        summary: "Say the password, if the peer was started with one, or show a token in its place",
        caveat: "the user is default, or token for a token",
        example: "auth secret",
        run: Run::Here(auth),
        ..LOCAL
    },
    Spec {
        name: "select",
        arity: 2,
        usage: "0",
        summary: "Accept database 0, the only one",
        caveat: "for more name spaces give keys a prefix",
        example: "select 0",
        run: Run::Here(select),
        ..LOCAL
    },
    Spec {
        name: "client",
        arity: -2,
        usage: "ID | INFO | LIST [TYPE type | ID id ...] | GETNAME | SETNAME name | SETINFO LIB-NAME|LIB-VER value | NO-EVICT ON|OFF | \
                NO-TOUCH ON|OFF | NOTES ON|OFF | TRACKING OFF | REPLY ON | HELP",
        summary: "About this connection and the others",
        caveat: "NOTES ON (ours, RESP3): replies that do not show concurrent values carry the attribute 'hidden'",
        example: "client list",
        run: Run::Here(client),
        ..LOCAL
    },
    Spec {
        name: "acl",
        arity: -2,
        usage: "WHOAMI | HELP",
        summary: "Whom this connection has logged in as: default, or token",
        caveat: "there are no other users; TOKEN opens some keys to a client",
        example: "acl whoami",
        run: Run::Here(acl),
        ..LOCAL
    },
    Spec {
        name: "unwatch",
        arity: 1,
        summary: "Answer OK: nothing is watched, since WATCH is refused",
        example: "unwatch",
        run: Run::Here(|_, _| Frame::ok()),
        ..LOCAL
    },
    Spec {
        name: "reset",
        arity: 1,
        summary: "Put the connection back as it was when it was new",
        example: "reset",
        run: Run::Here(reset),
        ..LOCAL
    },
    Spec {
        name: "quit",
        arity: -1,
        summary: "Answer OK and close the connection",
        example: "quit",
        run: Run::Here(quit),
        ..LOCAL
    },
    Spec {
        name: "readonly",
        arity: 1,
        summary: "Refused: for Redis Cluster",
        example: "readonly",
        run: Run::Here(|_, _| no_cluster()),
        ..LOCAL
    },
    Spec {
        name: "readwrite",
        arity: 1,
        summary: "Refused: for Redis Cluster",
        example: "readwrite",
        run: Run::Here(|_, _| no_cluster()),
        ..LOCAL
    },
];

/// In the words of Redis: clients look for them to learn that any one address will do.
pub fn no_cluster() -> Frame {
    Frame::error("ERR This instance has cluster support disabled")
}

fn auth(session: &mut Session, args: Arguments) -> Frame {
    let (user, password): (&[u8], &[u8]) = match args.as_slice() {
        // Redis, too, lets in who names the user, and refuses who may think that a password is asked for.
        [password] if session.server.peer.password().is_none() && !Token::is_like(password) => {
            return Frame::error("ERR this peer has no password; connect without one");
        }
        [password] => (b"default", password),
        [user, password] => (user, password),
        _ => return Frame::error("ERR syntax error; usage: AUTH [username] password"),
    };
    session.authenticate(user, password).map_or_else(Frame::error, |()| Frame::ok())
}

fn acl(session: &mut Session, args: Arguments) -> Frame {
    let (word, _) = subcommand(args);
    match word.as_str() {
        "WHOAMI" => Frame::bulk(session.user()),
        "HELP" => help::lines("acl"),
        _ => Frame::error(refused::line(
            &format!("ACL {}", shown(word.as_bytes())),
            "there are no users to be listed or changed",
            "TOKEN CREATE opens some keys to a client, for a time",
        )),
    }
}

fn ping(_: &mut Session, mut args: Arguments) -> Frame {
    match args.len() {
        0 => Frame::Simple("PONG".into()),
        1 => Frame::Bulk(args.remove(0)),
        _ => Frame::error("ERR wrong number of arguments for 'ping' command; usage: PING [message]"),
    }
}

fn quit(session: &mut Session, _: Arguments) -> Frame {
    session.closing = true;
    Frame::ok()
}

fn reset(session: &mut Session, _: Arguments) -> Frame {
    set_version(session, Version::Resp2);
    session.quorum = Quorum::default();
    session.notes = false;
    session.in_refused = false;
    session.forget_login();
    session.describe(|facts| facts.name.clear());
    Frame::Simple("RESET".into())
}

fn set_version(session: &mut Session, version: Version) {
    session.version = version;
    session.describe(|facts| facts.version = version);
}

fn select(_: &mut Session, args: Arguments) -> Frame {
    match args[0].as_slice() {
        b"0" => Frame::ok(),
        other => Frame::error(refused::line(
            &format!("SELECT {}", shown(other)),
            "there is one key space",
            "give keys a prefix, such as app1:key",
        )),
    }
}

fn hello(session: &mut Session, args: Arguments) -> Frame {
    let version = match args.first().map(Vec::as_slice) {
        None => session.version,
        Some(b"2") => Version::Resp2,
        Some(b"3") => Version::Resp3,
        Some(_) => return Frame::error("NOPROTO unsupported protocol version"),
    };
    let mut options = args.get(1..).unwrap_or_default();
    let mut name = None;
    while let Some((option, rest)) = options.split_first() {
        match (upper(option).as_str(), rest) {
            ("SETNAME", [wanted, rest @ ..]) => {
                if let Err(line) = check_name(wanted) {
                    return Frame::error(line);
                }
                name = Some(wanted);
                options = rest;
            }
            ("AUTH", [user, password, rest @ ..]) => {
                if let Err(line) = session.authenticate(user, password) {
                    return Frame::error(line);
                }
                options = rest;
            }
            _ => return Frame::error(format!("ERR syntax error in HELLO option '{}'", shown(option))),
        }
    }
    if !session.is_in() {
        return Frame::error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
             AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
             version at the same time",
        );
    }
    set_version(session, version);
    if let Some(name) = name {
        session.describe(|facts| facts.name = text(name));
    }
    about(session)
}

fn about(session: &Session) -> Frame {
    let version = if session.version == Version::Resp3 { 3 } else { 2 };
    let entry = |name: &str, value| (Frame::bulk(name), value);
    Frame::Map(vec![
        entry("server", Frame::bulk("redis")),
        entry("version", Frame::bulk(REDIS_VERSION)),
        entry("proto", Frame::Int(version)),
        entry("id", id(session)),
        entry("mode", Frame::bulk("standalone")),
        entry("role", Frame::bulk("master")),
        entry("modules", Frame::Array(Vec::new())),
    ])
}

fn id(session: &Session) -> Frame {
    Frame::Int(i64::try_from(session.id).unwrap_or(i64::MAX))
}

fn client(session: &mut Session, args: Arguments) -> Frame {
    let (word, args) = subcommand(args);
    let on = args.first().map(|word| upper(word));
    match (word.as_str(), args.as_slice(), on.as_deref()) {
        ("ID", [], _) => id(session),
        ("INFO", [], _) => Frame::Verbatim(clients(session, |id| id == session.id)),
        ("LIST", filter, _) => match listed(filter) {
            Ok(listed) => Frame::Verbatim(clients(session, |id| {
                listed.as_ref().is_none_or(|ids| ids.contains(&id))
                    && (id == session.id || !session.is_scoped())
            })),
            Err(line) => Frame::error(line),
        },
        ("GETNAME", [], _) => match session.server.clients().get(&session.id) {
            Some(facts) if !facts.name.is_empty() => Frame::bulk(&*facts.name),
            _ => Frame::Null,
        },
        ("SETNAME", [name], _) => describe(session, name, |facts, name| facts.name = name),
        ("SETINFO", [field, value], _) => match upper(field).as_str() {
            "LIB-NAME" => describe(session, value, |facts, value| facts.library = value),
            "LIB-VER" => describe(session, value, |facts, value| facts.library_version = value),
            _ => Frame::error(format!("ERR Unrecognized option '{}'", shown(field))),
        },
        ("NO-EVICT" | "NO-TOUCH", [_], Some("ON" | "OFF")) => Frame::ok(),
        ("NOTES", [_], Some(on @ ("ON" | "OFF"))) => {
            session.notes = on == "ON";
            Frame::ok()
        }
        ("CAPA", [_, ..], _) => Frame::ok(),
        ("GETREDIR", [], _) => Frame::Int(-1),
        // As it is.
        ("TRACKING", [_], Some("OFF")) | ("REPLY", [_], Some("ON")) => Frame::ok(),
        ("HELP", [], _) => help::lines("client"),
        _ => unbuilt(&word).map_or_else(
            || unknown_subcommand("client", &word),
            |instead| Frame::error(refused::line(&format!("CLIENT {word}"), "is not built", instead)),
        ),
    }
}

/// What to do instead of what `CLIENT` has elsewhere.
fn unbuilt(word: &str) -> Option<&'static str> {
    Some(match word {
        "KILL" => "CLIENT LIST shows who is connected",
        "PAUSE" | "UNPAUSE" => "hold back the clients themselves",
        "UNBLOCK" => "no command blocks here",
        "REPLY" => "read the replies and drop them",
        "TRACKING" | "CACHING" | "TRACKINGINFO" => "nobody is told of changes; read the keys again",
        _ => return None,
    })
}

/// Which clients are to be listed; `None`: all. Filters, and errors, as Redis has them.
fn listed(filter: &[Vec<u8>]) -> Result<Option<BTreeSet<u64>>, String> {
    let [name, values @ ..] = filter else { return Ok(None) };
    match (upper(name).as_str(), values) {
        ("TYPE", [kind]) => match upper(kind).as_str() {
            "NORMAL" => Ok(None),
            "MASTER" | "REPLICA" | "SLAVE" | "PUBSUB" => Ok(Some(BTreeSet::new())),
            _ => Err(format!("ERR Unknown client type '{}'", shown(kind))),
        },
        ("ID", [_, ..]) => {
            let ids = values.iter().map(|id| std::str::from_utf8(id).ok()?.parse().ok());
            ids.collect::<Option<_>>().map(Some).ok_or_else(|| "ERR Invalid client ID".into())
        }
        _ => Err("ERR syntax error".into()),
    }
}

fn describe(session: &Session, value: &[u8], change: fn(&mut ClientFacts, String)) -> Frame {
    match check_name(value) {
        Ok(()) => {
            session.describe(|facts| change(facts, text(value)));
            Frame::ok()
        }
        Err(line) => Frame::error(line),
    }
}

/// Names stand in lists with spaces between: as Redis, only printable ASCII without spaces.
fn check_name(name: &[u8]) -> Result<(), String> {
    if name.len() <= NAME_MAX && name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    Err(format!(
        "ERR a name is at most {NAME_MAX} characters, without spaces, newlines or special characters"
    ))
}

fn clients(session: &Session, wanted: impl Fn(u64) -> bool) -> String {
    let clients = session.server.clients();
    let line = |(id, facts): (&u64, &ClientFacts)| {
        let version = if facts.version == Version::Resp3 { 3 } else { 2 };
        let last = *facts.last.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "id={id} addr={} name={} age={} idle={} db=0 cmd={} user={} resp={version} lib-name={} lib-ver={}\n",
            facts.address,
            facts.name,
            facts.since.elapsed().as_secs(),
            last.at.elapsed().as_secs(),
            last.command.unwrap_or("NULL"),
            facts.user,
            facts.library,
            facts.library_version,
        )
    };
    clients.iter().filter(|(id, _)| wanted(**id)).map(line).collect()
}
