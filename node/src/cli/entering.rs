//! Which network a peer belongs to: the one of its directory, the one it is to enter, or a new one.

use crate::config::Options;
use crate::directory::Directory;
use crate::error::Error;
use crate::network;
use crate::transport::{Address, AskError, Keys, ask_genesis, dial_text};
use futures::future::join_all;
use starling_protocol::config::Genesis;
use starling_protocol::genesis::SignedGenesis;
use starling_protocol::ids::PeerId;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a newcomer waits for the first answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one address may take to answer.
const ONE_TRY: Duration = Duration::from_secs(3);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// How often a person is told that the waiting goes on.
const PROGRESS: Duration = Duration::from_secs(5);

/// The network of the directory; the first time, that of the peers to join, or else a new one.
///
/// Errors: nobody to join answers in time; the directory belongs to another network than they do; what
/// was asked of a new network does not fit the one there is.
pub async fn choose_network(
    options: &Options,
    directory: &Directory,
    keys: &Keys,
) -> Result<SignedGenesis, Error> {
    let me = keys.peer();
    let own = network::load(directory)?;
    if let Some(own) = &own {
        refuse_other_wishes(options, own.genesis())?;
    }
    match own {
        Some(own) if options.join.is_empty() => Ok(own),
        Some(own) => {
            let answers = ask_all(&options.join, me).await;
            answers.into_iter().try_for_each(|answer| refuse_other_network(directory, &own, answer))?;
            Ok(own)
        }
        None if options.join.is_empty() => network::found(directory, keys, options.wishes.clone()),
        None => {
            let theirs = wait_for_answer(&options.join, me, PATIENCE).await?;
            refuse_other_wishes(options, theirs.genesis())?;
            network::join(directory, &theirs)?;
            Ok(theirs)
        }
    }
}

/// What came back from one place.
struct Asked {
    place: String,
    result: Result<(SignedGenesis, PeerId), AskError>,
}

async fn ask_all(places: &[Vec<Address>], me: PeerId) -> Vec<Result<Asked, Error>> {
    join_all(places.iter().map(|place| ask_one(place, me))).await
}

/// Tries the addresses of one place in turn. Errors: whoever is there has this peer's own key.
async fn ask_one(place: &[Address], me: PeerId) -> Result<Asked, Error> {
    let name = place.first().map(|address| dial_text(&address.to_string()).unwrap_or(address.to_string()));
    let place_name = name.unwrap_or_default();
    let mut result = Err(AskError::NotStarling);
    for address in place {
        result = ask_genesis(address, ONE_TRY).await;
        if result.is_ok() {
            break;
        }
    }
    match result {
        Ok((_, peer)) if peer == me => Err(copied(&place_name)),
        result => Ok(Asked { place: place_name, result }),
    }
}

fn copied(place: &str) -> Error {
    Error::new(format!("the peer at {place} has the same key as this one"))
        .why("the data directory was copied, or this is the address of the peer itself")
        .hint("give this peer a directory of its own with --dir")
}

async fn wait_for_answer(
    places: &[Vec<Address>],
    me: PeerId,
    patience: Duration,
) -> Result<SignedGenesis, Error> {
    let begun = Instant::now();
    let mut told = None;
    loop {
        let mut failures = Vec::new();
        for asked in ask_all(places, me).await {
            let Asked { place, result } = asked?;
            match result {
                Ok((genesis, _)) => return Ok(genesis),
                Err(error) => failures.push((place, error)),
            }
        }
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(nobody_answers(&failures, patience));
        }
        if told.is_none_or(|told: Instant| told.elapsed() >= PROGRESS) {
            told = Some(Instant::now());
            for (place, error) in &failures {
                anstream::eprintln!(
                    "no answer from {place} yet: {error}; trying for {} s more",
                    left.as_secs()
                );
            }
        }
        sleep(BETWEEN_TRIES.min(left)).await;
    }
}

fn nobody_answers(failures: &[(String, AskError)], patience: Duration) -> Error {
    let places: Vec<_> = failures.iter().map(|(place, _)| place.as_str()).collect();
    let why: Vec<_> = failures.iter().map(|(place, error)| format!("{place}: {error}")).collect();
    Error::new(format!("no peer answered at {} for {} s", places.join(" or "), patience.as_secs()))
        .why(why.join("; "))
        .hint("see that a peer runs there (`starling status`), that the address is right and that no firewall is between")
}

fn refuse_other_network(
    directory: &Directory,
    own: &SignedGenesis,
    asked: Result<Asked, Error>,
) -> Result<(), Error> {
    let Asked { place, result } = asked?;
    match result {
        Ok((theirs, _)) if theirs.network_id() != own.network_id() => {
            let dir = directory.path().display();
            Err(Error::new(format!("{place} belongs to another network than the data in {dir}"))
                .why(format!(
                    "there it is {:?} ({}), here {:?} ({})",
                    theirs.genesis().name,
                    theirs.network_id(),
                    own.genesis().name,
                    own.network_id()
                ))
                .hint("give the peer of the other network a directory of its own with --dir"))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::info!(place, why = %error, "no answer yet from a peer that was named; going on without it");
            Ok(())
        }
    }
}

/// Flags for a new network are no wishes that an existing one could follow.
fn refuse_other_wishes(options: &Options, genesis: &Genesis) -> Result<(), Error> {
    let wished = &options.wishes;
    let differs = |flag: &str| match flag {
        "--network" => wished.name != genesis.name,
        "--partitions" => wished.partitions != genesis.partitions,
        "--replicas" => wished.n != genesis.n,
        "--read-quorum" => wished.r != genesis.r,
        _ => wished.w != genesis.w,
    };
    let Some(flag) = options.asked_wishes.iter().find(|flag| differs(flag)) else { return Ok(()) };
    let Genesis { name, partitions, n, r, w, .. } = genesis;
    Err(Error::usage(format!("{flag} cannot change a network that exists"))
        .why(format!("{name:?} was made with {partitions} partitions, N={n} R={r} W={w}, and keeps them"))
        .hint("leave the flag out; one request may ask for its own R and W, and a new network starts with another --dir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address at which nobody listens, because the listener has just gone.
    fn nobody() -> Vec<Address> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()]
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_an_answer_ends_and_names_every_address() {
        let begun = Instant::now();
        let places = [nobody(), nobody()];
        let patience = 3 * BETWEEN_TRIES;
        let error = wait_for_answer(&places, PeerId::numbered(1), patience).await.unwrap_err().to_string();
        assert!(begun.elapsed() >= patience, "it gave up after {:?}", begun.elapsed());
        for place in &places {
            let name = dial_text(&place[0].to_string()).unwrap();
            assert!(error.contains(&name), "{error}");
        }
    }

    #[tokio::test]
    async fn a_silent_place_does_not_keep_a_peer_from_its_own_network() {
        let asked = ask_one(&nobody(), PeerId::numbered(1)).await.unwrap();
        assert!(asked.result.is_err());
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::open(home.path()).unwrap();
        let wishes = network::Wishes { name: "home".into(), partitions: 8, n: 1, r: 1, w: 1 };
        let own = network::found(&directory, &Keys::generate(), wishes).unwrap();
        assert_eq!(refuse_other_network(&directory, &own, Ok(asked)), Ok(()));
    }
}
