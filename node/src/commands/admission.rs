//! Commands about who is let in: invites and revocations.

use super::network::{admitted, resolve};
use super::session::Session;
use super::{Arguments, BASE, Group, Kind, Run, Spec, call, list, parse_id, shown, subcommand, upper};
use crate::admission::{Admission, InviteLine, Revoked, Wish};
use crate::network::wall_ms;
use crate::render::{StatusPage, json, short};
use crate::resp::frame::Frame;
use crate::transport::{peer_text, ticket_addresses};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use starling_protocol::admission::certificate::Role;
use starling_protocol::admission::invite::{State, USES_MAX};
use starling_protocol::admission::ticket::{Ticket, prefix_of};
use std::sync::Arc;
use std::time::Duration;

/// Longest that a ticket may count. It is a key to the house.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const TTL: Duration = Duration::from_secs(60 * 60);

const OURS: Spec = Spec { group: Group::Network, kind: Kind::Admin, ..BASE };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "invite",
        arity: -1,
        usage: "[USES n] [TTL 1h] [ROLE storage|client] [NOADDRESSES] [TICKET | JSON] | REVOKE id",
        summary: "A ticket that lets another machine in: the line to type there",
        caveat: "only this peer redeems it, so it must run and be reached then; whoever has the ticket can \
                 use it",
        example: "invite ttl 10m",
        run: Run::Ask(|session, args| Box::pin(invite(session, args))),
        ..OURS
    },
    Spec {
        name: "invites",
        arity: -1,
        usage: "[JSON]",
        summary: "The tickets that this peer has made, and who came in by them",
        example: "invites",
        run: Run::Ask(|session, args| Box::pin(invites(session, args))),
        ..OURS
    },
    Spec {
        name: "revoke",
        arity: 2,
        usage: "peer",
        summary: "Take a peer's certificate back: nobody in the network talks to it any more",
        caveat: "those whom it has let in are out with it; what it owns others take once you FORGET it",
        example: "revoke p4",
        run: Run::Ask(|session, args| Box::pin(revoke(session, args))),
        ..OURS
    },
];

/// The object that `INVITE JSON` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvitePage {
    pub ticket: String,
    pub id: String,
    pub role: String,
    pub uses: u16,
    /// How long it counts from now.
    pub seconds: u64,
}

/// A line of `INVITES JSON`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InvitesLine {
    id: String,
    role: String,
    uses: u16,
    /// Peers that came in by it.
    taken: Vec<String>,
    /// `open`, `spent`, `expired` or `revoked`.
    state: String,
    /// How long it still counts.
    seconds: u64,
    /// What people call those that came in.
    #[serde(skip)]
    by: Vec<String>,
}

impl InvitePage {
    /// What to type on the other machine.
    pub fn line(&self) -> String {
        format!("starling join {}", self.ticket)
    }

    /// What to know about it, in one line; a command is at its end.
    pub fn words(&self) -> String {
        let machines =
            if self.uses == 1 { "one machine".to_owned() } else { format!("{} machines", self.uses) };
        format!(
            "lets in {machines} as {} within {}; to take it back: starling invite revoke {}",
            self.role,
            duration_text(self.seconds),
            self.id
        )
    }
}

/// How the answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Page,
    Ticket,
    Json,
}

struct Asked {
    wish: Wish,
    addresses: bool,
    shape: Shape,
}

async fn invite(session: &mut Session, args: Arguments) -> Frame {
    let admission = match admission(session) {
        Ok(admission) => admission,
        Err(line) => return Frame::error(line),
    };
    if args.first().is_some_and(|word| upper(word) == "REVOKE") {
        let (_, rest) = subcommand(args);
        return withdraw(admission, &rest).await;
    }
    let Asked { wish, addresses, shape } = match asked(&args) {
        Ok(asked) => asked,
        Err(line) => return Frame::error(line),
    };
    let addresses = if addresses { own_addresses(session).await } else { Vec::new() };
    let (network, inviter) = (prefix_of(&admission.genesis().network_id()), admission.me());
    let made = blocking(move || admission.invite(wish)).await;
    let (secret, line) = match made {
        Ok(made) => made,
        Err(line) => return Frame::error(line),
    };
    let addresses = ticket_addresses(&addresses);
    let ticket = Ticket { network, inviter, secret, expires_s: line.expires_ms / 1000, addresses }.text();
    let page = InvitePage {
        ticket,
        id: HEXLOWER.encode(&*line.id),
        role: role_text(line.role).into(),
        uses: line.uses,
        seconds: wish.ttl.as_secs(),
    };
    match shape {
        Shape::Ticket => Frame::bulk(page.ticket),
        Shape::Json => Frame::bulk(json(&page)),
        Shape::Page => session.page(&format!("{}\n{}", page.line(), page.words())),
    }
}

