//! How one operation went.

use super::{health_text, plain, reply};
use crate::resp::frame::Frame;
use crate::transport::peer_text;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use starling_protocol::request::{AnswerKind, Asked, Named, Role, Trace};
use std::fmt::Write as _;

/// The object that `EXPLAIN JSON command` prints, one for each key of the command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainPage {
    pub command: String,
    pub key: String,
    pub reply: serde_json::Value,
    /// Concurrent values that the reply does not show.
    pub hidden: u32,
    /// The error line, when the operation failed.
    pub error: Option<String>,
    /// Absent when the operation was refused before anybody was asked.
    pub trace: Option<TracePage>,
    #[serde(skip)]
    shown: String,
    /// The N of the network; there may be fewer members for now.
    #[serde(skip)]
    wished: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracePage {
    pub partition: u16,
    pub coordinator: Peer,
    pub n: u8,
    pub r: u8,
    pub w: u8,
    pub write: bool,
    pub asked: Vec<AskedLine>,
    /// Who would have stood in next.
    pub stand_ins: Vec<Peer>,
    pub took_us: u64,
    pub verdict: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    pub peer_id: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AskedLine {
    pub peer_id: String,
    pub name: String,
    pub role: &'static str,
    /// For a stand-in: the owner in whose place it was asked.
    pub instead_of: Option<String>,
    pub health: &'static str,
    pub answer: &'static str,
    pub took_us: Option<u64>,
}

impl ExplainPage {
    /// `wished`: how many copies the network is to keep.
    pub fn new(command: &str, key: &[u8], trace: Option<&Trace>, wished: u8) -> Self {
        Self {
            command: command.into(),
            key: reply::text_or_hex(key),
            reply: serde_json::Value::Null,
            hidden: 0,
            error: None,
            trace: trace.map(TracePage::new),
            shown: String::new(),
            wished,
        }
    }

    pub fn with_reply(self, frame: &Frame, hidden: u32) -> Self {
        Self { reply: reply::value(frame), hidden, shown: reply::typed(frame), ..self }
    }

    pub fn with_error(self, line: String) -> Self {
        Self { error: Some(line), ..self }
    }

    /// From the key to the verdict, a line for each peer.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(trace) = &self.trace {
            trace.write(&plain(&self.key), self.wished, &mut text);
        }
        let mut line = |what: &str, said: &str| {
            let said = said.replace('\n', "\n             ");
            writeln!(text, "{what:<12} {said}").expect("writing to memory does not fail");
        };
        match &self.error {
            Some(error) => line("failed", &plain(error)),
            None => line("reply", &self.shown),
        }
        if self.hidden > 0 {
            line("hidden", &hidden_note(self.hidden, &plain(&self.key)));
        }
        if let Some(trace) = &self.trace {
            line("verdict", &plain(&trace.verdict));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// What is said wherever a reply hides concurrent values.
pub fn hidden_note(hidden: u32, key: &str) -> String {
    match hidden {
        1 => format!("1 concurrent value hidden; siblings {key} lists it"),
        many => format!("{many} concurrent values hidden; siblings {key} lists them"),
    }
}

impl TracePage {
    fn new(trace: &Trace) -> Self {
        Self {
            partition: trace.partition,
            coordinator: Peer::new(&trace.coordinator),
            n: trace.n,
            r: trace.r,
            w: trace.w,
            write: trace.write,
            asked: trace.asked.iter().map(|asked| AskedLine::new(asked, trace.write)).collect(),
            stand_ins: trace.stand_ins.iter().map(Peer::new).collect(),
            took_us: trace.took_us,
            verdict: trace.verdict.clone(),
        }
    }

    fn write(&self, key: &str, wished: u8, text: &mut String) {
        let owners = self.asked.iter().filter(|asked| asked.instead_of.is_none());
        let owners: Vec<_> = owners.map(|asked| plain(&asked.name)).collect();
        // Reads have no W, writes no R.
        let quorums = [("R", self.r), ("W", self.w)].into_iter().filter(|(_, copies)| *copies > 0);
        let quorums: String = quorums.map(|(name, copies)| format!(" {name}={copies}")).collect();
        let fewer = if self.n < wished { format!(" ({} for now)", self.n) } else { String::new() };
        writeln!(
            text,
            "{key} -> partition {} -> {}   N={}{fewer}{quorums}   through {}, {}",
            self.partition,
            if owners.is_empty() { "no owner".into() } else { owners.join(", ") },
            self.n.max(wished),
            plain(&self.coordinator.name),
            millis(self.took_us),
        )
        .expect("writing to memory does not fail");
        for row in aligned(self.asked.iter().map(AskedLine::columns)) {
            writeln!(text, "  {row}").expect("writing to memory does not fail");
        }
        if !self.stand_ins.is_empty() {
            let names: Vec<_> = self.stand_ins.iter().map(|peer| plain(&peer.name)).collect();
            writeln!(text, "stand-ins    {}   (not needed)", names.join(", "))
                .expect("writing to memory does not fail");
        }
    }
}

/// Each column as wide as a terminal shows its widest cell, three spaces apart.
fn aligned(rows: impl Iterator<Item = [String; 4]>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows);
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 3));
    });
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

