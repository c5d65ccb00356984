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
//! Time is an argument: [`Timestamp`]. This crate opens no socket and reads no clock.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use relay_smtp::Address;
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// Name of a message in logs, reports and files: 48 bits of milliseconds and 80 random bits,
/// printed as 26 characters of Crockford's base 32 (the form of a ULID), so that ids sort by time
/// and two shards never make the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

/// Everything about a message but its content. Immutable once appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Reverse path; `None` is the null path `<>`.
    pub sender: Option<Address>,
    /// Recipients in the order of `RCPT`; recipient `n` of a message is index `n` here for ever.
    pub recipients: Vec<Address>,
    /// When the message was accepted; retries and expiry count from here.
    pub accepted_at: Timestamp,
    /// `BODY=8BITMIME` was given, or the content has octets above 127.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub eight_bit: bool,
    /// `SMTPUTF8` was given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smtputf8: bool,
    /// Identity that submitted it, for logs; `None` for the relay's own bounces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// W3C `traceparent` of the submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
}

/// A message to append. Content is given in pieces so that nobody has to copy the body to put
/// headers before it. Lines end in CRLF; dots are not stuffed.
#[derive(Debug)]
pub struct NewMessage {
    /// Unique name.
    pub id: MessageId,
    /// Envelope.
    pub envelope: Envelope,
    /// Content, in order.
    pub content: Vec<Bytes>,
}

/// Where recipients share connections and limits: a recipient domain, or a smarthost. Assigned by
/// the function given to [`Queue::open`]; one message has one unit of work per destination.
pub type Destination = Arc<str>;

/// One attempt that is due: the recipients of one message for one destination that are neither
/// delivered nor failed. Taken by exactly one holder at a time; given back by [`Queue::settle`].
#[derive(Debug)]
pub struct Work {
    /// The message.
    pub id: MessageId,
    /// Where to.
    pub destination: Destination,
    /// Attempts before this one.
    pub attempts: u32,
    /// Indices into [`Envelope::recipients`].
    pub recipients: Vec<u32>,
    /// The envelope.
    pub envelope: Arc<Envelope>,
}

/// What became of one recipient in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The next server took responsibility.
    Delivered,
    /// Given up for ever: refused, expired or undeliverable. Its bounce, if any, must be appended
    /// in the same [`Queue::settle`], so that a crash never loses the report.
    Failed,
    /// To be tried again, together with all deferred recipients of the same work.
    Deferred,
}

/// Settings of a queue.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory; created with mode 0700 if missing. One process at a time.
    pub directory: PathBuf,
    /// Messages at most; one more is [`AppendError::Full`].
    pub messages: u64,
    /// Free octets of the file system below which an append is [`AppendError::Full`].
    pub minimum_free_bytes: u64,
    /// Octets of content kept in memory after append so that the first attempt need not read it
    /// back; over all messages.
    pub cache_bytes: usize,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Live messages.
    pub messages: u64,
    /// Octets cut from a torn tail.
    pub truncated_bytes: u64,
    /// Damaged records set aside below `quarantine/`.
    pub damaged_records: u64,
}

/// Why a queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("{}: another process uses this queue; stop it first or name another directory", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a message was not accepted. It is not in the queue.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No room: too many messages, or too little free space. Answer 452 4.3.1; it passes.
    #[error("the queue is full")]
    Full,
    /// A write or a sync failed. After a failed sync nothing is known about what is on the disk,
    /// so the queue accepts nothing more ([`Queue::failed`]); answer 451 4.3.0 and stop.
    #[error("the queue cannot write: {0}")]
    Failed(String),
    /// The queue was closed. Answer 421.
    #[error("the queue is closed")]
    Closed,
}

/// A queue. Cheap to clone; all methods may be called from any thread.
#[derive(Clone, Debug)]
pub struct Queue {}

// The contract; bodies belong to the owner of this crate.
impl Queue {
    /// Opens or creates the queue and replays its log. `route` names the destination of a
    /// recipient. Work that was taken or waiting when the last process ended is due at its
    /// recorded time.
    pub fn open(
        _settings: Settings,
        _now: Timestamp,
        _route: Box<dyn Fn(&Address) -> Destination + Send + Sync>,
    ) -> Result<(Self, Recovery), OpenError> {
        todo!()
    }

    /// Appends a message; ready when it is durable. Its work is due at once.
    pub fn append(
        &self,
        _message: NewMessage,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        async { todo!() }
    }

    /// Takes the next due work whose destination `admit` lets through. Work of one destination
    /// comes oldest due first; destinations take turns, and a destination that `admit` refuses is
    /// asked once per call, however much waits for it.
    pub fn take(
        &self,
        _now: Timestamp,
        _admit: &mut dyn FnMut(&Destination) -> bool,
    ) -> Option<Work> {
        todo!()
    }

    /// As [`Self::take`] for one destination only: what a connection asks that has just finished a
    /// message.
    pub fn take_for(&self, _now: Timestamp, _destination: &Destination) -> Option<Work> {
        todo!()
    }

    /// When the next waiting (not taken) work is due; `None` when nothing waits.
    pub fn next_due(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Ready when work became due earlier than [`Self::next_due`] said when this was called: after an
    /// append or a settle. May be ready without cause.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        async { todo!() }
    }

    /// The content of a message: from memory when it is still cached, else read from the disk.
    /// Blocking I/O of the page cache kind; large content (a file of its own) is read whole.
    pub fn content(&self, _id: MessageId) -> Result<Vec<Bytes>, std::io::Error> {
        todo!()
    }

    /// Records the outcomes of taken work, parallel to [`Work::recipients`], and appends `report`
    /// (a bounce) in the same atomic record group. Deferred recipients are due at `retry_at`
    /// together. Written at once and synced with the next group, at the latest after 50 ms: a
    /// power cut in between delivers a message twice, never loses one. The returned future is for
    /// those who want to wait until it is durable.
    pub fn settle(
        &self,
        _work: Work,
        _outcomes: &[Outcome],
        _retry_at: Timestamp,
        _report: Option<NewMessage>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        async { todo!() }
    }

    /// Live messages, and when the oldest of them was accepted.
    pub fn status(&self) -> (u64, Option<Timestamp>) {
        todo!()
    }

    /// Whether a write or sync failed; then the process should report itself not ready and end.
    pub fn failed(&self) -> bool {
        todo!()
    }

    /// Syncs, ends the writer thread and gives the directory free. Later appends are
    /// [`AppendError::Closed`].
    pub fn close(&self) {
        todo!()
    }
}
