//! When a name server was last told of a domain's records, and what came of it: it is not asked more often than
//! that can help.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use operator_api::Rfc2136;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::Outcome;
use super::wanted::Planned;
use crate::certificates::SecretData;

/// Domains whose records are written at the same time.
const AT_ONCE: usize = 8;
/// Until it may be another one's turn.
pub(super) const TURN: Duration = Duration::from_secs(3);
/// Waits double from the first to the last.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(15);
/// Jitter is up to this share of a wait, in both directions.
const JITTER: f64 = 0.2;

/// Namespace and name.
type Key = (String, String);

/// The last attempt of each domain.
#[derive(Debug)]
pub(crate) struct Attempts {
    last: Mutex<HashMap<Key, Attempt>>,
    permits: Semaphore,
}

#[derive(Clone, Debug)]
struct Attempt {
    print: u64,
    count: u32,
    /// Never while all is well.
    again: Option<Instant>,
    outcome: Outcome,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
        }
    }
}

impl Attempts {
    /// Leave to speak to a name server; none while too many do: nothing else waits for servers that are silent.
    pub(super) fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.try_acquire().ok()
    }

    /// What came of the last attempt, whatever it was about.
    pub(super) fn last(&self, key: &Key) -> Option<Outcome> {
        let last = self.last.lock();
        last.get(key).map(|attempt| attempt.outcome.clone())
    }

    /// Whether the very same was tried, and it is not time to try it again.
    pub(super) fn is_early(&self, key: &Key, print: u64) -> bool {
        let last = self.last.lock();
        let Some(attempt) = last.get(key).filter(|attempt| attempt.print == print) else {
            return false;
        };
        attempt.again.is_none_or(|again| Instant::now() < again)
    }

    /// What came of the very same.
    pub(super) fn outcome(&self, key: &Key, print: u64) -> Option<Outcome> {
        let last = self.last.lock();
        let attempt = last.get(key).filter(|attempt| attempt.print == print)?;
        Some(attempt.outcome.clone())
    }

    /// Until it is time to try again.
    pub(super) fn wait(&self, key: &Key) -> Option<Duration> {
        let again = self.last.lock().get(key)?.again?;
        Some(again.saturating_duration_since(Instant::now()))
    }

    /// Notes an attempt; when to try again, unless all is well.
    pub(super) fn note(
        &self,
        key: &Key,
        print: u64,
        outcome: &Outcome,
        is_well: bool,
    ) -> Option<Duration> {
        let mut last = self.last.lock();
        let before = last.get(key).filter(|attempt| attempt.print == print);
        let count = before.map_or(0, |attempt| attempt.count.saturating_add(1));
        let wait = (!is_well).then(|| wait(count, fastrand::f64()));
        let attempt = Attempt {
            print,
            count,
            again: wait.map(|wait| Instant::now() + wait),
            outcome: outcome.clone(),
        };
        last.insert(key.clone(), attempt);
        wait
    }

    pub(super) fn forget(&self, key: &Key) {
        self.last.lock().remove(key);
    }
}

/// What an attempt is about; kept in memory only.
pub(super) fn print(target: &Rfc2136, key: &SecretData, planned: &Planned) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&target.server, target.port, &target.zone).hash(&mut hasher);
    key.hash(&mut hasher);
    planned.records.hash(&mut hasher);
    planned.ttl.hash(&mut hasher);
    for record in &planned.gone {
        (&record.name, &record.r#type, &record.value).hash(&mut hasher);
    }
    hasher.finish()
}

/// `random` is from 0 to 1.
fn wait(count: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << count.min(16)).min(LONGEST);
    doubled.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("shop".to_owned(), "domain".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_asked_ever_more_rarely_for_the_same_and_at_once_for_something_else() {
        let attempts = Attempts::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(!attempts.is_early(&key(), 7));
            let wait = attempts.note(&key(), 7, &Outcome::Done, false).unwrap();
            waits.push(wait);
            assert!(attempts.is_early(&key(), 7));
            assert!(!attempts.is_early(&key(), 8), "another wish waits");
            tokio::time::advance(wait).await;
        }
        assert!(waits[0] >= Duration::from_secs(8) && waits[0] <= Duration::from_secs(12));
        assert!(waits[8] >= LONGEST.mul_f64(0.8) && waits[8] <= LONGEST.mul_f64(1.2));
        assert_eq!(attempts.note(&key(), 7, &Outcome::Done, true), None);
        tokio::time::advance(LONGEST * 4).await;
        assert!(
            attempts.is_early(&key(), 7),
            "all is well and yet it is asked"
        );
    }
}
