//! The lists in memory, and their journal.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use relay_queue::Timestamp;
use relay_queue::journal::Journal;
use serde::{Deserialize, Serialize};

use super::{Entry, MOST_ENTRIES, Mark};

/// File in the queue's directory.
const FILE: &str = "suppressions.log";
/// Octets of the file, beyond twice what the entries take, before it is rewritten.
const SLACK: u64 = 1 << 20;

/// Why a list cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuppressionError {
    #[error("the suppression list cannot be read or written: {0}")]
    Disk(#[from] std::io::Error),
    #[error(
        "the suppression lists have {MOST_ENTRIES} entries, which is all they can hold; remove some"
    )]
    Full,
    #[error("the entry cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the relay is stopping")]
    Stopping,
}

type Lists = BTreeMap<(Arc<str>, Mark), Entry>;

/// All lists of a relay.
#[derive(Debug)]
pub(crate) struct Suppressions {
    lists: RwLock<Lists>,
    journal: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    journal: Journal,
    /// Octets of the records of entries that are in the list.
    live: u64,
}

/// A record of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Record {
    Add(Entry),
    Remove { domain: String, mark: Mark },
}

impl Suppressions {
    /// Reads the lists in the queue's `directory`; also how many damaged records there were.
    pub(crate) fn open(directory: &Path, now: Timestamp) -> Result<(Self, u64), SuppressionError> {
        let (journal, recovered) = Journal::open(directory, FILE)?;
        let mut damaged = recovered.damaged_records;
        let mut lists = Lists::new();
        for record in &recovered.records {
            match serde_json::from_slice(record) {
                Ok(Record::Add(entry)) => {
                    lists.insert(key(&entry.domain, entry.mark), entry);
                }
                Ok(Record::Remove { domain, mark }) => {
                    lists.remove(&key(&domain, mark));
                }
                // Written by another version; the journal keeps it until it is rewritten.
                Err(_) => damaged += 1,
            }
        }
        lists.retain(|_, entry| entry.holds(now));
        let written = Written {
            live: journal.length(),
            journal,
        };
        let this = Self {
            lists: RwLock::new(lists),
            journal: Mutex::new(written),
        };
        Ok((this, damaged))
    }

    /// The entry of a recipient, if there is one that holds.
    pub(crate) fn find(&self, domain: &str, mark: Mark, now: Timestamp) -> Option<Entry> {
        let lists = self.lists.read();
        if lists.is_empty() {
            return None;
        }
        lists
            .get(&key(domain, mark))
            .filter(|entry| entry.holds(now))
            .cloned()
    }

    /// Entries that hold, in order, after the place `after`.
    pub(crate) fn page(
        &self,
        domain: Option<&str>,
        after: Option<(&str, Mark)>,
        most: usize,
        now: Timestamp,
    ) -> Vec<Entry> {
        let lists = self.lists.read();
        let start = after.map_or(Bound::Unbounded, |(domain, mark)| {
            Bound::Excluded(key(domain, mark))
        });
        lists
            .range((start, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .filter(|entry| domain.is_none_or(|domain| entry.domain == domain))
            .filter(|entry| entry.holds(now))
            .take(most)
            .cloned()
            .collect()
    }

    /// Entries, those that have expired included.
    pub(crate) fn len(&self) -> usize {
        self.lists.read().len()
    }

    /// Adds an entry, in place of one for the same recipient; durable when it returns.
    pub(crate) async fn add(
        self: &Arc<Self>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<(), SuppressionError> {
        let this = Arc::clone(self);
        blocking(move || this.add_now(entry.bounded(), now)).await
    }

    /// Removes an entry; whether there was one.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        domain: String,
        mark: Mark,
    ) -> Result<bool, SuppressionError> {
        let this = Arc::clone(self);
        blocking(move || this.remove_now(domain, mark)).await
    }

    fn add_now(&self, entry: Entry, now: Timestamp) -> Result<(), SuppressionError> {
        let key = key(&entry.domain, entry.mark);
        let mut written = self.journal.lock();
        let mut lists = self.lists.write();
        if lists.len() >= MOST_ENTRIES && !lists.contains_key(&key) {
            lists.retain(|_, entry| entry.holds(now));
            if lists.len() >= MOST_ENTRIES {
                return Err(SuppressionError::Full);
            }
        }
        drop(lists);
        written.append(&Record::Add(entry.clone()))?;
        self.lists.write().insert(key, entry);
        self.shrink(&mut written, now)
    }

    fn remove_now(&self, domain: String, mark: Mark) -> Result<bool, SuppressionError> {
        let key = key(&domain, mark);
        let mut written = self.journal.lock();
        if !self.lists.read().contains_key(&key) {
            return Ok(false);
        }
        written.append(&Record::Remove { domain, mark })?;
        self.lists.write().remove(&key);
        Ok(true)
    }

    /// Writes the file anew when most of it is past.
    fn shrink(&self, written: &mut Written, now: Timestamp) -> Result<(), SuppressionError> {
        if written.journal.length() < 2 * written.live + SLACK {
            return Ok(());
        }
        let mut lists = self.lists.write();
        lists.retain(|_, entry| entry.holds(now));
        let records = lists
            .values()
            .map(|entry| serde_json::to_vec(&Record::Add(entry.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        drop(lists);
        written.journal.rewrite(records.iter().map(Vec::as_slice))?;
        written.live = written.journal.length();
        Ok(())
    }
}

impl Written {
    fn append(&mut self, record: &Record) -> Result<(), SuppressionError> {
        let octets = serde_json::to_vec(record)?;
        Ok(self.journal.append(&octets)?)
    }
}

fn key(domain: &str, mark: Mark) -> (Arc<str>, Mark) {
    (domain.into(), mark)
}

/// On a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SuppressionError> + Send + 'static,
) -> Result<T, SuppressionError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(SuppressionError::Stopping))
}
