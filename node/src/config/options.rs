//! The settings, read and checked.

use super::{Origin, Values};
use crate::error::Error;
use crate::network::Wishes;
use crate::password::Password;
use crate::resp::Port;
use crate::resp::request::COMMAND_MAX;
use crate::resp::tls::Tls;
use crate::storage::Durability;
use crate::transport::{Address, CIRCUITS_MAX, Limits, NatOptions, Serve, parse_address, parse_peer};
use starling_protocol::config::{NAME_MAX, PARTITIONS_MAX, REPLICAS_MAX};
use starling_protocol::ids::PeerId;
use starling_protocol::member::WEIGHT_MAX;
use starling_protocol::message::FRAME_MAX;
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Between two syncs with `--durability interval`.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Any port on every interface, TCP and QUIC.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];
/// Half the processors of the largest machines.
pub(super) const THREADS_MAX: u32 = 256;
/// Frames need six, and admission and identify some beside them. Each may take 256 KiB of memory over TCP, all of a
/// connection together 4 MiB over QUIC.
const STREAMS_MIN: u32 = 16;
const STREAMS_MAX: u32 = 1024;
const MIB: usize = 1024 * 1024;
/// A longest frame must fit.
const QUEUE_MIB_MIN: u32 = (FRAME_MAX / MIB) as u32 + 1;
const QUEUE_MIB_MAX: u32 = 1024;
/// More than a machine has file descriptors and ports.
const CLIENTS_MAX: u32 = 1_000_000;
/// A longest command must fit.
const UNFINISHED_MIB_MIN: u32 = (COMMAND_MAX / MIB) as u32 * 2;

/// More than a relayed connection carries in its life: a gigabyte a second for a week.
const RELAY_GIB_MAX: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub dir: PathBuf,
    pub name: String,
    /// Somebody has chosen that name for this start.
    pub is_named: bool,
    pub resp: SocketAddr,
    /// What clients must say first; read from its file.
    pub password: Option<Password>,
    pub password_file: Option<PathBuf>,
    pub insecure_resp: bool,
    /// The certificate of the client port, where it has TLS.
    pub tls_cert: Option<PathBuf>,
    pub port: Port,
    pub listen: Vec<Address>,
    /// Each entry is one place, with the addresses to try there in turn.
    pub join: Vec<Vec<Address>>,
    pub admits_anyone: bool,
    pub mdns: bool,
    pub durability: Durability,
    /// Bytes of the disk that are kept free; 0: none.
    pub keep_free: u64,
    /// That serve clients and other peers.
    pub threads: usize,
    pub zone: String,
    pub weight: u32,
    /// What a network that is made now shall be.
    pub wishes: Wishes,
    /// Which of those a person has asked for, as they wrote it.
    pub asked_wishes: Vec<String>,
    pub log_format: LogFormat,
    pub limits: Limits,
    pub nat: NatOptions,
    /// Peers to be cut off from at the start; `None`: cuts are not possible.
    pub faults: Option<BTreeSet<PeerId>>,
    pub stop_on_stdin_eof: bool,
}

impl Options {
    /// Errors: a value cannot be used.
    pub fn new(values: &Values) -> Result<Self, Error> {
        Ok(Self {
            dir: required(values, "dir", "a directory")?,
            name: readable(values, "name")?,
            is_named: !matches!(values.value("name").origin, Origin::Default | Origin::Kept(_)),
            resp: socket(values, "resp")?,
            password: values.text("password-file").map(|at| Password::load(Path::new(at))).transpose()?,
            password_file: values.text("password-file").map(PathBuf::from),
            insecure_resp: values.switch("insecure-resp")?,
            tls_cert: values.text("tls-cert").map(PathBuf::from),
            port: port(values)?,
            listen: listen(values)?,
            join: values
                .list("join")
                .iter()
                .map(|at| address(values, "join", at))
                .collect::<Result<_, _>>()?,
            admits_anyone: admits_anyone(values)?,
            mdns: values.switch("mdns")?,
            durability: durability(values)?,
            keep_free: u64::from(number(values, "keep-free-mib", u32::MAX)?) * MIB as u64,
            threads: within(values, "threads", 1, THREADS_MAX)? as usize,
            zone: short(values, "zone")?,
            weight: number(values, "weight", WEIGHT_MAX)?,
            wishes: wishes(values)?,
            asked_wishes: asked_wishes(values),
            log_format: required(values, "log-format", "auto, human or json")?,
            limits: limits(values)?,
            nat: nat(values)?,
            faults: faults(values)?,
            stop_on_stdin_eof: values.switch("stop-on-stdin-eof")?,
        })
    }
}

