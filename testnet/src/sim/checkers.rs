//! What must be true, each apart from the world that it is checked on.

pub mod acknowledged;
pub mod contents;
pub mod convergence;
pub mod counters;
pub mod handoff;
pub mod incarnations;
pub mod meeting;
pub mod owners_told;
pub mod quiet;
pub mod regular;
pub mod replica;
pub mod reports;
pub mod sessions;
pub mod stamps;
pub mod steps;
pub mod tables;
pub mod values;
pub mod views;
pub mod walk;
