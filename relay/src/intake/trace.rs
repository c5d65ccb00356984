//! Fields that the relay adds: `Received` (RFC 5321 section 4.4, RFC 3848), and `Date` and
//! `Message-ID` where the client left them out (RFC 6409 sections 8.2 and 8.3, case R48).
//!
//! Everything in them that a client or a file said is made harmless first.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::session::SessionId;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use relay_queue::{MessageId, Timestamp};
use relay_smtp::Address;

/// Longest client name that is repeated; the longest that DNS has.
const LONGEST_NAME: usize = 255;

/// Where a message came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The session's name in the log.
    pub(crate) session: SessionId,
    /// Name of the listener.
    pub(crate) listener: String,
    /// Address of the client.
    pub(crate) peer: SocketAddr,
    /// What the client calls itself.
    pub(crate) client_name: String,
    /// The `with` word.
    pub(crate) protocol: &'static str,
    /// Who it proved to be.
    pub(crate) identity: Option<String>,
    /// TLS version and cipher suite.
    pub(crate) tls: Option<String>,
}

/// Who stamps.
#[derive(Clone, Copy)]
pub(super) struct Stamp<'a> {
    pub(super) hostname: &'a str,
    pub(super) instance: &'a str,
    /// Whether the client and the instance stay unnamed.
    pub(super) hide_clients: bool,
    pub(super) id: MessageId,
    pub(super) now: Timestamp,
}

/// Appends the `Received` field.
pub(super) fn received(
    out: &mut String,
    origin: &Origin,
    stamp: Stamp<'_>,
    recipients: &[Address],
) {
    // Writing to a string cannot fail.
    let _ = if stamp.hide_clients {
        write!(out, "Received: by {}", safe(stamp.hostname))
    } else {
        let peer = match origin.peer.ip().to_canonical() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        let name = safe(&origin.client_name);
        let name = if name.is_empty() { &peer } else { &name };
        write!(
            out,
            "Received: from {name} ({peer})\r\n\tby {} ({})",
            safe(stamp.hostname),
            safe(stamp.instance)
        )
    };
    let _ = write!(out, " with {} id {}", origin.protocol, stamp.id);
    if let Some(tls) = &origin.tls {
        let _ = write!(out, "\r\n\t({})", safe(tls));
    }
    // With one recipient nobody's address is shown to another.
    if let [recipient] = recipients
        && !recipient.is_utf8()
    {
        let _ = write!(out, "\r\n\tfor <{recipient}>");
    }
    let _ = write!(out, ";\r\n\t{}\r\n", date(stamp.now));
}

/// What is left of a `Received` that a client sent when clients are hidden: that there was a hop,
/// for those who count them, and when. `None` for one that a relay of this name wrote under the same
/// rule.
pub(super) fn hidden(value: &[u8], hostname: &str) -> Option<String> {
    let value = String::from_utf8_lossy(value);
    let (tokens, date) = value.rsplit_once(';').unwrap_or((&value, ""));
    let own = tokens
        .trim_start()
        .strip_prefix("by ")
        .and_then(|rest| rest.strip_prefix(hostname))
        .is_some_and(|rest| rest.starts_with(" with "));
    (!own).then(|| {
        let date: Vec<&str> = date.split_ascii_whitespace().take(6).collect();
        format!(
            "Received: by hidden.invalid;\r\n\t{}\r\n",
            // It may be cut.
            safe(&date.join(" ")).trim_end()
        )
    })
}

/// Whether a `Received` was written by the server of this name.
pub(super) fn is_by(value: &[u8], hostname: &str) -> bool {
    let value = String::from_utf8_lossy(value);
    let mut words = value.split_ascii_whitespace();
    words.any(|word| word.eq_ignore_ascii_case("by"))
        && words
            .next()
            .is_some_and(|name| name.trim_end_matches(';').eq_ignore_ascii_case(hostname))
}

/// Appends `Date`.
pub(super) fn date_field(out: &mut String, now: Timestamp) {
    let _ = write!(out, "Date: {}\r\n", date(now));
}

/// Appends `Message-ID`, with the author's domain as its right side.
pub(super) fn message_id_field(out: &mut String, id: MessageId, domain: &str) {
    let _ = write!(out, "Message-ID: <{id}@{domain}>\r\n");
}

/// RFC 5322 section 3.3, in UTC. A time that is out of all bounds becomes the epoch.
fn date(now: Timestamp) -> String {
    let seconds = i64::try_from(now.0 / 1000).unwrap_or_default();
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    DateTimePrinter::new()
        .zoned_to_string(&time.to_zoned(TimeZone::UTC))
        .unwrap_or_default()
}

