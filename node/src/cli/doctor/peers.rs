//! The running peer, its network, and whether this machine reaches the others.

use super::Finding;
use crate::console::Link;
use crate::error::Error;
use crate::render::paths::{BEHIND_FIREWALL, BEHIND_NAT, PUBLIC, RELAYED, ReachLine};
use crate::render::{ClockLine, MemberLine, StatusPage, plain};
use crate::transport::dial_text;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// How long a connection to another peer may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Clocks that are further apart let the older of two writes be shown.
const CLOCKS_WARN_MS: u64 = 1_000;
/// Further off, certificates that were just given do not count yet, here or there (`CLOCK_TOLERANCE_MS`).
const CLOCKS_REFUSED_MS: u64 = 24 * 60 * 60 * 1000;
/// Most other peers that are tried.
const TRIED_MAX: usize = 32;

pub fn examine(link: &mut Link) -> Vec<Finding> {
    let address = link.address().to_owned();
    let status = match link.status() {
        Ok(status) => status,
        Err(error) => return vec![unasked(link, &error)],
    };
    let peer = Finding::ok("peer", format!("{} answers at {address}", plain(&status.name)));
    vec![peer, network(&status), clocks(status.clock.as_ref()), reachable(&status), reaches(&status)]
}

/// There may be a peer all the same: one that wants a password, or does not tell everybody.
fn unasked(link: &Link, error: &Error) -> Finding {
    let found = if link.is_connected() {
        format!("a peer answers at {}, but does not tell its status: {}", link.address(), error.line())
    } else {
        error.line()
    };
    let fix = error.what_to_do().unwrap_or("ask it with the full login: --password-file FILE");
    Finding::warn("peer", found, fix)
}

/// Of two strings written at once the later by clock is shown; and who is too far off is not let in.
fn clocks(found: Option<&ClockLine>) -> Finding {
    const CHECK: &str = "others' clocks";
    const FIX: &str = "let NTP keep the time, here and there (timedatectl set-ntp true)";
    let Some(found) = found else {
        return Finding::ok(CHECK, "no other peer has told lately what time it is there");
    };
    let side = if found.ahead_ms < 0 { "behind" } else { "ahead of" };
    let apart = found.ahead_ms.unsigned_abs();
    let others = match found.peers {
        1 => "the other peer's".to_owned(),
        peers => format!("the median of {peers} others' and its own"),
    };
    let text = format!("this peer's is {} {side} {others}", in_words(apart));
    match apart {
        _ if apart >= CLOCKS_REFUSED_MS => Finding::fail(CHECK, text, FIX),
        _ if apart >= CLOCKS_WARN_MS => Finding::warn(CHECK, text, FIX),
        _ => Finding::ok(CHECK, text),
    }
}

fn in_words(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => format!("{} s", ms / 1000),
    }
}

fn network(status: &StatusPage) -> Finding {
    const CHECK: &str = "network";
    if let Some(why) = &status.out {
        let fix = "starling invite on a machine that is in, and the line that it prints here";
        return Finding::fail(CHECK, format!("this peer is out of it: {}", plain(why)), fix);
    }
    let (live, all, n) = (status.live_owners(), status.owners().count(), usize::from(status.n));
    let found = format!(
        "{live} of {all} members that keep data are alive, each key is kept by {}{}",
        kept_by(all, n),
        newcomers(status)
    );
    let lost: Vec<_> = status.owners().filter(|member| !member.lives()).collect();
    let names: Vec<_> = lost.iter().map(|member| status.called(member)).collect();
    let commands: Vec<_> =
        lost.iter().map(|member| format!("starling {}", status.forget_command(member))).collect();
    let fix = || {
        let (names, commands) = (names.join(", "), commands.join(", "));
        format!("start again: {names}; or of one that will not come back, or is revoked: {commands}")
    };
    match status.needed(status.r.max(status.w)) {
        0 => Finding::fail(CHECK, "no member that keeps data is known", "see that the others run"),
        needed if live < needed || (live == 1 && all > 1) => {
            Finding::fail(CHECK, format!("{found}; reads and writes need {needed}"), fix())
        }
        _ if !lost.is_empty() => match status.waiting_text() {
            Some(text) => Finding::warn(CHECK, format!("{found}; {text}"), fix()),
            None => Finding::warn(CHECK, found, fix()),
        },
        _ if all < n => Finding::warn(CHECK, found, "let more machines in: starling invite"),
        _ if !status.refusals.is_empty() => {
            Finding::warn(CHECK, "some peers do not let this one in", "`starling status` says which and why")
        }
        _ => Finding::ok(CHECK, found),
    }
}

/// They are not among those who keep data, yet.
fn newcomers(status: &StatusPage) -> String {
    match status.members.iter().filter(|member| member.comes() && member.lives()).count() {
        0 => String::new(),
        1 => "; 1 more joins".into(),
        many => format!("; {many} more join"),
    }
}

