//! The certificate, the revocations, the invites and the tokens on disk.

use super::TokenRecord;
use crate::directory::{INVITES, read_at_most, write_atomically};
use crate::error::Error;
use serde_bytes::ByteBuf;
use starling_protocol::admission::certificate::{CHAIN_BYTES_MAX, Chain};
use starling_protocol::admission::invite::Invites;
use starling_protocol::admission::revocation::{REVOCATION_BYTES_MAX, REVOCATIONS_MAX, Revocations};
use starling_protocol::canonical;
use std::io;
use std::path::Path;

pub const CERTIFICATE: &str = "certificate.cbor";
pub const REVOCATIONS: &str = "revocations.cbor";
const TOKENS: &str = "tokens.cbor";
const FORMAT: u16 = 1;
const REVOCATIONS_BYTES_MAX: usize = REVOCATIONS_MAX * (REVOCATION_BYTES_MAX + 16);
/// Longest book of invites: 256 that have let in a thousand machines each, and more.
const INVITES_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Longest book of tokens: a thousand of less than a kilobyte.
const TOKENS_BYTES_MAX: usize = 1024 * 1024;

pub fn save_certificate(directory: &Path, chain: &Chain) -> Result<(), Error> {
    save(directory, CERTIFICATE, &chain.encode())
}

/// Whether there is one, damaged or not. A founder has none.
pub fn has_certificate(directory: &Path) -> bool {
    directory.join(CERTIFICATE).exists()
}

/// Missing: an empty chain, which is the founder's.
pub fn load_certificate(directory: &Path) -> Result<Chain, Error> {
    let bytes = load(directory, CERTIFICATE, CHAIN_BYTES_MAX)?;
    bytes.map_or(Ok(Chain::default()), |bytes| {
        Chain::decode(&bytes).map_err(|_| damaged(directory, CERTIFICATE))
    })
}

pub fn save_revocations(directory: &Path, revocations: &Revocations) -> Result<(), Error> {
    let all: Vec<_> = revocations.iter().map(|revocation| ByteBuf::from(revocation.encode())).collect();
    save(directory, REVOCATIONS, &canonical::encode(&(FORMAT, all)))
}

pub fn load_revocations(directory: &Path) -> Result<Vec<ByteBuf>, Error> {
    read(directory, REVOCATIONS, REVOCATIONS_BYTES_MAX)
}

pub fn save_invites(directory: &Path, invites: &Invites) -> Result<(), Error> {
    save(directory, INVITES, &canonical::encode(&(FORMAT, invites)))
}

pub fn load_invites(directory: &Path) -> Result<Invites, Error> {
    read(directory, INVITES, INVITES_BYTES_MAX)
}

pub fn save_tokens(directory: &Path, tokens: &[TokenRecord]) -> Result<(), Error> {
    save(directory, TOKENS, &canonical::encode(&(FORMAT, tokens)))
}

pub fn load_tokens(directory: &Path) -> Result<Vec<TokenRecord>, Error> {
    read(directory, TOKENS, TOKENS_BYTES_MAX)
}

fn read<T>(directory: &Path, file: &str, longest: usize) -> Result<T, Error>
where
    T: Default + serde::Serialize + serde::de::DeserializeOwned,
{
    let Some(bytes) = load(directory, file, longest)? else { return Ok(T::default()) };
    match canonical::decode::<(u16, T)>(&bytes, longest) {
        Ok((FORMAT, found)) => Ok(found),
        _ => Err(damaged(directory, file)),
    }
}

fn load(directory: &Path, file: &str, longest: usize) -> Result<Option<Vec<u8>>, Error> {
    let path = directory.join(file);
    match read_at_most(&path, longest + 1) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&path, "read", &error)),
    }
}

fn save(directory: &Path, file: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = directory.join(file);
    write_atomically(&path, bytes).map_err(|error| unusable(&path, "write", &error))
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::new(format!("cannot {what} {}", path.display()))
        .why(error)
        .hint("see that this user may use that file and that the disk has room")
}

pub fn damaged(directory: &Path, file: &str) -> Error {
    let hint = match file {
        CERTIFICATE => "remove it and join again with a new ticket; the data stays",
        TOKENS => "remove it; tokens that were given count on, and TOKENS lists them no more",
        REVOCATIONS => "remove it; the other peers tell again what was revoked",
        _ => "remove it; tickets that were not used yet are then worth nothing",
    };
    Error::new(format!("the file {} is damaged, or of another version", directory.join(file).display()))
        .hint(hint)
}
