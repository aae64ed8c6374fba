//! What peers say to one another before anything else, and what a newcomer says to its inviter.
//! Every message is one frame of canonical CBOR.

use super::certificate::{CHAIN_BYTES_MAX, Refusal};
use super::invite::JoinRefusal;
use super::revocation::REVOCATION_BYTES_MAX;
use super::ticket::{InviteId, Prefix};
use crate::canonical::{self, CanonicalError};
use crate::genesis::SIGNED_GENESIS_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Most revocations in one frame; further ones follow in the next.
pub const REVOCATIONS_PER_FRAME: usize = 64;
/// Longest frame, in bytes.
pub const ADMISSION_FRAME_MAX: usize = REVOCATIONS_PER_FRAME * (REVOCATION_BYTES_MAX + 16) + 64;
const _: () = assert!(ADMISSION_FRAME_MAX > SIGNED_GENESIS_MAX + CHAIN_BYTES_MAX + 64);

/// The first frame on a stream between two peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// Of the one that dialled; answered by `Reply`, and that, if it is a welcome, by `Verdict`.
    Hello { chain: ByteBuf, revoked: ByteArray<32> },
    /// The digest of all revocations that the sender knows. One who knows others sends a `Push`. With it comes
    /// the sender's clock, in milliseconds since the Unix epoch: for people, when they look for what is wrong.
    Digest { revoked: ByteArray<32>, now_ms: u64 },
    /// Frames of revocations follow, until the stream ends. `all`: they are all that the sender knows, and
    /// if the receiver knows more, it sends those in turn.
    Push { all: bool },
}

/// Why not; and if something was revoked, the revocation, so that the one refused need not believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub refusal: Refusal,
    pub revocation: Option<ByteBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Welcome { chain: ByteBuf, revoked: ByteArray<32> },
    Refused(Refused),
}

/// What the one that dialled makes of the other's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Welcome,
    Refused(Refused),
}

/// A newcomer shows its ticket. `proof`: see `ticket::proof`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub network: Prefix,
    pub invite: InviteId,
    pub proof: ByteArray<32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// The signed genesis record, and the newcomer's chain.
    Welcome {
        genesis: ByteBuf,
        chain: ByteBuf,
    },
    Refused(JoinRefusal),
}

pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    canonical::encode(message)
}

/// Errors: too long, malformed, or not in its canonical form.
pub fn decode<T: Serialize + DeserializeOwned>(frame: &[u8]) -> Result<T, CanonicalError> {
    canonical::decode(frame, ADMISSION_FRAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_read_back() {
        let openings = [
            Opening::Hello { chain: ByteBuf::from([1; 9]), revoked: ByteArray::new([2; 32]) },
            Opening::Digest { revoked: ByteArray::new([2; 32]), now_ms: 1 << 40 },
            Opening::Push { all: true },
        ];
        for opening in openings {
            assert_eq!(decode(&encode(&opening)), Ok(opening));
        }
        let refused = Reply::Refused(Refused { refusal: Refusal::Expired, revocation: None });
        assert_eq!(decode(&encode(&refused)), Ok(refused));
        let spent = JoinReply::Refused(JoinRefusal::Spent);
        assert_eq!(decode(&encode(&spent)), Ok(spent));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let spelt = [
                decode::<Opening>(&bytes).map(|message| encode(&message)),
                decode::<Reply>(&bytes).map(|message| encode(&message)),
                decode::<Verdict>(&bytes).map(|message| encode(&message)),
                decode::<JoinRequest>(&bytes).map(|message| encode(&message)),
                decode::<JoinReply>(&bytes).map(|message| encode(&message)),
                decode::<Vec<ByteBuf>>(&bytes).map(|message| encode(&message)),
            ];
            for message in spelt.into_iter().flatten() {
                prop_assert_eq!(&message, &bytes);
            }
        }
    }
}
