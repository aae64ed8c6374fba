//! What peers tell of themselves, for programs (JSON) and for people (text).

pub mod explain;
pub mod paths;
pub mod reply;
mod standing;

use crate::admission::{Admission, to_oneself};
use crate::transport::peer_text;
use comfy_table::{ContentArrangement, Table, presets};
use paths::{PathLine, ReachLine};
use serde::{Deserialize, Serialize};
use starling_protocol::admission::certificate::Refusal;
use starling_protocol::ids::PeerId;
use starling_protocol::member::{Health, Step};
use starling_protocol::request::{MemberView, SeatView, Status, Whereabouts};
use std::fmt::Write as _;

/// The object that `STATUS JSON` and `starling status --json` print.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusPage {
    pub peer_id: String,
    pub name: String,
    pub network: String,
    pub network_id: String,
    pub partitions: u16,
    pub n: u8,
    pub r: u8,
    pub w: u8,
    /// Members that answer.
    pub alive: usize,
    /// Members that have not left.
    pub all: usize,
    /// Partitions that this peer owns.
    pub owned: u32,
    /// Partitions of which it holds writes for other owners.
    pub held_for_others: u32,
    /// Partitions in which a copy elsewhere differed when last compared.
    pub repairing: u32,
    /// Operations under way.
    pub operations: u32,
    /// Records of members that came and that their subjects have not signed: somebody lies, or is very old.
    #[serde(default)]
    pub forged: u64,
    /// What brings more to keep is left to others.
    #[serde(default)]
    pub disk_is_nearly_full: bool,
    pub members: Vec<MemberLine>,
    /// Peers that do not let this one in, and why.
    #[serde(default)]
    pub refusals: Vec<RefusalLine>,
    /// Why this peer may not be in its network any more.
    #[serde(default)]
    pub out: Option<String>,
    /// How far this machine's clock is ahead of the others'.
    #[serde(default)]
    pub clock: Option<ClockLine>,
    /// How others reach this peer.
    #[serde(default)]
    pub reachability: Option<ReachLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockLine {
    /// How many others have told what time it is there, lately.
    pub peers: usize,
    /// In milliseconds, of the median; negative: it is behind.
    pub ahead_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalLine {
    pub peer_id: String,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberLine {
    pub peer_id: String,
    pub name: String,
    /// `alive`, `suspect` or `dead`, as this peer believes.
    pub health: String,
    /// `waiting`, `joining`, `arriving`, `member`, `leaving`, `departing` or `left`.
    pub step: String,
    pub incarnation: u64,
    pub addresses: Vec<String>,
    pub zone: String,
    pub weight: u32,
    /// Share of all partitions that it owns, from 0 to 1.
    pub share: f64,
    /// How this peer reaches it. `None`: no connection stands.
    #[serde(default)]
    pub path: Option<PathLine>,
    /// Its certificate counts no more, as far as this peer knows: nobody talks to it.
    #[serde(default)]
    pub revoked: bool,
}

/// The object that `WHERE key JSON` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WherePage {
    pub key: String,
    pub partition: u16,
    pub owners: Vec<Seat>,
    pub stand_ins: Vec<Seat>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub peer_id: String,
    pub name: String,
    pub health: String,
    pub step: String,
}

pub fn health_text(health: Health) -> &'static str {
    match health {
        Health::Alive => "alive",
        Health::Suspect => "suspect",
        Health::Dead => "dead",
    }
}

pub fn step_text(step: Step) -> &'static str {
    match step {
        Step::Waiting => "waiting",
        Step::Joining => "joining",
        Step::Arriving => "arriving",
        Step::Member => "member",
        Step::Leaving => "leaving",
        Step::Departing => "departing",
        Step::Left => "left",
    }
}

impl StatusPage {
    pub fn new(status: &Status) -> Self {
        let here: Vec<_> = status.members.iter().filter(|member| member.step != Step::Left).collect();
        let me = status.members.iter().find(|member| member.id == status.me);
        let mut members: Vec<_> = status.members.iter().map(MemberLine::new).collect();
        // Shorter names first: p2 stands before p10.
        members.sort_by_key(|member| (member.name.len(), member.name.clone(), member.peer_id.clone()));
        Self {
            peer_id: peer_text(&status.me),
            name: me.map(|me| me.name.clone()).unwrap_or_default(),
            network: status.network_name.clone(),
            network_id: status.network.to_string(),
            partitions: status.partitions,
            n: status.n,
            r: status.r,
            w: status.w,
            alive: here.iter().filter(|member| member.health == Health::Alive).count(),
            all: here.len(),
            owned: status.owned,
            held_for_others: status.held_for_others,
            repairing: status.repairing,
            operations: status.operations,
            disk_is_nearly_full: status.is_low,
            forged: status.forged,
            members,
            refusals: Vec::new(),
            out: None,
            clock: None,
            reachability: None,
        }
    }

    /// Adds whether this peer may be in its network, and who does not let it in.
    pub fn add_admission(&mut self, admission: &Admission) {
        self.out = admission.own_grant().err().map(|refusal| to_oneself(refusal).to_owned());
        self.clock = admission
            .clock_difference()
            .map(|found| ClockLine { peers: found.peers, ahead_ms: found.ahead_ms });
        let refusals = admission.refusals();
        let line = |(peer, refusal): (PeerId, Refusal)| RefusalLine {
            peer_id: peer_text(&peer),
            why: to_oneself(refusal).into(),
        };
        self.refusals = refusals.into_iter().map(line).collect();
        standing::mark_revoked(&mut self.members, admission);
    }

