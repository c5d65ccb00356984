//! When a deferred message is tried again, and when it is given up. Pure; time is an argument.

use relay_config::Retry;
use relay_queue::{Envelope, Timestamp};
use relay_smtp::options::ByMode;

/// What to do with recipients that were deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Try again then.
    At(Timestamp),
    /// The message is too old.
    Expired,
    /// The time is over by which its sender wanted it delivered or back (RFC 2852).
    Late,
}

/// How long a message lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// When delivery could begin.
    pub(super) from: Timestamp,
    /// When it comes back whatever the settings say.
    pub(super) deadline: Option<Timestamp>,
}

impl Life {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let deadline = envelope.options.deadline;
        Self {
            from: envelope.released_at(),
            deadline: deadline
                .filter(|deadline| deadline.mode == ByMode::Return)
                .map(|deadline| deadline.at),
        }
    }

    /// Whether the deadline is over.
    pub(super) fn is_late(self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

/// Decides with the settings in force, so that a lowered limit holds for what is queued already
/// (case B18). The last attempt falls on the moment of expiry, so that a message never waits longer
/// than it lives. `random` is between 0 and 1; it spreads the waits by a fifth to either side.
pub(super) fn decide(
    retry: &Retry,
    attempts: u32,
    life: Life,
    now: Timestamp,
    random: f64,
) -> Decision {
    if life.is_late(now) {
        return Decision::Late;
    }
    let expires = life
        .from
        .0
        .saturating_add(milliseconds(retry.expire_after.get()));
    if now.0 >= expires {
        return Decision::Expired;
    }
    let expires = life
        .deadline
        .map_or(expires, |deadline| deadline.0.min(expires));
    let initial = milliseconds(retry.initial.get());
    let maximum = milliseconds(retry.maximum.get());
    let doubled = 1_u64
        .checked_shl(attempts)
        .map_or(u64::MAX, |factor| initial.saturating_mul(factor));
    let wait = spread(doubled.min(maximum), random);
    Decision::At(Timestamp(now.0.saturating_add(wait).min(expires)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "waits are far below 2^52 milliseconds and not negative; `as` saturates"
)]
fn spread(wait: u64, random: f64) -> u64 {
    (wait as f64 * (0.8 + 0.4 * random.clamp(0.0, 1.0))) as u64
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_config::Duration;

    fn retry() -> Retry {
        Retry {
            initial: Duration::from_secs(60),
            maximum: Duration::from_secs(3600),
            expire_after: Duration::from_secs(7200),
        }
    }

    const START: Timestamp = Timestamp(1_000_000_000);
    const LIFE: Life = Life {
        from: START,
        deadline: None,
    };

    fn after(seconds: u64) -> Timestamp {
        Timestamp(START.0 + seconds * 1000)
    }

    #[test]
    fn b16_waits_double_up_to_the_longest() {
        let rows = [
            (0, 60),
            (1, 120),
            (2, 240),
            (5, 1920),
            (6, 3600),
            (64, 3600),
            (u32::MAX, 3600),
        ];
        for (attempts, wait) in rows {
            let decision = decide(&retry(), attempts, LIFE, START, 0.5);
            assert_eq!(decision, Decision::At(after(wait)), "{attempts}");
        }
    }

    #[test]
    fn waits_are_spread_by_a_fifth_to_either_side() {
        assert_eq!(
            decide(&retry(), 0, LIFE, START, 0.0),
            Decision::At(after(48))
        );
        assert_eq!(
            decide(&retry(), 0, LIFE, START, 1.0),
            Decision::At(after(72))
        );
    }

    #[test]
    fn the_last_attempt_falls_on_the_moment_of_expiry() {
        assert_eq!(
            decide(&retry(), 9, LIFE, after(7000), 0.5),
            Decision::At(after(7200))
        );
        assert_eq!(
            decide(&retry(), 9, LIFE, after(7200), 0.5),
            Decision::Expired
        );
    }

    #[test]
    fn b18_a_lowered_limit_expires_what_is_queued() {
        let lowered = Retry {
            expire_after: Duration::from_secs(100),
            ..retry()
        };
        assert_eq!(
            decide(&retry(), 3, LIFE, after(200), 0.5),
            Decision::At(after(680))
        );
        assert_eq!(
            decide(&lowered, 3, LIFE, after(200), 0.5),
            Decision::Expired
        );
    }

    #[test]
    fn a_deadline_is_kept_to_the_moment_and_held_time_does_not_count() {
        let life = Life {
            from: after(10_000),
            deadline: Some(after(10_100)),
        };
        let at = |seconds| decide(&retry(), 6, life, after(seconds), 0.5);
        assert_eq!(at(10_000), Decision::At(after(10_100)));
        assert_eq!(at(10_100), Decision::Late);
        let held = Life {
            deadline: None,
            ..life
        };
        let at = |seconds| decide(&retry(), 0, held, after(seconds), 0.5);
        assert_eq!(at(17_199), Decision::At(after(17_200)));
        assert_eq!(at(17_200), Decision::Expired);
    }
}
