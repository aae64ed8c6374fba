//! Where a client connects, and who it says it is: the same flags and variables for every command.

use super::link::{Link, as_place, default_address, own_address};
use crate::directory::in_shell;
use crate::error::{Error, FAILURE};
use crate::resp::tls::Trust;
use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What a command has that connects.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Reach {
    #[command(flatten)]
    pub place: Place,
    /// The data directory of the peer that runs here: it says where that is reached, and its password
    #[arg(long, value_name = "DIR", env = "STARLING_DIR", value_parser = may_be_empty(), global = true)]
    pub dir: Option<PathBuf>,
    /// Log in with the password on the first line of this file
    #[arg(long, value_name = "FILE", env = "STARLING_PASSWORD_FILE", value_parser = may_be_empty(), global = true)]
    pub password_file: Option<PathBuf>,
}

/// What it has also where the settings of a peer stand beside it, which have a directory and a password of their own.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Place {
    /// The peer: host:port, a host or a port; by default the one that runs here
    #[arg(long, value_name = "ADDR", env = "STARLING_CONNECT", global = true)]
    pub connect: Option<String>,
    /// Log in with this token instead of the password
    #[arg(long, value_name = "TOKEN", env = "STARLING_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// Encrypt, and believe whom this machine believes
    #[arg(long, env = "STARLING_TLS", value_parser = clap::builder::FalseyValueParser::new(), global = true)]
    pub tls: bool,
    /// Encrypt, and believe the certificates in this file (PEM) and those that they have signed
    #[arg(long, value_name = "FILE", env = "STARLING_TLS_CA", value_parser = may_be_empty(), global = true)]
    pub tls_ca: Option<PathBuf>,
}

impl Place {
    /// Whether it is said which peer.
    pub fn names_peer(&self) -> bool {
        said(self.connect.as_ref(), "STARLING_CONNECT").is_some()
    }
}

/// The environment is read as for all others.
#[derive(clap::Parser)]
struct OfEnvironment {
    #[command(flatten)]
    reach: Reach,
}

impl Reach {
    /// What the environment says, for commands whose flags clap does not read. Errors: what stands there is none of
    /// what it may be.
    pub fn of_environment() -> Result<Self, Error> {
        let read = OfEnvironment::try_parse_from(["starling"]);
        read.map(|read| read.reach).map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Error::usage(line.strip_prefix("error: ").unwrap_or(line))
        })
    }

    /// Takes a flag and its value. Those of others say nothing here.
    pub fn set(&mut self, flag: &str, value: &str) {
        match flag {
            "--tls" => self.place.tls = true,
            "--connect" => self.place.connect = Some(value.into()),
            "--token" => self.place.token = Some(value.into()),
            "--tls-ca" => self.place.tls_ca = Some(value.into()),
            "--dir" => self.dir = Some(value.into()),
            "--password-file" => self.password_file = Some(value.into()),
            _ => {}
        }
    }

    /// Whom to believe. `None`: nothing was said of TLS.
    pub fn trust(&self) -> Option<Trust> {
        let file = said(self.place.tls_ca.as_ref(), "STARLING_TLS_CA").cloned().map(Trust::File);
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

    /// A flag counts more than what stands in the environment. Whoever names a directory, and no address, means the
    /// peer that runs there, and no other.
    pub fn address(&self) -> Result<String, Error> {
        let connect = said(self.place.connect.as_ref(), "STARLING_CONNECT").cloned();
        if let Some(connect) = connect
            && (!self.names_directory() || is_flag(Some(&connect), "STARLING_CONNECT"))
        {
            return Ok(connect);
        }
        if said(self.dir.as_ref(), "STARLING_DIR").is_none() {
            return Ok(default_address(self));
        }
        let dir = self.directory().unwrap_or_default();
        let address = own_address(self).map_err(|error| {
            Error::new(format!("cannot look into {}", dir.display()))
                .why(error)
                .hint("run this as the user of the peer there; or name its address: --connect HOST:PORT")
                .named("UNREACHABLE")
        })?;
        address.ok_or_else(|| {
            Error::new(format!("no peer runs in {}", dir.display()))
                .why("a peer that runs says in peer.json there how it is reached")
                .hint(format!(
                    "start it: starling up --dir {}; or name another: --connect HOST:PORT",
                    in_shell(&dir)
                ))
                .named("UNREACHABLE")
                .with_code(FAILURE)
        })
    }

    /// The flags that say which peer, for a line that is to be typed next.
    pub fn flags(&self) -> String {
        let connect =
            self.place.connect.as_ref().filter(|_| is_flag(self.place.connect.as_ref(), "STARLING_CONNECT"));
        let dir = self.dir.as_ref().filter(|_| self.names_directory());
        let flag = |name: &str, value: &Path| format!(" {name} {}", in_shell(value));
        let flags = [connect.map(|at| flag("--connect", Path::new(at))), dir.map(|dir| flag("--dir", dir))];
        flags.into_iter().flatten().collect()
    }

    /// Its peer is meant by a flag.
    pub fn names_directory(&self) -> bool {
        is_flag(self.dir.as_ref(), "STARLING_DIR")
    }

    /// A password is meant by a flag, be it that of the peer in a directory.
    pub fn names_password(&self) -> bool {
        is_flag(self.password_file.as_ref(), "STARLING_PASSWORD_FILE")
    }

    /// If it is meant by a flag, or nothing else is.
    pub fn token(&self) -> Option<&str> {
        let token = said(self.place.token.as_ref(), "STARLING_TOKEN").map(|token| token.trim());
        token.filter(|_| is_flag(self.place.token.as_ref(), "STARLING_TOKEN") || !self.names_password())
    }

    /// Nothing is sent yet. Errors: the address is none, or no peer runs where one is named.
    pub fn link(&self) -> Result<Link, Error> {
        Ok(Link::to(as_place(&self.address()?)?, self))
    }
}

/// A variable that is set to nothing says nothing; a flag does.
fn said<'a, T: AsRef<OsStr>>(value: Option<&'a T>, variable: &str) -> Option<&'a T> {
    value.filter(|value| !value.as_ref().is_empty() || is_flag(Some(*value), variable))
}

/// True if this is not what the variable says.
fn is_flag(value: Option<&impl AsRef<OsStr>>, variable: &str) -> bool {
    value.is_some_and(|value| std::env::var_os(variable).as_deref() != Some(value.as_ref()))
}

/// As of a variable that is set to nothing: it says nothing.
fn may_be_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_directory_where_no_peer_runs_no_other_is_meant() {
        let place = tempfile::tempdir().unwrap();
        let mut reach = Reach::default();
        reach.set("--dir", &place.path().display().to_string());
        let error = reach.link().err().unwrap().to_string();
        let start = format!("starling up --dir {};", in_shell(place.path()));
        assert!(error.contains("no peer runs in") && error.contains(&start), "{error}");
        let _runs = crate::directory::Directory::open(place.path()).unwrap();
        std::fs::write(place.path().join("peer.json"), r#"{"resp":"127.0.0.1:5"}"#).unwrap();
        assert_eq!(reach.address().unwrap(), "127.0.0.1:5");
        reach.set("--connect", "127.0.0.1:6");
        assert_eq!(reach.address().unwrap(), "127.0.0.1:6");
    }
}
