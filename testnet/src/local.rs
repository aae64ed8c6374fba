//! Networks of real processes on this machine.

mod build;
mod commands;
pub mod control;
pub mod cut;
mod error;
mod network;
mod plan;
mod ports;
mod process;
pub mod resp;
mod table;

pub use build::peer_program;
pub use error::Error;
pub use network::Network;
pub use plan::{PEERS_MAX, Plan, Wishes, multiaddrs};
pub use process::{Interrupt, Missed, Process, until};

use control::Shared;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// One thousand above Redis' own port, which may well be in use where people try this.
const BASE_PORT: u16 = 7379;
/// How long the console may take to end when a signal came.
const CONSOLE_END: Duration = Duration::from_secs(2);

/// How `up` shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// A table, then the console of the first peer.
    Console,
    /// A table; goes on until a signal comes.
    Foreground,
    /// One line of JSON on stdout; goes on until a signal comes.
    Json,
}

pub struct Options {
    pub wishes: Wishes,
    /// `None`: a temporary one.
    pub dir: Option<PathBuf>,
    pub program: Option<PathBuf>,
    pub front: Front,
}

enum Event {
    Signal,
    ConsoleEnded,
}

/// Starts a testnet, shows it, and stops it at the end: of the console, or by a signal. Returns the
/// exit code of the console.
pub fn up(options: Options) -> Result<u8, Error> {
    let interrupt = Interrupt::default();
    let (sender, events) = sync_channel(4);
    let attended = Attended::default();
    watch_signals(interrupt.clone(), sender.clone(), attended.clone())?;
    let program = peer_program(options.program, &interrupt)?;
    let home = Home::open(options.dir)?;
    let plan = Plan::prepare(&home.dir, &options.wishes)?;
    let network = Shared::new(Network::new(home.dir.clone(), program.clone(), plan, interrupt.clone()));
    let result = start(&network).and_then(|()| match options.front {
        Front::Console => {
            attended.begin();
            attend_console(&program, &network, &sender, &events)
        }
        Front::Foreground => attend_signal(&events),
        Front::Json => say_ready(&network).and_then(|()| attend_signal(&events)),
    });
    let was_up = result.is_ok();
    stop(&network, was_up);
    home.close(was_up);
    result
}

/// Raised by the first Ctrl-C, SIGTERM or SIGHUP.
pub fn interrupted_by_signals() -> Result<Interrupt, Error> {
    let interrupt = Interrupt::default();
    // Nobody reads the events: what counts is that the interrupt is raised.
    let (sender, _) = sync_channel(1);
    watch_signals(interrupt.clone(), sender, Attended::default())?;
    Ok(interrupt)
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16, Error> {
    Ok(ports::choose(1, &BTreeSet::new())?[0])
}

/// A person types into the console: then Ctrl-C gives up a command there, and is none of ours.
#[derive(Clone, Default)]
struct Attended(Arc<AtomicBool>);

impl Attended {
    /// Without a terminal nobody types, and the console is a program that signals end.
    fn begin(&self) {
        self.0.store(std::io::stdin().is_terminal(), Ordering::SeqCst);
    }

    fn keeps(&self, signal: i32) -> bool {
        signal == SIGINT && self.0.load(Ordering::SeqCst)
    }
}

fn watch_signals(interrupt: Interrupt, events: SyncSender<Event>, attended: Attended) -> Result<(), Error> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::io("cannot watch for", "signals"))?;
    thread::spawn(move || {
        for _ in signals.forever().filter(|signal| !attended.keeps(*signal)) {
            interrupt.raise();
            // Full: somebody is about to read that a signal came.
            let _ = events.try_send(Event::Signal);
        }
    });
    Ok(())
}

fn start(network: &Shared) -> Result<(), Error> {
    let began = Instant::now();
    let mut locked = network.lock();
    eprintln!("starting {} in {}", locked.names().join(" "), locked.dir().display());
    locked.start_all()?;
    control::serve(locked.dir(), network.clone())?;
    eprintln!("{} peers know one another after {:.1} s", locked.seats().len(), began.elapsed().as_secs_f32());
    eprintln!("{}", table::render(&commands::peers(&mut locked)));
    Ok(())
}

fn say_ready(network: &Shared) -> Result<(), Error> {
    let line = commands::peers(&mut network.lock());
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.map_err(Error::io("cannot write to", "stdout"))
}

fn attend_signal(events: &Receiver<Event>) -> Result<u8, Error> {
    eprintln!("stop with Ctrl-C");
    while let Ok(event) = events.recv() {
        if matches!(event, Event::Signal) {
            break;
        }
    }
    Ok(0)
}

