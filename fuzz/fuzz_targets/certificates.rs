//! Chains of certificates, revocations and the genesis record: none is believed that nobody has signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_protocol::admission::certificate::Chain;
use starling_protocol::admission::revocation::{Revocation, Revocations};
use starling_protocol::config::Genesis;
use starling_protocol::genesis::SignedGenesis;
use starling_protocol::signature::{NumberedKey, Signer};
use std::sync::LazyLock;

/// What was really signed in that network, and may be believed.
const SIGNED: [&[u8]; 4] = [
    include_bytes!("../corpus/certificates/one"),
    include_bytes!("../corpus/certificates/two"),
    include_bytes!("../corpus/certificates/revocation"),
    include_bytes!("../corpus/certificates/revoked-token"),
];

static HOME: LazyLock<SignedGenesis> = LazyLock::new(|| {
    let founder = NumberedKey::new(0);
    let made_up = Genesis::made_up(founder.peer());
    let genesis = Genesis { name: "home".into(), created_ms: 1, partitions: 16, ..made_up };
    SignedGenesis::sign(genesis, &founder).expect("it is in range")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(chain) = Chain::decode(bytes) {
        assert_eq!(chain.encode(), bytes);
        let believed = [1, 2].iter().any(|n| chain.verify(&HOME, NumberedKey::new(*n).peer(), 1_000).is_ok());
        assert!(!believed || SIGNED.contains(&bytes));
    }
    if let Ok(revocation) = Revocation::decode(bytes) {
        assert_eq!(revocation.encode(), bytes);
        assert!(Revocations::default().insert(&HOME, revocation).is_err() || SIGNED.contains(&bytes));
    }
    if let Ok(genesis) = SignedGenesis::decode(bytes) {
        assert_eq!(genesis.encode(), bytes);
    }
});
