//! Which reports are due, and how far each is. Pure; time is an argument.
//!
//! A report is made once the day is over and the other shards have had time to hand in their counts,
//! at a moment of the domain's own, so that not all senders of the world report at midnight. From the
//! moment that its sending begins nothing is added to it, and it is never made a second time.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use relay_queue::Timestamp;
use serde::{Deserialize, Serialize};

use super::results::Day;

/// Between the end of a day and its first report.
const REST: Duration = Duration::from_mins(30);
/// Over which the reports of a day are spread (RFC 8460 section 4.1: up to four hours in all).
const SPREAD: Duration = Duration::from_mins(210);
/// After the start: other shards may have counts for a day that is over.
const SETTLE: Duration = Duration::from_mins(2);
/// How long after it fell due it is tried to send a report (section 5.5).
const LIFE: Duration = Duration::from_hours(24);
/// First wait after a failure; doubled by each other.
const FIRST_WAIT: Duration = Duration::from_mins(5);
const LONGEST_WAIT: Duration = Duration::from_hours(4);
/// How long it is remembered that a report was made, so that counts that come late are known to be.
const MEMORY: Duration = Duration::from_hours(7 * 24);

/// How far a report is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    /// Its sending has begun.
    #[serde(default)]
    pub(super) begun: bool,
    /// HTTPS places that have not taken it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) open: Vec<String>,
    /// Tries that failed.
    #[serde(default)]
    pub(super) failures: u32,
    /// Nothing is tried before.
    #[serde(default)]
    pub(super) not_before: Timestamp,
}

impl Progress {
    /// Nothing is left to do.
    pub(super) const fn is_done(&self) -> bool {
        self.begun && self.open.is_empty()
    }
}

/// The reports that something was done for.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<(Day, String), Progress>);

impl Ledger {
    /// What is known of a report.
    pub(super) fn get(&self, day: Day, domain: &str) -> Progress {
        let known = self.0.get(&(day, domain.to_owned()));
        known.cloned().unwrap_or_default()
    }

    /// Writes down how far a report is.
    pub(super) fn set(&mut self, day: Day, domain: &str, progress: Progress) {
        self.0.insert((day, domain.to_owned()), progress);
    }

    /// Whether counts for it come too late.
    pub(super) fn is_closed(&self, day: Day, domain: &str) -> bool {
        self.get(day, domain).begun
    }

    /// A try failed: when the next one is, or that there is none.
    pub(super) fn failed(&mut self, day: Day, domain: &str, now: Timestamp) -> Option<Timestamp> {
        let mut progress = self.get(day, domain);
        let wait = FIRST_WAIT
            .saturating_mul(1 << progress.failures.min(16))
            .min(LONGEST_WAIT);
        progress.failures = progress.failures.saturating_add(1);
        progress.not_before = now.after(wait);
        let over = progress.not_before > falls_due(day, domain).after(LIFE);
        if over {
            progress.begun = true;
            progress.open.clear();
        }
        let next = progress.not_before;
        self.set(day, domain, progress);
        (!over).then_some(next)
    }

    /// Whether it is time to do something for a report. `started`: when this process was.
    pub(super) fn is_due(
        &self,
        day: Day,
        domain: &str,
        started: Timestamp,
        now: Timestamp,
    ) -> bool {
        let progress = self.get(day, domain);
        !progress.is_done()
            && now >= falls_due(day, domain)
            && now >= started.after(SETTLE)
            && now >= progress.not_before
    }

    /// Forgets what is long over.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0
            .retain(|(day, _), progress| !progress.is_done() || day.end().after(MEMORY) > now);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Day, &str, &Progress)> {
        let entries = self.0.iter();
        entries.map(|((day, domain), progress)| (*day, domain.as_str(), progress))
    }
}

/// The same in every process, so that a restart does not move it.
fn falls_due(day: Day, domain: &str) -> Timestamp {
    let mut hasher = DefaultHasher::new();
    domain.hash(&mut hasher);
    let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(1);
    let part = Duration::from_millis(hasher.finish() % spread);
    day.end().after(REST + part)
}

#[cfg(test)]
mod tests;
