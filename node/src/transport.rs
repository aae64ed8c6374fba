//! How peers reach one another: the only place that names libp2p.
//!
//! Between two peers that talk, each has one long stream per class of messages towards the other, on
//! which frames are pipelined. Sending never waits: what cannot be queued is dropped and counted. A peer
//! counts as connected once both have shown each other certificates of this network; nothing else is
//! served before that, and strangers never are.

mod address;
mod admission;
mod backoff;
mod connections;
mod dialling;
mod driver;
mod finds;
mod frames;
mod gate;
mod genesis;
mod guard;
mod half_open;
mod hearing;
mod inputs;
mod joining;
mod keys;
mod letting_in;
mod link;
mod nat;
mod paths;
mod peers;
mod pings;
mod places;
mod reachability;
mod strangers;
mod streams;
mod swarm;
#[cfg(test)]
mod tests;

pub use address::{dial_text, parse as parse_address};
pub use genesis::{AskError, ask as ask_genesis};
pub use hearing::hear;
pub use inputs::{Batch, Inputs, Queue};
pub use joining::{JoinError, addresses_of, join, ticket_addresses};
pub use keys::{Keys, parse_peer, peer_text};
pub use libp2p::Multiaddr as Address;
pub use link::Stats;
pub use nat::{CIRCUITS_MAX, NatOptions, Serve};
pub use paths::{Path, Paths, Reachability, Router, Way};
pub use swarm::Limits;

use crate::admission::Admission;
use crate::peer_handle::FaultHandle;
use admission::{Desk, VERDICTS_MAX};
use dialling::Named;
use driver::{COMMANDS_MAX, Command, Driver, Happening};
use finds::Finds;
use futures::{FutureExt, StreamExt};
use gate::Gate;
use guard::Insiders;
use libp2p::Swarm;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::swarm::SwarmEvent;
use link::Links;
use reachability::Reach;
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::message::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use swarm::{Behaviour, Extras};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Usual `Config::silence`: longer than a busy machine keeps an answer waiting, shorter than people wait.
pub const SILENCE: Duration = Duration::from_secs(4);
/// How long listening may take to begin.
const LISTEN_TIME: Duration = Duration::from_secs(5);

pub struct Config {
    pub keys: Keys,
    /// Who is let in.
    pub admission: Arc<Admission>,
    pub listen: Vec<Address>,
    /// Where others may be; each entry is one place, with the addresses to try there in turn.
    pub named: Vec<Vec<Address>>,
    /// Whether peers on the LAN find one another. A find is a hint, nothing more.
    pub mdns: bool,
    pub limits: Limits,
    pub nat: NatOptions,
    /// When the protocol asks for a connection to a peer from which nothing has come for so long, the one
    /// that seems to stand is not believed and another is made: TCP finds out only after minutes.
    pub silence: Duration,
    /// Cuts to obey, now and later.
    pub faults: Option<FaultHandle>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}")]
pub struct ListenError {
    pub address: Address,
    pub why: String,
    /// Somebody else has the port.
    pub in_use: bool,
}

/// A running transport. It stops when this is dropped.
pub struct Transport {
    links: Arc<Links>,
    listening: watch::Receiver<Vec<String>>,
    bound: Vec<String>,
    paths: Paths,
    _stop: mpsc::Sender<()>,
    driver: JoinHandle<()>,
}

impl Transport {
    /// Listens, then runs by itself. What happens arrives in `inputs`; while those are not taken,
    /// reading from other peers waits. Errors: an address cannot be listened on.
    pub async fn start(config: Config, inputs: Inputs) -> Result<Self, ListenError> {
        let genesis = config.admission.genesis();
        let protocols = streams::Protocols::of(&genesis.network_id());
        let (insiders, goes_out) = (Insiders::default(), !config.listen.iter().all(address::is_loopback));
        let nat = goes_out.then_some((&config.nat, &insiders));
        let extras = Extras { mdns: config.mdns, nat };
        let mut swarm = swarm::build(&config.keys, protocols, &config.limits, &extras);
        let early = listen(&mut swarm, config.listen).await?;
        let bound = address::to_tell(std::iter::empty(), swarm.listeners());
        let addresses = address::to_tell(config.nat.external.iter(), swarm.listeners());
        // An error means that nobody listens to us any more.
        inputs.urgent.send(vec![Input::Listening { addresses: addresses.clone() }], 0).await;

        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let (to_verdicts, verdicts) = mpsc::channel(VERDICTS_MAX);
        let gate = Gate::new(config.faults.as_ref());
        let (listening, told) = watch::channel(addresses);
        let driver = Driver {
            swarm,
            me: config.keys.peer(),
            blocked: gate.blocked(),
            links: Arc::new(Links::new(commands, gate, config.limits.queue_bytes)),
            strangers_max: config.limits.strangers as usize,
            commands: asked,
            inputs,
            listening,
            silence: config.silence,
            teller: genesis::Teller::new(genesis),
            desk: Desk::new(config.admission.clone(), to_verdicts),
            verdicts,
            revoked: config.admission.watch_revocations(),
            quiet_sweeps: 0,
            named: config.named.into_iter().filter(|at| !at.is_empty()).map(Named::new).collect(),
            peers: BTreeMap::new(),
            foreign: BTreeMap::new(),
            turned_away: BTreeSet::new(),
            found: Finds::default(),
            own_dials: HashSet::new(),
            asides: BTreeMap::new(),
            insiders,
            reach: Reach::new(&config.nat, goes_out),
            paths: Paths::default(),
            news: Vec::new(),
        };
        let paths = driver.paths.clone();
        let links = driver.links.clone();
        let (stop, stopped) = mpsc::channel(1);
        let driver = tokio::spawn(driver.run(early, stopped));
        Ok(Self { links, listening: told, bound, paths, _stop: stop, driver })
    }

