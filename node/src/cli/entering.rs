//! Which network a peer belongs to: the one of its directory, the one that its ticket is for, or a new one.

use crate::admission::{Admission, has_certificate, save_certificate};
use crate::config::Options;
use crate::directory::{Directory, in_shell};
use crate::error::Error;
use crate::network;
use crate::stdio;
use crate::transport::{
    Address, AskError, JoinError, Keys, addresses_of, ask_genesis, dial_text, join as show_ticket,
};
use futures::future::join_all;
use starling_protocol::admission::certificate::{Chain, Grant, Refusal, Role};
use starling_protocol::admission::invite::JoinRefusal;
use starling_protocol::admission::ticket::{Secret, Ticket, prefix_of};
use starling_protocol::config::Genesis;
use starling_protocol::genesis::SignedGenesis;
use starling_protocol::ids::PeerId;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a newcomer tries to reach its inviter.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one try may take.
const ONE_TRY: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// How often a person is told that the waiting goes on.
const PROGRESS: Duration = Duration::from_secs(5);

/// The network of the directory; the first time, that of the ticket, or without one a new network.
///
/// Errors: the inviter is not reached in time, or refuses; the directory belongs to another network; what
/// was asked of a new network does not fit the one there is.
pub async fn choose_network(
    options: &Options,
    directory: &Directory,
    keys: &Keys,
    ticket: Option<&Ticket>,
) -> Result<SignedGenesis, Error> {
    let own = network::load(directory)?;
    if let Some(own) = &own {
        refuse_other_wishes(options, own.genesis())?;
    }
    match (own, ticket) {
        (Some(own), Some(ticket)) => {
            refuse_other_ticket(directory, &own, ticket)?;
            // Joining twice is harmless; and a ticket helps one whose certificate counts no more.
            match grant_of(directory, keys, &own) {
                Some(grant) => stdio::say(in_already(grant.role)),
                None => drop(enter(options, directory, keys, ticket).await?),
            }
            Ok(own)
        }
        (Some(own), None) => {
            let answers = ask_all(&options.join, keys.peer()).await;
            answers.into_iter().try_for_each(|answer| refuse_other_network(directory, &own, answer))?;
            Ok(own)
        }
        (None, Some(ticket)) => enter(options, directory, keys, ticket).await,
        (None, None) if options.join.is_empty() => {
            refuse_half_joined(directory.path())?;
            network::found(directory, keys, options.wishes.clone())
        }
        (None, None) => enter_without_ticket(options, directory, keys).await,
    }
}

/// With the certificate of one network, a peer could never enter another that it founds.
pub fn refuse_half_joined(dir: &Path) -> Result<(), Error> {
    if !has_certificate(dir) {
        return Ok(());
    }
    Err(Error::new(format!("a join of the peer in {} did not come to its end", dir.display()))
        .why("it has a certificate, and not the record of the network that it is for")
        .hint(format!(
            "join again with the ticket: starling join TICKET --dir {}; or give a new network another --dir",
            in_shell(dir)
        )))
}

/// `None`: as things are, this machine is not in.
fn grant_of(directory: &Directory, keys: &Keys, own: &SignedGenesis) -> Option<Grant> {
    Admission::open(directory.path(), keys.clone(), own.clone()).ok()?.own_grant().ok()
}

fn in_already(role: Role) -> String {
    let role = match role {
        Role::Storage => "storage",
        Role::Client => "client",
    };
    format!("this machine is in already (as {role}); the ticket was not used")
}

/// Shows the ticket, and keeps what comes of it.
async fn enter(
    options: &Options,
    directory: &Directory,
    keys: &Keys,
    ticket: &Ticket,
) -> Result<SignedGenesis, Error> {
    if ticket.inviter == keys.peer() {
        return Err(copied("that made this ticket"));
    }
    let (genesis, chain) = until_joined(options, keys, ticket, PATIENCE).await?;
    keep(options, directory, genesis, &chain)
}

fn keep(
    options: &Options,
    directory: &Directory,
    genesis: SignedGenesis,
    chain: &Chain,
) -> Result<SignedGenesis, Error> {
    refuse_other_wishes(options, genesis.genesis())?;
    // The certificate first: with the network alone, the directory could neither enter nor join again.
    save_certificate(directory.path(), chain)?;
    network::join(directory, &genesis)?;
    Ok(genesis)
}

