//! Bytes as one word that people copy: letters and digits only, so that a double click selects all of it,
//! in small or capital letters, with a checksum.

use data_encoding::BASE32_NOPAD;

const CHECKSUM_LEN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArmourError {
    TooLong,
    /// It begins otherwise.
    Prefix,
    Mistyped,
}

pub(super) fn text(prefix: &str, mut bytes: Vec<u8>) -> String {
    bytes.extend(checksum(&bytes));
    prefix.to_owned() + &BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

/// Reads what `text` has made, with space around it. The length, in characters, is checked first.
pub(super) fn bytes(prefix: &str, longest: usize, text: &str) -> Result<Vec<u8>, ArmourError> {
    let text = text.trim();
    if text.len() > longest {
        return Err(ArmourError::TooLong);
    }
    let text = text.to_ascii_uppercase();
    let body = text.strip_prefix(&prefix.to_ascii_uppercase()).ok_or(ArmourError::Prefix)?;
    let mut bytes = BASE32_NOPAD.decode(body.as_bytes()).map_err(|_| ArmourError::Mistyped)?;
    let at = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(ArmourError::Mistyped)?;
    let found = bytes.split_off(at);
    if found == checksum(&bytes) { Ok(bytes) } else { Err(ArmourError::Mistyped) }
}

/// For typing errors, not for enemies.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("32 bytes begin with 4")
}