/// No more than there are.
fn kept_by(all: usize, wanted: usize) -> String {
    if all < wanted { format!("{all} where {wanted} are wanted") } else { wanted.to_string() }
}

/// Whether others can reach this peer.
fn reachable(status: &StatusPage) -> Finding {
    match &status.reachability {
        Some(found) if found.kind == PUBLIC => {
            let also = if found.serves { ", and it relays for others" } else { "" };
            Finding::ok(
                REACHABILITY,
                format!("public: others reach this peer at {}{also}", shown(&found.external)),
            )
        }
        Some(found) if found.kind == BEHIND_NAT || found.kind == BEHIND_FIREWALL => behind(found),
        _ => listening(status),
    }
}

const REACHABILITY: &str = "reachability";

fn behind(found: &ReachLine) -> Finding {
    let kind = plain(&found.kind);
    let seen_as = plain(found.seen_as.as_deref().unwrap_or_default());
    let fix = match found.router.as_deref() {
        _ if found.kind == BEHIND_FIREWALL => "let the port of --listen through the firewall, TCP and UDP",
        Some("behind another NAT") => {
            "the router is behind a NAT of the provider: ask for a public address, or keep a member in the open"
        }
        _ => {
            "forward the port of --listen, TCP and UDP, on the router or turn on UPnP there; then name it by --external"
        }
    };
    let relays: Vec<_> = found.relays.iter().map(|relay| plain(relay)).collect();
    if relays.is_empty() {
        let found =
            format!("{kind} (seen as {seen_as}), and no member relays: it is reached only by those it dials");
        let fix = format!("keep one member where all others can reach it; or {fix}");
        return Finding::fail(REACHABILITY, found, fix);
    }
    let found = format!("{kind} (seen as {seen_as}): reached through {}", relays.join(" and "));
    Finding::warn(REACHABILITY, found, fix)
}

fn shown(addresses: &[String]) -> String {
    addresses.iter().take(2).map(|address| plain(address)).collect::<Vec<_>>().join(" and ")
}

/// By what it tells others.
fn listening(status: &StatusPage) -> Finding {
    let me = status.members.iter().find(|member| member.peer_id == status.peer_id);
    let addresses = me.map(|me| me.addresses.clone()).unwrap_or_default();
    let is_loopback = |address: &String| address.contains("/127.") || address.contains("/ip6/::1/");
    if addresses.is_empty() {
        return Finding::fail(REACHABILITY, "this peer listens nowhere", "see --listen");
    }
    if addresses.iter().all(is_loopback) {
        let fix = "leave --listen out, or name an address of this machine that others can reach";
        return Finding::warn(REACHABILITY, "this peer listens on loopback only", fix);
    }
    Finding::ok(REACHABILITY, format!("others are told {}", shown(&addresses)))
}

/// Whether this peer has a way to the others, or this machine reaches them over TCP. Of one that is dead another may
/// have the port, and one that is revoked answers in vain.
fn reaches(status: &StatusPage) -> Finding {
    const CHECK: &str = "others";
    let others = status.members.iter().filter(|member| member.peer_id != status.peer_id);
    let others: Vec<_> = others.filter(|member| member.step != "left").take(TRIED_MAX).collect();
    let relayed =
        others.iter().filter(|member| member.path.as_ref().is_some_and(|path| path.kind == RELAYED));
    let relayed: Vec<_> = relayed.map(|member| status.called(member)).collect();
    let tried: Vec<_> = others.iter().map(|member| (*member, Reached::begin(status, member))).collect();
    let silent = tried.into_iter().filter_map(|(member, reached)| {
        let why = reached.end()?;
        Some((format!("{}{why}", status.called(member)), why))
    });
    let (silent, whys): (Vec<_>, Vec<_>) = silent.unzip();
    let is_cut = status.out.is_none() && whys.iter().any(|why| ["", DEAD].contains(why));
    match (others.len(), silent.is_empty(), relayed.is_empty()) {
        (0, ..) => Finding::ok(CHECK, "there are none"),
        (count, true, true) => Finding::ok(CHECK, format!("all {count} are reached")),
        (count, true, false) => Finding::warn(
            CHECK,
            format!("all {count} are reached; through a relay, which is slower: {}", relayed.join(", ")),
            "`starling status` says why; one of two needs a port that is open, or a NAT that keeps ports",
        ),
        (count, false, _) => Finding {
            // Of who does not let another in there is word in "network".
            fix: is_cut.then(|| {
                "see that they run, that their addresses are right and that no firewall is between".into()
            }),
            ..Finding::warn(CHECK, format!("of {count}, not reached: {}", silent.join(", ")), "")
        },
    }
}

const DEAD: &str = " (dead)";

