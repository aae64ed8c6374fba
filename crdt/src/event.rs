//! Events: what replicas exchange.

use crate::cell::{Cell, Field, Key};
use crate::{Context, Dot, Stamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What a removal is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Every cell of a key.
    Key(Key),
    /// One cell.
    Cell(Cell),
}

impl Target {
    pub fn key(&self) -> &Key {
        match self {
            Target::Key(key) => key,
            Target::Cell(cell) => &cell.key,
        }
    }

    pub fn covers(&self, cell: &Cell) -> bool {
        match self {
            Target::Key(key) => *key == cell.key,
            Target::Cell(target) => target == cell,
        }
    }
}

/// One change of one partition, named by its dot. Applied in any order, any number of times, it
/// gives the same cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub dot: Dot,
    /// Later than every event that its issuer had seen in this partition.
    pub stamp: Stamp,
    /// The cells it writes. `None`: rebuilt from a log after the value had been superseded.
    pub puts: Vec<(Cell, Option<ByteBuf>)>,
    /// What it removes: of each target, the versions whose dots are in the set. A put names
    /// what its issuer saw live; a removal all that its issuer had seen (rule `reach`).
    pub drops: Vec<(Target, Context)>,
}

impl Event {
    pub fn puts_field(&self, key: &[u8], field: &Field) -> bool {
        self.puts
            .iter()
            .any(|(cell, _)| cell.key == key && cell.field == *field)
    }
}
