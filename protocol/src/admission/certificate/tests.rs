use super::*;
use crate::admission::samples::{DAY, admit, genesis, key, terms};
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW: u64 = 100 * DAY;

/// The chain of peer `n`, let in by `n - 1`, and so on up to the founder, who is 0.
fn chain_of(n: u64) -> Chain {
    (1..=n).fold(Chain::default(), |chain, n| admit(&chain, &key(n - 1), key(n).peer(), NOW))
}

fn verify_of(chain: &Chain, n: u64) -> Result<Grant, Refusal> {
    chain.verify(&genesis(), key(n).peer(), NOW)
}

/// Signed anew by its issuer after a change.
fn changed(chain: &Chain, at: usize, change: impl Fn(&mut Certificate)) -> Chain {
    let mut chain = chain.clone();
    change(&mut chain.0[at].certificate);
    let certificate = &chain.0[at].certificate;
    let issuer = (0..9).map(key).find(|key| key.peer() == certificate.issuer).unwrap();
    chain.0[at].signature = sign(&issuer, Purpose::Certificate, &certificate.encode());
    chain
}

#[test]
fn the_founder_needs_none_and_nobody_else_goes_without() {
    assert_eq!(verify_of(&Chain::default(), 0), Ok(founders_grant()));
    assert_eq!(verify_of(&Chain::default(), 1), Err(Refusal::NoCertificate));
}

#[test]
fn peers_let_in_peers_up_to_three_between_them_and_the_founder() {
    for n in 1..=4 {
        let chain = chain_of(n);
        assert_eq!(verify_of(&chain, n).unwrap().delegations, 4 - n as u8);
        assert_eq!(Chain::decode(&chain.encode()), Ok(chain));
    }
    assert_eq!(chain_of(4).issue(&genesis(), &key(4), key(5).peer(), terms(NOW)), None);
    let mut forced = chain_of(4);
    let own = Certificate { issuer: key(4).peer(), subject: key(5).peer(), ..forced.own().unwrap().clone() };
    let signature = sign(&key(4), Purpose::Certificate, &own.encode());
    forced.0.insert(0, Signed { certificate: own, signature });
    assert_eq!(verify_of(&forced, 5), Err(Refusal::Untrusted));
    assert_eq!(Chain::decode(&forced.encode()), Err(Refusal::Malformed), "longer than any chain");
}

#[test]
fn a_certificate_is_worth_nothing_to_another_peer_or_in_another_network() {
    let chain = chain_of(1);
    assert_eq!(verify_of(&chain, 2), Err(Refusal::OtherPeer));
    let foreign = changed(&chain, 0, |c| c.network = NetworkId([9; 32]));
    assert_eq!(verify_of(&foreign, 1), Err(Refusal::OtherNetwork));
    let stranger = Chain::default().issue(&genesis(), &key(7), key(1).peer(), terms(NOW));
    assert_eq!(stranger, None, "one who is not the founder cannot begin a chain");
    let own_root = changed(&chain, 0, |c| c.issuer = key(7).peer());
    assert_eq!(verify_of(&own_root, 1), Err(Refusal::Untrusted));
}

#[test]
fn nobody_gives_more_than_it_has() {
    let chain = chain_of(2);
    let more: [fn(&mut Certificate); 2] = [|c| c.delegations = 3, |c| c.subject = key(2).peer()];
    assert_eq!(verify_of(&changed(&chain, 0, more[0]), 2), Err(Refusal::Untrusted));
    assert!(verify_of(&changed(&chain, 0, more[1]), 2).is_ok(), "the change itself is signed well");
    let narrow = |c: &mut Certificate| {
        c.zone = Some("attic".into());
        c.weight_max = 50;
    };
    let narrowed = changed(&chain, 1, narrow);
    assert_eq!(verify_of(&narrowed, 2), Err(Refusal::Untrusted));
    let fitting = verify_of(&changed(&narrowed, 0, narrow), 2).unwrap();
    assert_eq!((fitting.zone.as_deref(), fitting.weight_max), (Some("attic"), 50));
}

#[test]
fn a_client_owns_nothing_and_lets_nobody_in() {
    let client = Terms { role: Role::Client, ..terms(NOW) };
    let chain = Chain::default().issue(&genesis(), &key(0), key(1).peer(), client).unwrap();
    let grant = verify_of(&chain, 1).unwrap();
    assert_eq!((grant.role, grant.weight_max, grant.delegations), (Role::Client, 0, 0));
    assert_eq!(chain.issue(&genesis(), &key(1), key(2).peer(), terms(NOW)), None);
    for more in [|c: &mut Certificate| c.weight_max = 1, |c: &mut Certificate| c.delegations = 1] {
        assert_eq!(Chain::decode(&changed(&chain, 0, more).encode()), Err(Refusal::Malformed));
    }
}

#[test]
fn every_certificate_of_a_chain_must_be_valid_now() {
    let chain = chain_of(2);
    let (from, to) = (chain.own().unwrap().not_before_ms, chain.own().unwrap().not_after_ms);
    let at = |now| chain.verify(&genesis(), key(2).peer(), now).map(|grant| grant.not_after_ms);
    assert_eq!((at(from), at(to)), (Ok(to), Ok(to)));
    assert_eq!((at(from - 1), at(to + 1)), (Err(Refusal::NotYetValid), Err(Refusal::Expired)));
    let ended = changed(&chain, 1, |c| c.not_after_ms = NOW - 1);
    assert_eq!(verify_of(&ended, 2), Err(Refusal::Expired), "one above it has ended");
}

#[test]
fn signatures_of_another_certificate_do_not_pass() {
    let mut chain = chain_of(2);
    chain.0[0].signature = chain.0[1].signature;
    assert_eq!(verify_of(&chain, 2), Err(Refusal::Untrusted));
    let mut parted = chain_of(3);
    parted.0.remove(1);
    assert_eq!(verify_of(&parted, 3), Err(Refusal::Untrusted), "one between was left out");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_change_of_a_chain_is_believed(at in 0..2000usize, by in 1..=255u8, cut in 0..2000usize) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| chain_of(2).encode());
        let good = &*GOOD;
        let mut changed = good.clone();
        changed[at % good.len()] ^= by;
        let verdict = Chain::decode(&changed).and_then(|chain| verify_of(&chain, 2));
        prop_assert!(verdict.is_err());
        prop_assert!(Chain::decode(&good[..cut % good.len()]).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let read = Chain::decode(&bytes);
        prop_assert!(read.is_err() || read.unwrap().encode() == bytes);
    }
}