/// What is known of the way to a peer.
enum Reached {
    Yes,
    No(&'static str),
    Trying(thread::JoinHandle<bool>),
}

impl Reached {
    fn begin(status: &StatusPage, member: &MemberLine) -> Self {
        let refuses = status.refusals.iter().any(|refusal| refusal.peer_id == member.peer_id);
        match () {
            () if member.revoked => Self::No(" (revoked)"),
            () if refuses => Self::No(" (does not let this peer in)"),
            () if member.is_dead() => Self::No(DEAD),
            () if member.path.is_some() => Self::Yes,
            () => Self::Trying(start_trying(member)),
        }
    }

    /// What is to be said of one that is not reached. `None`: it is.
    fn end(self) -> Option<&'static str> {
        match self {
            Self::Yes => None,
            Self::No(why) => Some(why),
            Self::Trying(tried) => (!tried.join().unwrap_or(false)).then_some(""),
        }
    }
}

fn start_trying(member: &MemberLine) -> thread::JoinHandle<bool> {
    let sockets = member.addresses.iter().filter_map(|address| dial_text(address)?.parse().ok());
    let sockets: Vec<SocketAddr> = sockets.take(2).collect();
    thread::spawn(move || sockets.iter().any(|at| TcpStream::connect_timeout(at, CONNECT).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::render::RefusalLine;
    use crate::render::tests::{COMES, DEAD, HERE, page};

    #[test]
    fn no_key_is_told_to_be_kept_by_more_peers_than_there_are() {
        assert_eq!(kept_by(1, 3), "1 where 3 are wanted");
        assert_eq!((kept_by(3, 3), kept_by(5, 3)), ("3".into(), "3".into()));
    }

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart() {
        let found = |ahead_ms| clocks(Some(&ClockLine { peers: 3, ahead_ms }));
        for (ahead_ms, verdict) in [
            (0, Verdict::Ok),
            (-999, Verdict::Ok),
            (1_000, Verdict::Warn),
            (-20_000, Verdict::Warn),
            (i64::MIN, Verdict::Fail),
            (86_400_000, Verdict::Fail),
        ] {
            assert_eq!(found(ahead_ms).verdict, verdict, "{ahead_ms}");
        }
        assert_eq!(found(-20_000).found, "this peer's is 20 s behind the median of 3 others' and its own");
        assert_eq!(clocks(None).verdict, Verdict::Ok);
    }

    #[test]
    fn a_network_fails_when_fewer_that_keep_data_live_than_reads_and_writes_need() {
        for (members, verdict) in [
            (&[HERE, HERE, HERE][..], Verdict::Ok),
            (&[HERE, HERE, DEAD], Verdict::Warn),
            (&[HERE, DEAD, DEAD], Verdict::Fail),
            (&[HERE, DEAD, DEAD, COMES], Verdict::Fail),
            (&[HERE, DEAD, COMES, COMES], Verdict::Fail),
            (&[HERE], Verdict::Warn),
            (&[HERE, COMES, COMES], Verdict::Warn),
            (&[COMES], Verdict::Fail),
        ] {
            assert_eq!(network(&page(members)).verdict, verdict, "{members:?}");
        }
        let found = network(&page(&[HERE, DEAD, COMES, COMES]));
        let begins =
            "1 of 2 members that keep data are alive, each key is kept by 2 where 3 are wanted; 2 more join";
        assert!(found.found.starts_with(begins), "{found:?}");
        assert!(found.fix.unwrap().ends_with("starling forget p2"));
        let mut revoked = page(&[HERE, HERE]);
        revoked.members[1].revoked = true;
        let found = network(&revoked);
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.fix.unwrap().ends_with("starling forget p2"));
    }

    #[test]
    fn nobody_is_told_as_reached_who_is_dead_or_may_not_speak() {
        let mut page = page(&[HERE, DEAD, HERE, HERE]);
        // Somebody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        page.members.iter_mut().for_each(|m| m.addresses = vec![format!("/ip4/127.0.0.1/tcp/{port}")]);
        page.members[2].revoked = true;
        let refusal = RefusalLine { peer_id: page.members[3].peer_id.clone(), why: "so".into() };
        page.refusals.push(refusal);
        let expected = "of 3, not reached: p2 (dead), p3 (revoked), p4 (does not let this peer in)";
        assert_eq!(reaches(&page).found, expected);
        assert!(reaches(&page).fix.is_some());
        let out = StatusPage { out: Some("its certificate was revoked".into()), ..page.clone() };
        let mut refused = page.clone();
        refused.members.remove(1);
        assert_eq!([reaches(&out).fix, reaches(&refused).fix], [None, None], "no firewall is between");
        let all = super::tests::page(&[HERE, HERE]);
        assert_eq!(reaches(&StatusPage { members: page.members[..1].to_vec(), ..all }).verdict, Verdict::Ok);
    }
}
