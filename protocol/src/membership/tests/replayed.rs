//! What changes nothing costs nothing: a signature takes a while to verify.

use super::super::signing::{Signed, Signing};
use super::signed::{bare, certificates, key, peer, signing, stepped};
use super::*;
use crate::member::Voucher;
use crate::signature::NumberedKey;
use serde_bytes::ByteBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is verified.
#[derive(Debug)]
struct Counting {
    signing: Signed<NumberedKey>,
    verified: AtomicUsize,
}

impl Counting {
    fn count(&self) -> &Signed<NumberedKey> {
        self.verified.fetch_add(1, Ordering::Relaxed);
        &self.signing
    }
}

impl Signing for Counting {
    fn certificates(&self) -> ByteBuf {
        self.signing.certificates()
    }

    fn sign(&self, record: &Record) -> Option<crate::signature::Signature> {
        self.signing.sign(record)
    }

    fn vouch(&self, peer: PeerId, standing: Standing) -> Option<Voucher> {
        self.signing.vouch(peer, standing)
    }

    fn may_forget(&self) -> bool {
        self.signing.may_forget()
    }

    fn lacks_proof(&self, record: &Record) -> bool {
        self.signing.lacks_proof(record)
    }

    fn is_signed(&self, record: &Record) -> bool {
        self.count().is_signed(record)
    }

    fn is_certified(&self, record: &Record) -> bool {
        self.count().is_certified(record)
    }

    fn is_vouched(&self, record: &Record) -> bool {
        self.count().is_vouched(record)
    }
}

/// Peer 0, which knows 1 and 2 at incarnation 5 and has forgotten 3, and how much it verifies of what 1 says then.
fn verified(members_max: usize, said: Vec<Record>) -> usize {
    let counting = Arc::new(Counting { signing: signing(0), verified: AtomicUsize::new(0) });
    let me = Record { id: key(0), ..member(0, 1) };
    let known = vec![peer(1, 5), stepped(&peer(2, 5), 7, Step::Member, 2), bare(3, 1)];
    let config = Config { members_max, ..Config::default() };
    let mut mine = Membership::new(me, known, counting.clone(), config, 7, Time(0));
    counting.verified.store(0, Ordering::Relaxed);
    let mut out = Vec::new();
    mine.received(Time(1), key(1), gossip(said, GossipBody::Update), &mut out);
    assert!(!misbehaved(&out), "{out:?}");
    counting.verified.load(Ordering::Relaxed)
}

#[test]
fn what_is_older_than_what_is_known_is_not_verified() {
    let of_me = Record { id: key(0), certificates: certificates(0), ..peer(4, 0) };
    let others = Record { certificates: certificates(1), ..stepped(&peer(2, 4), 6, Step::Leaving, 2) };
    for old in [peer(2, 4), others, peer(1, 4), peer(3, 9), Record { voucher: peer(1, 1).voucher, ..of_me }] {
        assert_eq!(verified(100, vec![old.clone()]), 0, "{old:?}");
    }
    assert!(verified(100, vec![peer(2, 6)]) > 0, "news is");
    assert!(verified(100, vec![stepped(&peer(2, 4), 8, Step::Leaving, 2)]) > 0);
}

#[test]
fn one_for_whom_there_is_no_room_is_not_verified() {
    assert!(verified(100, vec![peer(4, 1)]) > 0);
    assert_eq!(verified(3, vec![peer(4, 1)]), 0);
}

#[test]
fn of_many_records_of_one_peer_the_first_is_looked_at() {
    let newer: Vec<_> = (6..60).map(|incarnation| peer(2, incarnation)).collect();
    assert_eq!(verified(100, newer.clone()), verified(100, newer[..1].to_vec()));
}
