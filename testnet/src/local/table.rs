//! A status as a table for people.

use serde_json::Value;

/// Renders the object of `status --json`, or of `up --json`.
pub fn render(status: &Value) -> String {
    let peers: Vec<&Value> = status["peers"].as_array().into_iter().flatten().collect();
    // At the start nobody has been asked.
    let sees = if peers.iter().any(|peer| peer["seen"].is_object()) { "sees" } else { "" };
    let mut rows = vec![["name", "peer id", "RESP", "state", sees].map(str::to_owned)];
    rows.extend(peers.iter().map(|peer| row(peer)));
    let widths: Vec<usize> = (0..5).map(|c| rows.iter().map(|row| row[c].len()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if let Some(groups) = status["cut"].as_array() {
        let names = |group: &Value| words(group.as_array().into_iter().flatten().filter_map(Value::as_str));
        let sides: Vec<String> = groups.iter().map(names).collect();
        lines.push(format!("cut {}; undo with heal", sides.join(" | ")));
    }
    lines.join("\n")
}

fn row(peer: &Value) -> [String; 5] {
    let text = |field: &str| peer[field].as_str().unwrap_or("-").to_owned();
    let state = peer["state"].as_str().unwrap_or("alive").to_owned();
    [text("name"), text("peer_id"), text("resp"), state, sees(&peer["seen"])]
}

/// All alive: only how many. Else who is not.
fn sees(seen: &Value) -> String {
    let Some(seen) = seen.as_object() else { return String::new() };
    let (alive, others): (Vec<_>, Vec<_>) = seen.iter().partition(|(_, state)| **state == "alive");
    let others = others.iter().map(|(name, state)| format!("{name} {}", state.as_str().unwrap_or("?")));
    let others: Vec<String> = others.collect();
    let count = format!("{}/{}", alive.len(), seen.len());
    if others.is_empty() { count } else { format!("{count}, {}", others.join(", ")) }
}

fn words<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_peer_sees_and_where_the_cut_is_can_be_read_off() {
        let seen = json!({"p1": "alive", "p2": "dead"});
        let peer = json!({"name": "p1", "peer_id": "12D3", "pid": 7, "resp": "127.0.0.1:1", "state": "alive", "seen": seen});
        let text = render(&json!({"peers": [peer], "cut": [["p1"], ["p2"]]}));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "name  peer id  RESP         state  sees");
        assert_eq!(lines[1], "p1    12D3     127.0.0.1:1  alive  1/2, p2 dead");
        assert_eq!(lines[2], "cut p1 | p2; undo with heal");
        let unasked = json!({"name": "p1", "peer_id": "12D3", "pid": 7, "resp": "127.0.0.1:1"});
        let text = render(&json!({"peers": [unasked]}));
        assert_eq!(text, "name  peer id  RESP         state\np1    12D3     127.0.0.1:1  alive");
    }
}