    fn refusals_text(&self) -> String {
        let text = |line: &RefusalLine| {
            let name = self.called_by_id(&line.peer_id);
            format!("\n{name} does not let this peer in: {}", plain(&line.why))
        };
        let out = self.out.iter().map(|why| format!("\nthis peer is out of its network: {why}"));
        let forged = (self.forged > 0).then(|| {
            format!("\n{} records came that are not signed by who may say so: somebody forges", self.forged)
        });
        let low = self.disk_is_nearly_full.then(|| {
            "\nthe disk of this peer is nearly full: what brings more to keep is left to others; starling doctor says how \
             much is free"
                .to_owned()
        });
        out.chain(self.refusals.iter().map(text)).chain(forged).chain(low).collect()
    }

    /// A table of the members and two lines about the network and this peer.
    pub fn text(&self) -> String {
        let rows = self.members.iter().map(|member| {
            let me = if member.peer_id == self.peer_id { " (here)" } else { "" };
            vec![
                format!("{}{me}", plain(&member.name)),
                short(&member.peer_id),
                member.state(),
                format!("{:.1} %", member.share * 100.0),
                member.path.as_ref().map_or_else(|| "-".into(), PathLine::text),
                member.addresses.first().map(|address| plain(address)).unwrap_or_default(),
            ]
        });
        let rows = table(&["NAME", "PEER ID", "STATE", "SHARE", "PATH", "ADDRESS"], rows);
        format!(
            "network {} ({})   {} of {} alive   N={} R={} W={}{}   {} partitions\n{}\n\
             {} owns {} partitions, holds writes for others in {}, repairs {}; {} operations under way{}{}{}",
            plain(&self.network),
            self.network_id,
            self.alive,
            self.all,
            self.n,
            self.r,
            self.w,
            self.fewer_text(),
            self.partitions,
            rows,
            plain(&self.name),
            self.owned,
            self.held_for_others,
            self.repairing,
            self.operations,
            self.relayed_text(),
            self.refusals_text(),
            self.standing_text(),
        )
    }

    /// Of fewer members than W all must have a write, and no more can.
    fn fewer_text(&self) -> String {
        let owners = self.members.iter().filter(|member| member.share > 0.0).count();
        match owners {
            _ if owners >= usize::from(self.w) => String::new(),
            0 => " (no member keeps copies now)".into(),
            1 => " (1 for now: 1 member)".into(),
            _ => format!(" ({owners} for now: {owners} members)"),
        }
    }
}

impl MemberLine {
    fn new(member: &MemberView) -> Self {
        Self {
            peer_id: peer_text(&member.id),
            name: member.name.clone(),
            health: health_text(member.health).into(),
            step: step_text(member.step).into(),
            incarnation: member.incarnation,
            addresses: member.addresses.clone(),
            zone: member.zone.clone(),
            weight: member.weight,
            share: f64::from(member.share) / 1000.0,
            path: None,
            revoked: false,
        }
    }

    fn state(&self) -> String {
        let revoked = if self.revoked { ", revoked" } else { "" };
        match self.step.as_str() {
            "left" => "left".into(),
            "member" => format!("{}{revoked}", self.health),
            step => format!("{}, {step}{revoked}", self.health),
        }
    }
}

impl WherePage {
    pub fn new(key: &[u8], found: &Whereabouts) -> Self {
        let seats = |seats: &[SeatView]| seats.iter().map(Seat::new).collect();
        Self {
            key: reply::text_or_hex(key),
            partition: found.partition,
            owners: seats(&found.owners),
            stand_ins: seats(&found.stand_ins),
        }
    }

    pub fn text(&self) -> String {
        let mut text = format!("{} -> partition {}\n", plain(&self.key), self.partition);
        let all: Vec<_> = self.owners.iter().chain(&self.stand_ins).collect();
        let mut line = |what: &str, seats: &[Seat]| {
            let names: Vec<_> = seats.iter().map(|seat| seat.text(&all)).collect();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            writeln!(text, "{what:<10} {names}").expect("writing to memory does not fail");
        };
        line("owners", &self.owners);
        line("stand-ins", &self.stand_ins);
        text.truncate(text.trim_end().len());
        text
    }
}

impl Seat {
    fn new(seat: &SeatView) -> Self {
        Self {
            peer_id: peer_text(&seat.peer),
            name: seat.name.clone(),
            health: health_text(seat.health).into(),
            step: step_text(seat.step).into(),
        }
    }

    /// `all`: from whom it is to be told.
    fn text(&self, all: &[&Seat]) -> String {
        let named = all.iter().filter(|other| other.name == self.name).count();
        let name = if named > 1 { with_id(&self.name, &self.peer_id) } else { plain(&self.name) };
        match (self.health.as_str(), self.step.as_str()) {
            ("alive", "member") => name,
            (health, "member") => format!("{name} ({health})"),
            (health, step) => format!("{name} ({health}, {step})"),
        }
    }
}

/// Columns without lines between them.
pub fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A peer id as far as it is needed to tell peers apart: its end, since all begin alike.
pub fn short(peer_id: &str) -> String {
    const KEPT: usize = 8;
    match peer_id.char_indices().rev().nth(KEPT - 1) {
        Some((at, _)) if at > 0 => format!("…{}", &peer_id[at..]),
        _ => peer_id.into(),
    }
}

/// A member that shares its name with others.
pub fn with_id(name: &str, peer_id: &str) -> String {
    format!("{} {}", plain(name), short(peer_id))
}

/// Names and addresses come from other peers: what a terminal would obey is shown, not sent.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// JSON on one line.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps with text as keys can be written")
}

#[cfg(test)]
pub(crate) mod tests;
