//! What is as large as it may be.

mod common;

use common::{Peer, bytes, cbor, pull};
use starling_crdt::Command;
use starling_crdt::cell::VALUE_MAX;

/// Three peers write as much as they may to one key, and none of them knows of the others: the cell is larger than any
/// frame, and who lacks it gets it nonetheless.
#[test]
fn a_cell_with_several_large_versions_is_sent_in_parts() {
    let mut peers: Vec<_> = (1..=3).map(Peer::new).collect();
    for (peer, letter) in peers.iter_mut().zip(["a", "b", "c"]) {
        let value = bytes(&letter.repeat(VALUE_MAX));
        peer.execute("key", &Command::Set { value }, 1);
    }
    let (first, others) = peers.split_first_mut().expect("there are three");
    others.iter_mut().for_each(|other| pull(first, other, usize::MAX));
    let pieces = first.snapshot(256 * 1024);
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| cbor(piece).len() < VALUE_MAX + 1024));

    let mut late = Peer::new(9);
    // What it had seen of one of them does not matter.
    pull(&mut late, &mut others[0], usize::MAX);
    assert!(late.install(&pieces));
    assert!(late.canonical() == first.canonical());
    assert_eq!(late.cells().values().map(Vec::len).sum::<usize>(), 3);
}
