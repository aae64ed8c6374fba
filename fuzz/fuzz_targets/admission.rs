//! What is said before anything else, by strangers too. The first byte chooses the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_bytes::ByteBuf;
use starling_protocol::admission::wire::{JoinReply, JoinRequest, Opening, Reply, Verdict, decode, encode};

macro_rules! one_spelling {
    ($message:ty, $bytes:expr) => {
        if let Ok(message) = decode::<$message>($bytes) {
            assert_eq!(encode(&message), $bytes);
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 6 {
        0 => one_spelling!(Opening, bytes),
        1 => one_spelling!(Reply, bytes),
        2 => one_spelling!(Verdict, bytes),
        3 => one_spelling!(JoinRequest, bytes),
        4 => one_spelling!(JoinReply, bytes),
        // Revocations that are pushed.
        _ => one_spelling!(Vec<ByteBuf>, bytes),
    }
});
