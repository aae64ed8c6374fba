//! Everything a peer can ask of the world.

use crate::ids::{PeerId, RequestId, StoreId};
use crate::member::{Health, Record, Step};
use crate::message::Message;
use crate::request::Response;
use crate::store::Question;

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send, connecting first if need be. May be lost; never delivered to another peer.
    Send {
        to: PeerId,
        message: Message,
    },
    /// Have a connection to this peer, which may be at these addresses.
    Connect {
        peer: PeerId,
        addresses: Vec<String>,
    },
    Store {
        id: StoreId,
        question: Question,
    },
    Reply {
        id: RequestId,
        response: Response,
    },
    /// Keep this member table for the next start.
    Save {
        table: Vec<Record>,
    },
    /// Something worth a line in the log.
    Notify(Notice),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    Health {
        peer: PeerId,
        name: String,
        health: Health,
    },
    Stepped {
        peer: PeerId,
        name: String,
        step: Step,
    },
    /// Others doubted that this peer lives; it has told them that it does.
    Refuted {
        incarnation: u64,
    },
    /// A partition that this peer does not own was handed over and dropped.
    LetGo {
        partition: u16,
    },
    /// What is stored of a partition is not what was written. It was given up, is filled again by the other
    /// owners, and answers no reads until then.
    Damaged {
        partition: u16,
    },
    /// What is stored of a partition is not what was written. It was kept as it is, and is given up as soon as another
    /// owner is known to have all of it. Said once.
    DamageKept {
        partition: u16,
    },
    /// What is stored of a partition is not what was written, and no other owner that can be reached has a whole copy: it
    /// was kept as it is. Said once; it is given up as soon as another is known to have all of it.
    OnlyCopyDamaged {
        partition: u16,
    },
    /// What was damaged has been filled again.
    Refilled {
        partition: u16,
    },
    /// A partition that another sends as a whole is more than `Config::staged_max`, and was not taken.
    TooLarge {
        partition: u16,
        from: PeerId,
    },
    /// Another process speaks with this peer's key, and began after this one. The host has to stop this peer:
    /// two that are one would each answer for what the other has.
    Outlived,
    /// A peer sent what no honest one sends.
    Misbehaved {
        peer: PeerId,
        why: String,
    },
}
