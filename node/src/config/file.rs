//! Settings in TOML.

use super::{Origin, SETTINGS, Setting, Value};
use crate::directory::read_text_at_most;
use crate::error::Error;
use crate::nearest::nearest;
use std::io;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest file that is read, in bytes.
const LONGEST: usize = 1024 * 1024;

/// All settings of the file. `None`: there is no file, and it was not asked for by name.
/// Errors: it cannot be read, is no TOML, has an unknown key or a value of the wrong shape.
pub fn read(path: &Path, named: bool) -> Result<Option<Vec<(&'static str, Value)>>, Error> {
    let text = match read_text_at_most(path, LONGEST) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(None),
        Err(error) => return Err(unreadable(path, named, error)),
    };
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(&text, span.start));
        Error::usage(format!("{}:{line}: this is not TOML", path.display()))
            .why(error.message())
            .hint("a line is `setting = \"text\"`; `starling config show` prints every setting")
    })?;
    let table = table.into_inner();
    let settings = table.iter().map(|(key, value)| one(path, &text, key, value));
    settings.collect::<Result<Vec<_>, _>>().map(Some)
}

/// Nobody has named a file that is looked for in the data directory: it is that which cannot be used.
fn unreadable(path: &Path, named: bool, error: io::Error) -> Error {
    let dir = path.parent().filter(|_| !named);
    let Some(dir) = dir.filter(|dir| !dir.is_dir() || error.kind() == io::ErrorKind::PermissionDenied) else {
        return Error::usage(format!("cannot read the settings in {}", path.display()))
            .why(error)
            .hint("see that the file exists and that this user may read it, or name another with --config");
    };
    Error::usage(format!("the data directory {} cannot be used", dir.display()))
        .why(error)
        .hint("name a directory of this user's own with --dir")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn one(
    path: &Path,
    text: &str,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(&'static str, Value), Error> {
    let line = line_of(text, key.span().start);
    let origin = Origin::File { path: path.to_path_buf(), line };
    let name = key.get_ref();
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == name && setting.key != "config") else {
        return Err(unknown(&origin, name));
    };
    match texts(setting, value.get_ref()) {
        Some(texts) => Ok((setting.key, Value { texts, origin })),
        None => {
            let shape = if setting.is_list() {
                "a text or a list of texts"
            } else {
                "one text, number or truth value"
            };
            Err(Error::usage(format!("{origin}: `{name}` has a value of the wrong shape"))
                .why(format!("it must be {shape}")))
        }
    }
}

fn texts(setting: &Setting, value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(values) if setting.is_list() => {
            values.iter().map(|value| scalar(value.get_ref())).collect()
        }
        value => scalar(value).map(|text| vec![text]),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn unknown(origin: &Origin, name: &str) -> Error {
    let named = SETTINGS.iter().filter(|setting| !setting.hidden && setting.key != "config");
    let hint = match nearest(name, named.map(|setting| setting.key)) {
        Some((_, close)) => format!("did you mean `{close}`?"),
        None => "`starling config show` prints every setting".to_owned(),
    };
    Error::usage(format!("{origin}: there is no setting `{name}`")).hint(hint)
}
