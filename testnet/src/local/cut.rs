//! A network cut into groups that cannot reach one another.

use super::error::Error;

/// At least two groups of peers' names; every peer is in exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    groups: Vec<Vec<String>>,
}

impl Cut {
    /// `words`: names with `|` between the groups. Errors: not every one of `peers` in exactly one
    /// group, or fewer than two groups.
    pub fn parse(words: &[String], peers: &[&str]) -> Result<Self, Error> {
        let line = words.join(" ");
        let names = |group: &str| group.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let groups: Vec<_> = line.split('|').map(names).filter(|group| !group.is_empty()).collect();
        let named: Vec<&String> = groups.iter().flatten().collect();
        if let Some(name) = named.iter().find(|name| !peers.contains(&name.as_str())) {
            return Err(Error::Unknown { name: (*name).clone(), known: peers.join(" ") });
        }
        if let Some(name) = named.iter().find(|a| named.iter().filter(|b| b == a).count() > 1) {
            return Err(Error::Words(format!("{name} is named more than once; a peer is on one side")));
        }
        let left_out: Vec<&str> =
            peers.iter().filter(|peer| named.iter().all(|name| name != *peer)).copied().collect();
        if !left_out.is_empty() {
            let advice = format!("name every peer, for example: partition {line} | {}", left_out.join(" "));
            return Err(Error::Words(format!("{} in no group; {advice}", are(&left_out))));
        }
        if groups.len() < 2 {
            let why = "a cut has at least two groups with | between them, for example: partition p1 | p2 p3";
            return Err(Error::Words(why.into()));
        }
        Ok(Self { groups })
    }

    pub fn groups(&self) -> &[Vec<String>] {
        &self.groups
    }

    /// Whether the cut leaves a way between the two.
    pub fn joins(&self, a: &str, b: &str) -> bool {
        self.groups.iter().any(|group| group.iter().any(|n| n == a) && group.iter().any(|n| n == b))
    }

    /// A new peer, on the side of the one that it joins through.
    pub fn add(&mut self, name: &str, beside: &str) {
        let side = self.groups.iter_mut().find(|group| group.iter().any(|n| n == beside));
        if let Some(group) = side {
            group.push(name.to_owned());
        }
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups: Vec<String> = self.groups.iter().map(|group| group.join(" ")).collect();
        write!(f, "{}", groups.join(" | "))
    }
}

fn are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [&str; 3] = ["p1", "p2", "p3"];

    fn cut(line: &str) -> Result<Cut, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Cut::parse(&words, &PEERS).map_err(|e| e.to_string())
    }

    #[test]
    fn groups_are_apart_and_members_together() {
        let mut cut = cut("p1 p2|p3").unwrap();
        assert_eq!(cut.to_string(), "p1 p2 | p3");
        assert!(cut.joins("p1", "p2") && !cut.joins("p2", "p3"));
        cut.add("p4", "p3");
        assert!(cut.joins("p3", "p4") && !cut.joins("p1", "p4"));
    }

    #[test]
    fn every_peer_must_be_on_one_side() {
        let text = cut("p3").unwrap_err();
        assert_eq!(text, "p1 p2 are in no group; name every peer, for example: partition p3 | p1 p2");
        assert!(cut("p1 | p1 p2 p3").unwrap_err().contains("more than once"));
        assert!(cut("p1 p2 p3").unwrap_err().contains("at least two"));
        assert!(cut("p1 | p2 p3 p9").unwrap_err().contains("there is no peer p9"));
    }
}
