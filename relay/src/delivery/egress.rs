//! Whether the network lets mail out: recognises that port 25 is blocked, as clouds and firewalls do
//! without a word. Pure; time is an argument.
//!
//! One host that does not answer is its own fault. When [`FEWEST`] different ones have not answered
//! for [`LONG`], not one has, and something else did answer meanwhile (name servers, smarthosts), the
//! port is blocked. A connection, or a refusal of one, shows that it is not.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use relay_queue::Timestamp;

use super::logins::Logins;
use super::token::Tokens;

/// Different hosts that have to be silent.
const FEWEST: usize = 5;
/// For how long.
const LONG: Duration = Duration::from_mins(5);

/// What is known of the way out.
#[derive(Default)]
pub(crate) struct Egress {
    pub(crate) tokens: Tokens,
    pub(crate) logins: Logins,
    port: Mutex<Port>,
}

/// What was seen of the port of MX hosts since the last connection.
#[derive(Debug, Default)]
struct Port {
    /// The first that did not answer.
    since: Option<Timestamp>,
    /// At most [`FEWEST`].
    silent: BTreeSet<Box<str>>,
    /// When anything else answered last.
    answered: Option<Timestamp>,
    /// Since when it counts as blocked.
    blocked: Option<Timestamp>,
}

impl Port {
    fn timed_out(&mut self, host: &str, now: Timestamp) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.silent.len() < FEWEST {
            self.silent.insert(host.into());
        }
        let long = u64::try_from(LONG.as_millis()).unwrap_or(u64::MAX);
        let lasts = now.0.saturating_sub(since.0) >= long;
        let others = self.answered.is_some_and(|answered| answered >= since);
        let newly = self.blocked.is_none() && lasts && others && self.silent.len() >= FEWEST;
        if newly {
            self.blocked = Some(since);
        }
        newly
    }

    fn reached(&mut self) -> bool {
        self.since = None;
        self.silent.clear();
        self.blocked.take().is_some()
    }
}

impl Egress {
    /// An MX host did not answer in time.
    pub(super) fn timed_out(&self, host: &str, now: Timestamp) {
        if self.port.lock().timed_out(host, now) {
            tracing::error!(
                "no MX host answers: outgoing connections to port 25 are blocked; mail is kept until \
                 the provider or firewall lets them through, or delivery.smarthosts lead elsewhere"
            );
        }
    }

    /// An MX host answered, be it by a refusal.
    pub(super) fn reached(&self) {
        if self.port.lock().reached() {
            tracing::info!("MX hosts answer again: port 25 is no longer blocked");
        }
    }

    /// A name server or a smarthost answered.
    pub(super) fn answered(&self, now: Timestamp) {
        self.port.lock().answered = Some(now);
    }

    /// Since when outgoing connections to MX hosts have been blocked.
    pub(crate) fn blocked_since(&self) -> Option<Timestamp> {
        self.port.lock().blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    /// Five hosts that do not answer, over this many minutes, with other answers or without.
    fn silent(hosts: usize, minutes: u64, others: bool) -> Egress {
        let egress = Egress::default();
        for minute in 0..=minutes {
            let now = Timestamp(1_000 + minute * MINUTE);
            for host in 0..hosts {
                if others {
                    egress.answered(now);
                }
                egress.timed_out(&format!("mx{host}.test"), now);
            }
        }
        egress
    }

    #[test]
    fn a_port_is_blocked_when_many_hosts_are_silent_for_long_and_others_answer() {
        let rows = [
            (FEWEST, 5, true, true),
            (FEWEST + 20, 60, true, true),
            (FEWEST - 1, 60, true, false),
            (FEWEST, 4, true, false),
            (FEWEST, 60, false, false),
        ];
        for (hosts, minutes, others, blocked) in rows {
            let egress = silent(hosts, minutes, others);
            let since = egress.blocked_since();
            let expected = blocked.then_some(Timestamp(1_000));
            assert_eq!(since, expected, "{hosts} {minutes} {others}");
            assert!(egress.port.lock().silent.len() <= FEWEST);
        }
    }

    #[test]
    fn one_answer_shows_that_the_port_is_open_and_it_begins_anew() {
        let egress = silent(FEWEST, 5, true);
        egress.reached();
        assert_eq!(egress.blocked_since(), None);
        egress.answered(Timestamp(10 * MINUTE));
        egress.timed_out("mx0.test", Timestamp(10 * MINUTE));
        assert_eq!(egress.blocked_since(), None);
    }
}
