//! Tickets: one short string that lets a machine in.

use super::armour::{self, ArmourError};
use crate::canonical;
use crate::ids::{NetworkId, PeerId};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// Most addresses in a ticket, and the longest of them in bytes (as multiaddrs are written in binary).
pub const TICKET_ADDRESSES_MAX: usize = 4;
pub const TICKET_ADDRESS_LEN_MAX: usize = 128;
/// Longest ticket that is read, in characters. One with two addresses has about 170.
pub const TICKET_LEN_MAX: usize = 2048;
/// Begins every ticket; the number is the format.
const PREFIX: &str = "st1";

/// What makes a ticket worth something; 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// Names an invite without giving it away.
pub type InviteId = ByteArray<8>;

impl Secret {
    /// The secret of no ticket: whoever knows the network's id has it. A peer that admits anyone takes it.
    pub fn open_door(network: &NetworkId) -> Self {
        let derived = blake3::derive_key("starling 2026 open door", &network.0);
        Self(*derived.first_chunk().expect("32 bytes begin with 16"))
    }

    pub fn id(&self) -> InviteId {
        let hash = blake3::derive_key("starling 2026 invite id", &self.0);
        ByteArray::new(*hash.first_chunk().expect("32 bytes begin with 8"))
    }

    /// What the inviter keeps, and checks proofs with.
    pub fn key(&self) -> ByteArray<32> {
        ByteArray::new(blake3::derive_key("starling 2026 invite key", &self.0))
    }
}

/// Proves to the inviter that the joiner has the secret; worth nothing to anybody else who sees it.
pub fn proof(key: &ByteArray<32>, network: Prefix, inviter: PeerId, joiner: PeerId) -> ByteArray<32> {
    let text = [&network[..], &inviter.0, &joiner.0].concat();
    ByteArray::new(*blake3::keyed_hash(key, &text).as_bytes())
}

/// The first half of a network's id: short, and still nobody can make another network with it.
pub type Prefix = ByteArray<16>;

pub fn prefix_of(network: &NetworkId) -> Prefix {
    ByteArray::new(*network.0.first_chunk().expect("32 bytes begin with 16"))
}

/// What the string says. The inviter's name is its key: whoever answers for it elsewhere is found out.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    pub network: Prefix,
    /// The only peer that redeems it.
    pub inviter: PeerId,
    pub secret: Secret,
    /// Seconds since the Unix epoch. The inviter's clock decides.
    pub expires_s: u64,
    /// Where the inviter may be, as binary multiaddrs.
    pub addresses: Vec<ByteBuf>,
}

#[derive(Serialize, Deserialize)]
struct Wire(Prefix, PeerId, ByteArray<16>, u64, Vec<ByteBuf>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("it is not a ticket: those begin with {PREFIX}")]
    Prefix,
    #[error("a letter of the ticket is wrong or missing")]
    Mistyped,
    #[error("the ticket is longer than any is")]
    TooLong,
    #[error("the ticket was made by another version of starling, or by hand")]
    Malformed,
}

impl Ticket {
    pub fn text(&self) -> String {
        let Self { network, inviter, secret, expires_s, addresses } = self.clone();
        armour::text(
            PREFIX,
            canonical::encode(&Wire(network, inviter, ByteArray::new(secret.0), expires_s, addresses)),
        )
    }

    /// Reads a ticket, in small or capital letters, with space around it. The length is checked first.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let bytes = armour::bytes(PREFIX, TICKET_LEN_MAX, text).map_err(|error| match error {
            ArmourError::TooLong => TicketError::TooLong,
            ArmourError::Prefix => TicketError::Prefix,
            ArmourError::Mistyped => TicketError::Mistyped,
        })?;
        let Wire(network, inviter, secret, expires_s, addresses) =
            canonical::decode(&bytes, TICKET_LEN_MAX).map_err(|_| TicketError::Malformed)?;
        let secret = Secret(secret.into_array());
        let ticket = Self { network, inviter, secret, expires_s, addresses };
        if ticket.is_sane() { Ok(ticket) } else { Err(TicketError::Malformed) }
    }

    fn is_sane(&self) -> bool {
        self.addresses.len() <= TICKET_ADDRESSES_MAX
            && self.addresses.iter().all(|address| address.len() <= TICKET_ADDRESS_LEN_MAX)
    }
}

/// Never shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Without the secret.
impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket of {:?}", self.inviter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        Ticket {
            network: ByteArray::new([1; 16]),
            inviter: PeerId::numbered(2),
            secret: Secret([3; 16]),
            expires_s: 1_700_000_000,
            addresses: vec![ByteBuf::from([4, 10, 0, 0, 1, 6, 1, 2]); 2],
        }
    }

    #[test]
    fn a_ticket_is_one_short_word_that_is_read_back() {
        let text = ticket().text();
        assert!(text.len() < 190 && text.bytes().all(|b| b.is_ascii_alphanumeric()), "{text}");
        assert_eq!(Ticket::parse(&text), Ok(ticket()));
        assert_eq!(Ticket::parse(&format!("  {}\n", text.to_uppercase())), Ok(ticket()));
    }

    #[test]
    fn what_is_no_ticket_is_told_from_one_that_was_mistyped() {
        let text = ticket().text();
        assert_eq!(Ticket::parse("192.168.1.10:4001"), Err(TicketError::Prefix));
        assert_eq!(Ticket::parse(""), Err(TicketError::Prefix));
        assert_eq!(Ticket::parse("st1"), Err(TicketError::Mistyped));
        assert_eq!(Ticket::parse(&text[..text.len() - 3]), Err(TicketError::Mistyped));
        assert_eq!(Ticket::parse(&("st1".to_owned() + &"a".repeat(5000))), Err(TicketError::TooLong));
    }

    #[test]
    fn more_addresses_than_a_ticket_may_have_are_refused() {
        let many = Ticket { addresses: vec![ByteBuf::new(); TICKET_ADDRESSES_MAX + 1], ..ticket() };
        assert_eq!(Ticket::parse(&many.text()), Err(TicketError::Malformed));
        let long = Ticket { addresses: vec![ByteBuf::from([0; TICKET_ADDRESS_LEN_MAX + 1])], ..ticket() };
        assert_eq!(Ticket::parse(&long.text()), Err(TicketError::Malformed));
    }

    #[test]
    fn a_proof_is_of_one_joiner_to_one_inviter() {
        let key = Secret([3; 16]).key();
        let proof_of = |network, inviter, joiner| {
            proof(&key, ByteArray::new([network; 16]), PeerId::numbered(inviter), PeerId::numbered(joiner))
        };
        let mine = proof_of(1, 2, 3);
        for other in [proof_of(9, 2, 3), proof_of(1, 9, 3), proof_of(1, 2, 9)] {
            assert_ne!(mine, other);
        }
    }

    proptest! {
        #[test]
        fn one_wrong_letter_is_noticed(at in 3..170usize, letter in "[a-z2-7]") {
            let mut text = ticket().text();
            let at = 3 + at % (text.len() - 3);
            prop_assume!(text[at..=at] != letter);
            text.replace_range(at..=at, &letter);
            prop_assert_eq!(Ticket::parse(&text), Err(TicketError::Mistyped));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,300}") {
            prop_assert!(Ticket::parse(&text).is_err());
            let prefixed = Ticket::parse(&("st1".to_owned() + &text));
            prop_assert!(prefixed.is_err());
        }
    }
}
