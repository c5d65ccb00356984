//! How often authoritative servers are asked: so many questions a second over all domains, and some at once.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Servers that are asked in a second, over all domains.
const PER_SECOND: f64 = 50.0;
/// And at once, after a rest.
const AT_ONCE: f64 = 400.0;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Option<(f64, Instant)>>);

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl Pace {
    /// Whether `questions` may be asked at `now`; if so they count.
    pub(super) fn take(&self, questions: usize, now: Instant) -> bool {
        let mut state = self.0.lock();
        let (left, at) = state.unwrap_or((AT_ONCE, now));
        let rested = now.saturating_duration_since(at).as_secs_f64();
        let left = (left + rested * PER_SECOND).min(AT_ONCE);
        let asked = f64::from(u32::try_from(questions).unwrap_or(u32::MAX));
        let is_within = asked <= left;
        *state = Some((if is_within { left - asked } else { left }, now));
        is_within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_may_ask_at_once_and_then_only_so_many_a_second() {
        let (pace, start) = (Pace::default(), Instant::now());
        let asked = (0..200).filter(|_| pace.take(4, start)).count();
        assert_eq!(asked, 100);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..200).filter(|_| pace.take(4, later)).count(), 25);
        assert!(!pace.take(1, later));
        let rested = later + Duration::from_hours(1);
        assert_eq!((0..200).filter(|_| pace.take(4, rested)).count(), 100);
    }
}
