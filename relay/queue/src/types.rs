//! The data types of the contract: what is appended, taken and settled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use relay_smtp::Address;
use relay_smtp::options::{ByMode, GiveBack, RecipientOptions};
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// So much later.
    #[must_use]
    pub fn after(self, time: std::time::Duration) -> Self {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(milliseconds))
    }
}

/// Name of a message in logs, reports and files: 48 bits of milliseconds and 80 random bits,
/// printed as 26 characters of Crockford's base 32 (the form of a ULID), so that ids sort by time
/// and two shards never make the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

/// Everything about a message but its content. Immutable once appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Reverse path; `None` is the null path `<>`.
    pub sender: Option<Address>,
    /// Recipients in the order of `RCPT`; recipient `n` of a message is index `n` here for ever.
    pub recipients: Vec<Address>,
    /// When the message was accepted; retries and expiry count from here, or from the release.
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
    /// What the sender asked for beyond delivery.
    #[serde(default, skip_serializing_if = "Options::is_default")]
    pub options: Options,
}

impl Envelope {
    /// When delivery may begin.
    pub fn released_at(&self) -> Timestamp {
        let held_until = self.options.release_at.unwrap_or_default();
        held_until.max(self.accepted_at)
    }

    /// What was asked for the recipient of this number.
    pub fn recipient_options(&self, recipient: u32) -> Option<&RecipientOptions> {
        self.options.recipients.get(&recipient)
    }
}

/// What the sender of a message asked for beyond delivery; each as in `relay_smtp::options`, with
/// times made absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// How much of the message a report of failure gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub give_back: Option<GiveBack>,
    /// The sender's own name for the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// By the number of the recipient; those for whom nothing was asked are not listed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recipients: BTreeMap<u32, RecipientOptions>,
    /// Nothing is sent before; retries and expiry count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_at: Option<Timestamp>,
    /// When the message has to be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// -9 to 9; higher goes first.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i8,
    /// Not to be sent without verified TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_tls: bool,
    /// To be sent whatever the TLS policies of its recipients' domains say (RFC 8689 section 4.2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_optional: bool,
    /// It is a TLS report (RFC 8460): its delivery is tried for a day, and what becomes of TLS on the way
    /// is in no report.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_report: bool,
    /// A word by which routes are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Box<str>>,
}

impl Options {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Octets in memory, roughly.
    pub(crate) fn footprint(&self) -> usize {
        let original = |options: &RecipientOptions| {
            let original = options.original.as_ref();
            original.map_or(0, |one| one.kind.len() + one.address.len())
        };
        let recipients = self.recipients.values();
        recipients.map(|one| 96 + original(one)).sum::<usize>()
            + self.envelope_id.as_ref().map_or(0, String::len)
            + self.tag.as_ref().map_or(0, |tag| tag.len())
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(priority: &i8) -> bool {
    *priority == 0
}

/// When a message has to be delivered, and what happens otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The moment.
    pub at: Timestamp,
    /// What happens after it.
    pub mode: ByMode,
    /// A report is wanted from each server that takes the message on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
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

/// Where recipients share connections and limits: a recipient domain, or the smarthosts of a route. Assigned by
/// the function given to [`crate::Queue::open`]; one message has one unit of work per destination.
pub type Destination = Arc<str>;

/// Names the destination of a recipient of a message.
pub type Route = Box<dyn Fn(&Envelope, &Address) -> Destination + Send + Sync>;

/// One attempt that is due: the recipients of one message for one destination that are neither
/// delivered nor failed. Taken by exactly one holder at a time; given back by [`crate::Queue::settle`].
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
    /// The sender was told that the message is late, or is being told.
    pub delay_told: bool,
    /// The report of this work's settle tells the sender so; set by [`crate::Queue::claim_delay`].
    pub tells_delay: bool,
}

/// How a message is tied to another shard while it goes there. Exactly one of the two queues owns it,
/// and only the owner delivers: the giver until it has recorded that it gave the message away, the
/// receiver afterwards. Written down, so that it survives both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// It was or will be offered to the shard of this number, which may hold it or not.
    OfferedTo(u16),
    /// The shard of this number offered it, and has not said yet that it gave it away.
    HeldFor(u16),
}

impl Mark {
    /// Shards at most.
    pub const MOST_SHARDS: u16 = 0x7fff;

    const HELD: u16 = 0x8000;

    /// For the log; 0 is none.
    pub(crate) fn encode(mark: Option<Self>) -> u16 {
        let number = |shard: u16| shard.min(Self::MOST_SHARDS - 1) + 1;
        match mark {
            None => 0,
            Some(Self::OfferedTo(shard)) => number(shard),
            Some(Self::HeldFor(shard)) => number(shard) | Self::HELD,
        }
    }

    pub(crate) fn decode(code: u16) -> Option<Self> {
        let shard = (code & !Self::HELD).checked_sub(1)?;
        Some(if code & Self::HELD == 0 {
            Self::OfferedTo(shard)
        } else {
            Self::HeldFor(shard)
        })
    }
}

/// State of one open recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Index into [`Envelope::recipients`].
    pub recipient: u32,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next one is due.
    pub due: Timestamp,
}

/// A message that goes to another queue, all but its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    /// The message; it keeps its name.
    pub id: MessageId,
    /// The envelope.
    pub envelope: Envelope,
    /// The recipients that are neither delivered nor failed.
    pub pending: Vec<Pending>,
    /// The sender was told that the message is late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delay_told: bool,
}

/// What a queue says of a message that another one holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// It is still here and offered to the one who asks: wait.
    Offered,
    /// It is here and will be delivered from here: forget the copy.
    Mine,
    /// It is not here: it was given away.
    Gone,
}

/// What became of one recipient in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The next server took responsibility.
    Delivered,
    /// Given up for ever: refused, expired or undeliverable. Its bounce, if any, must be appended
    /// in the same [`crate::Queue::settle`], so that a crash never loses the report.
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

/// What a queue did since it was opened, and what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages appended, without reports.
    pub appended: u64,
    /// Attempts settled.
    pub settled: u64,
    /// Syncs of the log; far fewer than messages under load.
    pub syncs: u64,
    /// Octets written to the log.
    pub written_bytes: u64,
    /// Messages copied forward, so that an old segment could go.
    pub moved: u64,
    /// Damaged records found, those at the start included.
    pub damaged_records: u64,
    /// Segment files now.
    pub segments: u64,
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
    /// so the queue accepts nothing more ([`crate::Queue::failed`]); answer 451 4.3.0 and stop.
    #[error("the queue cannot write: {0}")]
    Failed(String),
    /// The queue was closed. Answer 421.
    #[error("the queue is closed")]
    Closed,
}
