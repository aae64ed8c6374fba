//! A walk over all keys finds those that are there, and no others.

use std::collections::BTreeSet;

pub fn check(name: &str, found: &BTreeSet<String>, there: &BTreeSet<String>) -> Result<(), String> {
    match (there.difference(found).next(), found.difference(there).next()) {
        (Some(key), _) => Err(format!("a walk over all keys at {name} does not find {key}, which is there")),
        (_, Some(key)) => Err(format!("a walk over all keys at {name} finds {key}, which is not there")),
        _ => Ok(()),
    }
}
