//! What the tests of the replica share.
#![allow(dead_code)]

use serde_bytes::ByteBuf;
use starling_crdt::{
    Actor, Cell, Command, Context, Event, Executed, Memory, Piece, Replica, Target, Version,
};
use std::collections::BTreeMap;

/// The partition that the tests work on.
pub const P: u16 = 513;

/// A replica with its disk.
pub struct Peer {
    pub replica: Replica,
    pub disk: Memory,
}

impl Peer {
    pub fn new(actor: u64) -> Self {
        Self::on(Memory::default(), actor)
    }

    /// A new life on a disk.
    pub fn on(disk: Memory, actor: u64) -> Self {
        let replica = Replica::open(&disk, Actor(actor), actor).unwrap();
        Self { replica, disk }
    }

    pub fn execute(&mut self, key: &str, command: &Command, wall_ms: u64) -> Executed {
        self.replica.execute(&mut self.disk, P, key.as_bytes(), command, wall_ms).unwrap()
    }

    pub fn apply(&mut self, event: &Event) -> bool {
        self.replica.apply(&mut self.disk, P, event).unwrap()
    }

    pub fn context(&self) -> &Context {
        self.replica.context(P)
    }

    pub fn snapshot(&self, max_bytes: usize) -> Vec<Piece> {
        self.replica.snapshot(&self.disk, P, max_bytes).unwrap()
    }

    pub fn install(&mut self, pieces: &[Piece]) -> bool {
        self.replica.install(&mut self.disk, P, pieces).unwrap()
    }

    pub fn cells(&self) -> BTreeMap<Cell, Vec<Version>> {
        self.snapshot(usize::MAX).iter().flat_map(|piece| piece.cells().to_vec()).collect()
    }

    pub fn deferred(&self) -> BTreeMap<Target, Context> {
        self.snapshot(usize::MAX).iter().flat_map(|piece| piece.deferred().to_vec()).collect()
    }

    /// All that is a function of the events applied, as bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let summary = self.replica.summary(P);
        cbor(&(self.context(), summary, self.cells().into_iter().collect::<Vec<_>>(), self.deferred()))
    }

    pub fn scrubs(&self) -> bool {
        self.replica.scrub(&self.disk, P).unwrap()
    }
}

pub fn cbor(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

pub fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text)
}

/// Runs `run` with every seed below `seeds`, on all cores.
pub fn for_seeds(seeds: u64, run: impl Fn(u64) + Sync) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let run = &run;
    std::thread::scope(|scope| {
        for core in 0..cores {
            scope.spawn(move || {
                for seed in (core..seeds).step_by(usize::try_from(cores).unwrap()) {
                    run(seed);
                }
            });
        }
    });
}
