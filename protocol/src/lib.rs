//! Everything that peers say and decide, as one state machine without I/O.
//!
//! `Peer::handle` takes the time and one [`input::Input`], and returns the [`effect::Effect`]s it asks of
//! the world. Time is a number that is passed in, randomness a seed. The same `Peer` runs in a real
//! process and in the simulator.
//!
//! Rooms: `membership` (who is alive), `placement` (who owns what), `coordinator` (open operations),
//! `replica` (the other end of them), `repair` (who lacks what I hold), `scan` (walking over all keys). None imports
//! another; only `peer` knows them all, and it routes between them. `admission` (who may be a peer, and which clients
//! may do what) is pure functions that `node` calls itself.

// Rules broken on purpose and branches marked, by tests alone: `mutated!` and `marked!`.
#[macro_use(mutated, marked)]
extern crate starling_crdt;

pub mod admission;
pub mod canonical;
pub mod config;
pub mod coordinator;
pub mod effect;
pub mod genesis;
pub mod ids;
pub mod input;
mod log2;
pub mod member;
pub mod membership;
pub mod message;
pub mod peer;
pub mod placement;
pub mod repair;
pub mod replica;
pub mod request;
pub mod scan;
pub mod seats;
pub mod signature;
pub mod store;
pub mod time;
