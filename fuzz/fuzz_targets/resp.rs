//! What clients send, and what the console reads of peers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_node::commands::prepare;
use starling_node::resp::frame::decode;
use starling_node::resp::request::RequestReader;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes);
    let Some((step, bytes)) = bytes.split_first() else { return };
    let mut reader = RequestReader::default();
    reader.trust(step % 2 == 0);
    for piece in bytes.chunks(usize::from(*step).max(1)) {
        reader.buffer().extend_from_slice(piece);
        loop {
            match reader.next_command() {
                Ok(Some(words)) => drop(prepare(words)),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
