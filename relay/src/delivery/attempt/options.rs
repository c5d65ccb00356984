//! What the sender asked for, as the next server is told, and what REQUIRETLS (RFC 8689) forbids.

use relay_queue::{Options, Timestamp};
use relay_smtp::EnhancedCode;
use relay_smtp::client::Failure;
use relay_smtp::options::{ByMode, DeliverBy, MailOptions};

use crate::delivery::connection::{Connection, ConnectionError};
use crate::delivery::outcome::{Fate, Kind, Remote};

/// RFC 2852 section 4: nine digits.
const LONGEST_SECONDS: i64 = 999_999_999;

/// 5.7.30 is what RFC 8689 section 7 registers for this.
const REQUIRETLS_NEEDED: EnhancedCode = EnhancedCode::new(5, 7, 30);

/// RFC 3463 section 3.4: the system lacks what was selected.
const NOT_CAPABLE: EnhancedCode = EnhancedCode::new(5, 3, 3);

/// The parameters of `MAIL` with times as they are at `now`.
pub(super) fn now(options: &Options, now: Timestamp) -> MailOptions {
    MailOptions {
        give_back: options.give_back,
        envelope_id: options.envelope_id.clone(),
        deliver_by: options.deadline.map(|deadline| DeliverBy {
            seconds: seconds_until(deadline.at, now),
            mode: deadline.mode,
            trace: deadline.trace,
        }),
        hold: None,
        priority: options.priority,
        require_tls: options.require_tls,
    }
}

/// Rounded up, so that a time to come is never none.
fn seconds_until(at: Timestamp, now: Timestamp) -> i64 {
    let seconds =
        |milliseconds: u64| i64::try_from(milliseconds.div_ceil(1000)).unwrap_or(i64::MAX);
    if at >= now {
        seconds(at.0 - now.0).min(LONGEST_SECONDS)
    } else {
        -seconds(now.0 - at.0).min(LONGEST_SECONDS)
    }
}

/// Why a message with REQUIRETLS must not go over a connection.
pub(super) fn unprotected(connection: &Connection) -> Option<Fate> {
    let text = if !connection.is_verified() {
        "the message requires TLS, and the server has not proved its name"
    } else if !connection.client().capabilities().require_tls {
        "the message requires TLS on its whole way, and the server does not offer REQUIRETLS"
    } else {
        return None;
    };
    Some(refused(connection.remote(), text))
}

/// Why a message that is to come back when it is late must not go over a connection: from a server
/// without DELIVERBY it never would (RFC 2852 section 4.1).
pub(super) fn unwatched(options: &Options, connection: &Connection) -> Option<Fate> {
    let deadline = options.deadline?;
    let watched = connection.client().capabilities().deliver_by.is_some();
    if watched || deadline.mode == ByMode::Notify {
        return None;
    }
    let text = "the message is to come back if it is late (BY with mode R), and the server does not \
                offer DELIVERBY; send it with mode N, or without BY";
    let remote = Some(connection.remote().clone());
    Some(Fate::host(Kind::Failed, NOT_CAPABLE, remote, text))
}

/// A server without TLS will have none tomorrow: the sender is told at once. What may pass, such as
/// a handshake that fails, is tried again.
pub(super) fn without_tls(fate: Fate, error: &ConnectionError) -> Fate {
    match (error, &fate.remote) {
        (
            ConnectionError::Session(Failure::TlsNotOffered | Failure::TlsRefused(_)),
            Some(remote),
        ) => refused(
            remote,
            "the message requires TLS, and the server does not offer it",
        ),
        _ => fate,
    }
}

fn refused(remote: &Remote, text: &'static str) -> Fate {
    Fate::host(Kind::Failed, REQUIRETLS_NEEDED, Some(remote.clone()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_time_is_told_in_whole_seconds() {
        let rows = [
            (61_500, 62),
            (1, 1),
            (0, 0),
            (-1, -1),
            (-61_500, -62),
            (i64::MAX, LONGEST_SECONDS),
        ];
        let now = Timestamp(1_790_000_000_000);
        for (milliseconds, seconds) in rows {
            let at = Timestamp(now.0.saturating_add_signed(milliseconds));
            assert_eq!(seconds_until(at, now), seconds);
        }
    }
}
