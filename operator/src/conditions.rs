//! Conditions: the first failing check of an ordered list, merged into what the object shows.
//!
//! `observedGeneration` is always set; `lastTransitionTime` changes only with the status.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use operator_api::conditions::{ACCEPTED, PROGRAMMED, READY, reason};
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};

use crate::render::Violation;

/// Longest message that the API server takes, in octets.
const LONGEST_MESSAGE: usize = 32 * 1024;
/// Shortest and longest wait for a condition that does not hold yet. Whatever makes it hold leads to a
/// reconcile by itself; with ten thousand domains of relays that do not come up, looking often would keep
/// a core busy for nothing.
const PATIENCE: (Duration, Duration) = (Duration::from_mins(5), Duration::from_mins(15));

/// An object with conditions.
pub trait Conditioned {
    /// Those that it shows; none before its first status.
    fn conditions(&self) -> &[Condition];
}

impl Conditioned for SmtpRelay {
    fn conditions(&self) -> &[Condition] {
        let status = self.status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }
}

impl Conditioned for SendingDomain {
    fn conditions(&self) -> &[Condition] {
        let status = self.status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }
}

impl Conditioned for SmtpCredential {
    fn conditions(&self) -> &[Condition] {
        let status = self.status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }
}

/// What a condition should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Type, from [`operator_api::conditions`].
    pub kind: &'static str,
    /// True, false, or not known.
    pub status: Option<bool>,
    /// Reason, from [`operator_api::conditions::reason`].
    pub reason: &'static str,
    /// For a person: the field, the value, the remedy.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, Some(true), reason, message)
    }

    /// It does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, Some(false), reason, message)
    }

    /// It is not known.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, None, reason, message)
    }

    /// It does not hold because of `violation`.
    pub fn violated(kind: &'static str, violation: &Violation) -> Self {
        Self::no(kind, violation.reason, violation.message.clone())
    }

    fn new(
        kind: &'static str,
        status: Option<bool>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason,
            message: message.into(),
        }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.status == Some(true)
    }

    fn status_text(&self) -> &'static str {
        match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions that an object should show: exactly `verdicts`, in their order.
