//! `starling up`: a peer, from its start to its stop.

use super::entering::choose_network;
use super::ready::Ready;
use super::stop::Stop;
use crate::config::{Options, SettingFlags, Values, keep_name};
use crate::directory::Directory;
use crate::error::Error;
use crate::password::{self, Password};
use crate::resp::{self, Port};
use crate::running::{Parts, Running};
use crate::transport::addresses_of;
use crate::{holder, identity, logging, network, open_files};
use starling_protocol::admission::ticket::Ticket;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// How long clients get for what they have begun, once the peer is to stop.
const LAST_COMMANDS: Duration = Duration::from_secs(2);
/// How long threads that are in the middle of something may hold up the end of the process.
const LAST_THREADS: Duration = Duration::from_millis(200);
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub settings: SettingFlags,
    /// Print one line of JSON once the peer is ready
    #[arg(long)]
    pub json: bool,
    /// Say more in the log; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    /// The data directory. Errors: a setting cannot be read.
    pub fn directory(&self) -> Result<PathBuf, Error> {
        let values = Values::resolve(&self.settings, &|name| std::env::var_os(name))?;
        Ok(values.text("dir").unwrap_or(".").into())
    }

    /// Whether this peer may look for others on the LAN. Errors: a setting cannot be read.
    pub fn looks_around(&self) -> Result<bool, Error> {
        Values::resolve(&self.settings, &|name| std::env::var_os(name))?.switch("mdns")
    }
}

/// `ticket`: to enter a network by.
pub fn run(args: Args, ticket: Option<Ticket>) -> Result<ExitCode, Error> {
    let values = Values::resolve(&args.settings, &|name| std::env::var_os(name))?;
    let mut options = Options::new(&values)?;
    logging::start(options.log_format, args.verbose);
    fit_into_open_files(&mut options)?;
    let runtime = runtime_with(options.threads)
        .enable_all()
        .build()
        .map_err(|error| Error::new("cannot start the threads of this peer").why(error))?;
    let result = runtime.block_on(up(&mut options, args.json, ticket));
    runtime.shutdown_timeout(LAST_THREADS);
    // What comes after it was ready is for the log alone.
    result.map(|ended| ended.map_or_else(|error| super::show(&error), |()| ExitCode::SUCCESS))
}

/// Before anything is opened: threads and storage begin with the limit that there is then.
fn fit_into_open_files(options: &mut Options) -> Result<(), Error> {
    let limit = open_files::raise();
    if let Some(fewer) = open_files::share_out(limit, &mut options.port, &mut options.limits)? {
        tracing::warn!("{fewer}; raise it with ulimit -n or LimitNOFILE= of the systemd unit");
    }
    Ok(())
}

/// Where one thread serves all, nothing has to be shared with others.
fn runtime_with(threads: usize) -> Builder {
    if threads == 1 {
        return Builder::new_current_thread();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads);
    builder
}

/// Errors: it did not come to be ready; the inner ones: it has stopped since.
async fn up(options: &mut Options, json: bool, ticket: Option<Ticket>) -> Result<Result<(), Error>, Error> {
    let stop = Stop::install(options.stop_on_stdin_eof)?;
    refuse_open_door(options)?;
    warn_of_open_door(options);
    let directory = Directory::open(&options.dir)?;
    if options.is_named {
        keep_name(&directory, &options.name);
    }
    if needs_own_password(options) {
        let file = password::make(&directory)?;
        options.password = Some(Password::load(&file)?);
        options.password_file = Some(file);
    }
    options.password_file.as_deref().into_iter().for_each(password::warn_if_open);
    let keys = identity::load_or_create(&directory)?;
    let clients = bind(options.resp).await?;
    let resp = clients.local_addr().map_err(|error| cannot_bind(options.resp, &error))?;
    let is_new = network::load(&directory)?.is_none();
    let genesis = tokio::select! {
        genesis = choose_network(options, &directory, &keys, ticket.as_ref()) => genesis?,
        // Nothing has begun that would have to be ended well.
        () = stop.wanted() => return Ok(Ok(())),
    };
    // The mark alone stays until others are known.
    let founded = is_new && network::is_founding(&directory, genesis.genesis(), keys.peer());
    // The inviter is the first that a newcomer meets.
    options.join.extend(ticket.as_ref().map(addresses_of));
    let started = Running::start(options, Parts { directory, keys, genesis, resp }).await;
    let running = started.inspect_err(|_| {
        // Who has the directory since may have begun with it.
        if founded && let Ok(directory) = Directory::open(&options.dir) {
            network::give_up(&directory);
        }
    })?;
    let ready = Ready::of(running.handle.facts(), options, founded);
    ready.save()?;
    ready.print(json);
    let result = serve(running, clients, options.port.clone(), stop).await;
    ready.remove();
    Ok(result)
}

/// Serves clients until somebody wants this peer to stop or storage fails.
async fn serve(mut running: Running, clients: TcpListener, port: Port, stop: Stop) -> Result<(), Error> {
    let stopping = stop.clone();
    let mut clients =
        tokio::spawn(resp::serve(
            clients,
            running.handle.clone(),
            port,
            async move { stopping.wanted().await },
        ));
    tokio::select! {
        () = stop.wanted() => {}
        error = running.ended() => return Err(error),
    }
    tracing::info!("stopping; the other peers keep this one's place");
    if tokio::time::timeout(LAST_COMMANDS, &mut clients).await.is_err() {
        clients.abort();
    }
    running.stop().await
}

/// Clients of other machines come with tokens; the full login is then for this user's own programs alone.
fn needs_own_password(options: &Options) -> bool {
    !options.resp.ip().is_loopback() && options.password.is_none() && !options.insecure_resp
}

/// Without a password, whoever reaches the client port may do everything; and tokens can be read on their
/// way, unless there is TLS.
fn refuse_open_door(options: &Options) -> Result<(), Error> {
    if !needs_own_password(options) || options.port.tls.is_some() {
        return Ok(());
    }
    Err(Error::usage(format!("clients would be served at {}, to everybody who reaches it", options.resp))
        .why("without a password every machine that can connect could read and change all data")
        .hint("give clients a password with --password-file, or tokens over TLS with --tls-cert and --tls-key; keep --resp on 127.0.0.1; or accept that with --insecure-resp"))
}

/// It was accepted, and may be forgotten.
fn warn_of_open_door(options: &Options) {
    if options.insecure_resp && options.password.is_none() && !options.resp.ip().is_loopback() {
        tracing::warn!(
            resp = %options.resp,
            "whoever reaches the client port can read and change all data, and put peers out, without a password"
        );
    }
}

async fn bind(resp: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(resp).await.map_err(|error| cannot_bind(resp, &error))
}

/// Whether a peer could take clients there now. Errors: it could not.
pub fn can_bind(resp: SocketAddr) -> Result<(), Error> {
    std::net::TcpListener::bind(resp).map(drop).map_err(|error| cannot_bind(resp, &error))
}

fn cannot_bind(resp: SocketAddr, error: &io::Error) -> Error {
    let what = format!("cannot listen for clients at {resp}");
    if error.kind() != io::ErrorKind::AddrInUse {
        return Error::new(what).why(error).hint("give another address with --resp");
    }
    let holder = holder::of_tcp_port(resp.port()).unwrap_or_else(|| "another process".into());
    Error::new(what)
        .why(format!("{holder} has port {}", resp.port()))
        .hint("give another with --resp, like --resp 127.0.0.1:7380; with port 0 any free one is taken")
}
