//! The table of all settings.

use super::options::THREADS_MAX;
use super::{Origin, Value};
use crate::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value. The text says what is written in its place in the help.
    One(&'static str),
    /// Any number of values: the flag may be repeated, a variable has commas, TOML a list.
    Many(&'static str),
    /// The flag, which takes no value, sets the key to this.
    Switch { flag: &'static str, sets: bool },
}

pub struct Setting {
    /// The key in TOML. The flag is `--key` unless `kind` says otherwise; the variable `STARLING_KEY`.
    pub key: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    default: fn() -> Option<String>,
    /// Not for people who run a store: left out of help and `config show`.
    pub hidden: bool,
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: fn() -> Option<String>,
    help: &'static str,
) -> Setting {
    Setting { key, kind, help, default, hidden: false }
}

const fn hidden(setting: Setting) -> Setting {
    Setting { hidden: true, ..setting }
}

fn none() -> Option<String> {
    None
}

macro_rules! default {
    ($text:literal) => {
        || Some($text.to_owned())
    };
}

use Kind::{Many, One, Switch};

pub const SETTINGS: &[Setting] = &[
    setting("dir", One("DIR"), default_dir, "Where this peer keeps its key and its data"),
    setting("config", One("FILE"), none, "Settings in TOML [default: starling.toml in the data directory]"),
    setting("name", One("NAME"), host_name, "What people call this peer"),
    setting("resp", One("ADDR"), default!("127.0.0.1:7379"), "Where Redis clients and the console connect"),
    setting(
        "password-file",
        One("FILE"),
        none,
        "Clients must AUTH with the first line of this file; needed to serve other machines",
    ),
    setting(
        "tls-cert",
        One("FILE"),
        none,
        "Serve clients over TLS, with this certificate (PEM) and the key of --tls-key; without a password too, \
         other machines are then served, those that have a token",
    ),
    setting("tls-key", One("FILE"), none, "The private key (PEM) of the certificate of --tls-cert"),
    setting(
        "insecure-resp",
        Switch { flag: "insecure-resp", sets: true },
        default!("false"),
        "Let everybody who reaches the RESP address read and write, without a password",
    ),
    setting(
        "listen",
        Many("MULTIADDR"),
        none,
        "Where other peers connect; may be repeated [default: any port, TCP and QUIC]",
    ),
    setting(
        "join",
        Many("ADDR"),
        none,
        "A peer of the network to enter: host:port or a multiaddr; may be repeated",
    ),
    setting(
        "admit",
        One("WHO"),
        default!("tickets"),
        "Whom this peer lets into the network: those with tickets, or anyone who knows its address",
    ),
    setting(
        "mdns",
        Switch { flag: "no-mdns", sets: false },
        default!("true"),
        "Neither look for peers on the LAN nor be found there",
    ),
    setting(
        "external",
        Many("ADDR"),
        none,
        "Where others reach this peer from outside, if it does not find that out: host:port or a multiaddr",
    ),
    setting(
        "upnp",
        Switch { flag: "no-upnp", sets: false },
        default!("true"),
        "Do not ask the router to open a port",
    ),
    setting(
        "relay",
        One("WHEN"),
        default!("auto"),
        "Relay between members that cannot reach each other: yes, no, or auto, once others have reached this peer",
    ),
    setting(
        "relay-connections",
        One("N"),
        default!("32"),
        "Most connections relayed for one member at once: one per member that it cannot reach itself; must be below --streams",
    ),
    setting(
        "relay-gib",
        One("GIB"),
        default!("64"),
        "What one relayed connection may carry, many repairs of a full replica, before it is made anew; 0: no limit",
    ),
    setting(
        "durability",
        One("MODE"),
        default!("synced"),
        "synced: acknowledged means on disk; interval: on disk within a second, which is faster",
    ),
    setting(
        "threads",
        One("N"),
        half_the_processors,
        "Threads that serve clients and other peers, from 1 to 256; storage has its own",
    ),
    setting("zone", One("ZONE"), default!(""), "Copies are spread over zones: a room, a rack, a house"),
    setting("weight", One("N"), default!("100"), "Share of the data, relative to the others'; 0 holds none"),
    setting("network", One("NAME"), default!("starling"), "Name of a network that is made now"),
    setting("partitions", One("Q"), default!("256"), "Partitions of a network that is made now"),
    setting("replicas", One("N"), default!("3"), "Copies of each key in a network that is made now"),
    setting(
        "read-quorum",
        One("R"),
        none,
        "Copies that a read asks in a network that is made now [default: a majority]",
    ),
    setting(
        "write-quorum",
        One("W"),
        none,
        "Copies that acknowledge a write in a network that is made now [default: a majority]",
    ),
    setting(
        "log-format",
        One("FORMAT"),
        default!("auto"),
        "auto, human or json; auto is human on a terminal",
    ),
    setting(
        "connections-in",
        One("N"),
        default!("1024"),
        "Most connections that other peers make: one each is usual",
    ),
    setting("connections-out", One("N"), default!("1024"), "Most connections that this peer makes"),
    setting(
        "connections-pending",
        One("N"),
        default!("128"),
        "Most handshakes under way; a flood of strangers holds no more sockets than this",
    ),
    setting(
        "connections-per-peer",
        One("N"),
        default!("6"),
        "Most connections of one peer: one would do, two meet when both dial, others replace silent or relayed ones",
    ),
    setting(
        "strangers",
        One("N"),
        default!("64"),
        "Most connections without a certificate yet; one more ends the oldest, so a flood keeps no member out",
    ),
    setting(
        "streams",
        One("N"),
        default!("64"),
        "Most streams of one connection: six carry frames, some are for moments, each relayed connection is one",
    ),
    setting(
        "queue-mib",
        One("MIB"),
        default!("32"),
        "Most MiB that wait for one peer, in each of three classes; what is more is dropped, and repaired later",
    ),
    setting(
        "keep-free-mib",
        One("MIB"),
        default!("512"),
        "MiB of the disk that are kept free, at most an eighth of it, beside what storage needs for a while to merge its \
         tables: with less, this peer takes nothing that brings more, while reads and removals go on; 0: all may be used",
    ),
    setting(
        "clients",
        One("N"),
        default!("10000"),
        "Most clients at once, as many as with Redis; fewer where the limit of open files (ulimit -Hn) leaves fewer",
    ),
    setting(
        "clients-pending",
        One("N"),
        default!("256"),
        "Most clients that have not logged in yet; one more ends the oldest, so a flood keeps nobody out",
    ),
    setting(
        "clients-mib",
        One("MIB"),
        default!("512"),
        "Most MiB of commands that have not come whole, of all clients; one that needs more is let go. And of replies \
         that clients have not taken; what needs more is refused",
    ),
    hidden(setting(
        "faults",
        Switch { flag: "faults", sets: true },
        default!("false"),
        "Let clients cut this peer off from others (testnets)",
    )),
    hidden(setting("block", Many("PEER"), none, "Peers to be cut off from at the start (needs --faults)")),
    hidden(setting(
        "stop-on-stdin-eof",
        Switch { flag: "stop-on-stdin-eof", sets: true },
        default!("false"),
        "Stop when standard input ends (testnets)",
    )),
];

impl Setting {
    fn flag(&self) -> &'static str {
        match self.kind {
            Kind::Switch { flag, .. } => flag,
            Kind::One(_) | Kind::Many(_) => self.key,
        }
    }

    pub fn flag_text(&self) -> String {
        format!("--{}", self.flag())
    }

    pub fn variable(&self) -> String {
        format!("STARLING_{}", self.key.to_uppercase().replace('-', "_"))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Many(_))
    }

    /// Written as a number where it is written for programs.
    pub fn is_number(&self) -> bool {
        matches!(self.kind, Kind::One("N" | "MIB" | "GIB" | "Q" | "R" | "W"))
    }

    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Switch { .. })
    }

    pub(super) fn default_value(&self) -> Value {
        Value { texts: (self.default)().into_iter().collect(), origin: Origin::Default }
    }

    pub(super) fn read_variable(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Value>, Error> {
        let variable = self.variable();
        let Some(found) = environment(&variable) else { return Ok(None) };
        let text = found.into_string().map_err(|_| {
            Error::usage(format!("{variable}: the value is not UTF-8 text")).hint("unset it or set it anew")
        })?;
        let texts = match self.kind {
            Kind::Many(_) => {
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(String::from).collect()
            }
            Kind::One(_) | Kind::Switch { .. } => vec![text],
        };
        Ok(Some(Value { texts, origin: Origin::Environment(variable) }))
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.key).long(self.flag()).help(self.help).hide(self.hidden);
        match self.kind {
            Kind::One(value) => arg.value_name(value).help(self.help_with_default()),
            Kind::Many(value) => arg.value_name(value).action(ArgAction::Append),
            Kind::Switch { .. } => arg.action(ArgAction::SetTrue),
        }
    }

    fn help_with_default(&self) -> String {
        match (self.default)() {
            Some(default) if !default.is_empty() => format!("{} [default: {default}]", self.help),
            _ => self.help.to_owned(),
        }
    }
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags(BTreeMap<&'static str, Vec<String>>);

impl SettingFlags {
    pub(super) fn get(&self, setting: &Setting) -> Option<Vec<String>> {
        self.0.get(setting.key).cloned()
    }

    /// Adds to a list, as one more flag would.
    pub fn add(&mut self, key: &'static str, texts: impl IntoIterator<Item = String>) {
        self.0.entry(key).or_default().extend(texts);
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = BTreeMap::new();
        for setting in SETTINGS {
            let texts: Option<Vec<String>> = match setting.kind {
                Kind::One(_) | Kind::Many(_) => {
                    matches.get_many::<String>(setting.key).map(|texts| texts.cloned().collect())
                }
                Kind::Switch { sets, .. } => matches.get_flag(setting.key).then(|| vec![sets.to_string()]),
            };
            flags.extend(texts.map(|texts| (setting.key, texts)));
        }
        Ok(Self(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const ELSEWHERE: &str = "Each setting can also stand in a variable, STARLING_DIR for --dir, or in starling.toml: \
                         a flag beats a variable, and that the file.";

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(Setting::arg)).after_help(ELSEWHERE)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Where the platform wants data of programs: `$XDG_DATA_HOME/starling` or `~/.local/share/starling`,
/// and its like elsewhere.
pub fn default_dir() -> Option<String> {
    let home = |rest: &str| std::env::home_dir().map(|home| home.join(rest));
    let base = if cfg!(windows) {
        std::env::var_os("LOCALAPPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home("Library/Application Support")
    } else {
        let set = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| home(".local/share"))
    };
    // A user without a home gets the working directory.
    let dir = base.map_or_else(|| PathBuf::from("starling-data"), |base| base.join("starling"));
    dir.into_os_string().into_string().ok()
}

/// Storage has a thread of its own, and the fewer threads, the fewer wake-ups for the same work.
fn half_the_processors() -> Option<String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Some((processors / 2).clamp(1, THREADS_MAX as usize).to_string())
}

fn host_name() -> Option<String> {
    let from_system = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name =
        from_system.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    Some(name.unwrap_or_else(|| "peer".to_owned()))
}
