//! Memory for messages that are being received, over all sessions (`limits.receivingBytes`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets are set aside in steps, so that a session need not ask for every packet.
const STEP: u64 = 64 * 1024;

/// Octets in use.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicU64,
}

/// One session's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: u64,
    /// The limit in force when the session started.
    limit: u64,
}

impl Share {
    pub(crate) fn new(budget: &Arc<Budget>, limit: u64) -> Self {
        Self {
            budget: Arc::clone(budget),
            held: 0,
            limit,
        }
    }

    /// Whether `octets` more would fit now.
    pub(crate) fn would_fit(&self, octets: u64) -> bool {
        let used = self.budget.used.load(Ordering::Relaxed) - self.held;
        used.saturating_add(octets) <= self.limit
    }

    /// Holds enough for `octets` in all, or gives everything back and says no.
    pub(crate) fn resize(&mut self, octets: usize) -> bool {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let wanted = octets.div_ceil(STEP).saturating_mul(STEP);
        if wanted <= self.held {
            self.budget
                .used
                .fetch_sub(self.held - wanted, Ordering::Relaxed);
            self.held = wanted;
            return true;
        }
        let more = wanted - self.held;
        let grown = self
            .budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|used| *used <= self.limit)
            });
        if grown.is_ok() {
            self.held = wanted;
            return true;
        }
        self.resize(0);
        false
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_the_limit_and_come_back() {
        let budget = Arc::new(Budget::default());
        let mut first = Share::new(&budget, 3 * STEP);
        let mut second = Share::new(&budget, 3 * STEP);
        assert!(first.resize(1));
        assert!(first.resize(usize::try_from(2 * STEP).unwrap()));
        assert!(second.resize(1));
        assert!(!second.would_fit(STEP + 1));
        assert!(!second.resize(usize::try_from(STEP + 1).unwrap()));
        assert_eq!(budget.used.load(Ordering::Relaxed), 2 * STEP);
        drop(first);
        assert!(second.would_fit(3 * STEP));
        drop(second);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
