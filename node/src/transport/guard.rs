//! Keeps strangers away from what libp2p's behaviours would do for anybody.

use super::keys::{from_libp2p, to_libp2p};
use crate::lock;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use starling_protocol::ids::PeerId;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// What strangers ask that waits until they have been let in; of more, the oldest is dropped.
const WAITING_MAX: usize = 64;

/// Who has been let in. Shared by the driver, who knows, and those who must not ask it.
#[derive(Clone, Default)]
pub(super) struct Insiders(Arc<Mutex<HashSet<libp2p::PeerId>>>);

impl Insiders {
    pub fn insert(&self, peer: &PeerId) {
        lock(&self.0).insert(to_libp2p(peer));
    }

    pub fn remove(&self, peer: &PeerId) {
        lock(&self.0).remove(&to_libp2p(peer));
    }

    pub fn contains(&self, peer: &libp2p::PeerId) -> bool {
        lock(&self.0).contains(peer)
    }
}

/// A behaviour that hears of strangers' wishes only once they have been let in, and that tries no address
/// of this peer but those that the driver suggests: anybody may claim to see it anywhere.
pub(super) struct Guarded<B: NetworkBehaviour> {
    inner: B,
    insiders: Insiders,
    waiting: VecDeque<(libp2p::PeerId, ConnectionId, THandlerOutEvent<B>)>,
}

impl<B: NetworkBehaviour> Guarded<B> {
    pub fn new(inner: B, insiders: Insiders) -> Self {
        Self { inner, insiders, waiting: VecDeque::new() }
    }

    /// Others may reach this peer there.
    pub fn suggest(&mut self, addr: &Multiaddr) {
        self.inner.on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr }));
    }

    fn pass_on(&mut self) {
        let at = self.waiting.iter().position(|(peer, ..)| self.insiders.contains(peer));
        if let Some((peer, connection, event)) = at.and_then(|at| self.waiting.remove(at)) {
            self.inner.on_connection_handler_event(peer, connection, event);
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Guarded<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: libp2p::PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: libp2p::PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, remote, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::NewExternalAddrCandidate(_) => return,
            FromSwarm::ConnectionClosed(closed) => {
                self.waiting.retain(|(_, connection, _)| *connection != closed.connection_id);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: libp2p::PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        if self.insiders.contains(&peer) {
            return self.inner.on_connection_handler_event(peer, connection, event);
        }
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        if from_libp2p(&peer).is_some() {
            self.waiting.push_back((peer, connection, event));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Letting in is the driver's doing, after which it polls.
        if !self.waiting.is_empty() {
            self.pass_on();
        }
        self.inner.poll(cx)
    }
}
