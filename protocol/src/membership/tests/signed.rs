//! Records that are really signed.

use super::super::signing::{Signed, Signing};
use super::*;
use crate::admission::certificate::{Chain, Role, Terms};
use crate::admission::samples::{DAY, genesis, terms};
use crate::config::Genesis;
use crate::genesis::SignedGenesis;
use crate::signature::{NumberedKey, Signer};
use serde_bytes::{ByteArray, ByteBuf};

const UPDATE: GossipBody = GossipBody::Update;
/// From here on peers only take requests.
const CLIENTS: u64 = 20;

/// Of peer `n`: key 0 is the founder's.
pub(super) fn certificates(n: u64) -> ByteBuf {
    certified(n, if n < CLIENTS { Role::Storage } else { Role::Client })
}

fn certified(n: u64, role: Role) -> ByteBuf {
    let given = || {
        let terms = Terms { role, serial: ByteArray::new([n as u8; 16]), ..terms(400 * DAY) };
        Chain::default().issue(&genesis(), &NumberedKey::new(0), key(n), terms).unwrap()
    };
    ByteBuf::from(if n == 0 { Chain::default() } else { given() }.encode())
}

pub(super) fn signing(n: u64) -> Signed<NumberedKey> {
    Signed::new(genesis(), certificates(n), NumberedKey::new(n))
}

pub(super) fn key(n: u64) -> PeerId {
    NumberedKey::new(n).peer()
}

/// As peer `n` itself would sign it.
fn signed(n: u64, record: Record) -> Record {
    let weight = if n < CLIENTS { record.weight } else { 0 };
    let record = Record { id: key(n), weight, certificates: certificates(n), ..record };
    let voucher = signing(n).vouch(record.id, record.standing);
    Record { signature: signing(n).sign(&record), voucher, ..record }
}

/// Its step is another, which peer `by` signs.
pub(super) fn stepped(record: &Record, version: u64, step: Step, by: u64) -> Record {
    let standing = Standing { version, step };
    Record { standing, voucher: signing(by).vouch(record.id, standing), ..record.clone() }
}

/// A member of the network whose records are signed by key `n`.
pub(super) fn peer(n: u64, incarnation: u64) -> Record {
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
    assert!(signing(0).is_signed(mine.me()), "a step is not part of that");
    assert!(signing(0).is_vouched(mine.me()) && signing(0).is_certified(mine.me()));
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
    let invented = Record { id: PeerId([9; 32]), ..peer(1, 1) };
    assert!(says(&mut mine, 1, vec![invented]));
    assert_eq!(mine.get(PeerId([9; 32])), None);
    let left = Standing { version: 5, step: Step::Member };
    let almost_bare = Record { incarnation: 0, standing: left, signature: None, ..peer(8, 1) };
    assert!(says(&mut mine, 1, vec![almost_bare]));
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
    let other = Genesis { name: "other".into(), ..genesis().genesis().clone() };
    let other = SignedGenesis::sign(other, &NumberedKey::new(0)).unwrap();
    let elsewhere = Signed::new(other, certificates(2), NumberedKey::new(2));
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
    for by in [3, 7] {
        let mut forgetful = membership(1);
        let bare = bare(7, by);
        assert!(!says(&mut forgetful, 1, vec![bare.clone()]));
        assert!(forgetful.table().contains(&bare), "as it came it is told on");
        assert!(!says(&mut forgetful, 7, vec![stepped(&peer(7, 1), 9, Step::Left, 7)]));
    }
}

/// What is kept of peer `n`, by whom it was forgotten.
pub(super) fn bare(n: u64, by: u64) -> Record {
    let gone =
        Record { incarnation: 0, health: Health::Dead, ..signed(n, Record { weight: 0, ..member(1, 1) }) };
    let gone =
        Record { name: String::new(), life: 0, started_ms: 0, addresses: vec![], signature: None, ..gone };
    stepped(&gone, 9, Step::Left, by)
}

#[test]
fn nobody_steps_for_another() {
    for (step, by) in [(Step::Member, 1), (Step::Waiting, 1), (Step::Departing, 3), (Step::Left, CLIENTS)] {
        let mut mine = membership(3);
        let known = mine.get(key(2)).cloned();
        assert!(says(&mut mine, 1, vec![stepped(&peer(2, 1), 9, step, by)]), "{step:?}");
        let me = mine.me().clone();
        assert!(says(&mut mine, 1, vec![stepped(&me, 9, step, by)]), "{step:?}");
        assert_eq!((mine.get(key(2)).cloned(), mine.me(), mine.forged()), (known, &me, 2));
        // A word for one step is none for another, nor for another peer.
        let said = stepped(&peer(2, 1), 9, Step::Left, 3);
        let later = Standing { version: 10, ..said.standing };
        assert!(says(&mut mine, 1, vec![Record { standing: later, ..said.clone() }]));
        assert!(says(
            &mut mine,
            1,
            vec![Record { voucher: said.voucher.clone(), ..stepped(&peer(1, 1), 9, step, 1) }]
        ));
        assert!(!says(&mut mine, 1, vec![said]), "that it has left another may say");
    }
}