pub fn merge(
    existing: &[Condition],
    verdicts: &[Verdict],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |verdict: &Verdict| {
        let status = verdict.status_text();
        let since = find(existing, verdict.kind)
            .filter(|old| old.status == status)
            .map_or(Time(now), |old| old.last_transition_time.clone());
        let mut message = verdict.message.clone();
        if message.len() > LONGEST_MESSAGE {
            let mut end = LONGEST_MESSAGE;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        Condition {
            type_: verdict.kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since,
        }
    };
    verdicts.iter().map(condition).collect()
}

/// `Accepted`, with what it means for the kind.
pub fn accepted(judged: &Result<(), Violation>, message: &str) -> Verdict {
    match judged {
        Ok(()) => Verdict::yes(ACCEPTED, reason::ACCEPTED, message),
        Err(violation) => Verdict::violated(ACCEPTED, violation),
    }
}

/// `Programmed` of what attaches to a relay, with what it means for the kind when it holds and when
/// it does not.
pub fn programmed(
    accepted: &Result<(), Violation>,
    programmed: bool,
    message: &str,
    pending: &str,
) -> Verdict {
    if accepted.is_err() {
        return Verdict::no(PROGRAMMED, reason::NOT_ACCEPTED, "waits for Accepted");
    }
    if programmed {
        return Verdict::yes(PROGRAMMED, reason::PROGRAMMED, message);
    }
    Verdict::no(PROGRAMMED, reason::PENDING, pending)
}

/// `Ready` over the verdicts that it rests on: the first that does not hold decides.
pub fn ready(verdicts: &[Verdict], message: impl Into<String>) -> Verdict {
    match verdicts.iter().find(|verdict| !verdict.holds()) {
        None => Verdict::yes(READY, reason::READY, message),
        Some(first) => Verdict {
            kind: READY,
            message: format!("see condition {}", first.kind),
            ..first.clone()
        },
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a type was found true for this very generation.
fn held(conditions: &[Condition], kind: &str, generation: Option<i64>) -> bool {
    find(conditions, kind).is_some_and(|condition| {
        condition.status == "True" && condition.observed_generation == generation
    })
}

/// Whether an object is programmed, given what is `known` of the shards. After a restart nothing is
/// known until they have been asked; what was found before stands so long.
pub fn is_programmed(known: Option<bool>, shown: &[Condition], generation: Option<i64>) -> bool {
    known.unwrap_or_else(|| held(shown, PROGRAMMED, generation))
}

/// When to look again at an accepted object that the shards are not known to run: after a tenth of
/// the time that this has lasted, within [`PATIENCE`]. The relay's changes trigger a reconcile too;
/// this covers a configuration that came into force without its status changing. Costs no request.
pub fn look_again(
    accepted: &Result<(), Violation>,
    known: Option<bool>,
    shown: &[Condition],
    now: Timestamp,
) -> Option<Duration> {
    (accepted.is_ok() && known != Some(true)).then(|| patience(shown, PROGRAMMED, now))
}

/// How long to wait for a condition: a tenth of the time that it has not held.
fn patience(conditions: &[Condition], kind: &str, now: Timestamp) -> Duration {
    let since = find(conditions, kind).map_or(now, |condition| condition.last_transition_time.0);
    let lasted = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let (shortest, longest) = PATIENCE;
    (lasted / 10).clamp(shortest, longest)
}

/// Verdicts whose status or reason differs from what the object showed: what Events tell of. What holds
/// from the start is no news but for `Ready`: an import of ten thousand objects would make thirty
/// thousand Events.
pub fn transitions<'a>(
    existing: &'a [Condition],
    verdicts: &'a [Verdict],
) -> impl Iterator<Item = &'a Verdict> {
    verdicts
        .iter()
        .filter(|verdict| match find(existing, verdict.kind) {
            None => !verdict.holds() || verdict.kind == operator_api::conditions::READY,
            Some(old) => old.status != verdict.status_text() || old.reason != verdict.reason,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_changes_with_the_status_only() {
        let pending = [Verdict::no("Ready", "Progressing", "shard 0 starts")];
        let first = merge(&[], &pending, Some(1), time(100));
        let waiting = [Verdict::no("Ready", "Draining", "shard 1 drains")];
        let second = merge(&first, &waiting, Some(2), time(200));
        assert_eq!(second[0].last_transition_time, Time(time(100)));
        assert_eq!(second[0].reason, "Draining");
        assert_eq!(second[0].observed_generation, Some(2));
        let ready = [Verdict::yes("Ready", "Ready", "")];
        let third = merge(&second, &ready, Some(2), time(300));
        assert_eq!(third[0].last_transition_time, Time(time(300)));
    }

    #[test]
    fn the_same_verdicts_change_nothing() {
        let verdicts = [
            Verdict::yes("Ready", "Ready", "x"),
            Verdict::unknown("DnsVerified", "LookupFailed", "y"),
        ];
        let first = merge(&[], &verdicts, Some(1), time(100));
        assert_eq!(merge(&first, &verdicts, Some(1), time(900)), first);
        assert_eq!(transitions(&first, &verdicts).count(), 0);
    }

    #[test]
    fn patience_grows_with_the_time_that_a_condition_has_not_held() {
        let since = merge(
            &[],
            &[Verdict::no("Programmed", "Pending", "")],
            Some(1),
            time(100),
        );
        for (now, seconds) in [(100, 300), (50, 300), (4100, 400), (90_000, 900)] {
            let wait = patience(&since, "Programmed", time(now));
            assert_eq!(wait, Duration::from_secs(seconds), "{now}");
        }
        assert_eq!(patience(&[], "Programmed", time(9)), Duration::from_mins(5));
    }

    #[test]
    fn what_held_for_an_older_generation_is_not_known_to_hold() {
        let shown = merge(
            &[],
            &[Verdict::yes("Programmed", "Programmed", "")],
            Some(1),
            time(1),
        );
        assert!(held(&shown, "Programmed", Some(1)));
        assert!(!held(&shown, "Programmed", Some(2)));
        assert!(!held(&[], "Programmed", None));
    }

    #[test]
    fn conditions_that_nobody_writes_any_more_go() {
        let old = merge(&[], &[Verdict::no("Old", "X", "")], Some(1), time(1));
        assert!(merge(&old, &[], Some(1), time(2)).is_empty());
    }
}
