//! What shards say to each other. Small things are JSON; a batch of messages is, for each, the length
//! of its head (4 octets, little-endian), the head (JSON), and the content.

use bytes::{Buf as _, Bytes};
use relay_queue::{Claim, MessageId, Transfer};
use serde::{Deserialize, Serialize};

/// Octets of one head at most, as of an envelope in the queue.
const LONGEST_HEAD: usize = 64 << 20;

/// The first words of a giver, and its question about what it offered before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Open {
    /// Who speaks.
    pub(super) from: u16,
    /// What it does not know the fate of.
    pub(super) offered: Vec<MessageId>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opened {
    /// For the offers that follow. Those with an older one are refused from now on, so that what is
    /// not held now will not be.
    pub(super) token: u64,
    /// Whether offers are taken.
    pub(super) accepting: bool,
    /// Which of those that were offered are here.
    pub(super) held: Vec<MessageId>,
}

/// Before a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    /// Who speaks.
    pub(super) from: u16,
    /// As in [`Opened`].
    pub(super) token: u64,
}

/// After a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Taken {
    /// What is held now; no more than these.
    pub(super) ids: Vec<MessageId>,
}

/// Messages that the giver has recorded as given away.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Given {
    /// Who speaks.
    pub(super) from: u16,
    /// Which.
    pub(super) ids: Vec<MessageId>,
}

/// A receiver's question about what it holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Owner {
    /// Who speaks.
    pub(super) from: u16,
    /// Which.
    pub(super) ids: Vec<MessageId>,
}

/// The answer, in the order of the question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Owned {
    /// One for each.
    pub(super) claims: Vec<Claim>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    transfer: Transfer,
    content: u64,
}

/// Why octets are no batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a batch ends within a message")]
    Short,
    #[error("a message's head cannot be read: {0}")]
    Head(String),
}

/// Adds a message to a batch, its content as it is.
pub(super) fn add(
    batch: &mut Vec<Bytes>,
    transfer: Transfer,
    content: Vec<Bytes>,
) -> Result<(), serde_json::Error> {
    let length: usize = content.iter().map(Bytes::len).sum();
    let head = Head {
        transfer,
        content: length as u64,
    };
    let mut octets = vec![0; 4];
    serde_json::to_writer(&mut octets, &head)?;
    // The queue bounds envelopes far below 4 GiB.
    let length = u32::try_from(octets.len() - 4).unwrap_or(u32::MAX);
    octets[..4].copy_from_slice(&length.to_le_bytes());
    batch.push(octets.into());
    batch.extend(content);
    Ok(())
}

/// The messages of a batch; contents are parts of it and not copies.
pub(super) fn read(mut batch: Bytes) -> Result<Vec<(Transfer, Bytes)>, Malformed> {
    let mut messages = Vec::new();
    while !batch.is_empty() {
        if batch.len() < 4 {
            return Err(Malformed::Short);
        }
        let length = usize::try_from(batch.get_u32_le()).unwrap_or(usize::MAX);
        if length > batch.len().min(LONGEST_HEAD) {
            return Err(Malformed::Short);
        }
        let head = batch.split_to(length);
        let head: Head =
            serde_json::from_slice(&head).map_err(|error| Malformed::Head(error.to_string()))?;
        let length = usize::try_from(head.content).unwrap_or(usize::MAX);
        if length > batch.len() {
            return Err(Malformed::Short);
        }
        messages.push((head.transfer, batch.split_to(length)));
    }
    Ok(messages)
}