fn required<T: FromStr>(values: &Values, key: &str, expected: &str) -> Result<T, Error> {
    values.parse(key, expected)?.ok_or_else(|| values.refuse(key, "", expected))
}

fn number<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
    values: &Values,
    key: &str,
    most: T,
) -> Result<T, Error> {
    let expected = format!("a whole number up to {most}");
    let found: T = required(values, key, &expected)?;
    if found > most { Err(values.refuse(key, &found.to_string(), expected)) } else { Ok(found) }
}

fn short(values: &Values, key: &str) -> Result<String, Error> {
    let text = values.text(key).unwrap_or_default();
    if text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(values.refuse(key, text, format!("plain text of at most {NAME_MAX} bytes")));
    }
    Ok(text.to_owned())
}

/// People tell peers, and networks, apart by it.
fn readable(values: &Values, key: &str) -> Result<String, Error> {
    let name = short(values, key)?;
    if name.trim().is_empty() {
        return Err(values.refuse(key, &name, "a name that people can read"));
    }
    Ok(name)
}

fn socket(values: &Values, key: &str) -> Result<SocketAddr, Error> {
    let text: String = required(values, key, "host:port")?;
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| values.refuse(key, &text, "host:port, like 127.0.0.1:7379"))
}

fn address(values: &Values, key: &str, text: &str) -> Result<Vec<Address>, Error> {
    parse_address(text).map_err(|why| Error::usage(format!("{}: {why}", values.value(key).origin)))
}

fn listen(values: &Values) -> Result<Vec<Address>, Error> {
    let texts = values.list("listen");
    if texts.is_empty() {
        return Ok(LISTEN.iter().map(|text| text.parse().expect("it is a multiaddr")).collect());
    }
    let addresses: Result<Vec<_>, _> = texts.iter().map(|text| address(values, "listen", text)).collect();
    Ok(addresses?.concat())
}

fn admits_anyone(values: &Values) -> Result<bool, Error> {
    match values.text("admit").unwrap_or_default() {
        "tickets" => Ok(false),
        "anyone" => Ok(true),
        other => Err(values.refuse("admit", other, "tickets or anyone")),
    }
}

fn durability(values: &Values) -> Result<Durability, Error> {
    match values.text("durability").unwrap_or_default() {
        "synced" => Ok(Durability::Synced),
        "interval" => Ok(Durability::Interval(SYNC_INTERVAL)),
        other => Err(values.refuse("durability", other, "synced or interval")),
    }
}

/// Without a wish, R and W are a majority of N: then what is read includes what was written last.
fn wishes(values: &Values) -> Result<Wishes, Error> {
    let n: u8 = within(values, "replicas", 1, REPLICAS_MAX)?;
    let majority = n / 2 + 1;
    Ok(Wishes {
        name: match values.value("network").origin {
            // It is called so, whatever new ones may be called.
            Origin::Kept(_) => values.text("network").unwrap_or_default().to_owned(),
            _ => readable(values, "network")?,
        },
        partitions: within(values, "partitions", 1, PARTITIONS_MAX)?,
        n,
        r: values.parse("read-quorum", "a whole number up to the replicas")?.unwrap_or(majority),
        w: values.parse("write-quorum", "a whole number up to the replicas")?.unwrap_or(majority),
    })
}

