//! When a deferred message is tried again, and when it is given up. Pure; time is an argument.

use relay_config::Retry;
use relay_queue::{Envelope, Timestamp};
use relay_smtp::options::{ByMode, RecipientOptions};

/// How long the delivery of a TLS report is tried (RFC 8460 section 5.5): the next one says more.
const REPORT: std::time::Duration = std::time::Duration::from_hours(24);

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
    /// From when on its sender is to be told that it is late; `None` when nobody is told, any more
    /// or at all.
    pub(super) tell_at: Option<Timestamp>,
}

impl Life {
    /// `told`: the sender knows of the delay.
    pub(super) fn of(envelope: &Envelope, retry: &Retry, told: bool) -> Self {
        let deadline = |mode| {
            let deadline = envelope.options.deadline;
            let of_mode = deadline.filter(|deadline| deadline.mode == mode);
            of_mode.map(|deadline| deadline.at)
        };
        let from = envelope.released_at();
        let report = envelope.options.tls_report;
        let end_of_report = report.then(|| from.after(REPORT));
        let after = milliseconds(retry.delay_after.get());
        let delay = (after > 0).then(|| Timestamp(from.0.saturating_add(after)));
        let tell_at = delay.into_iter().chain(deadline(ByMode::Notify)).min();
        Self {
            from,
            deadline: deadline(ByMode::Return)
                .into_iter()
                .chain(end_of_report)
                .min(),
            tell_at: tell_at.filter(|_| !told && is_anybody_told(envelope)),
        }
    }

    /// Whether the sender is to be told now that it is late.
    pub(super) fn is_delayed(self, now: Timestamp) -> bool {
        self.tell_at.is_some_and(|at| now >= at)
    }

    /// When it is given up.
    pub(super) fn expires(self, retry: &Retry) -> Timestamp {
        let expires = self
            .from
            .0
            .saturating_add(milliseconds(retry.expire_after.get()));
        self.deadline
            .unwrap_or(Timestamp(u64::MAX))
            .min(Timestamp(expires))
    }

    /// Until when it is kept although it has expired, while nothing but the own network keeps it from
    /// being delivered: as long again. Somebody has to mend that, and what is older than that is of no
    /// use to its reader, while the disk fills.
    pub(super) fn held_until(self, retry: &Retry) -> Timestamp {
        let twice = milliseconds(retry.expire_after.get()).saturating_mul(2);
        Timestamp(self.from.0.saturating_add(twice))
    }

    /// Whether the deadline is over.
    pub(super) fn is_late(self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

/// Whether a report of a delay would have a reader and a recipient: never of a report (case B24), and
/// of a recipient only if `NOTIFY` asks for it or is not given (RFC 3461 section 4.1, RFC 2852 section
/// 4.1).
fn is_anybody_told(envelope: &Envelope) -> bool {
    let options = &envelope.options.recipients;
    envelope.sender.is_some()
        && (options.len() < envelope.recipients.len()
            || options.values().any(RecipientOptions::reports_delay))
}

/// Decides with the settings in force, so that a lowered limit holds for what is queued already
/// (case B18). An attempt falls on the moment of expiry, so that a message never waits longer than it
/// lives, and one on the moment from which on its sender is told of the delay. `random` is between 0 and 1; it spreads the waits by a fifth to either side.
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
    let expires = life.expires(retry).0;
    let initial = milliseconds(retry.initial.get());
    let maximum = milliseconds(retry.maximum.get());
    let doubled = 1_u64
        .checked_shl(attempts)
        .map_or(u64::MAX, |factor| initial.saturating_mul(factor));
    let wait = spread(doubled.min(maximum), random);
    let tell_at = life.tell_at.filter(|at| *at > now);
    let latest = tell_at.map_or(expires, |at| at.0.min(expires));
    Decision::At(Timestamp(now.0.saturating_add(wait).min(latest)))
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
    use relay_smtp::options::Notify;

    fn retry() -> Retry {
        Retry {
            initial: Duration::from_secs(60),
            maximum: Duration::from_secs(3600),
            expire_after: Duration::from_secs(7200),
            delay_after: Duration::from_secs(1000),
        }
    }

    const START: Timestamp = Timestamp(1_000_000_000);
    const LIFE: Life = Life {
        from: START,
        deadline: None,
        tell_at: None,
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
            tell_at: None,
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

    #[test]
    fn an_attempt_falls_on_the_moment_from_which_on_the_sender_is_told() {
        let life = Life {
            tell_at: Some(after(1000)),
            ..LIFE
        };
        let at = |seconds| decide(&retry(), 4, life, after(seconds), 0.5);
        assert_eq!(at(0), Decision::At(after(960)));
        assert_eq!(at(900), Decision::At(after(1000)));
        assert_eq!(at(1000), Decision::At(after(1960)));
        assert!(!life.is_delayed(after(999)) && life.is_delayed(after(1000)));
        assert!(!LIFE.is_delayed(after(7000)));
    }

    /// What an envelope asks for, and after how many seconds its sender is told of a delay.
    fn told_after(
        sender: bool,
        notify: &[Option<Notify>],
        by: Option<(u64, ByMode)>,
    ) -> Option<u64> {
        let address = relay_smtp::Address::parse("a@b.example").unwrap();
        let asked = |notify: &Option<Notify>| RecipientOptions {
            notify: *notify,
            original: None,
        };
        let options = (0..).zip(notify.iter().map(asked));
        let envelope = Envelope {
            sender: sender.then(|| address.clone()),
            recipients: notify.iter().map(|_| address.clone()).collect(),
            accepted_at: START,
            options: relay_queue::Options {
                recipients: options.filter(|(_, one)| one.notify.is_some()).collect(),
                deadline: by.map(|(seconds, mode)| relay_queue::Deadline {
                    at: after(seconds),
                    mode,
                    trace: false,
                }),
                ..relay_queue::Options::default()
            },
            ..Envelope::default()
        };
        assert_eq!(Life::of(&envelope, &retry(), true).tell_at, None);
        let at = Life::of(&envelope, &retry(), false).tell_at?;
        Some((at.0 - START.0) / 1000)
    }

    #[test]
    fn notify_by_and_the_null_sender_decide_who_is_told_of_a_delay() {
        let (failure, never) = (
            Some(Notify {
                failure: true,
                ..Notify::default()
            }),
            Some(Notify::default()),
        );
        let delay = Some(Notify {
            delay: true,
            ..Notify::default()
        });
        let (notify, giving_back) = (ByMode::Notify, ByMode::Return);
        assert_eq!(told_after(true, &[None], None), Some(1000));
        assert_eq!(told_after(true, &[delay], None), Some(1000));
        assert_eq!(told_after(true, &[failure], None), None);
        assert_eq!(told_after(true, &[never], None), None);
        assert_eq!(told_after(true, &[never, None], None), Some(1000));
        assert_eq!(told_after(false, &[None], None), None);
        assert_eq!(told_after(true, &[None], Some((60, notify))), Some(60));
        assert_eq!(told_after(true, &[None], Some((6000, notify))), Some(1000));
        assert_eq!(
            told_after(true, &[None], Some((60, giving_back))),
            Some(1000)
        );
        assert_eq!(told_after(true, &[never], Some((60, notify))), None);
        let off = Retry {
            delay_after: Duration::from_secs(0),
            ..retry()
        };
        let envelope = Envelope {
            sender: relay_smtp::Address::parse("a@b.example").ok(),
            ..Envelope::default()
        };
        assert_eq!(Life::of(&envelope, &off, false).tell_at, None);
    }
}
