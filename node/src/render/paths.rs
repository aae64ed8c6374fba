//! The ways between peers, in words.

use super::{StatusPage, plain, short};
use crate::transport::{Path, Paths, Reachability, Router, Way, parse_peer, peer_text};
use serde::{Deserialize, Serialize};

pub const RELAYED: &str = "relayed";
pub const PUBLIC: &str = "public";
pub const BEHIND_NAT: &str = "behind a NAT";
pub const BEHIND_FIREWALL: &str = "behind a firewall";

/// How this peer reaches another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathLine {
    /// `direct`, `punched` (direct, through a hole in both NATs) or `relayed`.
    pub kind: String,
    /// The name of the peer that relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// `quic` or `tcp`; of a relayed path, as far as the relay.
    pub transport: String,
    /// Why it is not direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How others reach this peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachLine {
    /// `public`; `behind a NAT`; `behind a firewall`; `local`: on this LAN or this machine, for all that is known.
    pub kind: String,
    /// Where others have reached it from outside.
    pub external: Vec<String>,
    /// As whom others see it, if there is a NAT between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<String>,
    /// The names of those that take connections for it.
    pub relays: Vec<String>,
    /// It relays for others.
    pub serves: bool,
    /// What became of asking the router for a port: `opened`, `silent` or `behind another NAT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}

impl StatusPage {
    /// Adds how each peer is reached, and how this one is.
    pub fn add_paths(&mut self, paths: &Paths) {
        let reachability = paths.reachability();
        let found: Vec<_> =
            self.members.iter().map(|member| paths.of(&parse_peer(&member.peer_id)?)).collect();
        let lines: Vec<_> = (self.members.iter().zip(found))
            .map(|(member, path)| {
                let it_is_behind = member.addresses.iter().any(|address| address.contains("/p2p-circuit"));
                path.map(|path| self.path_line(path, reachability.seen_as.is_some(), it_is_behind))
            })
            .collect();
        self.members.iter_mut().zip(lines).for_each(|(member, line)| member.path = line);
        self.reachability = Some(self.reach_line(reachability));
    }

    fn path_line(&self, path: Path, here_is_behind: bool, it_is_behind: bool) -> PathLine {
        let (kind, via) = match path.way {
            Way::Direct => ("direct", None),
            Way::Punched => ("punched", None),
            Way::Relayed(by) => (RELAYED, by.map(|by| self.name_of(&peer_text(&by)))),
        };
        let where_it_is = match (here_is_behind, it_is_behind) {
            (true, true) => "both are behind a NAT or a firewall",
            (true, false) => "this peer is behind a NAT or a firewall",
            (false, _) => "it is behind a NAT or a firewall",
        };
        let why = (kind == RELAYED).then(|| match path.punches_failed {
            0 => format!("{where_it_is}; a hole is being punched"),
            n => format!("{where_it_is}; punching a hole has failed {n} times"),
        });
        let transport = if path.quic { "quic" } else { "tcp" };
        PathLine { kind: kind.into(), via, transport: transport.into(), why }
    }

    fn reach_line(&self, found: Reachability) -> ReachLine {
        let kind = match (found.is_public, &found.seen_as) {
            (true, _) => PUBLIC,
            (false, Some(_)) if found.is_walled => BEHIND_FIREWALL,
            (false, Some(_)) => BEHIND_NAT,
            (false, None) => "local",
        };
        let router = found.router.map(|router| match router {
            Router::Opened => "opened",
            Router::Silent => "silent",
            Router::BehindAnother => "behind another NAT",
        });
        ReachLine {
            kind: kind.into(),
            external: found.external,
            seen_as: found.seen_as,
            relays: found.relays.iter().map(|relay| self.name_of(&peer_text(relay))).collect(),
            serves: found.serves,
            router: router.map(String::from),
        }
    }

    fn name_of(&self, peer_id: &str) -> String {
        let member = self.members.iter().find(|member| member.peer_id == peer_id);
        member.map_or_else(|| short(peer_id), |member| member.name.clone())
    }

    /// A line for each peer that is reached through another, and why.
    pub(super) fn relayed_text(&self) -> String {
        let line = |member: &super::MemberLine| {
            let path = member.path.as_ref()?;
            let (via, why) = (path.via.as_deref().unwrap_or("another peer"), path.why.as_ref()?);
            Some(format!("\n{} is reached through {}: {why}", plain(&member.name), plain(via)))
        };
        self.members.iter().filter_map(line).collect()
    }
}

impl PathLine {
    pub fn text(&self) -> String {
        match &self.via {
            Some(via) => format!("via {}", plain(via)),
            None => format!("{}, {}", self.kind, self.transport),
        }
    }
}
