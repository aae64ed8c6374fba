//! Everything that peers say and decide, as one state machine without I/O.
//!
//! `Peer::handle` takes the time and one [`input::Input`], and returns the [`effect::Effect`]s it asks of
//! the world. Time is a number that is passed in, randomness a seed. The same `Peer` runs in a real
//! process and in the simulator.
//!
//! Rooms: `membership` (who is alive), `placement` (who owns what), `coordinator` (open operations),
//! `replica` (the other end of them), `repair` (who lacks what I hold), `scan` (walking over all keys). None imports
//! another; only `peer` knows them all, and it routes between them. `admission` (who may be a peer, and which clients
//! may do what) is pure functions that `node` calls, and `membership` where a record shows certificates.
//!
//! Comments of all crates cite these rules by name. Each prevents a schedule of crashes, cuts and changes of owners in
//! which an acknowledged event is lost or a deleted value comes back:
//!
//! - `ack-synced`: A peer acknowledges an event only once it is synced on that peer's own disk.
//! - `actor`: A peer issues events as a new actor after every start that does not prove a clean stop of this very
//!   directory, and once others show an event of its actor that it does not know.
//! - `cells-with-context`: A partition of which cells are damaged or missing is given up whole, its context too, and
//!   filled again: no cell goes while the context claims its event.
//! - `counter-base`: An actor's running total of a counter is written by that actor alone. A removal drops its
//!   issuer's own totals, and notes beside each other one how much of it it has seen, which does not count any more.
//! - `enough`: No peer lets a partition go, or leaves, unless at least W owners remain to hold it.
//! - `letgo-actor`: A peer that has let a partition go issues there again under a new actor, or counts on from where
//!   it was.
//! - `letgo-now`: A partition is let go only if its owners have reported all that is held here at that very moment,
//!   not only what was held when they were asked.
//! - `newest-first`: What is rebuilt from a log is applied so that no event arrives without the one that superseded
//!   its value.
//! - `reach`: A removal reaches all that its issuer has seen of the cell or key, not only what was live there; a put
//!   drops what it sees live.
//! - `report-synced`: A context that is told to others is that of what is synced.
//! - `session`: What repairs a partition names the life of the receiver's copy that it was made for; in another it is
//!   dropped.
//! - `settling`: Owners change in steps: writes go to the old ones and to the new before reads do. A step is taken
//!   only when enough owners know the one before, who knows fewer steps is refused, and who is not filled yet answers
//!   no reads.
//! - `staged`: The pieces of a transfer are kept aside, and cells and context change in one step at the end.
//! - `view`: A report counts only while who tells it and who hears it know the same steps.

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