    /// Queues a message, connecting first if need be. It may be lost, never delivered to another peer.
    pub fn send(&self, to: PeerId, message: &Message) {
        self.links.send(to, message);
    }

    /// As `send`, to each of them.
    pub fn send_to_all(&self, to: impl Iterator<Item = PeerId>, message: &Message) {
        self.links.send_to_all(to, message);
    }

    /// Has a connection to this peer, which may be at these addresses. Answered by `Input::Connected`
    /// or `Input::Unreachable`, unless a connection stands already.
    pub fn connect(&self, peer: PeerId, addresses: Vec<String>) {
        if !self.links.command(Command::Connect { peer, addresses }) {
            tracing::debug!(peer = peer_text(&peer), "the transport is behind; a connection was not tried");
        }
    }

    /// The addresses at which others reach this peer now.
    pub fn listening(&self) -> Vec<String> {
        self.listening.borrow().clone()
    }

    /// Where this peer itself has listened from the start.
    pub fn bound(&self) -> &[String] {
        &self.bound
    }

    /// How each peer is reached, and how others reach this one; up to date for as long as this runs.
    pub fn paths(&self) -> Paths {
        self.paths.clone()
    }

    pub fn stats(&self) -> &Stats {
        &self.links.stats
    }

    /// Until it has ended by itself, which it does only by a fault; and why. Not to be asked again after that.
    pub async fn ended(&mut self) -> String {
        match (&mut self.driver).await {
            Ok(()) => "it has stopped by itself".into(),
            Err(error) => error.to_string(),
        }
    }

    /// Closes all connections; returns when that is done.
    pub async fn stop(self) {
        let Self { _stop, driver, .. } = self;
        drop(_stop);
        if let Err(error) = driver.await {
            tracing::error!(%error, "the transport has failed");
        }
    }
}

/// Waits until every listener has an address. What else happens meanwhile is returned for the driver.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: Vec<Address>,
) -> Result<Vec<Happening>, ListenError> {
    let mut waiting = HashMap::new();
    for address in addresses {
        refuse_taken(&address)?;
        match swarm.listen_on(address.clone()) {
            Ok(listener) => waiting.insert(listener, address),
            Err(TransportError::Other(error)) => return Err(ListenError::new(address, &error)),
            Err(TransportError::MultiaddrNotSupported(_)) => return Err(ListenError::unsupported(address)),
        };
    }
    let mut early = Vec::new();
    let begun = timeout(LISTEN_TIME, begin(swarm, &mut waiting, &mut early)).await;
    match (begun, waiting.into_values().next()) {
        (Ok(result), _) => result.map(|()| early),
        (Err(_), None) => Ok(early),
        (Err(_), Some(address)) => {
            Err(ListenError { address, why: "it has no address of this machine".into(), in_use: false })
        }
    }
}

/// libp2p listens with SO_REUSEPORT, so two processes would share a port and each get half of the
/// connections. A listener without it finds out.
fn refuse_taken(address: &Address) -> Result<(), ListenError> {
    match address::tcp_socket(address).map(std::net::TcpListener::bind) {
        Some(Err(error)) => Err(ListenError::new(address.clone(), &error)),
        Some(Ok(_)) | None => Ok(()),
    }
}

async fn begin(
    swarm: &mut Swarm<Behaviour>,
    waiting: &mut HashMap<ListenerId, Address>,
    early: &mut Vec<Happening>,
) -> Result<(), ListenError> {
    while !waiting.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                waiting.remove(&listener_id);
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                if let Some(address) = waiting.remove(&listener_id) {
                    return Err(ListenError::new(address, &error));
                }
            }
            other => early.push(other),
        }
    }
    // A listener on all interfaces names them one by one; those that it knows already come at once.
    while let Some(Some(event)) = swarm.next().now_or_never() {
        early.push(event);
    }
    Ok(())
}

/// Whether a peer could listen at all of these now. Errors: it could not, at the first that is told.
pub fn can_listen(addresses: &[Address]) -> Result<(), ListenError> {
    addresses.iter().try_for_each(|address| {
        let bound = match (address::tcp_socket(address), address::udp_socket(address)) {
            (Some(socket), _) => TcpListener::bind(socket).map(drop),
            (None, Some(socket)) => UdpSocket::bind(socket).map(drop),
            (None, None) => return Err(ListenError::unsupported(address.clone())),
        };
        bound.map_err(|error| ListenError::new(address.clone(), &error))
    })
}

impl ListenError {
    fn new(address: Address, error: &io::Error) -> Self {
        let why = genesis::innermost(error);
        let in_use = error.kind() == io::ErrorKind::AddrInUse || why.contains("in use");
        Self { address, why, in_use }
    }

    /// The port, where it is one of TCP.
    pub fn tcp_port(&self) -> Option<u16> {
        address::tcp_socket(&self.address).map(|socket| socket.port())
    }

    fn unsupported(address: Address) -> Self {
        Self { address, why: "it is neither TCP nor QUIC at an IP address".into(), in_use: false }
    }
}
