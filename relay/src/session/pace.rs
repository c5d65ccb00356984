//! How long a client may take. Pure; time is an argument.
//!
//! A command has to be complete `idleTimeout` after the one before it: octets that dribble in are
//! no progress. Content has to come without a pause of that length, and at `minimumRate` on average
//! beyond it. A session ends at `sessionTimeout`, or `idleTimeout` later if a transaction is open.

use std::time::Duration;

use relay_config::Limits;
use relay_smtp::server::Answer;
use tokio::time::Instant;

const TIMED_OUT: Answer = Answer::fixed(421, "4.4.2", "nothing was sent for too long; closing");
const TOO_SLOW: Answer = Answer::fixed(421, "4.4.2", "the message comes too slowly; closing");
const TOO_OLD: Answer = Answer::fixed(
    421,
    "4.4.2",
    "the session has lasted too long; connect again to go on",
);

/// What the session has seen of its client so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Command lines.
    pub(super) lines: u64,
    /// Octets of content.
    pub(super) content: u64,
    /// Content is being received.
    pub(super) in_content: bool,
    /// No transaction is open.
    pub(super) is_idle: bool,
}

/// When the client's time is over, and what it is told then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) at: Instant,
    pub(super) reason: &'static str,
    pub(super) answer: Answer,
}

/// One session's clock.
#[derive(Debug)]
pub(super) struct Pace {
    idle: Duration,
    rate: u64,
    /// When the session is over, open transactions apart.
    over: Instant,
    lines: u64,
    /// When the last command line was complete, or the last octets of content came.
    progress: Instant,
    /// When the content that is being received began, and what had been received then.
    content: Option<(Instant, u64)>,
}

impl Pace {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            idle: limits.idle_timeout.get(),
            rate: limits.minimum_rate,
            over: now + limits.session_timeout.get(),
            lines: 0,
            progress: now,
            content: None,
        }
    }

    /// Takes note of what was received up to `now`.
    pub(super) fn observe(&mut self, now: Instant, seen: Seen) {
        if seen.in_content {
            self.content.get_or_insert((now, seen.content));
            self.progress = now;
        } else if self.content.take().is_some() || seen.lines != self.lines {
            self.progress = now;
        }
        self.lines = seen.lines;
    }

    /// The client's time after that.
    pub(super) fn limit(&self, seen: Seen) -> Limit {
        let over = if seen.is_idle {
            self.over
        } else {
            self.over + self.idle
        };
        let old = Limit {
            at: over,
            reason: "session_timeout",
            answer: TOO_OLD,
        };
        let idle = Limit {
            at: self.progress + self.idle,
            reason: "idle_timeout",
            answer: TIMED_OUT,
        };
        let first = if idle.at <= old.at { idle } else { old };
        match (self.content, self.rate) {
            (None, _) | (_, 0) => first,
            (Some((start, before)), rate) => {
                let earned = Duration::from_secs(seen.content.saturating_sub(before) / rate);
                let at = start + self.idle + earned;
                if at < first.at {
                    let (reason, answer) = ("too_slow", TOO_SLOW);
                    Limit { at, reason, answer }
                } else {
                    first
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            idle_timeout: relay_config::Duration::from_secs(10),
            session_timeout: relay_config::Duration::from_secs(100),
            minimum_rate: 50,
            ..Limits::default()
        }
    }

    fn command(lines: u64) -> Seen {
        Seen {
            lines,
            content: 0,
            in_content: false,
            is_idle: true,
        }
    }

    fn content(octets: u64) -> Seen {
        Seen {
            lines: 3,
            content: octets,
            in_content: true,
            is_idle: false,
        }
    }

    /// After the seconds and what was seen at each: when it ends and why.
    fn end(steps: &[(u64, Seen)]) -> (u64, &'static str) {
        let start = Instant::now();
        let mut pace = Pace::new(&limits(), start);
        for (second, seen) in steps {
            pace.observe(start + Duration::from_secs(*second), *seen);
        }
        let limit = pace.limit(steps.last().unwrap().1);
        ((limit.at - start).as_secs(), limit.reason)
    }

    #[test]
    fn only_whole_lines_are_progress() {
        assert_eq!(end(&[(0, command(0))]), (10, "idle_timeout"));
        assert_eq!(
            end(&[(3, command(1)), (9, command(1))]),
            (13, "idle_timeout")
        );
        assert_eq!(
            end(&[(3, command(1)), (9, command(2))]),
            (19, "idle_timeout")
        );
    }

    #[test]
    fn content_must_come_without_a_pause_and_at_the_least_rate() {
        assert_eq!(end(&[(0, content(0)), (5, content(1))]), (10, "too_slow"));
        assert_eq!(
            end(&[(0, content(0)), (5, content(300))]),
            (15, "idle_timeout")
        );
        assert_eq!(
            end(&[(0, content(0)), (60, content(2600))]),
            (62, "too_slow")
        );
        // What other messages brought does not count for this one.
        assert_eq!(
            end(&[(0, content(9000)), (5, content(9001))]),
            (10, "too_slow")
        );
        // After its end the client has its time again.
        assert_eq!(
            end(&[(0, content(0)), (9, command(3))]),
            (19, "idle_timeout")
        );
    }

    #[test]
    fn a_session_ends_when_it_is_old_and_a_little_later_in_a_transaction() {
        assert_eq!(end(&[(95, command(9))]), (100, "session_timeout"));
        let open = Seen {
            is_idle: false,
            ..command(9)
        };
        assert_eq!(end(&[(95, open)]), (105, "idle_timeout"));
        assert_eq!(end(&[(105, open)]), (110, "session_timeout"));
        assert_eq!(
            end(&[(0, content(0)), (104, content(1_000_000))]),
            (110, "session_timeout")
        );
    }
}
