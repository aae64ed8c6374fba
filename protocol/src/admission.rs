//! Who may be a peer of a network: certificates, revocations and tickets; and which clients may do what:
//! tokens.
//!
//! The founder's key, named in the genesis record, is the root. A peer shows a chain of certificates that
//! leads to it. All here is pure: bytes and the time go in, a verdict comes out.

mod armour;
pub mod certificate;
pub mod invite;
pub mod revocation;
pub mod ticket;
pub mod token;
pub mod wire;

#[cfg(test)]
pub(crate) mod samples;
