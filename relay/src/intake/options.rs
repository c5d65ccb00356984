//! What the client asked for, as the queue keeps it: with times made absolute. Pure.

use std::collections::BTreeMap;

use relay_queue::{Deadline, Options, Timestamp};
use relay_smtp::options::{MailOptions, RecipientOptions};

/// Times count from `now`, and a time to deliver by from the release of a message that is held. A
/// release that is past is none.
pub(super) fn absolute(
    mail: MailOptions,
    recipients: BTreeMap<u32, RecipientOptions>,
    now: Timestamp,
) -> Options {
    let release_at = mail.hold.and_then(|hold| {
        let at = Timestamp(hold.release(now.0.div_ceil(1000)).saturating_mul(1000));
        (at > now).then_some(at)
    });
    let start = release_at.unwrap_or(now);
    let deadline = mail.deliver_by.map(|by| Deadline {
        at: Timestamp(
            start
                .0
                .saturating_add_signed(by.seconds.saturating_mul(1000)),
        ),
        mode: by.mode,
        trace: by.trace,
    });
    Options {
        give_back: mail.give_back,
        envelope_id: mail.envelope_id,
        recipients,
        release_at,
        deadline,
        priority: mail.priority,
        require_tls: mail.require_tls,
        tls_optional: false,
        tls_report: false,
        tag: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_smtp::options::{ByMode, DeliverBy, Hold};

    const NOW: Timestamp = Timestamp(1_790_000_000_500);

    fn of(hold: Option<Hold>, seconds: Option<i64>) -> Options {
        let mail = MailOptions {
            hold,
            deliver_by: seconds.map(|seconds| DeliverBy {
                seconds,
                mode: ByMode::Notify,
                trace: true,
            }),
            ..MailOptions::default()
        };
        absolute(mail, BTreeMap::new(), NOW)
    }

    #[test]
    fn a_message_is_never_released_early_and_a_past_release_is_none() {
        let rows = [
            (None, None),
            (Some(Hold::For(60)), Some(1_790_000_061_000)),
            (Some(Hold::Until(1_790_000_001)), Some(1_790_000_001_000)),
            (Some(Hold::Until(1_790_000_000)), None),
            (Some(Hold::Until(0)), None),
        ];
        for (hold, expected) in rows {
            assert_eq!(
                of(hold, None).release_at,
                expected.map(Timestamp),
                "{hold:?}"
            );
        }
    }

    #[test]
    fn a_time_to_deliver_by_counts_from_the_release() {
        let at = |hold, seconds| of(hold, Some(seconds)).deadline.unwrap().at.0;
        assert_eq!(at(None, 60), NOW.0 + 60_000);
        assert_eq!(at(None, -60), NOW.0 - 60_000);
        assert_eq!(at(Some(Hold::For(60)), 60), 1_790_000_121_000);
    }

    #[test]
    fn nothing_asked_for_leaves_nothing_in_the_queue() {
        let options = absolute(MailOptions::default(), BTreeMap::new(), NOW);
        assert_eq!(options, Options::default());
    }
}
