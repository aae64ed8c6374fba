//! How a newcomer comes in: it shows its ticket to the peer that made it, and is given a certificate.

use super::address;
use super::admission::{read, write};
use super::genesis::{AskError, dial_error, drive};
use super::keys::{Keys, from_libp2p, peer_text, to_libp2p};
use super::streams::{Event, OpenError, Protocols, Purpose};
use super::swarm::{Behaviour, BehaviourEvent, Extras, Limits, build};
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, Stream, Swarm, mdns};
use serde_bytes::ByteBuf;
use starling_protocol::admission::certificate::{Chain, Refusal};
use starling_protocol::admission::invite::JoinRefusal;
use starling_protocol::admission::ticket::{
    TICKET_ADDRESS_LEN_MAX, TICKET_ADDRESSES_MAX, Ticket, prefix_of, proof,
};
use starling_protocol::admission::wire::{JoinReply, JoinRequest};
use starling_protocol::genesis::SignedGenesis;
use std::time::Duration;
use tokio::time::timeout;

/// Why a ticket did not bring this machine in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("{0}")]
    Refused(JoinRefusal),
    /// Nobody could be asked.
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("the inviter's answer makes no sense: {0}")]
    Damaged(String),
    /// By the rules of this machine, and its clock.
    #[error("the certificate that the inviter has issued does not hold here: {0}")]
    NotTaken(Refusal),
}

/// The addresses of a peer as a ticket has them: the first few that fit.
pub fn ticket_addresses(addresses: &[String]) -> Vec<ByteBuf> {
    let addresses = address::for_strangers(address::from_others(addresses));
    let fitting = addresses.into_iter().map(|address| ByteBuf::from(address.to_vec()));
    fitting.filter(|bytes| bytes.len() <= TICKET_ADDRESS_LEN_MAX).take(TICKET_ADDRESSES_MAX).collect()
}

/// The addresses that a ticket has. What cannot be read is left out.
pub fn addresses_of(ticket: &Ticket) -> Vec<Multiaddr> {
    let read = ticket.addresses.iter().filter_map(|bytes| Multiaddr::try_from(bytes.to_vec()).ok());
    let inviter = Protocol::P2p(to_libp2p(&ticket.inviter));
    // A relay must be told whom to reach.
    let whole = |at: Multiaddr| if address::is_relayed(&at) { at.with(inviter.clone()) } else { at };
    read.map(address::without_peer).map(whole).collect()
}

/// Shows the ticket to its inviter, at these addresses or, with `mdns`, wherever on the LAN it is heard.
/// Only the holder of the inviter's key is spoken to. Takes at most `limit`.
pub async fn join(
    keys: &Keys,
    ticket: &Ticket,
    addresses: Vec<Multiaddr>,
    mdns: bool,
    limit: Duration,
) -> Result<(SignedGenesis, Chain), JoinError> {
    let mut failed = None;
    let joined = timeout(limit, join_for_ever(keys, ticket, addresses, mdns, &mut failed)).await;
    // What went wrong with a dial tells more than that time was up.
    joined.unwrap_or_else(|_| Err(failed.unwrap_or(AskError::TimedOut).into()))
}

async fn join_for_ever(
    keys: &Keys,
    ticket: &Ticket,
    addresses: Vec<Multiaddr>,
    mdns: bool,
    failed: &mut Option<AskError>,
) -> Result<(SignedGenesis, Chain), JoinError> {
    let mut swarm = build(keys, Protocols::of_nobody(), &Limits::default(), &Extras { mdns, nat: None });
    if !addresses.is_empty() {
        dial(&mut swarm, ticket, addresses).map_err(|error| dial_error(&error))?;
    } else if !mdns {
        return Err(AskError::NoAnswer("the ticket has no address; name one with --join".into()).into());
    }
    let stream = reach(&mut swarm, ticket, mdns, failed).await?;
    // The swarm must be driven for the stream to go on.
    tokio::select! {
        joined = show(stream, keys, ticket) => joined,
        () = drive(&mut swarm) => Err(AskError::NotStarling.into()),
    }
}

