//! The settings of a peer: which value holds, and where it comes from.
//!
//! A flag beats the environment, that beats the TOML file, that what the data directory has kept, and that the default.
//! One table
//! (`settings`) makes flags, variables, keys and `starling config show`, so that they cannot drift apart.

mod file;
mod kept;
mod options;
mod settings;
#[cfg(test)]
mod tests;

pub use kept::keep_name;
pub use options::{LogFormat, Options};
pub use settings::default_dir;
pub use settings::{SETTINGS, Setting, SettingFlags};

use crate::error::Error;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The file that is read from the data directory when none is named.
const FILE: &str = "starling.toml";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(String),
    Environment(String),
    File {
        path: PathBuf,
        line: usize,
    },
    /// The data directory has it from an earlier start.
    Kept(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "{flag}"),
            Origin::Environment(name) => write!(f, "{name}"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Kept(path) => write!(f, "{}", path.display()),
            Origin::Default => write!(f, "default"),
        }
    }
}

/// As it was written, and where. Lists have any number of texts, everything else one or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub texts: Vec<String>,
    pub origin: Origin,
}

/// Every setting with the value that holds.
#[derive(Clone, Debug)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// Resolves all settings. `environment` looks a variable up.
    ///
    /// Errors: a variable is not text; the TOML file cannot be read, has an unknown key or a value of
    /// the wrong shape.
    pub fn resolve(
        flags: &SettingFlags,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let mut values = Self(BTreeMap::new());
        for setting in SETTINGS {
            let value = match flags.get(setting) {
                Some(texts) => Value { texts, origin: Origin::Flag(setting.flag_text()) },
                None => setting.read_variable(environment)?.unwrap_or_else(|| setting.default_value()),
            };
            values.0.insert(setting.key, value);
        }
        if values.text("dir") == Some("") {
            return Err(values.refuse("dir", "", "the path of a directory"));
        }
        values.read_file()?;
        values.read_kept();
        Ok(values)
    }

    /// A name may be given anew; what a network was made with stays, though a flag that says otherwise is kept, to be
    /// refused.
    fn read_kept(&mut self) {
        for (key, kept) in kept::read(self.dir()) {
            let value = self.0.get_mut(key).expect("only settings are kept");
            let yields = match value.origin {
                Origin::Default => true,
                Origin::Flag(_) => false,
                _ => key != "name",
            };
            if yields {
                *value = kept;
            }
        }
    }

    fn read_file(&mut self) -> Result<(), Error> {
        let named = self.text("config").map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| self.dir().join(FILE));
        let Some(found) = file::read(&path, named.is_some())? else { return Ok(()) };
        for (key, value) in found {
            if named.is_none() && key == "dir" {
                return Err(Error::usage(format!("{}: `dir` cannot be set here", value.origin))
                    .why("this file is found by means of that very setting")
                    .hint("use --dir or STARLING_DIR"));
            }
            let current = self.0.get_mut(key).expect("the file has only known keys");
            if current.origin == Origin::Default {
                *current = value;
            }
        }
        Ok(())
    }

    /// All settings in the table's order.
    pub fn all(&self) -> impl Iterator<Item = (&'static Setting, &Value)> {
        SETTINGS.iter().map(|setting| (setting, self.value(setting.key)))
    }

    pub fn value(&self, key: &str) -> &Value {
        self.0.get(key).expect("every setting of the table has a value")
    }

    /// `None`: not set, and without a default.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).texts.first().map(String::as_str)
    }

    pub fn list(&self, key: &str) -> &[String] {
        &self.value(key).texts
    }

    pub fn switch(&self, key: &str) -> Result<bool, Error> {
        Ok(self.parse::<bool>(key, "true or false")?.unwrap_or(false))
    }

    /// Errors: the value is not what `expected` describes.
    pub fn parse<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(self.refuse(key, text, expected)),
        }
    }

    /// The error for a value that cannot be used.
    pub fn refuse(&self, key: &str, text: &str, expected: impl fmt::Display) -> Error {
        let origin = match &self.value(key).origin {
            Origin::Default => key.to_owned(),
            origin => origin.to_string(),
        };
        Error::usage(format!("{origin}: {text:?} cannot be used for `{key}`"))
            .why(format!("it must be {expected}"))
            .hint("`starling config show` prints every setting and where it comes from")
    }

    fn dir(&self) -> &Path {
        Path::new(self.text("dir").unwrap_or("."))
    }
}