impl Peer {
    fn new(named: &Named) -> Self {
        Self { peer_id: peer_text(&named.id), name: named.name.clone() }
    }
}

impl AskedLine {
    fn new(asked: &Asked, write: bool) -> Self {
        let (role, instead_of) = match &asked.role {
            Role::Owner => ("owner", None),
            Role::StandIn { instead_of } => ("stand-in", Some(instead_of.name.clone())),
        };
        Self {
            peer_id: peer_text(&asked.peer.id),
            name: asked.peer.name.clone(),
            role,
            instead_of,
            health: health_text(asked.health),
            answer: answer_text(asked.answer, write),
            took_us: asked.took_us,
        }
    }

    fn columns(&self) -> [String; 4] {
        let role = match &self.instead_of {
            Some(owner) => format!("stand-in for {}", plain(owner)),
            None => self.role.into(),
        };
        let health = if self.health == "alive" { String::new() } else { format!(" ({})", self.health) };
        let took = self.took_us.map(millis).unwrap_or_default();
        [plain(&self.name), role, format!("{}{health}", self.answer), took]
    }
}

fn answer_text(answer: AnswerKind, write: bool) -> &'static str {
    match answer {
        AnswerKind::NotAsked => "not asked",
        AnswerKind::Pending => "not waited for",
        AnswerKind::Ok if write => "synced",
        AnswerKind::Ok => "read",
        AnswerKind::Differs => "read, differs",
        AnswerKind::Refused => "refused",
        AnswerKind::Unreachable => "unreachable",
    }
}

/// Of microseconds.
pub fn millis(us: u64) -> String {
    format!("{}.{:01} ms", us / 1000, us % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_protocol::ids::PeerId;

    #[test]
    fn the_n_of_the_network_is_told_where_there_are_fewer_members_for_now() {
        let coordinator = Named { id: PeerId::numbered(1), name: "p1".into() };
        let (asked, stand_ins, verdict) = (Vec::new(), Vec::new(), String::new());
        let (partition, n, r, w, write, took_us) = (0, 1, 2, 0, false, 0);
        let trace = Trace { partition, coordinator, n, r, w, write, asked, stand_ins, took_us, verdict };
        let text = |wished| ExplainPage::new("get", b"k", Some(&trace), wished).text();
        assert!(text(3).contains("   N=3 (1 for now) R=2   "), "{}", text(3));
        assert!(text(1).contains("   N=1 R=2   "), "{}", text(1));
    }

    #[test]
    fn columns_are_as_wide_as_they_are_shown() {
        let row =
            |name: &str, answer: &str| [name.to_owned(), "owner".into(), answer.into(), "1.0 ms".into()];
        // Each of these letters takes two columns of a terminal.
        let lines = aligned([row("東京", "read"), row("p2", "not asked")].into_iter());
        assert_eq!(lines, ["東京   owner   read        1.0 ms", "p2     owner   not asked   1.0 ms"]);
    }
}
