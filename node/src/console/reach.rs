//! Where a client connects, and who it says it is: the same flags and variables for every command.

use super::link::{Link, as_address, default_address};
use crate::error::Error;

#[derive(clap::Args, Clone, Debug, Default)]
pub struct Reach {
    /// The peer: host:port or a port; by default the one that runs here
    #[arg(long, value_name = "ADDR", env = "STARLING_CONNECT", global = true)]
    pub connect: Option<String>,
    /// Log in with this token instead of the password
    #[arg(long, value_name = "TOKEN", env = "STARLING_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
}

impl Reach {
    /// What the environment says, for commands whose flags clap does not read.
    pub fn of_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self { connect: variable("STARLING_CONNECT"), token: variable("STARLING_TOKEN") }
    }

    /// Takes a flag and its value. False: it is none of ours.
    pub fn set(&mut self, flag: &str, value: String) -> bool {
        match flag {
            "--connect" => self.connect = Some(value),
            "--token" => self.token = Some(value),
            _ => return false,
        }
        true
    }

    pub const FLAGS: [&str; 2] = ["--connect", "--token"];

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
