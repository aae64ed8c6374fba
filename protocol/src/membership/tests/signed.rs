//! Records that are really signed.

use super::super::signing::{Signed, Signing};
use super::*;
use crate::ids::NetworkId;
use crate::signature::{NumberedKey, Signer};

const UPDATE: GossipBody = GossipBody::Update;
const NETWORK: NetworkId = NetworkId([7; 32]);

fn signing(n: u64) -> Signed<NumberedKey> {
    Signed::new(NETWORK, NumberedKey::new(n))
}

fn key(n: u64) -> PeerId {
    NumberedKey::new(n).peer()
}

/// As peer `n` itself would sign it.
fn signed(n: u64, record: Record) -> Record {
    let record = Record { id: key(n), ..record };
    Record { signature: signing(n).sign(&record), ..record }
}

/// A member of the network whose records are signed by key `n`.
fn peer(n: u64, incarnation: u64) -> Record {
    signed(n, member(1, incarnation))
}

/// Peer 0, which knows the first of those others.
fn membership(others: u64) -> Membership {
    let known = (1..=others).map(|n| peer(n, 1)).collect();
    let me = Record { id: key(0), ..member(0, 1) };
    Membership::new(me, known, Arc::new(signing(0)), Config::default(), 7, Time(0))
}

/// What peer `from` says; true if it was found to misbehave.
fn says(to: &mut Membership, from: u64, records: Vec<Record>) -> bool {
    let mut out = Vec::new();
    to.received(Time(1), key(from), gossip(records, UPDATE), &mut out);
    misbehaved(&out)
}

#[test]
fn a_peer_signs_what_it_says_of_itself_and_whenever_that_changes() {
    let mut mine = membership(1);
    assert!(signing(0).is_signed(mine.me()));
    let before = mine.me().clone();
    mine.listening(Time(1), vec!["/ip4/10.0.0.9/tcp/1".into()], &mut Vec::new());
    assert!(mine.me().incarnation > before.incarnation && signing(0).is_signed(mine.me()));
    assert_ne!(mine.me().signature, before.signature);
    mine.take_step(Time(1), Step::Leaving, &mut Vec::new());
    assert!(signing(0).is_signed(mine.me()), "a step is not part of what is signed");
}

#[test]
fn nobody_speaks_for_another() {
    let changes: [fn(&mut Record); 7] = [
        |record| record.name = "other".into(),
        |record| record.zone = "moon".into(),
        |record| record.addresses = vec!["/ip4/6.6.6.6/tcp/6".into()],
        |record| record.weight = 10_000,
        |record| record.life = 99,
        |record| record.incarnation = 9,
        |record| record.signature = None,
    ];
    for (count, change) in changes.into_iter().enumerate() {
        let mut mine = membership(3);
        let known = mine.get(key(2)).cloned();
        let mut forged = peer(2, 2);
        change(&mut forged);
        for liar in [1, 2] {
            assert!(says(&mut mine, liar, vec![forged.clone()]), "change {count} by {liar}");
        }
        let by_another = Record { signature: signing(1).sign(&forged), ..forged };
        assert!(says(&mut mine, 1, vec![by_another]));
        assert_eq!((mine.get(key(2)).cloned(), mine.forged()), (known, 3));
    }
}

#[test]
fn an_invented_peer_is_not_admitted() {
    let mut mine = membership(1);
    let invented = Record { id: PeerId([9; 32]), ..member(1, 1) };
    assert!(says(&mut mine, 1, vec![invented]));
    assert_eq!(mine.get(PeerId([9; 32])), None);
    let left = Standing { version: 5, step: Step::Member };
    let almost_bare = Record { incarnation: 0, standing: left, signature: None, ..member(1, 1) };
    assert!(says(&mut mine, 1, vec![Record { id: key(8), ..almost_bare }]));
    assert_eq!(mine.get(key(8)), None);
}

#[test]
fn a_replayed_record_changes_nothing() {
    let mut mine = membership(2);
    let (old, new) = (peer(2, 3), signed(2, Record { name: "new".into(), ..member(1, 4) }));
    assert!(!says(&mut mine, 2, vec![old.clone()]));
    assert!(!says(&mut mine, 2, vec![new.clone()]));
    for replayed in [old.clone(), Record { health: Health::Dead, ..old }] {
        assert!(!says(&mut mine, 1, vec![replayed]));
        assert_eq!(mine.get(key(2)), Some(&new));
    }
    let elsewhere = Signed::new(NetworkId([8; 32]), NumberedKey::new(2));
    let of_another_network = Record { incarnation: 9, ..new.clone() };
    let signature = elsewhere.sign(&of_another_network);
    assert!(says(&mut mine, 2, vec![Record { signature, ..of_another_network }]));
    assert_eq!(mine.get(key(2)), Some(&new));
}

#[test]
fn no_incarnation_is_reached_that_the_subject_has_not_signed() {
    let mut mine = membership(2);
    for incarnation in [2, u64::MAX / 2 - 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        let forged = Record { incarnation, health: Health::Dead, ..peer(2, 1) };
        assert!(says(&mut mine, 1, vec![forged]), "{incarnation}");
        let of_me = Record { incarnation, health: Health::Dead, ..mine.me().clone() };
        assert!(says(&mut mine, 1, vec![of_me]), "{incarnation}");
        // Not even its subject's own signature makes such a number one that can be refuted.
        let own = signed(2, member(1, incarnation));
        assert_eq!(says(&mut mine, 2, vec![own]), incarnation >= u64::MAX / 2);
        let accusation = Accusation { suspect: key(0), incarnation, by: key(1) };
        let accusing = Gossip { accusations: vec![accusation], ..gossip(Vec::new(), UPDATE) };
        mine.received(Time(1), key(1), accusing, &mut Vec::new());
        assert_eq!(mine.me().incarnation, 1);
    }
    assert_eq!(mine.get(key(2)).unwrap().incarnation, u64::MAX / 2 - 1);
    let accusation = Accusation { suspect: key(0), incarnation: 1, by: key(1) };
    let accusing = Gossip { accusations: vec![accusation], ..gossip(Vec::new(), UPDATE) };
    mine.received(Time(1), key(1), accusing, &mut Vec::new());
    assert_eq!(mine.me().incarnation, 2, "what it has signed it is accused at, and refutes");
}

#[test]
fn suspicions_of_a_signed_record_pass_and_so_does_news_of_who_has_left() {
    let mut mine = membership(3);
    assert!(!says(&mut mine, 1, vec![Record { health: Health::Suspect, ..peer(2, 1) }]));
    assert_eq!(mine.health(key(2)), Health::Suspect);
    let mut forgetful = membership(1);
    let standing = Standing { version: 9, step: Step::Left };
    let bare = Record {
        id: key(7),
        incarnation: 0,
        health: Health::Dead,
        standing,
        life: 0,
        started_ms: 0,
        name: String::new(),
        addresses: Vec::new(),
        zone: String::new(),
        weight: 0,
        signature: None,
    };
    assert!(!says(&mut forgetful, 1, vec![bare]));
    assert!(!says(&mut forgetful, 7, vec![signed(7, Record { standing, ..member(1, 1) })]));
}

#[test]
fn a_saved_table_is_verified_when_it_is_read() {
    let forged = Record { name: "other".into(), ..peer(2, 1) };
    let me = Record { id: key(0), ..member(0, 1) };
    let known = vec![peer(1, 1), forged];
    let mine = Membership::new(me, known, Arc::new(signing(0)), Config::default(), 7, Time(0));
    assert!(mine.get(key(1)).is_some() && mine.get(key(2)).is_none());
}
