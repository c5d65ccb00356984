//! What outlives the process: counts, how far reports are, and which hand-ins of other shards are in.
//!
//! Counts of this process are written every minute, since a crash may cost a minute of statistics. What
//! another shard handed in is on the disk before it is told so, and so is that a report's sending has
//! begun.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use relay_queue::Timestamp;
use relay_queue::journal::Journal;
use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, Progress};
use super::results::{Counted, Day, Results};

/// File in the queue's directory.
const FILE: &str = "tls-reports.log";
/// Hand-ins that are remembered.
const BATCHES: usize = 256;

/// Counts on their way from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Batch {
    /// Its own, by which one that comes twice is known.
    pub(crate) id: String,
    pub(crate) counted: Vec<Counted>,
}

/// A record of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record {
    Counted(Counted),
    /// Came in.
    Batch(Batch),
    /// Was in before.
    Known(String),
    /// Goes out.
    Outgoing(Batch),
    Report {
        day: Day,
        domain: String,
        progress: Progress,
    },
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) results: Results,
    pub(super) ledger: Ledger,
    /// Hand-ins that are in.
    known: VecDeque<String>,
    /// What is being handed to another shard.
    pub(super) outgoing: Option<Batch>,
    /// There is something that is not on the disk.
    pub(super) changed: bool,
}

impl State {
    /// Adds a hand-in; how many of its counts came too late. `None` when it was in before.
    pub(super) fn take_in(&mut self, batch: Batch) -> Option<usize> {
        if self.known.contains(&batch.id) {
            return None;
        }
        self.remember(batch.id);
        let before = batch.counted.len();
        let ledger = &self.ledger;
        let in_time = batch
            .counted
            .into_iter()
            .filter(|one| !ledger.is_closed(one.day, &one.domain));
        let in_time: Vec<Counted> = in_time.collect();
        let late = before - in_time.len();
        for counted in in_time {
            self.results.merge(counted);
        }
        Some(late)
    }

    fn remember(&mut self, id: String) {
        if self.known.len() >= BATCHES {
            self.known.pop_front();
        }
        self.known.push_back(id);
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Counted(counted) => self.results.merge(counted),
            Record::Batch(batch) => {
                self.take_in(batch);
            }
            Record::Known(id) => self.remember(id),
            Record::Outgoing(batch) => self.outgoing = Some(batch),
            Record::Report {
                day,
                domain,
                progress,
            } => {
                if progress.is_done() {
                    self.results.forget(day, &domain);
                }
                self.ledger.set(day, &domain, progress);
            }
        }
    }

    /// Whether a hand-in is in.
    pub(super) fn has(&self, id: &str) -> bool {
        self.known.iter().any(|known| known == id)
    }

    /// What is handed out next, of at most so many octets, roughly: what was under way, or else some
    /// of what was counted, under a new id.
    pub(super) fn next_outgoing(
        &mut self,
        octets: usize,
        id: impl FnOnce() -> String,
    ) -> Option<Batch> {
        if self.outgoing.is_none() && !self.results.is_empty() {
            let mut room = octets;
            let mut batch = Batch {
                id: id(),
                counted: Vec::new(),
            };
            while room > 0
                && let Some(counted) = self.results.take_one()
            {
                let length = counted.iter().map(Counted::footprint).sum();
                room = room.saturating_sub(length);
                batch.counted.extend(counted);
            }
            self.outgoing = Some(batch);
            self.changed = true;
        }
        self.outgoing.clone()
    }

    /// Forgets what is over, and what nobody asked to be told of in time.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.ledger.sweep(now);
        let before = self.results.keys().count();
        self.results.forget_before(now);
        self.changed |= before != self.results.keys().count();
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let counted = self.results.all().map(Record::Counted);
        let known = self.known.iter().cloned().map(Record::Known);
        let outgoing = self.outgoing.iter().cloned().map(Record::Outgoing);
        let reports = self
            .ledger
            .all()
            .map(|(day, domain, progress)| Record::Report {
                day,
                domain: domain.to_owned(),
                progress: progress.clone(),
            });
        counted
            .chain(known)
            .chain(outgoing)
            .chain(reports)
            .collect()
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Store(Journal);

impl Store {
    /// Reads what is in the queue's `directory`; also how many records could not be read.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, State, u64)> {
        let (journal, recovered) = Journal::open(directory, FILE)?;
        let mut damaged = recovered.damaged_records;
        let mut state = State::default();
        for record in &recovered.records {
            match serde_json::from_slice(record) {
                Ok(record) => state.apply(record),
                Err(_) => damaged += 1,
            }
        }
        Ok((Self(journal), state, damaged))
    }

    /// A hand-in is on the disk when this returns.
    pub(super) fn add_batch(&mut self, batch: &Batch) -> io::Result<()> {
        self.append(&Record::Batch(batch.clone()))
    }

    /// How far a report is, is on the disk when this returns.
    pub(super) fn add_report(
        &mut self,
        day: Day,
        domain: &str,
        progress: &Progress,
    ) -> io::Result<()> {
        self.append(&Record::Report {
            day,
            domain: domain.to_owned(),
            progress: progress.clone(),
        })
    }

    /// Puts all of this in place of what was written.
    pub(super) fn rewrite(&mut self, records: &[Record]) -> io::Result<()> {
        let records = records.iter().map(serde_json::to_vec);
        let records = records.collect::<Result<Vec<_>, _>>()?;
        self.0.rewrite(records.iter().map(Vec::as_slice))
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        self.0.append(&serde_json::to_vec(record)?)
    }
}

#[cfg(test)]
mod tests;
