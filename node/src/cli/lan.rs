//! The networks that can be heard on the LAN, for `starling join` without a ticket.

use crate::error::Error;
use crate::stdio;
use crate::transport::{Address, ask_genesis, hear};
use futures::future::join_all;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long to listen. mDNS answers within a second unless a packet is lost.
const LISTENING: Duration = Duration::from_secs(3);
/// How long one peer may take to say which network it is of.
const ONE_PEER: Duration = Duration::from_secs(2);
/// How many of its addresses are tried.
const ADDRESSES_TRIED: usize = 3;

/// A network that was heard.
#[derive(Clone, Debug, Serialize)]
struct Network {
    name: String,
    id: String,
    /// How many peers of it answered.
    peers: usize,
    /// Where one of them is.
    address: String,
}

/// Prints what is heard. Errors: the threads for it cannot be started, or nobody takes what is printed.
pub fn list(json: bool) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new("cannot listen on the LAN").why(error))?;
    stdio::say(format_args!("listening for networks on this LAN for {} s", LISTENING.as_secs()));
    let networks = runtime.block_on(networks());
    runtime.shutdown_timeout(Duration::ZERO);
    if json {
        stdio::text(crate::render::json(&networks))?;
    } else if networks.is_empty() {
        stdio::say("none was heard");
    }
    for Network { name, id, peers, address } in networks.iter().filter(|_| !json) {
        let peers = if *peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") };
        stdio::text(format_args!("{}  {id}  {peers}, one at {address}", crate::render::plain(name)))?;
    }
    Ok(())
}

async fn networks() -> Vec<Network> {
    let heard = hear(LISTENING).await;
    let answers = join_all(heard.values().map(|addresses| ask(addresses))).await;
    let mut networks: BTreeMap<String, Network> = BTreeMap::new();
    for (name, id, address) in answers.into_iter().flatten() {
        let network = Network { name, id: id.clone(), peers: 0, address };
        networks.entry(id).or_insert(network).peers += 1;
    }
    networks.into_values().collect()
}

/// The name and id of the peer's network, and where it answered.
async fn ask(addresses: &[Address]) -> Option<(String, String, String)> {
    for address in addresses.iter().take(ADDRESSES_TRIED) {
        if let Ok((genesis, _)) = ask_genesis(address, ONE_PEER).await {
            return Some((
                genesis.genesis().name.clone(),
                genesis.network_id().to_string(),
                address.to_string(),
            ));
        }
    }
    None
}
