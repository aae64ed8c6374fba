//! Who keeps data, whether enough of them live, and who waits for whom.

use super::{MemberLine, StatusPage, plain, short, with_id};
use crate::admission::Admission;
use crate::resp::frame::quoted;
use crate::transport::parse_peer;
use starling_protocol::admission::certificate::Refusal;
use starling_protocol::admission::revocation::Revocation;
use starling_protocol::ids::PeerId;
use std::collections::BTreeSet;

impl MemberLine {
    /// It owns data, and not only will.
    pub fn keeps_data(&self) -> bool {
        self.weight > 0 && matches!(self.step.as_str(), "member" | "arriving" | "leaving" | "departing")
    }

    /// It answers, and may.
    pub fn lives(&self) -> bool {
        self.health == "alive" && !self.revoked
    }

    /// It will answer no more by itself.
    fn is_lost(&self) -> bool {
        self.is_dead() || self.revoked
    }

    pub fn is_dead(&self) -> bool {
        self.health == "dead"
    }

    /// It comes, and owns nothing yet.
    pub fn comes(&self) -> bool {
        matches!(self.step.as_str(), "waiting" | "joining")
    }

    /// Why nobody can count on it. `None`: one can.
    fn lost_text(&self) -> Option<&'static str> {
        match (self.revoked, self.is_dead()) {
            (true, _) => Some("revoked"),
            (false, true) => Some("dead"),
            (false, false) => None,
        }
    }
}

impl StatusPage {
    /// Those who own data now.
    pub fn owners(&self) -> impl Iterator<Item = &MemberLine> {
        self.members.iter().filter(|member| member.keeps_data())
    }

    /// How many of them can be counted on.
    pub fn live_owners(&self) -> usize {
        self.owners().filter(|member| member.lives()).count()
    }

    /// Of fewer owners than copies are wanted, all must have them, and no more can.
    pub fn needed(&self, copies: u8) -> usize {
        self.owners().count().min(copies.into())
    }

    /// Its name, and where others have that too, its id as STATUS shows it.
    pub fn called(&self, member: &MemberLine) -> String {
        if self.has_name_alone(member) {
            return plain(&member.name);
        }
        with_id(&member.name, &member.peer_id)
    }

    /// The same of a peer that may be no member.
    pub fn called_by_id(&self, peer_id: &str) -> String {
        let member = self.members.iter().find(|member| member.peer_id == peer_id);
        member.map_or_else(|| short(peer_id), |member| self.called(member))
    }

    fn has_name_alone(&self, member: &MemberLine) -> bool {
        self.members.iter().filter(|other| other.name == member.name).count() == 1
    }

    /// The command that gives a member up, as the console and a shell take it.
    pub fn forget_command(&self, member: &MemberLine) -> String {
        let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        match &member.name {
            _ if !self.has_name_alone(member) => {
                format!("forget {}", short(&member.peer_id).trim_start_matches('…'))
            }
            name if name.chars().all(is_plain) => format!("forget {name}"),
            name => format!("forget {}", quoted(name.as_bytes())),
        }
    }

    /// Owners that are lost and, by that, hold up whoever comes or goes: a step is taken when, of the owners of each
    /// partition, N-W+1 and more than half know of the last one (rule `settling`).
    pub fn holding_up(&self) -> Vec<&MemberLine> {
        let lost: Vec<_> = self.owners().filter(|member| member.is_lost()).collect();
        let (owners, w) = (self.needed(self.n), self.needed(self.w));
        let knowing = (owners + 1 - w.min(owners)).max(owners / 2 + 1);
        let too_many = lost.len() + knowing > owners;
        // Whose own step is under way has its turn until it has taken it.
        lost.into_iter().filter(|member| too_many || member.step != "member").collect()
    }

    /// Who waits for them, and what to do. `None`: nobody does.
    pub fn waiting_text(&self) -> Option<String> {
        let moving =
            |member: &&MemberLine| member.lives() && !matches!(member.step.as_str(), "member" | "left");
        let wait: Vec<_> =
            self.members.iter().filter(moving).map(|member| self.waiter_text(member)).collect();
        let lost = self.holding_up();
        if wait.is_empty() || lost.is_empty() {
            return None;
        }
        let names: Vec<_> = lost.iter().map(|member| self.lost_text(member)).collect();
        let commands: Vec<_> = lost.iter().map(|member| self.forget_command(member)).collect();
        Some(format!(
            "{}; waits for {}: start it again, or if it will not come back, {}",
            wait.join(", "),
            names.join(", "),
            commands.join(", ")
        ))
    }

    fn waiter_text(&self, member: &MemberLine) -> String {
        let does = if matches!(member.step.as_str(), "leaving" | "departing") { "leaves" } else { "joins" };
        format!("{} {does}", self.called(member))
    }

    fn lost_text(&self, member: &MemberLine) -> String {
        format!("{} ({})", self.called(member), member.lost_text().unwrap_or("alive"))
    }

