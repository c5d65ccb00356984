//! Who is told of the bounces that come to a return path: the senders of envelopes, by the mark that
//! the path holds.
//!
//! A return path has no room for an address, and to remember the sender of each message would take a
//! write per message and months of room. A domain has few senders, though, so each is remembered once,
//! in a [`Table`] that all shards share, until the last path with its mark has ended.
//!
//! Limits: [`MOST`] senders of all domains, [`MOST_OF_DOMAIN`] of one: an application that makes a
//! sender of its own for each message hears of bounces of the first ones only. [`MOST_REPORTS`] reports
//! are passed on per message and recipient, since whoever knows a return path can write to it.

use std::collections::HashMap;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relay_queue::{MessageId, Timestamp};
use relay_smtp::Address;
use serde::{Deserialize, Serialize};

use super::path::Known;
use crate::table::{Mark, Row, Table, TableError};

/// Senders of all domains together.
const MOST: usize = 100_000;
/// Senders of one domain.
const MOST_OF_DOMAIN: usize = 10_000;
/// How long a domain with so many is not counted anew.
const CROWDED: Duration = Duration::from_mins(10);
/// For how much longer than a path holds its sender is remembered, so that a sender in daily use is
/// written down once a day.
const SPARE: Duration = Duration::from_hours(24);
/// Reports about one recipient of one message that are passed on: of a delay, of the end, and one more.
const MOST_REPORTS: u8 = 3;
/// Return paths of which the reports are counted, at the same time twice as many at most.
const COUNTED: usize = 10_000;

/// A sender of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Sender {
    domain: String,
    address: Address,
    expires: Timestamp,
}

impl Row for Sender {
    const NAME: &'static str = "senders";
    const MOST: usize = MOST;

    fn domain(&self) -> &str {
        &self.domain
    }

    fn mark(&self) -> Mark {
        Mark::of(&self.address)
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }
}

/// The senders of all domains, and what was passed on to them.
#[derive(Debug)]
pub(crate) struct Senders {
    pub(crate) table: Arc<Table<Sender>>,
    /// Domains with all the senders that they can have, and until when that is taken for granted.
    crowded: Mutex<HashMap<String, Timestamp>>,
    reports: Mutex<Reports>,
}

/// How many reports came to each return path, in two generations, of which the older is forgotten when
/// the younger is full.
#[derive(Debug, Default)]
struct Reports {
    young: HashMap<(MessageId, Mark), u8>,
    old: HashMap<(MessageId, Mark), u8>,
}

impl Senders {
    /// Reads the table of a shard in its queue's `directory`; also how many damaged records there were.
    pub(crate) fn open(
        directory: &Path,
        shard: u32,
        now: Timestamp,
    ) -> Result<(Self, u64), TableError> {
        let (table, damaged) = Table::open(directory, shard, now)?;
        let this = Self {
            table: Arc::new(table),
            crowded: Mutex::default(),
            reports: Mutex::default(),
        };
        Ok((this, damaged))
    }

    /// The mark for return paths of a message from `sender`, who is remembered from now on for as long
    /// as they hold; `None` when there is no room.
    pub(crate) async fn remember(
        &self,
        domain: &str,
        sender: &Address,
        holds: Duration,
        now: Timestamp,
    ) -> Option<Mark> {
        let mark = Mark::of(sender);
        let known = self.table.find(domain, mark, now);
        match &known {
            Some(known) if known.expires >= now.after(holds) => return Some(mark),
            None if self.is_crowded(domain, now) => return None,
            Some(_) | None => {}
        }
        let row = Sender {
            domain: domain.to_owned(),
            address: sender.clone(),
            expires: now.after(holds).after(SPARE),
        };
        match self.table.add(row, now).await {
            Ok(()) => Some(mark),
            Err(error) => {
                tracing::warn!(domain, %error, "a sender cannot be remembered, and will not be told of bounces");
                known.map(|_| mark)
            }
        }
    }

    fn is_crowded(&self, domain: &str, now: Timestamp) -> bool {
        let mut crowded = self.crowded.lock();
        if crowded.get(domain).is_some_and(|until| now < *until) {
            return true;
        }
        let is_crowded = self.table.count(domain, MOST_OF_DOMAIN) >= MOST_OF_DOMAIN;
        if is_crowded {
            tracing::warn!(
                domain,
                senders = MOST_OF_DOMAIN,
                "the domain has too many senders; new ones will not be told of bounces"
            );
            crowded.retain(|_, until| now < *until);
            crowded.insert(domain.to_owned(), now.after(CROWDED));
        }
        is_crowded
    }

    /// Whom to tell of a report to a return path of `domain`; `None` when nobody knows, or enough was
    /// told.
    pub(super) fn whom(&self, domain: &str, path: &Known, now: Timestamp) -> Option<Address> {
        let sender = self.table.find(domain, path.sender?, now)?;
        let is_first = self.reports.lock().count(path) <= MOST_REPORTS;
        is_first.then_some(sender.address)
    }
}

impl Reports {
    /// One more for this path; how many there were with it.
    fn count(&mut self, path: &Known) -> u8 {
        if self.young.len() >= COUNTED {
            self.old = mem::take(&mut self.young);
        }
        let key = (path.id, path.mark);
        let before = self.young.get(&key).or_else(|| self.old.get(&key));
        let count = before.copied().unwrap_or_default().saturating_add(1);
        self.young.insert(key, count);
        count
    }
}

#[cfg(test)]
mod tests;