fn asked(args: &Arguments) -> Result<Asked, String> {
    let wish = Wish { role: Role::Storage, uses: 1, ttl: TTL };
    let mut asked = Asked { wish, addresses: true, shape: Shape::Page };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value =
            || words.next().ok_or_else(|| format!("ERR syntax error: {} lacks its value", upper(word)));
        match upper(word).as_str() {
            "USES" => asked.wish.uses = uses(value()?)?,
            "TTL" => asked.wish.ttl = ttl(value()?, TTL_MAX)?,
            "ROLE" => asked.wish.role = role(value()?)?,
            "NOADDRESSES" => asked.addresses = false,
            "TICKET" => asked.shape = Shape::Ticket,
            "JSON" => asked.shape = Shape::Json,
            other => return Err(format!("ERR syntax error at '{}'; HELP INVITE", shown(other.as_bytes()))),
        }
    }
    Ok(asked)
}

fn uses(word: &[u8]) -> Result<u16, String> {
    let uses = call::parsed("USES", word)?;
    if (1..=USES_MAX).contains(&uses) {
        Ok(uses)
    } else {
        Err(format!("ERR syntax error: USES must be from 1 to {USES_MAX}"))
    }
}

fn role(word: &[u8]) -> Result<Role, String> {
    match upper(word).as_str() {
        "STORAGE" => Ok(Role::Storage),
        "CLIENT" => Ok(Role::Client),
        _ => Err(format!("ERR syntax error: ROLE must be storage or client, not '{}'", shown(word))),
    }
}

/// `90s`, `10m`, `1h` or `7d`.
pub(super) fn ttl(word: &[u8], most: Duration) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(word).to_ascii_lowercase();
    let days = most.as_secs() / 86_400;
    let refused = || {
        format!(
            "ERR syntax error: TTL must be like 90s, 10m, 1h or 7d, and at most {days}d, not '{}'",
            shown(word)
        )
    };
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    let ttl = Duration::from_secs(number.saturating_mul(seconds));
    if ttl.is_zero() || ttl > most { Err(refused()) } else { Ok(ttl) }
}

pub(super) fn duration_text(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Where this peer listens now; others may know it elsewhere.
async fn own_addresses(session: &Session) -> Vec<String> {
    let started = session.server.peer.facts().listen.clone();
    let Ok(status) = session.server.status().await else { return started };
    let me = status.members.into_iter().find(|member| member.id == status.me);
    me.map(|me| me.addresses).filter(|addresses| !addresses.is_empty()).unwrap_or(started)
}

async fn withdraw(admission: Arc<Admission>, args: &[Vec<u8>]) -> Frame {
    let [word] = args else { return Frame::error("ERR syntax error; usage: INVITE REVOKE id") };
    let Some(id) = parse_id(word) else {
        return Frame::error(format!("ERR '{}' is not an invite's id; INVITES lists them", shown(word)));
    };
    done(blocking(move || admission.withdraw(id)).await)
}

async fn invites(session: &mut Session, args: Arguments) -> Frame {
    let status = session.server.status().await.map(|status| StatusPage::new(&status));
    let called = |peer_id: &String| {
        status.as_ref().map_or_else(|_| short(peer_id), |status| status.called_by_id(peer_id))
    };
    let line = |line: &InviteLine| InvitesLine::new(line, called);
    let lines = admission(session).map(|admission| admission.invites().iter().map(line).collect());
    list::answer::<InvitesLine>(
        session,
        ("INVITES", &args),
        lines,
        "no tickets were made here; INVITE makes one",
    )
}

impl InvitesLine {
    fn new(line: &InviteLine, called: impl FnMut(&String) -> String) -> Self {
        let taken: Vec<_> = line.taken.iter().map(peer_text).collect();
        let state = match line.state {
            State::Open => "open",
            State::Spent => "spent",
            State::Expired => "expired",
            State::Withdrawn => "revoked",
        };
        Self {
            id: HEXLOWER.encode(&*line.id),
            role: role_text(line.role).into(),
            uses: line.uses,
            by: taken.iter().map(called).collect(),
            taken,
            state: state.into(),
            seconds: line.expires_ms.saturating_sub(wall_ms()) / 1000,
        }
    }
}

impl list::Line for InvitesLine {
    const HEADER: &'static [&'static str] = &["ID", "STATE", "ROLE", "USED", "LEFT", "BY"];

    fn row(&self) -> Vec<String> {
        let left = if self.state == "open" { duration_text(self.seconds) } else { String::new() };
        let used = format!("{} of {}", self.taken.len(), self.uses);
        vec![self.id.clone(), self.state.clone(), self.role.clone(), used, left, self.by.join(", ")]
    }
}

