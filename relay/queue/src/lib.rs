//! The relay's durable queue and its schedule.
//!
//! The promise: when [`Queue::append`] returns, the message survives a power cut. One `fdatasync`
//! covers every message that waits for it, so acceptance scales with concurrency and not with the
//! disk's sync rate.
//!
//! An append-only log of checksummed records in segment files (64 MiB), one writer thread, an
//! in-memory index rebuilt by replay. Message content up to 256 KiB lies in the log, larger content
//! in a file of its own that is synced before its commit record. Deliveries append records;
//! finished segments are deleted whole; the few live records of mostly dead segments are copied
//! forward. Recovery cuts a torn tail, sets damaged records aside and counts them.
//!
//! Time is an argument: [`Timestamp`]. This crate opens no socket and reads no wall clock.

mod cache;
mod content;
mod disk;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod id;
mod inbox;
mod index;
mod intake;
pub mod journal;
mod quarantine;
mod queue;
mod reading;
mod reclaim;
mod record;
mod recovery;
mod schedule;
mod segment;
mod segments;
mod shared;
mod space;
mod transfer;
mod types;
mod writer;

#[cfg(test)]
mod tests;

pub use id::MessageIdError;
pub use queue::Queue;
pub use transfer::{Batch, Cursor};
pub use types::{
    AppendError, Claim, Counters, Deadline, Destination, Envelope, Mark, MessageId, NewMessage,
    OpenError, Options, Outcome, Pending, Recovery, Route, Settings, Timestamp, Transfer, Work,
};
