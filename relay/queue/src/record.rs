//! The payload of a record: one or more items that hold together, since one checksum covers them.
//!
//! | item | octets |
//! |---|---|
//! | message, moved message | kind, flags, 2 zero, envelope length 4, content length 4, content CRC 4, id 16, zero 4, CRC 4 of the 36 octets before and the envelope, envelope (JSON), content unless in a file of its own |
//! | settle | kind, flags, 2 zero, count 4, id 16, attempts 4, retry at 8, count × (recipient · 4 + outcome) 4 |
//! | state | kind, flags, mark 2, count 4, id 16, count × (recipient 4, attempts 4, due 8) |
//! | mark | kind, zero, mark 2, count 4, count × id 16 |
//!
//! Numbers are little-endian. A message item has checksums of its own, so that its envelope and
//! its content can be read back, each alone, with the same assertion as at recovery. The envelope
//! is JSON, so that a later version adds fields without a new format.

use bytes::Bytes;

use crate::index::{Location, Open};
use crate::{Envelope, Mark, MessageId, Outcome, Pending, Timestamp};

/// Octets before the envelope of a message item.
pub(crate) const MESSAGE_HEADER: usize = 40;

/// Octets of an envelope at most; some hundred thousand recipients.
pub(crate) const ENVELOPE_LIMIT: usize = 32 << 20;

/// Where the checksum of a message item lies; it covers what is before, and the envelope.
const MESSAGE_CRC_AT: usize = 36;

const KIND_MESSAGE: u8 = 1;
const KIND_MOVED: u8 = 2;
const KIND_SETTLE: u8 = 3;
const KIND_STATE: u8 = 4;
const KIND_MARK: u8 = 5;

/// Of a message: its content is a file of its own.
const FLAG_IN_FILE: u8 = 1;
/// Of a settle or state: the sender was told that the message is late. Older logs have zero there.
const FLAG_DELAY_TOLD: u8 = 1;

const SETTLE_HEADER: usize = 36;
const STATE_HEADER: usize = 24;
const STATE_ENTRY: usize = 16;
const MARK_HEADER: usize = 8;
const MARK_ENTRY: usize = 16;

/// Octets that pass their checksum and still make no sense, or a message item that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged queue record: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Why a message cannot be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("the envelope has {0} octets, more than {ENVELOPE_LIMIT}")]
    Envelope(usize),
    #[error("the content has {0} octets, more than 4 GiB")]
    Content(usize),
    #[error("the envelope cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// A record to write.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) length: u32,
    pub(crate) crc: crc32fast::Hasher,
}

impl Record {
    fn push(&mut self, piece: Bytes) {
        self.crc.update(&piece);
        self.length += count(piece.len());
        self.pieces.push(piece);
    }

    /// Adds a message; returns where it will lie, counted from the start of the payload.
    pub(crate) fn message(&mut self, message: &EncodedMessage) -> Location {
        let location = Location {
            segment: 0,
            offset: self.length,
            envelope_length: message.envelope_length,
            content_length: message.content_length,
            in_file: message.in_file,
        };
        self.push(message.head.clone());
        if !message.in_file {
            for piece in &message.content {
                self.push(piece.clone());
            }
        }
        location
    }

    /// Adds the outcomes of an attempt.
    pub(crate) fn settle(&mut self, settle: &Settle) {
        let mut octets = Vec::with_capacity(SETTLE_HEADER + 4 * settle.outcomes.len());
        octets.extend_from_slice(&[KIND_SETTLE, delay_flag(settle.delay_told), 0, 0]);
        octets.extend_from_slice(&count(settle.outcomes.len()).to_le_bytes());
        octets.extend_from_slice(&settle.id.0.to_le_bytes());
        octets.extend_from_slice(&settle.attempts.to_le_bytes());
        octets.extend_from_slice(&settle.retry_at.0.to_le_bytes());
        for (recipient, outcome) in &settle.outcomes {
            let code = match outcome {
                Outcome::Delivered => 0,
                Outcome::Failed => 1,
                Outcome::Deferred => 2,
            };
            octets.extend_from_slice(&(recipient << 2 | code).to_le_bytes());
        }
        self.push(octets.into());
    }

