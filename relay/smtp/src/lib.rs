//! SMTP without I/O: addresses, commands, replies, data framing, and the state machines of both
//! sides of a session.
//!
//! Bytes go in, events and bytes come out. Sockets, TLS and clocks stay with the caller, so that
//! every rule here can be tested and fuzzed without any of them. RFC 5321 is the base; each module
//! names the extensions that it speaks.

pub mod address;
pub mod chunking;
pub mod client;
pub mod command;
pub mod data;
pub mod options;
pub mod proxy;
pub mod reply;
pub mod server;
pub mod transparency;

pub use address::{Address, AddressError};
pub use reply::{EnhancedCode, Reply};