async fn until_joined(
    options: &Options,
    keys: &Keys,
    ticket: &Ticket,
    patience: Duration,
) -> Result<(SignedGenesis, Chain), Error> {
    let begun = Instant::now();
    let addresses = [addresses_of(ticket), options.join.concat()].concat();
    let mut told = None;
    loop {
        let mut attempt = pin!(show_ticket(keys, ticket, addresses.clone(), options.mdns, ONE_TRY));
        let answer = match timeout(stdio::SILENCE, &mut attempt).await {
            Ok(answer) => answer,
            Err(_) => {
                if told.is_none() {
                    stdio::say("the inviter is asked to let this machine in, and has not answered yet");
                }
                attempt.await
            }
        };
        let why = match answer {
            Ok(joined) => return Ok(joined),
            Err(JoinError::Refused(refusal)) => return Err(refused(refusal)),
            Err(error @ (JoinError::Damaged(_) | JoinError::NotTaken(_))) => return Err(not_taken(error)),
            Err(error) => error,
        };
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(not_reached(ticket, &addresses, &why, patience));
        }
        let seconds = left.as_secs();
        if seconds > 0 && told.is_none_or(|told: Instant| told.elapsed() >= PROGRESS) {
            told = Some(Instant::now());
            stdio::say(format_args!("the inviter is not reached yet: {why}; trying for {seconds} s more"));
        }
        sleep(BETWEEN_TRIES.min(left)).await;
    }
}

fn refused(why: JoinRefusal) -> Error {
    let (what, hint) = match why {
        JoinRefusal::NotSaved => (
            "the inviter lets in nobody for now",
            "see to its disk; the ticket is good still: join with it again then",
        ),
        JoinRefusal::NotAllowed => (
            "the inviter lets in nobody any more",
            "ask for a ticket of another peer: `starling invite` on a machine that is in",
        ),
        _ => (
            "the ticket lets this machine in no more",
            "ask for a new one: `starling invite` on a machine that is in",
        ),
    };
    Error::new(what).why(why).hint(hint)
}

/// It answered; to ask again would bring the same.
fn not_taken(why: JoinError) -> Error {
    let hint = match why {
        JoinError::NotTaken(Refusal::NotYetValid | Refusal::Expired) => {
            "see that the clocks of both machines are right, then join again with a new ticket"
        }
        _ => "see that both run the same version of starling, then join again with a new ticket",
    };
    Error::new("the inviter lets this machine in, but what it sent cannot be used").why(why).hint(hint)
}

fn not_reached(ticket: &Ticket, addresses: &[Address], why: &JoinError, patience: Duration) -> Error {
    let places: Vec<_> = addresses.iter().map(place_text).collect();
    let places = if places.is_empty() { "on this LAN".into() } else { format!("at {}", places.join(" or ")) };
    let hint = if ticket.expires_s < network::wall_ms() / 1000 {
        "by this machine's clock the ticket has expired; ask for a new one with `starling invite`"
    } else {
        "only the peer that made the ticket redeems it: see that it runs, and that no firewall is between"
    };
    Error::new(format!("the inviter was not reached {places} for {} s", patience.as_secs()))
        .why(why)
        .hint(hint)
}

fn place_text(address: &Address) -> String {
    let text = address.to_string();
    dial_text(&text).unwrap_or(text)
}

/// An address says where a network is; that this machine may enter, a ticket says, or the peer there.
async fn enter_without_ticket(
    options: &Options,
    directory: &Directory,
    keys: &Keys,
) -> Result<SignedGenesis, Error> {
    let (mut closed, mut silent) = (None, Vec::new());
    for answer in ask_all(&options.join, keys.peer()).await {
        let Asked { place, result } = answer?;
        let (theirs, inviter) = match result {
            Ok(found) => found,
            Err(why) => {
                silent.push((place, why));
                continue;
            }
        };
        let network = theirs.network_id();
        let (secret, expires_s) = (Secret::open_door(&network), u64::MAX);
        let ticket =
            Ticket { network: prefix_of(&network), inviter, secret, expires_s, addresses: Vec::new() };
        match show_ticket(keys, &ticket, options.join.concat(), options.mdns, ONE_TRY).await {
            Ok((genesis, chain)) => return keep(options, directory, genesis, &chain),
            Err(why) => closed = Some(not_entered(&place, &theirs.genesis().name, why)),
        }
    }
    Err(closed.unwrap_or_else(|| nobody_there(&silent)))
}

/// Somebody is there, and this machine is not in.
fn not_entered(place: &str, network: &str, why: JoinError) -> Error {
    match why {
        JoinError::Refused(JoinRefusal::Unknown) => no_ticket(network),
        JoinError::Refused(why) => refused(why),
        JoinError::Damaged(_) | JoinError::NotTaken(_) => not_taken(why),
        JoinError::Ask(why) => {
            Error::new(format!("{place} was reached, and did not answer when it was asked in"))
                .why(why)
                .hint("try again; or enter with a ticket: `starling invite` on a machine that is in")
        }
    }
}

fn no_ticket(network: &str) -> Error {
    Error::usage(format!("to enter the network {network:?} this machine needs a ticket"))
        .why("an address only says where the network is")
        .hint(
            "run `starling invite` on a machine that is in, and the line that it prints here; \
             or start a peer there with --admit anyone",
        )
}