#[test]
fn a_step_that_is_known_is_not_verified_again_and_takes_nobody_back() {
    let mut mine = membership(2);
    let left = stepped(&peer(2, 1), 9, Step::Left, 2);
    assert!(!says(&mut mine, 1, vec![left.clone()]));
    for old in [peer(2, 1), stepped(&peer(2, 1), 3, Step::Joining, 1)] {
        assert!(!says(&mut mine, 1, vec![old]));
        assert_eq!(mine.get(key(2)), Some(&left));
    }
}

#[test]
fn who_was_not_let_in_is_not_in_the_table_whoever_tells_of_it() {
    let someone = peer(9, 1);
    let own = |record: Record| Record { signature: signing(9).sign(&record), ..record };
    let lies = [
        Record { certificates: certificates(1), ..someone.clone() },
        Record { certificates: certificates(0), ..someone.clone() },
        own(Record { certificates: certified(9, Role::Client), ..someone.clone() }),
        own(Record { weight: WEIGHT_MAX + 1, ..someone.clone() }),
        Record { certificates: ByteBuf::from(vec![0; CHAIN_BYTES_MAX + 1]), ..someone.clone() },
        Record { certificates: certificates(0), ..bare(9, 9) },
        Record { certificates: certificates(1), ..bare(9, 1) },
        bare(9, CLIENTS),
    ];
    for (count, lie) in lies.into_iter().enumerate() {
        let mut mine = membership(1);
        assert!(says(&mut mine, 1, vec![lie]), "lie {count}");
        assert!(!mine.has_met(key(9)), "lie {count}");
    }
}

#[test]
fn who_only_takes_requests_forgets_nobody() {
    let me = Record { id: key(CLIENTS), weight: 0, ..member(0, 1) };
    let known = vec![Record { health: Health::Dead, ..peer(1, 1) }];
    let mut client = Membership::new(me, known, Arc::new(signing(CLIENTS)), Config::default(), 7, Time(0));
    assert_eq!(client.forget(Time(1), key(1), &mut Vec::new()), Err(ForgetError::NotAllowed));
}

/// Whom nobody else has as a peer with certificates they believe to have left all the same.
#[test]
fn one_that_was_saved_without_proof_is_forgotten_everywhere() {
    let old = Record { certificates: ByteBuf::new(), voucher: None, health: Health::Dead, ..peer(1, 1) };
    let [mut mine, mut theirs] = [0, 2].map(|n| {
        let me = Record { id: key(n), ..member(0, 1) };
        let known = vec![old.clone(), peer(2 - n, 1)];
        Membership::new(me, known, Arc::new(signing(n)), Config::default(), 7, Time(0))
    });
    let mut out = Vec::new();
    mine.forget(Time(1), key(1), &mut out).unwrap();
    let (to, gossip) = sent(&out)[0];
    assert_eq!(to, key(2));
    let mut out = Vec::new();
    theirs.received(Time(1), key(0), gossip.clone(), &mut out);
    assert!(!misbehaved(&out) && out.contains(&Out::Stepped { peer: key(1), step: Step::Left }), "{out:?}");
    assert_eq!(mine.view(), theirs.view());
}

/// Saved by a version that knew neither certificates nor vouchers: kept, and no lie of who tells it.
#[test]
fn what_was_saved_without_proof_is_kept_until_its_subject_tells_and_not_believed_of_others() {
    let old = |n| Record { certificates: ByteBuf::new(), voucher: None, ..peer(n, 1) };
    let me = Record { id: key(0), ..member(0, 1) };
    let mut mine = Membership::new(me, vec![old(1)], Arc::new(signing(0)), Config::default(), 7, Time(0));
    assert_eq!(mine.get(key(1)), Some(&old(1)));
    assert!(!says(&mut mine, 1, vec![old(2)]));
    assert_eq!((mine.get(key(2)), mine.forged()), (None, 0));
    assert!(!says(&mut mine, 1, vec![peer(1, 2), peer(2, 2)]));
    assert_eq!((mine.get(key(1)), mine.get(key(2))), (Some(&peer(1, 2)), Some(&peer(2, 2))));
}

#[test]
fn a_saved_table_is_verified_when_it_is_read() {
    let forged = Record { name: "other".into(), ..peer(2, 1) };
    let me = Record { id: key(0), ..member(0, 1) };
    let known = vec![peer(1, 1), forged];
    let mine = Membership::new(me, known, Arc::new(signing(0)), Config::default(), 7, Time(0));
    assert!(mine.get(key(1)).is_some() && mine.get(key(2)).is_none());
}