/// Also while it is being dialled already: those addresses may be old.
fn dial(swarm: &mut Swarm<Behaviour>, ticket: &Ticket, addresses: Vec<Multiaddr>) -> Result<(), DialError> {
    let options = DialOpts::peer_id(to_libp2p(&ticket.inviter)).addresses(addresses);
    swarm.dial(options.condition(PeerCondition::Disconnected).allocate_new_port().build())
}

/// `failed`: why the last dial did, while others may follow and none has succeeded.
async fn reach(
    swarm: &mut Swarm<Behaviour>,
    ticket: &Ticket,
    mdns: bool,
    failed: &mut Option<AskError>,
) -> Result<Stream, JoinError> {
    let theirs = |peer: &libp2p::PeerId| from_libp2p(peer) == Some(ticket.inviter);
    loop {
        match swarm.select_next_some().await {
            // A relay on the way to the inviter is nobody to show the ticket to.
            SwarmEvent::ConnectionEstablished { peer_id, .. } if !theirs(&peer_id) => {}
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), .. } if !theirs(&peer_id) => {}
            SwarmEvent::ConnectionClosed { peer_id, .. } if !theirs(&peer_id) => {}
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                *failed = None;
                swarm.behaviour_mut().streams.open(peer_id, connection_id, Purpose::Join);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(Event::Opened { result, .. })) => match result {
                Ok(stream) => return Ok(stream),
                Err(OpenError::Unsupported) => return Err(AskError::NotStarling.into()),
                Err(OpenError::Failed) => {
                    return Err(AskError::NoAnswer("the connection broke".into()).into());
                }
            },
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                let heard: Vec<_> =
                    found.into_iter().filter(|(peer, _)| theirs(peer)).map(|(_, address)| address).collect();
                // Refused only where it is connected, or too many dials are under way, which will end.
                let _ = if heard.is_empty() { Ok(()) } else { dial(swarm, ticket, heard) };
            }
            SwarmEvent::OutgoingConnectionError { error, .. } if !mdns => {
                return Err(dial_error(&error).into());
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                tracing::debug!(%error, inviter = peer_text(&ticket.inviter), "listening on the LAN for it");
                *failed = Some(dial_error(&error));
            }
            SwarmEvent::ConnectionClosed { .. } => {
                return Err(AskError::NoAnswer("the connection broke".into()).into());
            }
            _ => {}
        }
    }
}

async fn show(mut stream: Stream, keys: &Keys, ticket: &Ticket) -> Result<(SignedGenesis, Chain), JoinError> {
    let proof = proof(&ticket.secret.key(), ticket.network, ticket.inviter, keys.peer());
    let request = JoinRequest { network: ticket.network, invite: ticket.secret.id(), proof };
    let broke = |error: std::io::Error| JoinError::Ask(AskError::NoAnswer(error.to_string()));
    write(&mut stream, &request).await.map_err(broke)?;
    let (genesis, chain) = match read(&mut stream).await.map_err(broke)? {
        JoinReply::Welcome { genesis, chain } => (genesis, chain),
        JoinReply::Refused(refusal) => return Err(JoinError::Refused(refusal)),
    };
    let damaged = |error: &dyn std::fmt::Display| JoinError::Damaged(error.to_string());
    let genesis = SignedGenesis::decode(&genesis).map_err(|error| damaged(&error))?;
    if prefix_of(&genesis.network_id()) != ticket.network {
        return Err(damaged(&"it is of another network than the ticket"));
    }
    let chain = Chain::decode(&chain).map_err(|error| damaged(&error))?;
    let now = crate::network::wall_ms();
    chain.verify(&genesis, keys.peer(), now).map_err(JoinError::NotTaken)?;
    Ok((genesis, chain))
}