    /// Adds a message item as it lies in another segment, and the state of its open recipients;
    /// returns where it will lie, counted from the start of the payload.
    pub(crate) fn moved(&mut self, item: &[u8], from: Location, open: &Open) -> Location {
        let location = Location {
            offset: self.length,
            ..from
        };
        // The checksum of the item covers its kind, which becomes another.
        let head = MESSAGE_HEADER + from.envelope_length as usize;
        let (head, content) = item.split_at(head.min(item.len()));
        let mut octets = head.to_vec();
        if let Some(kind) = octets.first_mut() {
            *kind = KIND_MOVED;
        }
        seal(&mut octets);
        self.push(octets.into());
        self.push(Bytes::copy_from_slice(content));
        self.state(from_id(item), open);
        location
    }

    /// Adds a mark of messages, or its end.
    pub(crate) fn mark(&mut self, mark: Option<Mark>, ids: &[MessageId]) {
        let mut octets = Vec::with_capacity(MARK_HEADER + MARK_ENTRY * ids.len());
        octets.extend_from_slice(&[KIND_MARK, 0]);
        octets.extend_from_slice(&Mark::encode(mark).to_le_bytes());
        octets.extend_from_slice(&count(ids.len()).to_le_bytes());
        for id in ids {
            octets.extend_from_slice(&id.0.to_le_bytes());
        }
        self.push(octets.into());
    }

    /// Adds the state of a message's open recipients.
    pub(crate) fn state(&mut self, id: MessageId, open: &Open) {
        let mut octets = Vec::with_capacity(STATE_HEADER + STATE_ENTRY * open.pending.len());
        octets.extend_from_slice(&[KIND_STATE, delay_flag(open.delay_told)]);
        octets.extend_from_slice(&Mark::encode(open.mark).to_le_bytes());
        octets.extend_from_slice(&count(open.pending.len()).to_le_bytes());
        octets.extend_from_slice(&id.0.to_le_bytes());
        for one in &open.pending {
            octets.extend_from_slice(&one.recipient.to_le_bytes());
            octets.extend_from_slice(&one.attempts.to_le_bytes());
            octets.extend_from_slice(&one.due.0.to_le_bytes());
        }
        self.push(octets.into());
    }
}

/// A message written down, ready to become an item.
#[derive(Debug)]
pub(crate) struct EncodedMessage {
    /// Header and envelope.
    head: Bytes,
    envelope_length: u32,
    content_length: u32,
    in_file: bool,
    content: Vec<Bytes>,
}

impl EncodedMessage {
    /// Writes a message down; its content goes to a file of its own if `in_file`.
    pub(crate) fn new(
        id: MessageId,
        envelope: &Envelope,
        content: &[Bytes],
        in_file: bool,
    ) -> Result<Self, EncodeError> {
        let mut head = vec![0; MESSAGE_HEADER];
        serde_json::to_writer(&mut head, envelope)?;
        let length = head.len() - MESSAGE_HEADER;
        if length > ENVELOPE_LIMIT {
            return Err(EncodeError::Envelope(length));
        }
        let envelope_length = count(length);
        let total: usize = content.iter().map(Bytes::len).sum();
        let content_length = u32::try_from(total).map_err(|_| EncodeError::Content(total))?;
        let mut crc = crc32fast::Hasher::new();
        for piece in content {
            crc.update(piece);
        }
        head[0] = KIND_MESSAGE;
        head[1] = if in_file { FLAG_IN_FILE } else { 0 };
        head[4..8].copy_from_slice(&envelope_length.to_le_bytes());
        head[8..12].copy_from_slice(&content_length.to_le_bytes());
        head[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
        head[16..32].copy_from_slice(&id.0.to_le_bytes());
        seal(&mut head);
        Ok(Self {
            head: head.into(),
            envelope_length,
            content_length,
            in_file,
            content: content.to_vec(),
        })
    }
}

/// Outcomes of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settle {
    pub(crate) id: MessageId,
    pub(crate) attempts: u32,
    pub(crate) retry_at: Timestamp,
    pub(crate) outcomes: Vec<(u32, Outcome)>,
    /// The record holds the report that tells the sender of the delay.
    pub(crate) delay_told: bool,
}