async fn revoke(session: &mut Session, args: Arguments) -> Frame {
    let admission = match admission(session) {
        Ok(admission) => admission,
        Err(line) => return Frame::error(line),
    };
    let word = String::from_utf8_lossy(&args[0]).into_owned();
    let peer = match (crate::transport::parse_peer(&word), session.server.status().await) {
        (Some(peer), _) => peer,
        (None, Ok(status)) => match resolve(&status, &args[0]) {
            Ok(peer) => peer,
            Err(line) => return Frame::error(line),
        },
        (None, Err(failure)) => return super::failure::failure_frame(&failure),
    };
    match blocking(move || admission.revoke(peer)).await {
        Ok(Revoked { remain }) => revoked(session, &peer_text(&peer), remain).await,
        Err(line) => Frame::error(line),
    }
}

/// It is done; what that means for those who remain is told as well as is known. `remain`: certificates by which it
/// can come back.
async fn revoked(session: &Session, peer_id: &str, remain: usize) -> Frame {
    if remain > 0 {
        let s = if remain == 1 { "" } else { "s" };
        return Frame::Simple(format!(
            "OK; but it has {remain} certificate{s} more, by which it is in still: revoke it also at the founder, or \
             at the peers that invited it"
        ));
    }
    let status = session.server.status().await;
    let told = status.map(|status| format!("OK; {}", admitted(session, &status).revoked_text(peer_id)));
    Frame::Simple(told.unwrap_or_else(|_| "OK".into()))
}

pub(super) fn admission(session: &Session) -> Result<Arc<Admission>, String> {
    session.server.peer.admission().ok_or_else(|| "ERR this peer lets nobody in".into())
}

/// Work that writes to the disk, away from the threads that answer clients. Errors get their code.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.to_string())).map_err(|why| format!("ERR {why}"))
}

pub(super) fn done(result: Result<(), String>) -> Frame {
    result.map_or_else(Frame::error, |()| Frame::ok())
}

fn role_text(role: Role) -> &'static str {
    match role {
        Role::Storage => "storage",
        Role::Client => "client",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Arguments {
        text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn wishes_are_read_in_any_order() {
        let read = asked(&words("ttl 10m role CLIENT noaddresses uses 3 json")).unwrap();
        let wish = Wish { role: Role::Client, uses: 3, ttl: Duration::from_secs(600) };
        assert_eq!(read.wish, wish);
        assert!(!read.addresses && read.shape == Shape::Json);
        let usual = asked(&words("")).unwrap();
        assert_eq!(usual.wish, Wish { role: Role::Storage, uses: 1, ttl: TTL });
    }

    #[test]
    fn wishes_that_cannot_be_are_refused_with_what_can() {
        for (text, said) in [
            ("uses 0", "from 1 to 1000"),
            ("uses 1001", "from 1 to 1000"),
            ("uses", "USES"),
            ("ttl 5", "90s"),
            ("ttl 0s", "90s"),
            ("ttl 31d", "30d"),
            ("ttl 99999999999999999999d", "30d"),
            ("ttl h", "90s"),
            ("role king", "storage or client"),
            ("nonsense", "HELP INVITE"),
        ] {
            let line = asked(&words(text)).err().unwrap();
            assert!(line.contains(said), "{text}: {line}");
        }
    }
}
