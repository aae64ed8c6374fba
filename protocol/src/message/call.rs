//! Operations on keys: what coordinators ask of other peers, and what these answer.

use crate::ids::{OpId, PartitionId, PeerId};
use crate::member::View;
use crate::request::{Failure, Outcome};
use crate::store::KEYS_MAX;
use crate::time::Moment;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::ByteBuf;
use starling_crdt::wire::{Malformed, element, end, require};
use starling_crdt::{Command, Event, Slice};
use std::fmt;
use std::sync::Arc;

/// Defines an enum that is on the wire as an array: the number of the variant, then its fields; `check` has the last
/// word. Of a map, which has the name of each field, it would take half as long again to read a call.
macro_rules! numbered {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $(
                $(#[$what:meta])*
                $number:literal => $variant:ident { $($(#[$which:meta])* $field:ident: $type:ty,)+ }
            )+
        }
    ) => {
        $(#[$about])*
        pub enum $name {
            $($(#[$what])* $variant { $($(#[$which])* $field: $type),+ }),+
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $($name::$variant { $($field),+ } => ($number as u8, $($field),+).serialize(serializer),)+
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($name))
                    }

                    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
                        let read = match element::<_, u8>(&mut seq)? {
                            $($number => $name::$variant { $($field: element(&mut seq)?),+ },)+
                            _ => return Err(A::Error::custom(concat!("no such ", stringify!($name)))),
                        };
                        end(&mut seq)?;
                        read.check().map_err(A::Error::custom)?;
                        Ok(read)
                    }
                }

                deserializer.deserialize_seq(Fields)
            }
        }
    };
}

/// Most copies that are acknowledged in one message.
pub const APPLIED_MAX: usize = 1_024;

numbered! {
    /// Operations on keys. `op` is the coordinator's; answers repeat it.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Call {
        /// Please coordinate this for me: you own the key. Not after `until`, in your own time: then I have
        /// given up on you. `last`: all who own it have lost or missed something, and you are to carry it out all the
        /// same.
        0 => Forward {
            op: OpId,
            key: ByteBuf,
            command: Command,
            r: u8,
            w: u8,
            explain: bool,
            until: Option<Moment>,
            last: bool,
        }
        1 => Forwarded {
            op: OpId,
            result: Result<Outcome, Failure>,
        }
        /// Please keep this event. `held_for`: the owner in whose place you stand.
        2 => Apply {
            op: OpId,
            view: View,
            partition: PartitionId,
            /// One for all that it is sent to.
            event: Arc<Event>,
            held_for: Option<PeerId>,
        }
        /// They are synced, at most [`APPLIED_MAX`]. `under`: the hash of the view that I had when they came, here as
        /// in what is read.
        3 => Applied {
            ops: Vec<OpId>,
            under: u64,
        }
        4 => Read {
            op: OpId,
            view: View,
            partition: PartitionId,
            key: ByteBuf,
            command: Command,
            digest: bool,
        }
        /// `slice` is what was asked for; `digest` stands for it.
        5 => ReadSlice {
            op: OpId,
            under: u64,
            slice: Arc<Slice>,
        }
        6 => ReadDigest {
            op: OpId,
            under: u64,
            digest: u64,
        }
        /// The next keys of a partition in storage order, for SCAN. `last`: as in `Forward`.
        7 => Keys {
            op: OpId,
            partition: PartitionId,
            after: Option<ByteBuf>,
            limit: u16,
            last: bool,
        }
        8 => KeysFound {
            op: OpId,
            keys: Vec<ByteBuf>,
            more: bool,
        }
        /// No: the sender knows fewer steps than I do (rule `settling`). My table is on its way.
        9 => Behind {
            op: OpId,
            view: View,
        }
        /// No, for a reason that trying elsewhere may mend.
        10 => Refused {
            op: OpId,
            why: Refusal,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// I am not filled yet, or have missed something.
    NotFilled,
    /// My tables are full.
    Busy,
    /// My disk is nearly full.
    NoRoom,
    /// The event's stamp is so far ahead of my clock that I keep nothing like it.
    ClockAhead,
    /// It came after the time that you had set.
    Late,
    /// The event or the partition is not one I can keep.
    Malformed,
}

impl Call {
    /// Lists that are longer than any peer makes them would take many times their frame's memory.
    fn check(&self) -> Result<(), Malformed> {
        match self {
            Call::Applied { ops, .. } => {
                require(ops.len() <= APPLIED_MAX, "too many copies acknowledged at once")
            }
            Call::KeysFound { keys, .. } => require(keys.len() <= KEYS_MAX.into(), "too many keys at once"),
            _ => Ok(()),
        }
    }

    /// Of an answer that counts only for who knows each step that its sender knew: for what it is, and the hash of
    /// its sender's view.
    pub fn under(&self) -> Option<(&[OpId], u64)> {
        match self {
            Call::Applied { ops, under } => Some((ops, *under)),
            Call::ReadSlice { op, under, .. } | Call::ReadDigest { op, under, .. } => {
                Some((std::slice::from_ref(op), *under))
            }
            _ => None,
        }
    }
}