/// Whether a ticket is needed there is not known.
fn nobody_there(silent: &[(String, AskError)]) -> Error {
    let places: Vec<_> = silent.iter().map(|(place, _)| place.as_str()).collect();
    let why = |(place, error): &(String, AskError)| match error {
        AskError::NoAnswer(why) if silent.len() == 1 => why.clone(),
        error if silent.len() == 1 => error.to_string(),
        error => format!("{place}: {error}"),
    };
    Error::new(format!("no peer answers at {}", places.join(" or ")))
        .why(silent.iter().map(why).collect::<Vec<_>>().join("; "))
        .hint("see that it runs; the port is the one under \"peers\" where it was started, not that of its clients")
}

/// What came back from one place.
struct Asked {
    place: String,
    result: Result<(SignedGenesis, PeerId), AskError>,
}

async fn ask_all(places: &[Vec<Address>], me: PeerId) -> Vec<Result<Asked, Error>> {
    join_all(places.iter().map(|place| ask_one(place, me))).await
}

/// Tries the addresses of one place in turn; what went wrong at the first tells most, since the others are
/// QUIC, which hears nothing where nobody is. Errors: whoever is there has this peer's own key.
async fn ask_one(place: &[Address], me: PeerId) -> Result<Asked, Error> {
    let name = place.first().map(place_text).unwrap_or_default();
    let mut result = Err(AskError::NotStarling);
    for (tried, address) in place.iter().enumerate() {
        let answer = ask_genesis(address, ONE_TRY).await;
        if answer.is_ok() || tried == 0 {
            result = answer;
        }
        if result.is_ok() {
            break;
        }
    }
    match result {
        Ok((_, peer)) if peer == me => Err(copied(&format!("at {name}"))),
        result => Ok(Asked { place: name, result }),
    }
}

fn copied(which: &str) -> Error {
    Error::new(format!("the peer {which} has the same key as this one"))
        .why("the data directory was copied, or this is that very peer")
        .hint("give this peer a directory of its own with --dir")
}

fn refuse_other_ticket(directory: &Directory, own: &SignedGenesis, ticket: &Ticket) -> Result<(), Error> {
    if ticket.network == prefix_of(&own.network_id()) {
        return Ok(());
    }
    let (dir, name) = (directory.path().display(), &own.genesis().name);
    Err(Error::new(format!("the ticket is for another network than the data in {dir}"))
        .why(format!("the data belongs to {name:?} ({})", own.network_id()))
        .hint(
            "to enter the other network give this peer a directory of its own with --dir; \
             or, if nothing there is needed, remove that directory",
        ))
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

    #[test]
    fn who_enters_without_a_ticket_is_asked_for_one_only_where_one_is_needed() {
        let said = |why| not_entered("box:1", "home", why).to_string();
        assert!(said(JoinError::Refused(JoinRefusal::Unknown)).contains("needs a ticket"));
        let others = [
            (JoinError::Refused(JoinRefusal::NotSaved), "its disk"),
            (JoinError::Refused(JoinRefusal::NotAllowed), "lets in nobody any more"),
            (JoinError::NotTaken(Refusal::NotYetValid), "the clocks of both machines"),
            (JoinError::Damaged("it is cut off".into()), "it is cut off"),
            (JoinError::Ask(AskError::TimedOut), "no answer in time"),
        ];
        for (why, words) in others {
            let error = said(why);
            assert!(error.contains(words) && !error.contains("needs a ticket"), "{error}");
        }
    }

    #[test]
    fn who_is_in_already_reads_as_what_and_that_the_ticket_is_left() {
        let home = tempfile::tempdir().unwrap();
        let (directory, keys) = (Directory::open(home.path()).unwrap(), Keys::generate());
        let wishes = network::Wishes { name: "home".into(), partitions: 8, n: 1, r: 1, w: 1 };
        let own = network::found(&directory, &keys, wishes).unwrap();
        let said = in_already(grant_of(&directory, &keys, &own).expect("the founder is in").role);
        assert_eq!(said, "this machine is in already (as storage); the ticket was not used");
        assert_eq!(grant_of(&directory, &Keys::generate(), &own), None);
    }

    #[test]
    fn a_ticket_that_is_good_still_is_not_said_to_have_ended() {
        for (why, hint, ended) in [
            (JoinRefusal::NotSaved, "good still", false),
            (JoinRefusal::NotAllowed, "another peer", false),
            (JoinRefusal::Ended, "ask for a new one", true),
            (JoinRefusal::Spent, "ask for a new one", true),
        ] {
            let error = refused(why).to_string();
            assert!(error.contains(hint) && error.contains("the ticket lets") == ended, "{error}");
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_no_ticket_is_asked_for() {
        let asked = ask_one(&nobody(), PeerId::numbered(1)).await.unwrap();
        let error = nobody_there(&[(asked.place.clone(), asked.result.unwrap_err())]).to_string();
        assert!(error.contains(&format!("no peer answers at {}", asked.place)), "{error}");
        assert!(error.contains("refused") && error.contains("see that it runs"), "{error}");
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