fn attend_console(
    program: &Path,
    network: &Shared,
    sender: &SyncSender<Event>,
    events: &Receiver<Event>,
) -> Result<u8, Error> {
    let mut command = Command::new(program);
    {
        let locked = network.lock();
        command.args(["console", "--connect", &locked.seats()[0].resp_address()]);
        command.arg("--testnet").arg(locked.dir());
    }
    let terminal = Terminal::remember();
    let mut console = command.spawn().map_err(Error::io("cannot run", program))?;
    tell_end(&console, sender.clone());
    if let Ok(Event::Signal) = events.recv() {
        end_console(&mut console, events);
    }
    let status = console.wait().map_err(Error::io("cannot wait for", program))?;
    terminal.restore();
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(0))
}

/// Tells that the console has ended, and leaves it to be waited for, so that its pid stays its own.
fn tell_end(console: &Child, sender: SyncSender<Event>) {
    let pid = Pid::from_child(console);
    thread::spawn(move || {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = sender.send(Event::ConsoleEnded);
    });
}

/// A signal came while the console ran: it gets a moment to save its history.
fn end_console(console: &mut Child, events: &Receiver<Event>) {
    let _ = kill_process(Pid::from_child(console), Signal::TERM);
    let deadline = Instant::now() + CONSOLE_END;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match events.recv_timeout(left) {
            Ok(Event::ConsoleEnded) => return,
            Ok(Event::Signal) | Err(_) => {}
        }
    }
    let _ = console.kill();
}

/// What the terminal was like before the console: one that is killed leaves it in raw mode.
struct Terminal(Option<Termios>);

impl Terminal {
    fn remember() -> Self {
        Self(tcgetattr(std::io::stdin()).ok())
    }

    fn restore(self) {
        if let Some(settings) = self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &settings);
        }
    }
}

fn stop(network: &Shared, was_up: bool) {
    let mut locked = network.lock();
    if was_up {
        eprintln!("stopping {}", locked.names().join(" "));
    }
    locked.stop_all();
    control::close(locked.dir());
}

/// The directory of a testnet, locked for as long as it runs.
pub struct Home {
    dir: PathBuf,
    temporary: Option<tempfile::TempDir>,
    /// Goes with the process, also when that is killed; so the file itself stays.
    _lock: File,
}

impl Home {
    fn open(named: Option<PathBuf>) -> Result<Self, Error> {
        match named {
            Some(path) => Self::at(path, None),
            None => Self::temporary(None),
        }
    }

    /// A new directory that goes away with this, inside another if one is named.
    pub fn temporary(inside: Option<&Path>) -> Result<Self, Error> {
        let inside = inside.map_or_else(std::env::temp_dir, Path::to_owned);
        let made = tempfile::Builder::new().prefix("starling-testnet-").tempdir_in(&inside);
        let made = made.map_err(Error::io("cannot create a directory in", inside))?;
        Self::at(made.path().to_owned(), Some(made))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn at(path: PathBuf, temporary: Option<tempfile::TempDir>) -> Result<Self, Error> {
        fs::create_dir_all(&path).map_err(Error::io("cannot create", &path))?;
        let dir = path.canonicalize().map_err(Error::io("cannot find", &path))?;
        let lock = lock(&dir)?;
        Ok(Self { dir, temporary, _lock: lock })
    }

    /// Says where the data was, and removes it if it was temporary.
    fn close(self, was_up: bool) {
        let dir = self.dir.display();
        match self.temporary {
            Some(temporary) => match temporary.close() {
                Ok(()) if was_up => eprintln!("the data was in {dir}; it was temporary and is removed"),
                Ok(()) => {}
                Err(e) => eprintln!("the temporary data in {dir} could not be removed: {e}"),
            },
            None if was_up => eprintln!("the data is in {dir}; go on with `testnet up --dir {dir}`"),
            None => {}
        }
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("testnet.lock");
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(Error::io("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid);
            return Err(Error::Running { dir: dir.to_owned(), pid: pid.trim().to_owned() });
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("cannot lock", path)(e)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(Error::io("cannot write", path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_names_who_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let _home = Home::open(Some(dir.path().to_owned())).unwrap();
        let Err(Error::Running { pid, .. }) = Home::open(Some(dir.path().to_owned())) else {
            panic!("two testnets in one directory");
        };
        assert_eq!(pid, std::process::id().to_string());
    }

    #[test]
    fn a_temporary_directory_goes_away() {
        let home = Home::open(None).unwrap();
        let dir = home.dir.clone();
        assert!(dir.exists());
        home.close(true);
        assert!(!dir.exists());
    }
}
