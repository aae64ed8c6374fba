//! Where a client connects, and who it says it is: the same flags and variables for every command.

use super::link::{Link, as_address, default_address};
use crate::error::Error;
use crate::resp::tls::Trust;
use std::path::PathBuf;

#[derive(clap::Args, Clone, Debug, Default)]
pub struct Reach {
    /// The peer: host:port or a port; by default the one that runs here
    #[arg(long, value_name = "ADDR", env = "STARLING_CONNECT", global = true)]
    pub connect: Option<String>,
    /// Log in with this token instead of the password
    #[arg(long, value_name = "TOKEN", env = "STARLING_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// Encrypt, and believe whom this machine believes
    #[arg(long, env = "STARLING_TLS", value_parser = clap::builder::FalseyValueParser::new(), global = true)]
    pub tls: bool,
    /// Encrypt, and believe the certificates in this file (PEM) and those that they have signed
    #[arg(long, value_name = "FILE", env = "STARLING_TLS_CA", global = true)]
    pub tls_ca: Option<PathBuf>,
}

impl Reach {
    /// What the environment says, for commands whose flags clap does not read.
    pub fn of_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            connect: variable("STARLING_CONNECT"),
            token: variable("STARLING_TOKEN"),
            tls: variable("STARLING_TLS").is_some_and(|text| !matches!(text.as_str(), "0" | "false" | "no")),
            tls_ca: variable("STARLING_TLS_CA").map(PathBuf::from),
        }
    }

    /// Takes a flag and its value. False: it is none of ours.
    pub fn set(&mut self, flag: &str, value: String) -> bool {
        match flag {
            "--connect" => self.connect = Some(value),
            "--token" => self.token = Some(value),
            "--tls-ca" => self.tls_ca = Some(value.into()),
            _ => return false,
        }
        true
    }

    /// Those that have a value.
    pub const FLAGS: [&str; 3] = ["--connect", "--token", "--tls-ca"];

    /// Whom to believe. `None`: nothing was said of TLS.
    pub fn trust(&self) -> Option<Trust> {
        let file = self.tls_ca.clone().map(Trust::File);
        file.or_else(|| self.tls.then_some(Trust::Machine))
    }

    pub fn address(&self) -> String {
        self.connect.clone().unwrap_or_else(default_address)
    }

    /// Nothing is sent yet. Errors: the address is none.
    pub fn link(&self) -> Result<Link, Error> {
        let address = self.address();
        let address = as_address(&address).ok_or_else(|| {
            Error::usage(format!("{address:?} is not an address"))
                .hint("write host:port or a port, such as 127.0.0.1:7379")
        })?;
        Ok(Link::to(address, self))
    }
}
