//! A peer in this process, put together from its parts.

use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::Options;
use crate::directory::Directory;
use crate::error::{Error, STORAGE};
use crate::event_loop::{EventLoop, Sources, Stopped};
use crate::members::{self, Saver};
use crate::peer_handle::{Facts, FaultHandle, PeerHandle, REQUESTS_MAX};
use crate::ports::Ports;
use crate::space::Space;
use crate::storage::{self, Answers, Opened, StorageFailure, StorageHandle};
use crate::transport::{self, Address, Batch, Inputs, Keys, ListenError, Queue, Transport, peer_text};
use crate::{holder, network};
use starling_crdt::Actor;
use starling_protocol::admission::certificate::Grant;
use starling_protocol::config::Config;
use starling_protocol::genesis::SignedGenesis;
use starling_protocol::membership::signing::{Signed, Signing};
use starling_protocol::peer::{Peer, Start};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How often it is seen whether the data directory and its store are still there. PostgreSQL looks for its own once a minute; until
/// then writes are acknowledged that nobody will find again.
const LOOK_FOR_DIRECTORY: Duration = Duration::from_secs(2);

/// A peer that runs. Dropping it stops it without waiting.
pub struct Running {
    pub handle: PeerHandle,
    /// For as long as it lives, no other process uses the directory.
    directory: Directory,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Stopped>>,
}

/// What a peer is made of.
pub struct Parts {
    pub directory: Directory,
    pub keys: Keys,
    pub genesis: SignedGenesis,
    /// Where its clients connect; bound by the caller.
    pub resp: SocketAddr,
}

impl Running {
    /// Opens storage, listens and starts the event loop. Errors: one of them cannot be done.
    pub async fn start(options: &Options, parts: Parts) -> Result<Self, Error> {
        let Parts { mut directory, keys, genesis, resp } = parts;
        let mut admission = Admission::open(directory.path(), keys.clone(), genesis)?;
        if options.admits_anyone {
            tracing::warn!("whoever knows this peer's address may enter the network, without a ticket");
            admission.admit_anyone();
        }
        let admission = Arc::new(admission);
        let (peer, clock) = (keys.peer(), Clock::start(admission.clock_correction()));
        let store = open_store(options, &directory, clock.clone())?;
        directory.hold(directory.store())?;
        directory.hold(directory.store().join(storage::JOURNAL))?;
        let faults = options.faults.clone().map(FaultHandle::new);
        let (transport, urgent, work) =
            listen(options, keys.clone(), admission.clone(), faults.clone(), &directory).await?;
        let facts = Facts {
            peer,
            peer_id: peer_text(&peer),
            name: options.name.clone(),
            resp,
            listen: transport.listening(),
            genesis: admission.genesis().genesis().clone(),
            dir: directory.path().to_path_buf(),
            started: SystemTime::now(),
        };
        let signing = Arc::new(Signed::new(admission.genesis().clone(), admission.own_chain(), keys));
        let grant = admission.own_grant().map_err(|why| Error::new("this peer may not enter").why(why))?;
        let start = start_of(options, &grant, signing, &facts, &directory, &store)?;
        admission.members_are(start.table.iter().map(|record| record.id).collect());
        let saver = Saver::start(&directory, peer, store.opened.id, network::founding_mark(&directory));
        let (to_requests, requests) = mpsc::channel(REQUESTS_MAX);
        let (stop, stopped) = oneshot::channel();
        let Store { storage, answers, failure, .. } = store;
        let paths = transport.paths();
        let peer = Peer::new(start, clock.now());
        let space = Space::new(directory.path(), options.keep_free);
        let event_loop = EventLoop::new(peer, transport, storage, saver, admission.clone(), clock, space);
        let sources = Sources { urgent, work, answers, requests, failure, stop: stopped };
        let task = tokio::spawn(event_loop.run(sources));
        let handle = PeerHandle::new(facts, to_requests, faults)
            .with_admission(admission)
            .with_paths(paths)
            .with_password(options.password);
        Ok(Self { handle, directory, stop: Some(stop), task })
    }

    /// Until it has ended by itself: storage has failed, its directory is gone, or another process runs as this peer.
    pub async fn ended(&mut self) -> Error {
        tokio::select! {
            ended = ended(&mut self.task, &self.directory) => {
                ended.err().unwrap_or_else(|| Error::new("the peer has stopped by itself"))
            }
            error = lost(&self.directory) => {
                // What goes to files without a name is on no disk when this process ends: no write is acknowledged.
                self.task.abort();
                error
            }
        }
    }

    /// Lets requests under way finish, flushes and closes everything. Not a leave: the others keep its place.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop.take());
        ended(&mut self.task, &self.directory).await?;
        // It may have gone since it was last looked for.
        self.directory.missing().map_or(Ok(()), |path| Err(is_lost(path)))
    }
}

/// Until the data directory, or the store in it, is gone from its place.
async fn lost(directory: &Directory) -> Error {
    loop {
        if let Some(path) = directory.missing() {
            return is_lost(path);
        }
        tokio::time::sleep(LOOK_FOR_DIRECTORY).await;
    }
}

