//! What a peer says once it is ready, on stdout and in `peer.json` for programs on this machine.

use crate::config::Options;
use crate::directory::write_atomically;
use crate::error::Error;
use crate::peer_handle::Facts;
use serde::Serialize;
use std::fs;
use std::path::PathBuf;

const FILE: &str = "peer.json";

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
}

impl Ready {
    pub fn of(facts: &Facts, options: &Options) -> Self {
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
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers become JSON")
    }

    /// Leaves `peer.json` in the data directory while the peer runs, so that the console finds it.
    pub fn save(&self) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        write_atomically(&path, format!("{}\n", self.json()).as_bytes()).map_err(|error| {
            Error::new(format!("cannot write {}", path.display()))
                .why(error)
                .hint("see that the disk has room and that this user may write there")
        })
    }

    pub fn remove(&self) {
        // One that stays behind names a peer that does not answer, which is found out by asking it.
        let _ = fs::remove_file(self.dir.join(FILE));
    }

    pub fn print(&self, json: bool) {
        if json {
            anstream::println!("{}", self.json());
            return;
        }
        anstream::println!("{}", self.text());
    }

    fn text(&self) -> String {
        let Self { name, peer_id, resp, dir, network, network_name, .. } = self;
        let port = resp.rsplit(':').next().unwrap_or_default();
        let tls = if self.tls_cert.is_some() { " --tls" } else { "" };
        let dir = dir.display();
        let mut text = format!(
            "{name} is up, a peer of the network {network_name} ({network})\n\
             \n  peer id   {peer_id}\n  data      {dir}\n  clients   {resp}   redis-cli -p {port}{tls}, or: starling console"
        );
        if resp != "127.0.0.1:7379" {
            text += &format!(" --connect {resp}");
        }
        for address in &self.listen {
            text += &format!("\n  peers     {address}");
        }
        text += "\n\nTo let another machine in:  starling invite";
        if resp != "127.0.0.1:7379" {
            text += &format!(" --connect {resp}");
        }
        text
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
    fn people_read_the_line_that_another_machine_needs() {
        let text = ready().text();
        assert!(text.contains("starling invite --connect 127.0.0.1:7380"), "{text}");
        assert!(text.contains("starling console --connect 127.0.0.1:7380"), "{text}");
    }
}
