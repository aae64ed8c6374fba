//! Starling
