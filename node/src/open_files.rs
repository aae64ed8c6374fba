//! Open files: how many this process may have, and how many of them each part of a peer gets.
//!
//! A peer that has none left cannot open a table, and has to end. So clients and other peers get fewer than
//! there are, whatever was asked for.

use crate::error::Error;
use crate::resp::Port;
use crate::transport::Limits;

/// What there always is: sockets that listen, journals, locks, and what is open for a moment. A peer that nobody has
/// reached yet has some thirty.
const OWN: usize = 64;
/// Tables that the engine keeps open. By itself it takes 900, wherever there are so many; each is up to 64 MiB.
const TABLES_MAX: usize = 900;
/// Of all, tables get one in so many, and other peers as well.
const PART: usize = 4;
/// With fewer, 32 clients would be too many.
const LEAST: usize = 192;

/// Raises the limit to what the system lets this process have, and tells it. `None`: there is no limit.
#[cfg(unix)]
pub fn raise() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX);
    // macOS refuses more than its OPEN_MAX, though it tells that there is no limit.
    let wanted = if cfg!(target_os = "macos") { wanted.min(10_240) } else { wanted };
    if current.is_some_and(|current| current < wanted) {
        // Some systems give less than they tell; then what there was has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    limit()
}

#[cfg(unix)]
fn limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub fn raise() -> Option<usize> {
    None
}

#[cfg(not(unix))]
fn limit() -> Option<usize> {
    None
}

/// Tables that may be open at once.
pub fn for_tables() -> usize {
    tables_of(limit().unwrap_or(usize::MAX))
}

fn tables_of(limit: usize) -> usize {
    // The engine takes no fewer than ten.
    (limit / PART).clamp(10, TABLES_MAX)
}

/// Lets clients and peers have no more than there is. Returns what was asked for and is not to be had, if anything.
/// Errors: there is too little for any peer.
pub fn share_out(limit: Option<usize>, port: &mut Port, peers: &mut Limits) -> Result<Option<String>, Error> {
    let limit = limit.unwrap_or(usize::MAX);
    if limit < LEAST {
        return Err(Error::new(format!("this process may have only {limit} files open"))
            .why(format!("a peer needs {LEAST} at least, for storage, clients and other peers"))
            .hint("raise the limit: ulimit -n 65536, or LimitNOFILE=65536 of its systemd unit"));
    }
    // What clients leave, they may have.
    let share = (limit / PART).max(limit.saturating_sub(OWN + tables_of(limit) + port.clients));
    let (all, mut told) = (connections(peers), Vec::new());
    if all > share {
        told.push(format!("{share} connections with other peers, not {all}"));
        shrink(peers, |wanted| (wanted as usize * share / all).max(1) as u32);
    }
    let left = limit - OWN - tables_of(limit) - connections(peers);
    if port.clients > left {
        told.push(format!("{left} clients, not {}", port.clients));
        port.clients = left;
        // Else those who have not logged in could take every place.
        port.pending = port.pending.min(left / 2);
    }
    let most = told.join(" and ");
    let why = || format!("at most {most} at once: this process may have {limit} files open");
    Ok((!told.is_empty()).then(why))
}

/// At most: one file each.
fn connections(peers: &Limits) -> usize {
    let Limits { pending_incoming, pending_outgoing, incoming, outgoing, .. } = peers;
    [pending_incoming, pending_outgoing, incoming, outgoing].into_iter().map(|most| *most as usize).sum()
}

fn shrink(peers: &mut Limits, to: impl Fn(u32) -> u32) {
    let Limits { pending_incoming, pending_outgoing, incoming, outgoing, strangers, .. } = peers;
    for most in [pending_incoming, pending_outgoing, incoming, outgoing, strangers] {
        *most = to(*most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(limit: Option<usize>) -> (Port, Limits, Option<String>) {
        let (mut port, mut peers) = (Port::default(), Limits::default());
        let warning = share_out(limit, &mut port, &mut peers).unwrap();
        (port, peers, warning)
    }

    #[test]
    fn no_part_is_given_what_another_needs() {
        for limit in LEAST..20_000 {
            let (port, peers, warning) = shared(Some(limit));
            assert!(port.clients + connections(&peers) + tables_of(limit) + OWN <= limit, "{limit}");
            assert!(port.clients >= limit / 6 && peers.incoming >= (limit as u32 / 16).min(1024), "{limit}");
            assert!(port.pending < port.clients && peers.strangers < peers.incoming, "{limit}");
            assert_eq!(warning.is_some(), port.clients < Port::default().clients);
        }
    }

    #[test]
    fn where_there_are_plenty_all_get_what_they_ask_for() {
        for limit in [None, Some(65_536)] {
            let (port, peers, warning) = shared(limit);
            assert_eq!((port.clients, peers, warning), (10_000, Limits::default(), None));
        }
    }

    #[test]
    fn where_there_are_too_few_no_peer_starts() {
        let error = share_out(Some(LEAST - 1), &mut Port::default(), &mut Limits::default()).unwrap_err();
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
