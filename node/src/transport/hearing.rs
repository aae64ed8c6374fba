//! Which peers can be heard on the LAN, for somebody who has no ticket yet.

use super::address;
use super::keys::{Keys, from_libp2p};
use super::streams::Protocols;
use super::swarm::{BehaviourEvent, Extras, Limits, build};
use futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, mdns};
use starling_protocol::ids::PeerId;
use starling_protocol::member::ADDRESSES_MAX;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// Most peers that are listed; of more, the newest are not.
const HEARD_MAX: usize = 256;

/// Peers of any network that answer by mDNS within this time, and where they say they are. What they say
/// is a hint; this peer, under a key made for the occasion, does not answer itself.
pub async fn hear(time: Duration) -> BTreeMap<PeerId, Vec<Multiaddr>> {
    let mut heard = BTreeMap::new();
    let mut swarm = build(
        &Keys::generate(),
        Protocols::of_nobody(),
        &Limits::default(),
        &Extras { mdns: true, nat: None },
    );
    let listened = timeout(time, async {
        loop {
            let event = swarm.select_next_some().await;
            if let SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) = event {
                found.into_iter().for_each(|(peer, at)| add(&mut heard, &peer, at));
            }
        }
    });
    let _: Result<(), _> = listened.await;
    heard
}

fn add(heard: &mut BTreeMap<PeerId, Vec<Multiaddr>>, peer: &libp2p::PeerId, at: Multiaddr) {
    let Some(peer) = from_libp2p(peer) else { return };
    if heard.len() >= HEARD_MAX && !heard.contains_key(&peer) {
        return;
    }
    let addresses = heard.entry(peer).or_default();
    if addresses.len() < ADDRESSES_MAX {
        addresses.push(address::without_peer(at));
    }
}
