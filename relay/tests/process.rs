//! The real `relay` binary with an independent client (lettre) and a scripted receiver.
//!
//! Each test has its own process, directory and ports. Everything that is waited for is observed:
//! a line of the relay's log, a message at the receiver, an answer on a port. Names here
//! (`shop.example`, `billing`) are none of the product's own, so that a swap would be caught.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure is a failed test"
)]

#[path = "process/attack.rs"]
mod attack;
#[path = "process/authority.rs"]
mod authority;
#[path = "process/client.rs"]
mod client;
#[cfg(feature = "clients")]
#[path = "process/clients.rs"]
mod clients;
#[path = "process/command_line.rs"]
mod command_line;
#[path = "process/durability.rs"]
mod durability;
#[path = "process/handover.rs"]
mod handover;
#[path = "process/http.rs"]
mod http;
#[path = "process/kills.rs"]
mod kills;
#[path = "process/memory.rs"]
mod memory;
#[path = "process/messages.rs"]
mod messages;
#[cfg(feature = "peers")]
#[path = "process/peers.rs"]
mod peers;
#[path = "process/receiver.rs"]
mod receiver;
#[path = "process/relay.rs"]
mod relay;
#[path = "process/reload.rs"]
mod reload;
#[path = "process/returns.rs"]
mod returns;
#[path = "process/shutdown.rs"]
mod shutdown;
#[path = "process/strangers.rs"]
mod strangers;
#[path = "process/submission.rs"]
mod submission;
#[path = "process/tables.rs"]
mod tables;
#[path = "process/telemetry.rs"]
mod telemetry;
#[path = "process/volumes.rs"]
mod volumes;
