//! CBOR in one form only (RFC 8949, section 4.2), for what is signed or hashed.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    #[error("it has {0} bytes, more than are read")]
    TooLong(usize),
    #[error("{0}")]
    Malformed(String),
    #[error("it is not in its canonical form")]
    Form,
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// Reads what `encode` has written, and nothing else: no other spelling of the same value, nothing after
/// it. The length is checked first.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], longest: usize) -> Result<T, CanonicalError> {
    if bytes.len() > longest {
        return Err(CanonicalError::TooLong(bytes.len()));
    }
    let value: T = ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX)
        .map_err(|error| CanonicalError::Malformed(in_words(error)))?;
    if encode(&value) == bytes { Ok(value) } else { Err(CanonicalError::Form) }
}

/// The library shows its errors as code; people read this.
pub fn in_words<T>(error: ciborium::de::Error<T>) -> String {
    use ciborium::de::Error;
    match error {
        Error::Io(_) => "it ends too soon".into(),
        Error::Syntax(at) => format!("it is no CBOR from byte {at} on"),
        Error::Semantic(_, what) => what,
        Error::RecursionLimitExceeded => "it is nested too deeply".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_form() {
        assert_eq!(decode(&encode(&vec![1u32, 2]), 16), Ok(vec![1u32, 2]));
        // A number that is longer than need be, an array without its length, something left over.
        for other in [&[0x81, 0x18, 0x01][..], &[0x9f, 0x01, 0xff], &[0x81, 0x01, 0x00]] {
            assert_eq!(decode::<Vec<u32>>(other, 16), Err(CanonicalError::Form), "{other:x?}");
        }
        assert_eq!(decode::<Vec<u32>>(&[0; 17], 16), Err(CanonicalError::TooLong(17)));
        assert!(matches!(decode::<Vec<u32>>(&[0xff], 16), Err(CanonicalError::Malformed(_))));
    }

    #[test]
    fn what_is_malformed_is_said_in_words() {
        let why = |bytes: &[u8]| decode::<Vec<u32>>(bytes, 16).unwrap_err().to_string();
        assert_eq!(why(b""), "it ends too soon");
        assert_eq!(why(&[0x1c]), "it is no CBOR from byte 0 on");
        assert_eq!(why(b"a"), "invalid type: string, expected array");
    }

    #[test]
    fn a_length_that_is_only_claimed_costs_nothing() {
        let claims_much = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(decode::<Vec<u32>>(&claims_much, 16).is_err());
        assert!(decode::<String>(&[0x7b, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 16).is_err());
    }
}