/// What may stand in a trace field without meaning anything there.
fn safe(text: &str) -> String {
    text.chars()
        .take(LONGEST_NAME)
        .map(|character| match character {
            ' ' | '.' | '-' | '_' | ':' | '[' | ']' | '/' | ',' | '+' => character,
            _ if character.is_ascii_alphanumeric() => character,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            session: SessionId::random(),
            listener: "submission".into(),
            peer: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            client_name: "app.shop.svc".into(),
            protocol: "ESMTPSA",
            identity: Some("credential:shop/checkout".into()),
            tls: Some("TLSv1.3 TLS13_AES_256_GCM_SHA384".into()),
        }
    }

    const STAMP: Stamp<'static> = Stamp {
        hostname: "outbox.example",
        instance: "outbox-0",
        hide_clients: false,
        id: MessageId::new(Timestamp(1_790_000_000_000), 5),
        now: Timestamp(1_790_000_000_999),
    };

    fn render(origin: &Origin, recipients: &[&str]) -> String {
        let recipients: Vec<_> = recipients
            .iter()
            .map(|recipient| Address::parse(recipient).unwrap())
            .collect();
        let mut out = String::new();
        received(&mut out, origin, STAMP, &recipients);
        out
    }

    #[test]
    fn the_trace_says_who_took_it_from_whom_how_and_when() {
        assert_eq!(
            render(&origin(), &["bob@dest.example"]),
            format!(
                "Received: from app.shop.svc ([192.0.2.7])\r\n\tby outbox.example (outbox-0) with ESMTPSA \
                 id {}\r\n\t(TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\tfor <bob@dest.example>;\r\n\t\
                 Mon, 21 Sep 2026 14:13:20 +0000\r\n",
                STAMP.id
            )
        );
    }

    #[test]
    fn a_hidden_client_and_its_pod_are_not_named() {
        let stamp = Stamp {
            hide_clients: true,
            ..STAMP
        };
        let mut out = String::new();
        received(&mut out, &origin(), stamp, &[]);
        assert_eq!(
            out,
            format!(
                "Received: by outbox.example with ESMTPSA id {}\r\n\t(TLSv1.3 TLS13_AES_256_GCM_SHA384);\r\n\t\
                 Mon, 21 Sep 2026 14:13:20 +0000\r\n",
                STAMP.id
            )
        );
    }

    #[test]
    fn of_a_clients_received_only_the_date_stays_and_the_relays_own_is_left_alone() {
        for value in [
            " from pod-7 ([10.1.2.3])\r\n\tby side.car (x;y) with ESMTP;\r\n\tMon, 21 Sep 2026 14:13:20 +0200 (CEST)\r\n",
            " by pod-7 (Postfix, from userid 33); Mon, 21 Sep 2026 14:13:20 +0200\r\n",
        ] {
            let left = hidden(value.as_bytes(), "outbox.example").unwrap();
            assert_eq!(
                left,
                "Received: by hidden.invalid;\r\n\tMon, 21 Sep 2026 14:13:20 +0200\r\n"
            );
        }
        assert_eq!(
            hidden(b" from pod-7", "x").as_deref(),
            Some("Received: by hidden.invalid;\r\n\t\r\n")
        );
    }

    #[test]
    fn what_is_hidden_already_stays() {
        let stamp = Stamp {
            hide_clients: true,
            ..STAMP
        };
        let mut own = String::new();
        received(&mut own, &origin(), stamp, &[]);
        assert_eq!(hidden(&own.as_bytes()[9..], STAMP.hostname), None);
        assert!(is_by(&own.as_bytes()[9..], STAMP.hostname));
    }

    #[test]
    fn the_server_of_a_received_is_known() {
        assert!(is_by(
            b" from a (b)\r\n\tby Outbox.example (outbox-0) with SMTP",
            "outbox.example"
        ));
        assert!(is_by(b" by outbox.example; x", "outbox.example"));
        assert!(!is_by(
            b" from outbox.example\r\n\tby other.example; x",
            "outbox.example"
        ));
        assert!(!is_by(b"", "outbox.example"));
    }

    #[test]
    fn r50_several_recipients_are_not_shown_to_each_other() {
        assert!(!render(&origin(), &["a@dest.example", "b@dest.example"]).contains("dest.example"));
    }

    #[test]
    fn a_clients_name_cannot_forge_the_trace() {
        let mut origin = origin();
        origin.client_name = "x)\r\nFrom: <a@b>;\u{e5}".into();
        origin.tls = None;
        let text = render(&origin, &["p\u{e5}l@dest.example", "b@c"]);
        assert!(
            text.starts_with("Received: from x???From: ?a?b??? ([192.0.2.7])"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
        origin.client_name = String::new();
        origin.peer = "[2001:db8::1]:25".parse().unwrap();
        assert!(
            render(&origin, &[])
                .starts_with("Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])")
        );
    }
}
