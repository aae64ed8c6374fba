//! Frames between peers: read or refused, and what is read has this one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_protocol::message::Message;

fuzz_target!(|frame: &[u8]| {
    if let Ok(message) = Message::decode(frame) {
        assert_eq!(message.encode(), frame);
    }
});
