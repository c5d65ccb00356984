//! A table in memory, and its journal.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use relay_queue::Timestamp;
use relay_queue::journal::Journal;
use tokio::sync::broadcast;

use super::{Change, Digest, Mark, Place, Row};

/// Octets of the file, beyond twice what the rows take, before it is rewritten.
const SLACK: u64 = 1 << 20;
/// Changes that wait for whoever tells them to other shards; with more it compares whole tables.
const UNTOLD: usize = 1024;

/// Why a table cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("{0}.log cannot be read or written: {1}")]
    Disk(&'static str, std::io::Error),
    #[error("the table {0} has {1} rows, which is all it can hold; remove some")]
    Full(&'static str, usize),
    #[error("the row cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the relay is stopping")]
    Stopping,
}

type Key = (Arc<str>, Mark);
type Rows<R> = BTreeMap<Key, Change<R>>;

/// A table of this shard.
#[derive(Debug)]
pub(crate) struct Table<R> {
    /// The number of this shard.
    shard: u32,
    rows: RwLock<Rows<R>>,
    journal: Mutex<Written>,
    changes: broadcast::Sender<Change<R>>,
}

#[derive(Debug)]
struct Written {
    journal: Journal,
    /// Octets of the records of what is in the table.
    live: u64,
}

impl<R: Row> Table<R> {
    /// Reads the table of a shard in its queue's `directory`; also how many damaged records there were.
    pub(crate) fn open(
        directory: &Path,
        shard: u32,
        now: Timestamp,
    ) -> Result<(Self, u64), TableError> {
        let name = format!("{}.log", R::NAME);
        let (journal, recovered) = Journal::open(directory, &name).map_err(disk::<R>)?;
        let mut damaged = recovered.damaged_records;
        let mut rows = Rows::new();
        for record in &recovered.records {
            match serde_json::from_slice::<Change<R>>(record) {
                Ok(change) => {
                    rows.insert(key(change.domain(), change.mark()), change);
                }
                // Written by another version; the journal keeps it until it is rewritten.
                Err(_) => damaged += 1,
            }
        }
        rows.retain(|_, change| change.holds(now));
        let written = Written {
            live: journal.length(),
            journal,
        };
        let this = Self {
            shard,
            rows: RwLock::new(rows),
            journal: Mutex::new(written),
            changes: broadcast::Sender::new(UNTOLD),
        };
        Ok((this, damaged))
    }

    /// The row of an address, if there is one that counts.
    pub(crate) fn find(&self, domain: &str, mark: Mark, now: Timestamp) -> Option<R> {
        let rows = self.rows.read();
        if rows.is_empty() {
            return None;
        }
        let row = rows.get(&key(domain, mark))?.row()?;
        row.holds(now).then(|| row.clone())
    }

    /// Rows that count, in order, after the place `after`.
    pub(crate) fn page(
        &self,
        domain: Option<&str>,
        after: Option<(&str, Mark)>,
        most: usize,
        now: Timestamp,
    ) -> Vec<R> {
        let rows = self.rows.read();
        let start = match (after, domain) {
            (Some((domain, mark)), _) => Bound::Excluded(key(domain, mark)),
            (None, Some(domain)) => Bound::Included(key(domain, Mark::LEAST)),
            (None, None) => Bound::Unbounded,
        };
        rows.range((start, Bound::Unbounded))
            .filter_map(|(_, change)| change.row())
            .take_while(|row| domain.is_none_or(|domain| row.domain() <= domain))
            .filter(|row| domain.is_none_or(|domain| row.domain() == domain))
            .filter(|row| row.holds(now))
            .take(most)
            .cloned()
            .collect()
    }

    /// Rows of a domain and marks of removed ones, expired ones included, counted up to `most`.
    pub(crate) fn count(&self, domain: &str, most: usize) -> usize {
        let rows = self.rows.read();
        let rows = rows.range(key(domain, Mark::LEAST)..);
        rows.take_while(|((name, _), _)| **name == *domain)
            .take(most)
            .count()
    }

    /// Rows, those that have expired included.
    pub(crate) fn len(&self) -> usize {
        let rows = self.rows.read();
        rows.values()
            .filter(|change| change.row().is_some())
            .count()
    }

    /// Adds a row, in place of one for the same address; durable when it returns.
    pub(crate) async fn add(self: &Arc<Self>, row: R, now: Timestamp) -> Result<(), TableError> {
        let this = Arc::clone(self);
        blocking(move || {
            let key = key(row.domain(), row.mark());
            let mut written = this.journal.lock();
            let change = Change::put(row.bounded(), this.rows.read().get(&key), now, this.shard);
            this.write(&mut written, vec![change.clone()], now)?;
            // Nobody to tell is no fault.
            let _ = this.changes.send(change);
            Ok(())
        })
        .await
    }

    /// Removes a row; whether there was one.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        domain: String,
        mark: Mark,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let this = Arc::clone(self);
        blocking(move || {
            let mut written = this.journal.lock();
            let there = {
                let rows = this.rows.read();
                let there = rows.get(&key(&domain, mark));
                let there = there.filter(|there| there.row().is_some_and(|row| row.holds(now)));
                there.map(|there| there.remove(now, this.shard))
            };
            let Some(change) = there else {
                return Ok(false);
            };
            this.write(&mut written, vec![change.clone()], now)?;
            let _ = this.changes.send(change);
            Ok(true)
        })
        .await
    }

    /// Takes over what other shards changed; how many of the changes were news. Those for which there
    /// is no room are left out.
    pub(crate) async fn merge(
        self: &Arc<Self>,
        changes: Vec<Change<R>>,
        now: Timestamp,
    ) -> Result<usize, TableError> {
        let this = Arc::clone(self);
        blocking(move || {
            let mut written = this.journal.lock();
            let news = this.news(changes, now);
            let count = news.len();
            if count > 0 {
                this.write(&mut written, news, now)?;
            }
            Ok(count)
        })
        .await
    }

    /// What of these changes is not known, and fits.
    fn news(&self, changes: Vec<Change<R>>, now: Timestamp) -> Vec<Change<R>> {
        let rows = self.rows.read();
        let mut room = R::MOST.saturating_sub(rows.len());
        let mut news = changes;
        news.retain(|change| {
            let known = rows.get(&key(change.domain(), change.mark()));
            if !change.holds(now) || known.is_some_and(|known| !change.wins_over(known)) {
                return false;
            }
            let fits = known.is_some() || room > 0;
            room = room.saturating_sub(usize::from(known.is_none()));
            fits
        });
        news
    }

    /// Changes as they are made here, from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change<R>> {
        self.changes.subscribe()
    }

    /// What the table holds at a time, in short. Takes a while when there are many rows.
    pub(crate) fn digest(&self, at: Timestamp) -> Digest {
        let rows = self.rows.read();
        Digest::of(rows.values().filter(|change| change.holds(at)))
    }

    /// What the table holds at a time in some buckets of its digest, in order, after a place.
    pub(crate) fn part(
        &self,
        buckets: &[bool],
        after: Option<&Place>,
        most: usize,
        at: Timestamp,
    ) -> Vec<Change<R>> {
        let rows = self.rows.read();
        let start = after.map_or(Bound::Unbounded, |place| {
            Bound::Excluded(key(&place.domain, place.mark))
        });
        rows.range((start, Bound::Unbounded))
            .filter(|((_, mark), _)| buckets.get(Digest::bucket(*mark)) == Some(&true))
            .map(|(_, change)| change)
            .filter(|change| change.holds(at))
            .take(most)
            .cloned()
            .collect()
    }

    /// Writes changes down and puts them in force. `written` is held from when they were made, so that
    /// nothing comes in between.
    fn write(
        &self,
        written: &mut Written,
        changes: Vec<Change<R>>,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let mut rows = self.rows.write();
        let is_new = |change: &&Change<R>| !rows.contains_key(&key(change.domain(), change.mark()));
        let new = changes.iter().filter(is_new).count();
        if rows.len() + new > R::MOST {
            rows.retain(|_, change| change.holds(now));
            if rows.len() + new > R::MOST {
                return Err(TableError::Full(R::NAME, R::MOST));
            }
        }
        drop(rows);
        let records = changes
            .iter()
            .map(serde_json::to_vec)
            .collect::<Result<Vec<_>, _>>()?;
        let records = records.iter().map(Vec::as_slice);
        written.journal.append_all(records).map_err(disk::<R>)?;
        let keyed = changes.into_iter();
        let keyed = keyed.map(|change| (key(change.domain(), change.mark()), change));
        self.rows.write().extend(keyed);
        self.shrink(written, now)
    }

    /// Writes the file anew when most of it is past.
    fn shrink(&self, written: &mut Written, now: Timestamp) -> Result<(), TableError> {
        if written.journal.length() < 2 * written.live + SLACK {
            return Ok(());
        }
        let mut rows = self.rows.write();
        rows.retain(|_, change| change.holds(now));
        let records = rows
            .values()
            .map(serde_json::to_vec)
            .collect::<Result<Vec<_>, _>>()?;
        drop(rows);
        let records = records.iter().map(Vec::as_slice);
        written.journal.rewrite(records).map_err(disk::<R>)?;
        written.live = written.journal.length();
        Ok(())
    }
}

#[cfg(test)]
impl<R: Row> Table<R> {
    /// Puts rows in with one sync.
    pub(crate) fn fill(&self, rows: impl Iterator<Item = R>, now: Timestamp) {
        let changes = rows
            .map(|row| Change::put(row, None, now, self.shard))
            .collect();
        self.write(&mut self.journal.lock(), changes, now).unwrap();
    }
}

fn disk<R: Row>(error: std::io::Error) -> TableError {
    TableError::Disk(R::NAME, error)
}

fn key(domain: &str, mark: Mark) -> Key {
    (domain.into(), mark)
}

/// On a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TableError> + Send + 'static,
) -> Result<T, TableError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(TableError::Stopping))
}