fn asked_wishes(values: &Values) -> Vec<String> {
    let keys = ["network", "partitions", "replicas", "read-quorum", "write-quorum"];
    let flags = keys.iter().filter(|key| matches!(values.value(key).origin, Origin::Flag(_)));
    flags.map(|key| format!("--{key}")).collect()
}

fn nat(values: &Values) -> Result<NatOptions, Error> {
    let relay = match values.text("relay").unwrap_or_default() {
        "auto" => Serve::Auto,
        "yes" => Serve::Yes,
        "no" => Serve::No,
        other => return Err(values.refuse("relay", other, "auto, yes or no")),
    };
    let circuits: u32 = number(values, "relay-connections", CIRCUITS_MAX as u32)?;
    let gib: u64 = number(values, "relay-gib", RELAY_GIB_MAX)?;
    let external: Result<Vec<_>, _> =
        values.list("external").iter().map(|at| address(values, "external", at)).collect();
    Ok(NatOptions {
        relay,
        circuits: circuits as usize,
        circuit_bytes: gib << 30,
        upnp: values.switch("upnp")?,
        external: external?.concat(),
    })
}

fn limits(values: &Values) -> Result<Limits, Error> {
    let usual = Limits::default();
    let pending = number(values, "connections-pending", u32::from(u16::MAX))?;
    Ok(Limits {
        pending_incoming: pending,
        pending_outgoing: pending.max(usual.pending_outgoing),
        incoming: number(values, "connections-in", u32::from(u16::MAX))?,
        outgoing: number(values, "connections-out", u32::from(u16::MAX))?,
        per_peer: within(values, "connections-per-peer", 1, u32::from(u16::MAX))?,
        strangers: within(values, "strangers", 1, u32::from(u16::MAX))?,
        streams: within(values, "streams", STREAMS_MIN, STREAMS_MAX)?,
        queue_bytes: within(values, "queue-mib", QUEUE_MIB_MIN, QUEUE_MIB_MAX)? as usize * MIB,
    })
}

fn port(values: &Values) -> Result<Port, Error> {
    let file = |key| values.text(key).map(Path::new);
    let tls = match (file("tls-cert"), file("tls-key")) {
        (Some(certificate), Some(key)) => Some(Tls::open(certificate, key)?),
        (None, None) => None,
        _ => {
            return Err(Error::usage("TLS needs both, --tls-cert and --tls-key")
                .why("a certificate is of no use without its private key"));
        }
    };
    Ok(Port {
        clients: within(values, "clients", 1, CLIENTS_MAX)? as usize,
        pending: within(values, "clients-pending", 1, CLIENTS_MAX)? as usize,
        unfinished: within(values, "clients-mib", UNFINISHED_MIB_MIN, u32::from(u16::MAX))? as usize * MIB,
        tls,
    })
}

fn within<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
    values: &Values,
    key: &str,
    least: T,
    most: T,
) -> Result<T, Error> {
    let expected = format!("a whole number from {least} to {most}");
    let found: T = required(values, key, &expected)?;
    if (least..=most).contains(&found) {
        Ok(found)
    } else {
        Err(values.refuse(key, &found.to_string(), expected))
    }
}

fn faults(values: &Values) -> Result<Option<BTreeSet<PeerId>>, Error> {
    let blocked = values
        .list("block")
        .iter()
        .map(|text| parse_peer(text).ok_or_else(|| values.refuse("block", text, "a peer id like 12D3Koo…")));
    let blocked = blocked.collect::<Result<BTreeSet<_>, _>>()?;
    if values.switch("faults")? {
        return Ok(Some(blocked));
    }
    match blocked.is_empty() {
        true => Ok(None),
        false => {
            Err(Error::usage("peers can be blocked only in a testnet").hint("start with --faults as well"))
        }
    }
}
