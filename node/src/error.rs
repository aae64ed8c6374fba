//! Errors for people: what happened, why, and what to do about it.

use std::fmt;

/// Something went wrong outside of this program: the user's words, the disk, the network.
pub const FAILURE: u8 = 1;
/// The command line or a setting is not understood.
pub const USAGE: u8 = 2;
/// What was asked for is not there; of one-shot commands alone.
pub const NOT_FOUND: u8 = 3;
/// The disk does not do what it must (`EX_IOERR` of sysexits.h).
pub const STORAGE: u8 = 74;

/// Shown to the user on stderr; `code` is the process's exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    what: String,
    why: Option<String>,
    hint: Option<String>,
    code: u8,
    /// By which programs know it, as they know the errors of peers.
    name: String,
}

impl Error {
    /// `what` happened, in one sentence without a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), why: None, hint: None, code: FAILURE, name: "ERR".into() }
    }

    /// The user asked for something that cannot be.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(what) }
    }

    /// What a peer has said, or would say: its first word is the name.
    pub fn of_line(line: &str) -> Self {
        let name = line.split(' ').next().unwrap_or_default().to_owned();
        Self { name, ..Self::new(line.strip_prefix("ERR ").unwrap_or(line)) }
    }

    pub fn why(self, why: impl fmt::Display) -> Self {
        Self { why: Some(why.to_string()), ..self }
    }

    /// What to do.
    pub fn hint(self, hint: impl fmt::Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.name == name
    }

    /// As a peer says it: the name, and the rest in one line.
    pub fn as_line(&self) -> String {
        let what = self.what.strip_prefix(&self.name).unwrap_or(&self.what).trim_start();
        let said = [Some(what), self.why.as_deref(), self.hint.as_deref()];
        format!("{} {}", self.name, said.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    /// What happened and why, where there is one line for it.
    pub fn line(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        }
    }

    /// What to do, if that is known.
    pub fn what_to_do(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(why) = &self.why {
            write!(f, "\n  why   {why}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint  {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
