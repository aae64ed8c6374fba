//! A network of numbered keys, founded by key 0, for the tests.

use super::certificate::{CLOCK_TOLERANCE_MS, Chain, Role, Terms};
use crate::config::Genesis;
use crate::genesis::SignedGenesis;
use crate::ids::PeerId;
use crate::signature::{NumberedKey, Signer};
use serde_bytes::ByteArray;
use std::sync::atomic::{AtomicU64, Ordering};

pub const DAY: u64 = 24 * 60 * 60 * 1000;

pub fn key(n: u64) -> NumberedKey {
    NumberedKey::new(n)
}

pub fn genesis() -> SignedGenesis {
    let founder = key(0);
    SignedGenesis::sign(Genesis::made_up(founder.peer()), &founder).unwrap()
}

/// Another serial each time.
pub fn terms(now_ms: u64) -> Terms {
    static SERIALS: AtomicU64 = AtomicU64::new(1);
    let serial = u128::from(SERIALS.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    Terms {
        role: Role::Storage,
        serial: ByteArray::new(serial),
        not_before_ms: now_ms - CLOCK_TOLERANCE_MS,
        not_after_ms: now_ms + 365 * DAY,
    }
}

pub fn admit(chain: &Chain, issuer: &NumberedKey, peer: PeerId, now_ms: u64) -> Chain {
    chain.issue(&genesis(), issuer, peer, terms(now_ms)).unwrap()
}