/// A message item as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageItem<'a> {
    pub(crate) id: MessageId,
    /// A copy of a message from an older segment.
    pub(crate) moved: bool,
    pub(crate) envelope: &'a [u8],
    pub(crate) content_length: u32,
    pub(crate) content_crc: u32,
    pub(crate) in_file: bool,
}

impl<'a> MessageItem<'a> {
    /// Reads header and envelope from the start of `octets`.
    pub(crate) fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        const SHORT: Malformed = Malformed("a message item is too short");
        let header = octets.first_chunk::<MESSAGE_HEADER>().ok_or(SHORT)?;
        let moved = match header[0] {
            KIND_MESSAGE => false,
            KIND_MOVED => true,
            _ => return Err(Malformed("not a message item")),
        };
        let length = number(header, 4) as usize;
        let envelope = octets
            .get(MESSAGE_HEADER..MESSAGE_HEADER + length)
            .ok_or(SHORT)?;
        if number(header, MESSAGE_CRC_AT) != message_crc(&octets[..MESSAGE_HEADER + length]) {
            return Err(Malformed("the checksum of an envelope is wrong"));
        }
        Ok(Self {
            id: id_at(header, 16),
            moved,
            envelope,
            content_length: number(header, 8),
            content_crc: number(header, 12),
            in_file: header[1] & FLAG_IN_FILE != 0,
        })
    }

    /// The envelope decoded.
    pub(crate) fn decode(&self) -> Result<Envelope, Malformed> {
        serde_json::from_slice(self.envelope)
            .map_err(|_| Malformed("an envelope is not what this version writes"))
    }

    /// Octets of the item in the log.
    pub(crate) fn stored(&self) -> usize {
        let content = if self.in_file {
            0
        } else {
            self.content_length as usize
        };
        MESSAGE_HEADER + self.envelope.len() + content
    }

    /// Whether these octets are the content.
    pub(crate) fn check(&self, content: &[u8]) -> Result<(), Malformed> {
        let same = content.len() == self.content_length as usize
            && crc32fast::hash(content) == self.content_crc;
        same.then_some(())
            .ok_or(Malformed("the checksum of a content is wrong"))
    }
}

/// One item of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A message, and where it lies from the start of the payload.
    Message(usize, MessageItem<'a>),
    Settle(Settle),
    State(MessageId, Open),
    Mark(Option<Mark>, Vec<MessageId>),
}

/// The items of a record's payload.
pub(crate) fn items(payload: &[u8]) -> Result<Vec<Item<'_>>, Malformed> {
    let mut items = Vec::with_capacity(1);
    let mut at = 0;
    while at < payload.len() {
        let rest = &payload[at..];
        let (item, length) = match rest[0] {
            KIND_MESSAGE | KIND_MOVED => {
                let message = MessageItem::parse(rest)?;
                (Item::Message(at, message), message.stored())
            }
            KIND_SETTLE => parse_settle(rest)?,
            KIND_STATE => parse_state(rest)?,
            KIND_MARK => parse_mark(rest)?,
            _ => return Err(Malformed("an item of unknown kind")),
        };
        if length > rest.len() {
            return Err(Malformed("an item is longer than its record"));
        }
        items.push(item);
        at += length;
    }
    Ok(items)
}

