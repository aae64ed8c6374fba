//! What a peer says once it is ready, on stdout and in `peer.json` for programs on this machine.

use crate::config::{Options, default_dir};
use crate::directory::{RUNNING, in_shell, write_atomically};
use crate::error::Error;
use crate::peer_handle::Facts;
use crate::resp::tls::is_self_signed;
use crate::stdio;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
pub struct Ready {
    name: String,
    peer_id: String,
    pid: u32,
    resp: String,
    listen: Vec<String>,
    dir: PathBuf,
    network: String,
    /// Where this user's own programs find the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    /// The certificate by which they know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    #[serde(skip)]
    network_name: String,
    /// This very start has made the network.
    #[serde(skip)]
    founded: bool,
}

impl Ready {
    pub fn of(facts: &Facts, options: &Options, founded: bool) -> Self {
        let absolute = |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::path::absolute(path).ok());
        Self {
            name: facts.name.clone(),
            peer_id: facts.peer_id.clone(),
            pid: std::process::id(),
            resp: facts.resp.to_string(),
            listen: facts.listen.clone(),
            dir: facts.dir.clone(),
            network: facts.genesis.network_id().to_string(),
            password_file: absolute(&options.password_file),
            tls_cert: absolute(&options.tls_cert),
            network_name: facts.genesis.name.clone(),
            founded,
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers become JSON")
    }

    /// Leaves `peer.json` in the data directory while the peer runs, so that the console finds it.
    pub fn save(&self) -> Result<(), Error> {
        let path = self.dir.join(RUNNING);
        write_atomically(&path, format!("{}\n", self.json()).as_bytes()).map_err(|error| {
            Error::new(format!("cannot write {}", path.display()))
                .why(error)
                .hint("see that the disk has room and that this user may write there")
        })
    }

    pub fn remove(&self) {
        let path = self.dir.join(RUNNING);
        // Another peer may have come to this place, after the directory was taken away.
        if fs::read_to_string(&path).is_ok_and(|text| text.trim_end() == self.json()) {
            // One that stays behind names a peer that does not answer, which is found out by asking it.
            let _ = fs::remove_file(path);
        }
    }

    /// A peer that nobody listens to serves all the same.
    pub fn print(&self, json: bool) {
        if let Err(error) = stdio::text(if json { self.json() } else { self.text() }) {
            tracing::warn!("this peer is up, though {}", error.line());
        }
    }

    fn text(&self) -> String {
        let Self { name, peer_id, resp, dir, network, network_name, .. } = self;
        let came = if self.founded { "and made a new network," } else { "as a peer of the network" };
        let (dir, redis, own) = (dir.display(), self.redis_cli(), self.own_program());
        let mut text = format!(
            "{name} is up {came} {network_name} ({network})\n\
             \n  peer id   {peer_id}\n  data      {dir}\n  clients   {resp}   {redis}, or: {own} console"
        );
        for address in &self.listen {
            text += &format!("\n  peers     {address}");
        }
        text + &format!("\n\nTo let another machine in:  {own} invite")
    }

    fn redis_cli(&self) -> String {
        let (host, port) = self.resp.rsplit_once(':').unwrap_or_default();
        let mut text = String::new();
        if let Some(password) = &self.password_file {
            // In the environment, where other users do not see it.
            text += &format!("REDISCLI_AUTH=\"$(head -1 {})\" ", in_shell(password));
        }
        text += "redis-cli";
        if !["127.0.0.1", "0.0.0.0", "[::]"].contains(&host) {
            text += &format!(" -h {}", host.trim_matches(['[', ']']));
        }
        text += &format!(" -p {port}");
        if let Some(certificate) = &self.tls_cert {
            text += " --tls";
            // One that others have signed is believed by who believes them, and by nobody because of itself.
            if is_self_signed(certificate).unwrap_or(false) {
                text += &format!(" --cacert {}", in_shell(certificate));
            }
        }
        text
    }

    /// The console and the like find address, password and certificate in the directory, if they look there.
    fn own_program(&self) -> String {
        // Another shell may not have the environment of this one.
        if default_dir().is_some_and(|dir| Path::new(&dir) == self.dir) {
            return "starling".to_owned();
        }
        let dir = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        format!("STARLING_DIR={} starling", in_shell(&dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Ready {
        Ready {
            name: "p1".into(),
            peer_id: "12D3KooW".into(),
            pid: 1,
            resp: "127.0.0.1:7380".into(),
            listen: vec!["/ip4/10.0.0.1/udp/5/quic-v1".into(), "/ip4/10.0.0.1/tcp/4".into()],
            dir: "/data".into(),
            network: "00ff".into(),
            password_file: None,
            tls_cert: None,
            network_name: "home".into(),
            founded: false,
        }
    }

    #[test]
    fn programs_read_one_line_of_json() {
        let json = ready().json();
        assert_eq!(
            json,
            "{\"name\":\"p1\",\"peer_id\":\"12D3KooW\",\"pid\":1,\"resp\":\"127.0.0.1:7380\",\
             \"listen\":[\"/ip4/10.0.0.1/udp/5/quic-v1\",\"/ip4/10.0.0.1/tcp/4\"],\"dir\":\"/data\",\"network\":\"00ff\"}"
        );
    }

    #[test]
    fn people_read_the_lines_that_work_here() {
        let text = ready().text();
        assert!(text.starts_with("p1 is up as a peer of the network home (00ff)"), "{text}");
        assert!(text.contains("redis-cli -p 7380, or: STARLING_DIR=/data starling console\n"), "{text}");
        assert!(text.ends_with("STARLING_DIR=/data starling invite"), "{text}");
        let (password_file, founded) = (Some("/my files/pass".into()), true);
        let text = Ready { password_file, founded, ..ready() }.text();
        assert!(text.starts_with("p1 is up and made a new network, home (00ff)"), "{text}");
        let expected = "REDISCLI_AUTH=\"$(head -1 '/my files/pass')\" redis-cli -p 7380, or:";
        assert!(text.contains(expected), "{text}");
        assert_eq!(in_shell(Path::new("/it's")), "'/it'\\''s'");
    }

    #[test]
    fn redis_cli_is_told_where_and_whom_to_believe() {
        let place = tempfile::tempdir().unwrap();
        let (own, others) = (place.path().join("own.pem"), place.path().join("signed.pem"));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&own, made.cert.pem()).unwrap();
        let at = |resp: &str, tls_cert| Ready { resp: resp.into(), tls_cert, ..ready() }.redis_cli();
        let expected = format!("redis-cli -p 7380 --tls --cacert {}", own.display());
        assert_eq!(at("127.0.0.1:7380", Some(own)), expected);
        assert_eq!(at("0.0.0.0:7380", Some(others)), "redis-cli -p 7380 --tls");
        assert_eq!(at("192.168.1.5:7379", None), "redis-cli -h 192.168.1.5 -p 7379");
        assert_eq!(at("[::1]:7379", None), "redis-cli -h ::1 -p 7379");
    }
}
