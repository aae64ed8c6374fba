//! Whoever has heard of an incarnation of another peer believes no older one any more (SWIM, section 4.2).

use starling_protocol::ids::PeerId;
use starling_protocol::peer::Peer;
use std::collections::BTreeMap;

/// Those of the others that a peer knows.
pub fn of(peer: &Peer) -> BTreeMap<PeerId, u64> {
    // Its own record is the first.
    peer.members().skip(1).map(|record| (record.id, record.incarnation)).collect()
}

/// In one life, a while ago and now. Of one that was not in the table for a while, what is heard next counts.
pub fn check(before: &BTreeMap<PeerId, u64>, now: &BTreeMap<PeerId, u64>) -> Result<(), String> {
    let older = now.iter().find(|(id, incarnation)| before.get(id).is_some_and(|was| was > incarnation));
    match older {
        Some((id, incarnation)) => {
            Err(format!("went back from incarnation {} of {id:?} to {incarnation}", before[id]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_one_is_found_and_a_newer_one_and_a_newcomer_are_right() {
        let known = |of: &[(u64, u64)]| of.iter().map(|(id, n)| (PeerId::numbered(*id), *n)).collect();
        let before: BTreeMap<_, _> = known(&[(1, 5), (2, 5)]);
        assert_eq!(check(&before, &known(&[(1, 5), (2, 6), (3, 1)])), Ok(()));
        assert_eq!(check(&before, &known(&[(2, 5)])), Ok(()));
        assert!(check(&before, &known(&[(1, 5), (2, 4)])).is_err());
    }
}
