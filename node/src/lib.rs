//! One Starling peer and everything around it: transport, storage, the Redis port, the console and the
//! command line. What peers decide is not here but in `starling-protocol`.

pub mod admission;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod console;
pub mod directory;
pub mod error;
pub mod event_loop;
pub mod glob;
pub mod holder;
pub mod identity;
pub mod logging;
pub mod members;
mod nearest;
pub mod network;
pub mod open_files;
pub mod password;
pub mod peer_handle;
pub mod ports;
pub mod render;
pub mod resp;
pub mod running;
pub mod space;
pub mod stdio;
pub mod storage;
pub mod transport;
pub mod words;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Also where a thread has panicked that held it, which was said there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
