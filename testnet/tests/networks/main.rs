//! Promises of the store, each kept by a network of real processes before our eyes.
//!
//! The peer program must lie beside `testnet`: `cargo test --workspace` builds both.

mod bench;
mod cut;
mod growth;
mod harness;
mod life;
mod loss;
mod strangers;
mod twins;
mod words;
