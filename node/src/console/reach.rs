//! Where a client connects, and who it says it is: the same flags and variables for every command.

use super::link::{Link, as_address, default_address};
use crate::error::Error;
use crate::resp::tls::Trust;
use std::path::{Path, PathBuf};

/// What a command has that connects.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Reach {
    #[command(flatten)]
    pub place: Place,
    /// The data directory of the peer that runs here: it says where that is reached, and its password
    #[arg(long, value_name = "DIR", env = "STARLING_DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// Log in with the password on the first line of this file
    #[arg(long, value_name = "FILE", env = "STARLING_PASSWORD_FILE", global = true)]
    pub password_file: Option<PathBuf>,
}

/// What it has also where the settings of a peer stand beside it, which have a directory and a password of their own.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Place {
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
        let place = Place {
            connect: variable("STARLING_CONNECT"),
            token: variable("STARLING_TOKEN"),
            tls: variable("STARLING_TLS").is_some_and(|text| !matches!(text.as_str(), "0" | "false" | "no")),
            tls_ca: variable("STARLING_TLS_CA").map(PathBuf::from),
        };
        let file = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { place, dir: file("STARLING_DIR"), password_file: file("STARLING_PASSWORD_FILE") }
    }

    /// Takes a flag and its value. False: it is none of ours.
    pub fn set(&mut self, flag: &str, value: String) -> bool {
        match flag {
            "--connect" => self.place.connect = Some(value),
            "--token" => self.place.token = Some(value),
            "--tls-ca" => self.place.tls_ca = Some(value.into()),
            "--dir" => self.dir = Some(value.into()),
            "--password-file" => self.password_file = Some(value.into()),
            _ => return false,
        }
        true
    }

    /// Those that have a value.
    pub const FLAGS: [&str; 5] = ["--connect", "--token", "--tls-ca", "--dir", "--password-file"];

    /// Whom to believe. `None`: nothing was said of TLS.
    pub fn trust(&self) -> Option<Trust> {
        let file = self.place.tls_ca.clone().map(Trust::File);
        file.or_else(|| self.place.tls.then_some(Trust::Machine))
    }

    /// Where this user's own peer is, if one runs there.
    pub fn directory(&self) -> Option<PathBuf> {
        let named = self.dir.clone().filter(|dir| dir != Path::new(""));
        named.or_else(|| crate::config::default_dir().map(PathBuf::from))
    }

    pub fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref().filter(|path| *path != Path::new(""))
    }

    pub fn address(&self) -> String {
        self.place.connect.clone().unwrap_or_else(|| default_address(self))
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
