//! Ways in, on networks that are wired as real ones are: a LAN, and NATs with the internet between them.
//!
//! They are made of network namespaces, which takes root, `ip` and `nft`; where that is missing, each
//! test says so in a line and passes. The peer program must lie beside `testnet`.

mod internet;
mod lab;
mod lan;
mod moving;
mod repair;
