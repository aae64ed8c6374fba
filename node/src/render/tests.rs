use super::*;
use crate::resp::frame::Frame;
use starling_protocol::ids::{NetworkId, PeerId};

pub fn member(n: u64, health: Health, step: Step) -> MemberView {
    MemberView {
        id: PeerId::numbered(n),
        name: format!("p{n}"),
        health,
        step,
        incarnation: 1,
        addresses: vec![format!("/ip4/127.0.0.1/tcp/{}", 7478 + n)],
        zone: String::new(),
        weight: 100,
        share: 333,
    }
}

pub const HERE: (Health, Step) = (Health::Alive, Step::Member);
pub const DEAD: (Health, Step) = (Health::Dead, Step::Member);
pub const COMES: (Health, Step) = (Health::Alive, Step::Joining);

/// Of p1, p2 and so on.
pub fn page(members: &[(Health, Step)]) -> StatusPage {
    let members = members.iter().zip(1..).map(|((health, step), n)| member(n, *health, *step)).collect();
    StatusPage::new(&Status { members, ..status() })
}

pub fn status() -> Status {
    Status {
        me: PeerId::numbered(1),
        network: NetworkId([7; 32]),
        network_name: "testnet".into(),
        partitions: 256,
        n: 3,
        r: 2,
        w: 2,
        members: vec![
            member(1, Health::Alive, Step::Member),
            member(2, Health::Dead, Step::Member),
            member(3, Health::Alive, Step::Joining),
            member(4, Health::Dead, Step::Left),
        ],
        owned: 154,
        held_for_others: 2,
        repairing: 0,
        operations: 1,
        is_low: false,
        forged: 0,
    }
}

#[test]
fn owners_of_one_name_are_told_apart() {
    let seat = |peer_id: &str| Seat {
        peer_id: peer_id.into(),
        name: "a".into(),
        health: "alive".into(),
        step: "member".into(),
    };
    let owners = vec![seat("12D3KooWaaaaaaaa"), seat("12D3KooWbbbbbbbb")];
    let mut page = WherePage { key: "k".into(), partition: 1, owners, stand_ins: Vec::new() };
    assert!(page.text().contains("owners     a …aaaaaaaa, a …bbbbbbbb\n"), "{}", page.text());
    page.owners.pop();
    assert!(page.text().contains("owners     a\n"), "{}", page.text());
}

#[test]
fn status_counts_those_who_have_not_left_and_reads_back_as_json() {
    let page = StatusPage::new(&status());
    assert_eq!((page.alive, page.all, page.name.as_str()), (2, 3, "p1"));
    assert_eq!(serde_json::from_str::<StatusPage>(&json(&page)).unwrap(), page);
}

#[test]
fn status_as_text_tells_the_state_of_each_member() {
    let text = StatusPage::new(&status()).text();
    for expected in ["2 of 3 alive", "N=3 R=2 W=2", "p1 (here)", "dead", "alive, joining", "left", "33.3 %"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn status_tells_the_way_to_each_peer_and_why_it_is_not_direct() {
    let mut page = StatusPage::new(&status());
    let line = |kind: &str, via: Option<&str>, why: Option<&str>| PathLine {
        kind: kind.into(),
        via: via.map(String::from),
        transport: "quic".into(),
        why: why.map(String::from),
    };
    page.members[1].path = Some(line("punched", None, None));
    page.members[2].path =
        Some(line("relayed", Some("p2"), Some("it is behind a NAT; a hole is being punched")));
    let text = page.text();
    let last = "p3 is reached through p2: it is behind a NAT; a hole is being punched";
    for expected in ["punched, quic", "via p2", last] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert_eq!(serde_json::from_str::<StatusPage>(&json(&page)).unwrap(), page);
}

#[test]
fn what_a_terminal_would_obey_is_not_sent_to_it() {
    let mut status = status();
    status.members[1].name = "\x1b[31mp2\n".into();
    assert!(!StatusPage::new(&status).text().contains('\x1b'));
    assert_eq!(reply::typed(&Frame::bulk("\x1b[31m")), "\"\\x1b[31m\"");
    assert!(!reply::typed(&Frame::Simple("\x1b".into())).contains('\x1b'));
}

#[test]
fn replies_look_as_in_redis_cli() {
    let nested = Frame::Array(vec![Frame::bulk("0"), Frame::Array(vec![Frame::bulk("a"), Frame::Null])]);
    assert_eq!(reply::typed(&nested), "1) \"0\"\n2) 1) \"a\"\n   2) (nil)");
    let map = Frame::Map(vec![(Frame::bulk("name"), Frame::bulk("ada")), (Frame::bulk("n"), Frame::Int(5))]);
    assert_eq!(reply::typed(&map), "1) \"name\" => \"ada\"\n2) \"n\" => (integer) 5");
    assert_eq!(reply::typed(&Frame::Set(vec![Frame::bulk("ada")])), "1) \"ada\"");
    assert_eq!(reply::typed(&Frame::error("ERR no")), "(error) ERR no");
    let mut raw = Vec::new();
    reply::raw(&map, &mut raw);
    assert_eq!(raw, b"name\nada\nn\n5");
}

#[test]
fn status_says_that_the_disk_is_nearly_full() {
    let text = |is_low| StatusPage::new(&Status { is_low, ..status() }).text();
    assert!(text(true).contains("disk of this peer is nearly full") && !text(false).contains("nearly full"));
}

#[test]
fn status_says_that_fewer_members_than_w_confirm_for_now() {
    let mut page = StatusPage::new(&status());
    assert!(!page.text().contains("for now"));
    page.members.truncate(1);
    assert!(page.text().contains("W=2 (1 for now: 1 member)"), "{}", page.text());
}
