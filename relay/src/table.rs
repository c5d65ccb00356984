//! Tables of addresses that outlive the process and that all shards of a relay share: the suppression
//! lists, and the senders that bounces are passed on to.
//!
//! A row is found by a sending domain and the [`Mark`] of an address. Every shard holds the whole
//! table in memory and in a journal beside its queue, changes its own copy without asking anybody, and
//! tells the others at once; the last change of a row wins on all of them (`change`). Who was away
//! compares tables when it is back, and all do so once a minute (`share`). A row that is removed leaves
//! a mark of it until every copy of the row would have expired, so that a shard that was away does not
//! bring it back.
//!
//! Limits: [`Row::MOST`] rows and marks of removal; [`REMEMBERED`] for the mark of a row that never
//! expires. A row that has expired counts for nothing and goes with the next rewriting of the file.

mod change;
mod digest;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod mark;
mod messages;
mod share;
mod store;

pub(crate) use change::Change;
pub(crate) use digest::Digest;
pub(crate) use mark::Mark;
pub(crate) use messages::{Ask, Changes, Page, Place, Want, path};
pub(crate) use share::share;
pub(crate) use store::{Table, TableError};

use std::time::Duration;

use relay_queue::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long it is remembered that a row was removed that would never have expired: a shard that was
/// away for longer may bring it back.
const REMEMBERED: Duration = Duration::from_hours(365 * 24);

/// What a table holds.
pub(crate) trait Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name of the table: of its file, with `.log` after it, and between shards.
    const NAME: &'static str;
    /// Rows and marks of removal of all domains together.
    const MOST: usize;

    /// The sending domain.
    fn domain(&self) -> &str;
    /// The mark of the address.
    fn mark(&self) -> Mark;
    /// Until when it counts; for ever without it.
    fn expires(&self) -> Option<Timestamp>;

    /// Within the limits of its fields.
    fn bounded(self) -> Self {
        self
    }

    /// Whether it counts.
    fn holds(&self, now: Timestamp) -> bool {
        self.expires().is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests;