fn is_lost(path: &Path) -> Error {
    Error::new(format!("the directory {} was removed or replaced, and this peer has stopped", path.display()))
        .why("what is written to files that have no place any more is lost when it ends")
        .hint(
            "if it was moved, put it back, or give the data directory's new place with --dir, and start the peer again; \
             if data is lost, it is filled from the others: start it again or, where its key is lost as well, join with a \
             new ticket and `forget` the one that is gone",
        )
        .with_code(STORAGE)
}

/// Storage, and what it says.
struct Store {
    storage: StorageHandle,
    actor: Actor,
    opened: Opened,
    answers: mpsc::UnboundedReceiver<Answers>,
    failure: mpsc::Receiver<StorageFailure>,
}

fn open_store(options: &Options, directory: &Directory, clock: Clock) -> Result<Store, Error> {
    let (to_answers, answers) = mpsc::unbounded_channel();
    let (to_failure, failure) = mpsc::channel(1);
    let (storage, actor, opened) = storage::spawn(
        &directory.store(),
        options.durability,
        clock,
        // Both find nobody only when the event loop has ended.
        move |answers| drop(to_answers.send(answers)),
        move |failed| drop(to_failure.try_send(failed)),
    )?;
    Ok(Store { storage, actor, opened, answers, failure })
}

type Waiting = mpsc::Receiver<Batch>;

/// At the ports of the last start, where the system chose them and they are still free.
async fn listen(
    options: &Options,
    keys: Keys,
    admission: Arc<Admission>,
    faults: Option<FaultHandle>,
    directory: &Directory,
) -> Result<(Transport, Waiting, Waiting), Error> {
    let config = |listen: Vec<Address>| transport::Config {
        keys: keys.clone(),
        admission: admission.clone(),
        listen,
        named: options.join.clone(),
        mdns: options.mdns,
        limits: options.limits.clone(),
        nat: options.nat.clone(),
        silence: transport::SILENCE,
        faults: faults.clone(),
    };
    let ((to_urgent, urgent), (to_work, work)) = (Queue::new(), Queue::new());
    let inputs = Inputs { urgent: to_urgent, work: to_work };
    let kept = Ports::load(directory).put_into(&options.listen);
    let first = kept.clone().unwrap_or_else(|| options.listen.clone());
    let transport = match Transport::start(config(first), inputs.clone()).await {
        Err(error) if kept.is_some() => {
            tracing::warn!(%error, "the port of the last start is taken; taking another");
            Transport::start(config(options.listen.clone()), inputs).await?
        }
        started => started?,
    };
    Ports::of(transport.bound()).save(directory);
    Ok((transport, urgent, work))
}

fn start_of(
    options: &Options,
    grant: &Grant,
    signing: Arc<dyn Signing>,
    facts: &Facts,
    directory: &Directory,
    store: &Store,
) -> Result<Start, Error> {
    let saved = members::load(directory);
    Ok(Start {
        id: facts.peer,
        name: facts.name.clone(),
        zone: grant.zone.clone().unwrap_or_else(|| options.zone.clone()),
        weight: options.weight.min(grant.weight_max),
        addresses: facts.listen.clone(),
        life: store.actor.0,
        genesis: facts.genesis.clone(),
        signing,
        config: suited(memory()),
        seed: seed()?,
        founding: network::is_founding(directory, &facts.genesis, facts.peer),
        came: store.opened.came.clone(),
        fresh: if saved.records.is_empty() { store.opened.empty } else { saved.store != store.opened.id },
        table: saved.records,
    })
}

async fn ended(task: &mut JoinHandle<Result<(), Stopped>>, directory: &Directory) -> Result<(), Error> {
    match task.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(stopped)) => Err(stopped.told(&directory.store())),
        Err(fault) => Err(Error::new("the peer has stopped because of a fault in the program").why(fault)),
    }
}

/// What depends on this machine's memory, in bytes, if that is known.
fn suited(memory: Option<usize>) -> Config {
    let config = Config::default();
    Config { staged_max: config.staged_max.max(memory.unwrap_or(0) / 4), ..config }
}

/// Of this machine, in bytes, where it tells: Linux does (proc_meminfo(5)).
fn memory() -> Option<usize> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(meminfo: &str) -> Option<usize> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    kib.parse::<usize>().ok()?.checked_mul(1024)
}

fn seed() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| Error::new("the system has no random numbers").why(error))
}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Self {
        let what = format!("cannot listen for other peers at {}", error.address);
        let holder = error.tcp_port().filter(|_| error.in_use).and_then(holder::of_tcp_port);
        let why = match holder {
            Some(holder) => format!("{holder} has that port"),
            None => error.why,
        };
        Error::new(what)
            .why(why)
            .hint("give another address with --listen; without one any free port is taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_memory_may_be_taken_by_what_comes_in() {
        let meminfo = "MemTotal:       16000000 kB\nMemFree:         1000 kB\n";
        assert_eq!(suited(total(meminfo)).staged_max, 4_096_000_000);
        for unknown in ["", "MemTotal: much kB", "MemTotal: 5"] {
            assert_eq!(suited(total(unknown)).staged_max, Config::default().staged_max);
        }
    }
}
