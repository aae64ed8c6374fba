//! One Starling peer and everything around it: transport, storage, the Redis port, the console and the
//! command line. What peers decide is not here but in `starling-protocol`.

pub mod cli;
pub mod directory;
pub mod error;
pub mod peer_handle;
pub mod resp;
pub mod storage;
pub mod transport;
pub mod words;
