//! One change of a row, as it is written to the journal and told to other shards; and which of two
//! wins. Pure.

use relay_queue::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Mark, REMEMBERED, Row};

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State<R> {
    /// It is this.
    Row(R),
    /// It was removed.
    Removed {
        /// The sending domain.
        domain: String,
        /// The mark of the address.
        mark: Mark,
        /// Until when that has to be remembered.
        until: Timestamp,
    },
}

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change<R> {
    /// When, by the clock of the shard that made it, and in any case after the change before it.
    pub(crate) changed: Timestamp,
    /// The shard that made it. It never makes two of one row at the same time.
    pub(crate) by: u32,
    /// What became of the row.
    pub(crate) state: State<R>,
}

impl<R: Row> Change<R> {
    /// A row that comes now, after what is there.
    pub(super) fn put(row: R, before: Option<&Self>, now: Timestamp, by: u32) -> Self {
        Self {
            changed: after(before, now),
            by,
            state: State::Row(row),
        }
    }

    /// The removal of a row that is there.
    pub(super) fn remove(&self, now: Timestamp, by: u32) -> Self {
        let until = match &self.state {
            // Every copy of it expires by itself then.
            State::Row(row) => row.expires().unwrap_or(now.after(REMEMBERED)),
            State::Removed { until, .. } => *until,
        };
        Self {
            changed: after(Some(self), now),
            by,
            state: State::Removed {
                domain: self.domain().to_owned(),
                mark: self.mark(),
                until,
            },
        }
    }

    /// The sending domain.
    pub(crate) fn domain(&self) -> &str {
        match &self.state {
            State::Row(row) => row.domain(),
            State::Removed { domain, .. } => domain,
        }
    }

    /// The mark of the address.
    pub(crate) fn mark(&self) -> Mark {
        match &self.state {
            State::Row(row) => row.mark(),
            State::Removed { mark, .. } => *mark,
        }
    }

    /// The row, if there is one.
    pub(crate) fn row(&self) -> Option<&R> {
        match &self.state {
            State::Row(row) => Some(row),
            State::Removed { .. } => None,
        }
    }

    /// Whether it still has to be known.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        match &self.state {
            State::Row(row) => row.holds(now),
            State::Removed { until, .. } => now < *until,
        }
    }

    /// Whether it wins over another of the same row: the later one, and of two that were made in one
    /// millisecond by two shards the same one everywhere.
    pub(super) fn wins_over(&self, other: &Self) -> bool {
        (self.changed, self.by) > (other.changed, other.by)
    }
}

/// Clocks of shards differ: whoever changes what another has written does so after it.
fn after<R>(before: Option<&Change<R>>, now: Timestamp) -> Timestamp {
    before.map_or(now, |before| {
        now.max(Timestamp(before.changed.0.saturating_add(1)))
    })
}