fn parse_settle(octets: &[u8]) -> Result<(Item<'_>, usize), Malformed> {
    const SHORT: Malformed = Malformed("a settle item is too short");
    let header = octets.first_chunk::<SETTLE_HEADER>().ok_or(SHORT)?;
    let length = SETTLE_HEADER + 4 * number(header, 4) as usize;
    let list = octets.get(SETTLE_HEADER..length).ok_or(SHORT)?;
    let outcomes = list.chunks_exact(4).map(|entry| {
        let value = number(entry, 0);
        let outcome = match value & 3 {
            0 => Outcome::Delivered,
            1 => Outcome::Failed,
            2 => Outcome::Deferred,
            _ => return Err(Malformed("a settle item has an unknown outcome")),
        };
        Ok((value >> 2, outcome))
    });
    let settle = Settle {
        id: id_at(header, 8),
        attempts: number(header, 24),
        retry_at: time_at(header, 28),
        outcomes: outcomes.collect::<Result<_, _>>()?,
        delay_told: header[1] & FLAG_DELAY_TOLD != 0,
    };
    Ok((Item::Settle(settle), length))
}

fn parse_state(octets: &[u8]) -> Result<(Item<'_>, usize), Malformed> {
    const SHORT: Malformed = Malformed("a state item is too short");
    let header = octets.first_chunk::<STATE_HEADER>().ok_or(SHORT)?;
    let length = STATE_HEADER + STATE_ENTRY * number(header, 4) as usize;
    let list = octets.get(STATE_HEADER..length).ok_or(SHORT)?;
    let pending = list.chunks_exact(STATE_ENTRY).map(|entry| Pending {
        recipient: number(entry, 0),
        attempts: number(entry, 4),
        due: time_at(entry, 8),
    });
    let open = Open {
        pending: pending.collect(),
        delay_told: header[1] & FLAG_DELAY_TOLD != 0,
        mark: mark_at(header),
    };
    Ok((Item::State(id_at(header, 8), open), length))
}

fn parse_mark(octets: &[u8]) -> Result<(Item<'_>, usize), Malformed> {
    const SHORT: Malformed = Malformed("a mark item is too short");
    let header = octets.first_chunk::<MARK_HEADER>().ok_or(SHORT)?;
    let length = MARK_HEADER + MARK_ENTRY * number(header, 4) as usize;
    let list = octets.get(MARK_HEADER..length).ok_or(SHORT)?;
    let ids = list.chunks_exact(MARK_ENTRY).map(|entry| id_at(entry, 0));
    Ok((Item::Mark(mark_at(header), ids.collect()), length))
}

/// Of a state or mark item. Older logs have zero there.
fn mark_at(header: &[u8]) -> Option<Mark> {
    let place = header.get(2..).and_then(<[u8]>::first_chunk::<2>);
    Mark::decode(place.map_or(0, |place| u16::from_le_bytes(*place)))
}

const fn delay_flag(told: bool) -> u8 {
    if told { FLAG_DELAY_TOLD } else { 0 }
}

/// Writes the checksum of a message item's header and envelope.
fn seal(head: &mut [u8]) {
    let crc = message_crc(head);
    if let Some(place) = head.get_mut(MESSAGE_CRC_AT..MESSAGE_HEADER) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

fn message_crc(head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head.get(..MESSAGE_CRC_AT).unwrap_or_default());
    crc.update(head.get(MESSAGE_HEADER..).unwrap_or_default());
    crc.finalize()
}

fn from_id(item: &[u8]) -> MessageId {
    item.get(..32)
        .map_or(MessageId(0), |header| id_at(header, 16))
}

/// A length as it is written; lengths are bounded far below 4 GiB before they come here.
pub(crate) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A number in octets that are known to be there.
pub(crate) fn number(octets: &[u8], at: usize) -> u32 {
    let place = octets.get(at..).and_then(<[u8]>::first_chunk::<4>);
    place.map_or(0, |place| u32::from_le_bytes(*place))
}

fn time_at(octets: &[u8], at: usize) -> Timestamp {
    let place = octets.get(at..).and_then(<[u8]>::first_chunk::<8>);
    Timestamp(place.map_or(0, |place| u64::from_le_bytes(*place)))
}

fn id_at(octets: &[u8], at: usize) -> MessageId {
    let place = octets.get(at..).and_then(<[u8]>::first_chunk::<16>);
    MessageId(place.map_or(0, |place| u128::from_le_bytes(*place)))
}
