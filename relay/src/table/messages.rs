//! What shards say to each other about a table, as JSON over the siblings' channel.

use relay_queue::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Change, Mark, Row};

/// Changes in one message.
pub(super) const MOST: usize = 500;

/// Where a question about a table goes: `digest` ([`Ask`], answered by a digest), `page` ([`Want`],
/// answered by a [`Page`]), `changes` ([`Changes`], answered by how many were news).
pub(crate) fn path<R: Row>(question: &str) -> String {
    format!("/v1/siblings/tables/{}/{question}", R::NAME)
}

/// Asks for a digest.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Ask {
    /// Of what holds at this time: rows expire at the same moment for both sides then.
    pub(crate) at: Timestamp,
}

/// Asks for a part of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Want {
    /// As in [`Ask`].
    pub(crate) at: Timestamp,
    /// Of these buckets of the digest.
    pub(crate) buckets: Vec<bool>,
    /// What comes after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Place>,
}

/// A place in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Place {
    /// The sending domain.
    pub(crate) domain: String,
    /// The mark of the address.
    pub(crate) mark: Mark,
}

/// A part of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Page<R> {
    /// In order.
    pub(crate) changes: Vec<Change<R>>,
    /// For the next question; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Place>,
}

impl<R: Row> Page<R> {
    /// Of at most [`Self::MOST`] changes; with fewer it is the last.
    pub(crate) fn new(changes: Vec<Change<R>>) -> Self {
        let last = changes.last().filter(|_| changes.len() >= MOST);
        let next = last.map(|last| Place {
            domain: last.domain().to_owned(),
            mark: last.mark(),
        });
        Self { changes, next }
    }

    /// Changes of a full page.
    pub(crate) const MOST: usize = MOST;
}

/// Tells of changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Changes<R> {
    /// In the order in which they were made.
    pub(crate) changes: Vec<Change<R>>,
}
