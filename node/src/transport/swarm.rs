//! libp2p put together: TCP with Noise and Yamux, QUIC, DNS, relayed connections, limits, identify, mDNS,
//! our streams, ways through NATs.

use super::guard::Insiders;
use super::half_open::HalfOpen;
use super::keys::Keys;
use super::nat::{self, NatOptions};
use super::pings::OnePing;
use super::streams::{self, Protocols};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::transport::dummy::DummyTransport;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, Swarm, SwarmBuilder, dns, identify, mdns, noise, quic, relay, tcp, yamux};
use std::convert::Infallible;
use std::time::Duration;

/// How long a connection may take to be made. TCP repeats a lost first packet after 1, 3 and 7 s, so a
/// dial that is begun anew after 5 s finds a healed network sooner; QUIC has the same limit.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections without a stream. Those to peers always have one; strangers are let go sooner.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Events of one connection that wait for the driver before the connection itself waits.
const CONNECTION_EVENTS: usize = 32;

/// How many connections there may be. One more is refused before anything is spent on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Handshakes under way that others began. Each lasts 5 s at most, so a flood of half-open
    /// connections holds this many sockets and no more, and from one address half of them.
    pub pending_incoming: u32,
    pub pending_outgoing: u32,
    /// Connections that others made. Peers of one network talk to all others.
    pub incoming: u32,
    pub outgoing: u32,
    /// One would do; two peers that dial one another at the same moment have two, one that is relayed or
    /// has gone silent is replaced before it is closed, and one more is to see whether a peer is reached.
    pub per_peer: u32,
    /// Connections that others made and over which no certificate was shown yet. One more ends the oldest:
    /// a member shows its own within a round trip, so a flood of strangers does not keep members out.
    pub strangers: u32,
    /// Streams of one connection. Both sides open three for frames; identify opens some for moments; a
    /// connection that is relayed over this one is a stream of it.
    pub streams: u32,
    /// Bytes of frames that wait to be sent to one peer, in each of the three classes. Less than a longest
    /// frame and some such would never be sent.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_incoming: 128,
            pending_outgoing: 256,
            incoming: 1024,
            outgoing: 1024,
            per_peer: 6,
            strangers: 64,
            streams: 64,
            queue_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Bytes that one stream, and all of a connection, may have on their way or unread over QUIC, which takes no more as
/// they are read: what a stranger can make this peer hold. Over a way of 100 ms one stream carries 15 MB/s. While the
/// event loop takes no work, requests and repair lie unread together: that must leave room for probes. Over TCP a stream
/// begins with 256 KiB, and more only follows what was read.
const STREAM_UNREAD_MAX: u32 = 1536 * 1024;
const CONNECTION_UNREAD_MAX: u32 = 4 * 1024 * 1024;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    half_open: HalfOpen,
    pub streams: streams::Behaviour,
    identify: identify::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    /// Through it others are reached that are behind a NAT; it serves nobody.
    circuits: relay::client::Behaviour,
    pub nat: Toggle<nat::Behaviour>,
}

/// What a swarm has besides its streams.
#[derive(Default)]
pub(super) struct Extras<'a> {
    pub mdns: bool,
    /// Ways through NATs, for those who have been let in.
    pub nat: Option<(&'a NatOptions, &'a Insiders)>,
}

impl Behaviour {
    fn new(
        keys: &Keys,
        protocols: Protocols,
        limits: &Limits,
        extras: &Extras,
        circuits: relay::client::Behaviour,
    ) -> Self {
        let me = keys.pair().public().to_peer_id();
        let agent = concat!("starling/", env!("CARGO_PKG_VERSION"));
        let identify = identify::Config::new("/starling/1".into(), keys.pair().public())
            .with_agent_version(agent.into())
            .with_cache_size(0);
        Self {
            limits: connection_limits::Behaviour::new(connection_limits_of(limits)),
            half_open: HalfOpen::new(limits.pending_incoming),
            streams: streams::Behaviour::new(protocols),
            identify: identify::Behaviour::new(identify),
            mdns: mdns_or_none(me, extras.mdns).into(),
            circuits,
            nat: extras.nat.map(|(options, insiders)| nat::Behaviour::new(me, options, insiders)).into(),
        }
    }
}

fn connection_limits_of(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
        .with_max_established_incoming(Some(limits.incoming))
        .with_max_established_outgoing(Some(limits.outgoing))
        .with_max_established_per_peer(Some(limits.per_peer))
}

/// A machine without multicast loses the finding of peers on the LAN, nothing else.
fn mdns_or_none(me: PeerId, wanted: bool) -> Option<mdns::tokio::Behaviour> {
    if !wanted {
        return None;
    }
    match mdns::tokio::Behaviour::new(mdns::Config::default(), me) {
        Ok(mdns) => Some(mdns),
        Err(error) => {
            tracing::warn!(%error, "peers on this LAN will not be found by themselves; name one with --join");
            None
        }
    }
}

pub(super) fn build(keys: &Keys, protocols: Protocols, limits: &Limits, extras: &Extras) -> Swarm<Behaviour> {
    let behaviour = |circuits| Behaviour::new(keys, protocols, limits, extras, circuits);
    let builder = SwarmBuilder::with_existing_identity(keys.pair().clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, || yamux_config(limits))
        .expect(SIGNS)
        .with_quic_config(|config| quic_config(config, limits));
    if let Err(error) = dns::tokio::Transport::system(DummyTransport::<()>::new()) {
        tracing::warn!(%error, "host names cannot be looked up, because this machine names no resolver; use IP addresses");
        let builder = builder.with_relay_client(noise::Config::new, || yamux_config(limits)).expect(SIGNS);
        return never_fails(builder.with_behaviour(|_, circuits| behaviour(circuits)))
            .with_swarm_config(swarm_config)
            .with_connection_timeout(HANDSHAKE)
            .build();
    }
    let builder = builder.with_dns().expect("the same file could be read a moment ago");
    let builder = builder.with_relay_client(noise::Config::new, || yamux_config(limits)).expect(SIGNS);
    never_fails(builder.with_behaviour(|_, circuits| behaviour(circuits)))
        .with_swarm_config(swarm_config)
        .with_connection_timeout(HANDSHAKE)
        .build()
}

const SIGNS: &str = "an Ed25519 key signs Noise's key";

fn never_fails<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}

fn yamux_config(limits: &Limits) -> OnePing {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(limits.streams as usize);
    OnePing(config)
}

fn quic_config(mut config: quic::Config, limits: &Limits) -> quic::Config {
    config.max_concurrent_stream_limit = limits.streams;
    config.max_stream_data = STREAM_UNREAD_MAX;
    config.max_connection_data = CONNECTION_UNREAD_MAX;
    config
}

fn swarm_config(config: libp2p::swarm::Config) -> libp2p::swarm::Config {
    config.with_idle_connection_timeout(IDLE_TIMEOUT).with_per_connection_event_buffer_size(CONNECTION_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_send_over_quic_and_nobody_reads_is_little_for_all_of_them_together() {
        let (limits, keys) = (Limits::default(), Keys::generate());
        let config = quic_config(quic::Config::new(keys.pair()), &limits);
        assert!(2 * config.max_stream_data + 512 * 1024 <= config.max_connection_data, "probes have room");
        assert!(limits.strangers * config.max_connection_data <= 256 * 1024 * 1024);
    }
}
