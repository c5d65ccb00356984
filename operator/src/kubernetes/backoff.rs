//! How long to wait after a failure: doubled per failure of the same object, with jitter, so that
//! many objects that failed together do not come back together.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// First wait.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait, before jitter.
const LONGEST: Duration = Duration::from_mins(5);
/// Jitter is up to this share of the wait, in both directions.
const JITTER: f64 = 0.2;

/// Kind, namespace and name.
pub type Key = (String, String, String);

/// Failures in a row, by object. An entry lives until the object succeeds or goes.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<Key, u32>>);

impl Backoff {
    /// Counts a failure; the number of failures in a row, and how long to wait.
    pub fn failed(&self, key: Key) -> (u32, Duration) {
        let mut failures = self.0.lock();
        let count = failures.entry(key).or_default();
        *count = count.saturating_add(1);
        (*count, wait(*count, fastrand::f64()))
    }

    /// Forgets the failures of an object: it succeeded, or it is gone.
    pub fn succeeded(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

/// `random` is from 0 to 1.
fn wait(failures: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled
        .min(LONGEST)
        .mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let rows = [
            (1, 1),
            (2, 2),
            (4, 8),
            (9, 256),
            (10, 300),
            (4_000_000_000, 300),
        ];
        for (failures, seconds) in rows {
            assert_eq!(
                wait(failures, 0.5),
                Duration::from_secs(seconds),
                "{failures}"
            );
        }
        assert_eq!(wait(1, 0.0), Duration::from_millis(800));
        assert_eq!(wait(1, 1.0), Duration::from_millis(1200));
    }

    #[test]
    fn a_success_starts_anew() {
        let backoff = Backoff::default();
        let key = (
            "SmtpRelay".to_owned(),
            "mail".to_owned(),
            "outbox".to_owned(),
        );
        assert_eq!(backoff.failed(key.clone()).0, 1);
        assert_eq!(backoff.failed(key.clone()).0, 2);
        backoff.succeeded(&key);
        assert_eq!(backoff.failed(key).0, 1);
    }
}
