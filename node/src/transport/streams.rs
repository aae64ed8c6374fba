//! The streams of Starling's protocols, opened and accepted through libp2p.
//!
//! Both come out as events of the swarm, so none is lost because nobody waits for it at that moment.

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol};
use starling_protocol::ids::NetworkId;
use starling_protocol::message::Class;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Frames of one class, one way.
    Frames(Class),
    /// Certificates and revocations; before any frames.
    Admission,
    /// A newcomer shows its ticket.
    Join,
    /// Whoever opens it is told the network's genesis record.
    Genesis,
}

const GENESIS_PROTOCOL: StreamProtocol = StreamProtocol::new("/starling/genesis/1");
const JOIN_PROTOCOL: StreamProtocol = StreamProtocol::new("/starling/join/1");

/// The protocols of a network. Their names carry its id, so strangers have none in common with it.
#[derive(Clone, Debug)]
pub(super) struct Protocols(Vec<(StreamProtocol, Purpose)>);

impl Protocols {
    pub fn of(network: &NetworkId) -> Self {
        let named = |name: &str| {
            let name = format!("/starling/{network}/{name}/1");
            StreamProtocol::try_from_owned(name).expect("it begins with a slash")
        };
        let frames = Class::ALL.map(|class| (named(class.name()), Purpose::Frames(class)));
        let others = [
            (named("admission"), Purpose::Admission),
            (JOIN_PROTOCOL, Purpose::Join),
            (GENESIS_PROTOCOL, Purpose::Genesis),
        ];
        Self(frames.into_iter().chain(others).collect())
    }

    /// Those of one that has no network yet: it can ask, and has nothing to tell.
    pub fn of_nobody() -> Self {
        Self(Vec::new())
    }

    fn name(&self, purpose: Purpose) -> StreamProtocol {
        let found = self.0.iter().find(|(_, other)| *other == purpose).map(|(name, _)| name.clone());
        found.unwrap_or(if purpose == Purpose::Join { JOIN_PROTOCOL } else { GENESIS_PROTOCOL })
    }

    fn purpose(&self, name: &StreamProtocol) -> Option<Purpose> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, purpose)| *purpose)
    }
}

#[derive(Debug)]
pub(super) enum OpenError {
    /// The other one does not speak this protocol: it is of another network.
    Unsupported,
    /// The connection broke, or the answer took too long.
    Failed,
}

#[derive(Debug)]
pub(super) enum Event {
    Accepted { peer: PeerId, connection: ConnectionId, purpose: Purpose, stream: Stream },
    Opened { peer: PeerId, connection: ConnectionId, purpose: Purpose, result: Result<Stream, OpenError> },
}

pub(super) struct Behaviour {
    protocols: Protocols,
    /// At most one entry for each stream that the driver asked for and each event of a connection.
    queue: VecDeque<ToSwarm<Event, Purpose>>,
}

impl Behaviour {
    pub fn new(protocols: Protocols) -> Self {
        Self { protocols, queue: VecDeque::new() }
    }

    /// Answered by `Event::Opened`, unless the connection closes first.
    pub fn open(&mut self, peer: PeerId, connection: ConnectionId, purpose: Purpose) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: purpose });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.protocols.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.protocols.clone()))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let event = match event {
            Happened::Accepted(purpose, stream) => Event::Accepted { peer, connection, purpose, stream },
            Happened::Opened(purpose, result) => Event::Opened { peer, connection, purpose, result },
        };
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        // Whatever fills the queue does so from within the swarm's own turn, after which it polls again.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What happens on one connection.
#[derive(Debug)]
pub(super) enum Happened {
    Accepted(Purpose, Stream),
    Opened(Purpose, Result<Stream, OpenError>),
}

pub(super) struct Handler {
    protocols: Protocols,
    to_open: VecDeque<Purpose>,
    happened: VecDeque<Happened>,
}

impl Handler {
    fn new(protocols: Protocols) -> Self {
        Self { protocols, to_open: VecDeque::new(), happened: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Purpose;
    type ToBehaviour = Happened;
    type InboundProtocol = Names;
    type OutboundProtocol = Names;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<Names> {
        let names = self.protocols.0.iter().map(|(name, _)| name.clone()).collect();
        SubstreamProtocol::new(Names(names), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Names, Purpose, Self::ToBehaviour>> {
        if let Some(happened) = self.happened.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(happened));
        }
        let Some(purpose) = self.to_open.pop_front() else {
            return Poll::Pending;
        };
        let names = Names(vec![self.protocols.name(purpose)]);
        let protocol = SubstreamProtocol::new(names, purpose);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, purpose: Purpose) {
        self.to_open.push_back(purpose);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Names, Names, (), Purpose>) {
        let happened = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, name),
                ..
            }) => self.protocols.purpose(&name).map(|purpose| Happened::Accepted(purpose, stream)),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info,
            }) => Some(Happened::Opened(info, Ok(stream))),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                Some(Happened::Opened(info, Err(open_error(&error))))
            }
            _ => None,
        };
        self.happened.extend(happened);
    }
}

fn open_error(error: &StreamUpgradeError<Infallible>) -> OpenError {
    match error {
        StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
        _ => OpenError::Failed,
    }
}

/// Protocol names to offer or to accept; the one agreed on comes out with the stream.
pub(super) struct Names(Vec<StreamProtocol>);

impl UpgradeInfo for Names {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Names {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

impl OutboundUpgrade<Stream> for Names {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}
