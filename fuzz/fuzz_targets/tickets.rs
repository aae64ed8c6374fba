//! Tickets and tokens, as people paste them; and their bytes, beneath the checksum that fuzzing never meets.
#![no_main]

use data_encoding::BASE32_NOPAD;
use libfuzzer_sys::fuzz_target;
use starling_protocol::admission::ticket::Ticket;
use starling_protocol::admission::token::Token;

fn armoured(prefix: &str, bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes);
    let checksum = &hash.as_bytes()[..4];
    prefix.to_owned() + &BASE32_NOPAD.encode(&[bytes, checksum].concat()).to_ascii_lowercase()
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (Ticket::parse(text), Token::parse(text));
    }
    let (ticket, token) = (armoured("st1", bytes), armoured("stk1", bytes));
    if let Ok(read) = Ticket::parse(&ticket) {
        assert_eq!(read.text(), ticket);
    }
    if let Ok(read) = Token::parse(&token) {
        assert_eq!(read.text(), token);
    }
});
