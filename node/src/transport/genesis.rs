//! How a newcomer learns the network: whoever opens the genesis protocol is told the record, and the
//! stream is closed.

use super::admission::read_frame;
use super::keys::{Keys, from_libp2p};
use super::streams::{Event, OpenError, Protocols, Purpose};
use super::swarm::{Behaviour, BehaviourEvent, Extras, Limits, build};
use futures::{AsyncWriteExt, StreamExt};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, Stream, Swarm};
use starling_protocol::genesis::{SIGNED_GENESIS_MAX, SignedGenesis};
use starling_protocol::ids::PeerId;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long one who asked may take to read it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are answered at once; one more is turned away and asks again.
const ANSWERED_AT_ONCE: usize = 32;

/// Answers those who ask for the record.
#[derive(Clone)]
pub(super) struct Teller {
    bytes: Arc<[u8]>,
    places: Arc<Semaphore>,
}

impl Teller {
    pub fn new(genesis: &SignedGenesis) -> Self {
        let record = genesis.encode();
        let mut bytes = (record.len() as u32).to_be_bytes().to_vec();
        bytes.extend(record);
        Self { bytes: bytes.into(), places: Arc::new(Semaphore::new(ANSWERED_AT_ONCE)) }
    }

    pub fn tell(&self, mut stream: Stream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let bytes = self.bytes.clone();
        tokio::spawn(async move {
            let _place = place;
            let told = async {
                stream.write_all(&bytes).await?;
                stream.close().await
            };
            // Whoever went away before the end will ask again.
            let _ = timeout(PATIENCE, told).await;
        });
    }
}

/// Why a network could not be learned from an address.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("nobody answers there ({0})")]
    NoAnswer(String),
    #[error("no answer in time")]
    TimedOut,
    #[error("whoever answers there is no Starling peer")]
    NotStarling,
    #[error("the answer is not a network's record: {0}")]
    Damaged(String),
}

/// Asks whoever listens at `address` for its network's genesis record, under a key made for this one
/// question, so that the peer's own key stays unknown to strangers. Takes at most `limit`.
pub async fn ask(address: &Multiaddr, limit: Duration) -> Result<(SignedGenesis, PeerId), AskError> {
    timeout(limit, ask_for_ever(address)).await.unwrap_or(Err(AskError::TimedOut))
}

async fn ask_for_ever(address: &Multiaddr) -> Result<(SignedGenesis, PeerId), AskError> {
    let keys = Keys::generate();
    let mut swarm = build(&keys, Protocols::of_nobody(), &Limits::default(), &Extras::default());
    swarm.dial(address.clone()).map_err(|error| dial_error(&error))?;
    let (mut stream, peer) = open(&mut swarm, Purpose::Genesis).await?;
    // The swarm must be driven for the stream to go on.
    tokio::select! {
        genesis = read(&mut stream) => Ok((genesis?, peer)),
        () = drive(&mut swarm) => Err(AskError::NotStarling),
    }
}

/// A stream on the first connection that comes about.
pub(super) async fn open(
    swarm: &mut Swarm<Behaviour>,
    purpose: Purpose,
) -> Result<(Stream, PeerId), AskError> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                swarm.behaviour_mut().streams.open(peer_id, connection_id, purpose);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(Event::Opened { peer, result, .. })) => {
                let peer = from_libp2p(&peer).ok_or(AskError::NotStarling)?;
                return match result {
                    Ok(stream) => Ok((stream, peer)),
                    Err(OpenError::Unsupported) => Err(AskError::NotStarling),
                    Err(OpenError::Failed) => Err(AskError::NoAnswer("the connection broke".into())),
                };
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(dial_error(&error)),
            SwarmEvent::ConnectionClosed { .. } => {
                return Err(AskError::NoAnswer("the connection broke".into()));
            }
            _ => {}
        }
    }
}

pub(super) async fn drive(swarm: &mut Swarm<Behaviour>) {
    loop {
        swarm.select_next_some().await;
    }
}

async fn read(stream: &mut Stream) -> Result<SignedGenesis, AskError> {
    let damaged = |error: io::Error| AskError::Damaged(error.to_string());
    let bytes = read_frame(stream, SIGNED_GENESIS_MAX).await.map_err(damaged)?;
    SignedGenesis::decode(&bytes).map_err(|error| AskError::Damaged(error.to_string()))
}

pub(super) fn dial_error(error: &DialError) -> AskError {
    AskError::NoAnswer(why(error))
}

/// The cause of a failed dial in a few words.
pub(super) fn why(error: &DialError) -> String {
    match error {
        DialError::Transport(failures) => match failures.first() {
            Some((_, error)) => innermost(error),
            None => "no address".into(),
        },
        DialError::WrongPeerId { .. } => "another peer answers there".into(),
        DialError::NoAddresses => "no address is known".into(),
        DialError::Denied { .. } => "too many connections".into(),
        other => other.to_string(),
    }
}

/// What went wrong at the bottom, without the layers that passed it on.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    in_words(cause.to_string().to_lowercase())
}

/// Where the libraries below speak to programmers.
fn in_words(cause: String) -> String {
    match cause.as_str() {
        "invalid data" => "who answers there does not speak as a peer".into(),
        _ if cause.starts_with("no records found") => "that name has no address".into(),
        _ => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_in_words_for_people() {
        let cause = io::Error::from(io::ErrorKind::InvalidData);
        assert_eq!(innermost(&cause), "who answers there does not speak as a peer");
        let cause = io::Error::other("no records found for query { name: .. }");
        assert_eq!(innermost(&cause), "that name has no address");
        assert_eq!(innermost(&io::Error::other("Broken")), "broken");
    }
}