    /// Lines about who is lost and what that means.
    pub(super) fn standing_text(&self) -> String {
        // One that is out cannot forget itself.
        let revoked = self.owners().filter(|member| member.revoked && member.peer_id != self.peer_id);
        let revoked = revoked.map(|member| {
            let command = self.forget_command(member);
            format!("\n{} is revoked, and keeps its share of the data until: {command}", self.called(member))
        });
        revoked.chain(self.waiting_text().map(|text| format!("\n{text}"))).collect()
    }

    /// What it means that a peer was revoked, to who did that.
    pub fn revoked_text(&self, peer_id: &str) -> String {
        let Some(member) = self.members.iter().find(|member| member.peer_id == peer_id) else {
            return format!("{} is out of the network", short(peer_id));
        };
        let out = format!("{} is out of the network", self.called(member));
        if !member.keeps_data() {
            return out;
        }
        let (live, needed, command) = (self.live_owners(), self.needed(self.w), self.forget_command(member));
        if live < needed {
            let remain = if live == 1 { "remains" } else { "remain" };
            return format!(
                "{out}; {live} of the {needed} owners that a write needs {remain}: when it will not come back, {command}"
            );
        }
        format!("{out}; it keeps its share of the data until: {command}")
    }
}

/// Which of these is revoked, as far as this peer knows: by the certificate that it has seen, or, of one that is not
/// there and has shown none since the start, by what was revoked of it. To check a certificate takes a while, and most
/// need not be: of those who live, only one that was revoked itself; whom that one had let in is dead soon.
pub(super) fn mark_revoked(members: &mut [MemberLine], admission: &Admission) {
    let subjects = subjects_of(admission);
    for member in members.iter_mut().filter(|_| !subjects.is_empty()) {
        let Some(peer) = parse_peer(&member.peer_id) else { continue };
        let is_subject = subjects.contains(&peer);
        if member.health == "alive" && !is_subject {
            continue;
        }
        let verdict = match peer == admission.me() {
            true => admission.own_grant().map(drop),
            false => admission.check_again(peer),
        };
        member.revoked = match verdict {
            Err(Refusal::Revoked) => true,
            Err(Refusal::NoCertificate) => is_subject && member.is_dead(),
            _ => false,
        };
    }
}

fn subjects_of(admission: &Admission) -> BTreeSet<PeerId> {
    let known = admission.revocations();
    let known = known.iter().filter_map(|bytes| Revocation::decode(bytes).ok());
    known.filter(|found| found.token.is_none()).map(|found| found.subject(admission.genesis())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{COMES, DEAD, HERE, page};
    use starling_protocol::member::{Health, Step};

    #[test]
    fn newcomers_are_told_whom_they_wait_for_where_they_do() {
        let text = page(&[HERE, DEAD, COMES, (Health::Alive, Step::Waiting)]).waiting_text().unwrap();
        let end = "waits for p2 (dead): start it again, or if it will not come back, forget p2";
        assert_eq!(text, format!("p3 joins, p4 joins; {end}"));
        // Enough of the owners of whatever partition can tell what a newcomer needs to know.
        assert_eq!(page(&[HERE, HERE, DEAD, COMES]).waiting_text(), None);
        assert!(page(&[HERE, DEAD, DEAD, COMES]).waiting_text().is_some());
        assert_eq!(page(&[HERE, DEAD]).waiting_text(), None, "nobody waits");
        let left_half = (Health::Dead, Step::Leaving);
        assert!(page(&[HERE, HERE, left_half, COMES]).waiting_text().unwrap().contains("p3 (dead)"));
    }

    #[test]
    fn what_a_revocation_means_depends_on_who_remains() {
        let mut two = page(&[HERE, HERE]);
        two.members[1].revoked = true;
        let id = two.members[1].peer_id.clone();
        let expected = "p2 is out of the network; 1 of the 2 owners that a write needs remains: when it will not come \
                        back, forget p2";
        assert_eq!(two.revoked_text(&id), expected);
        assert!(two.text().contains("alive, revoked"), "{}", two.text());
        assert!(two.text().contains("p2 is revoked, and keeps its share of the data until: forget p2"));
        two.peer_id = id.clone();
        assert!(!two.text().contains("until: forget"), "{}", two.text());
        let mut three = page(&[HERE, HERE, HERE]);
        three.members[1].revoked = true;
        assert!(three.revoked_text(&id).ends_with("until: forget p2"));
        let mut newcomer = page(&[HERE, COMES]);
        newcomer.members[1].revoked = true;
        assert_eq!(newcomer.revoked_text(&id), "p2 is out of the network");
    }

    #[test]
    fn the_command_that_forgets_names_one_member() {
        let mut page = page(&[HERE, HERE]);
        page.members[1].name = "bob's box".into();
        assert_eq!(page.forget_command(&page.members[1]), "forget \"bob's box\"");
        page.members[1].name = "p1".into();
        let id = &page.members[1].peer_id;
        assert_eq!(page.forget_command(&page.members[1]), format!("forget {}", &id[id.len() - 8..]));
    }
}
