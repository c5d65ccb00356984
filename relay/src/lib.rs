//! Outbound mail relay: accepts, queues durably, signs and delivers.
//!
//! The way of a message: `listener` → `session` → `policy` → `intake` → queue → `250`;
//! then `delivery` takes it from the queue to the recipients' servers or back as a bounce.
//! Protocol rules live in `relay-smtp`, durability in `relay-queue`; this crate holds the effects.
//!
//! The library has one entry, [`main`]; everything else is private to the binary but for the fuzz
//! targets, which see `fuzzing`.

mod authentication;
mod cli;
mod context;
mod conversion;
mod delivery;
mod descriptors;
mod dkim;
mod edit;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handover;
mod http;
mod intake;
mod listener;
mod metrics;
mod mime;
mod policy;
mod reload;
mod returns;
mod serve;
mod session;
mod siblings;
mod signing;
mod snapshot;
mod suppression;
mod table;
mod telemetry;
mod tls;
mod tls_reports;
mod trace_parent;

pub use cli::main;
