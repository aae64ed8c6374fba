//! The client port.
pub mod frame;
pub mod request;
