use bytes::Bytes;
use relay_queue::Envelope;

use super::fault::{forbidden, hopeful, of_host_lookup, of_resolve};
use super::hosts::is_own;
use super::*;
use crate::delivery::resolve::ResolveError;
use crate::delivery::testing::envelope;

fn content(pieces: &[&str], smtputf8: bool) -> Content {
    let whole = pieces.concat();
    let envelope = Envelope {
        smtputf8,
        ..envelope(None, &["a@b"], &whole)
    };
    let pieces = pieces
        .iter()
        .map(|piece| Bytes::from((*piece).to_owned()))
        .collect();
    Content::new(&envelope, pieces)
}

#[test]
fn l8_only_headers_that_are_not_ascii_need_smtputf8() {
    let rows: [(&[&str], bool, bool, bool); 6] = [
        (&["Subject: x\r\n\r\nx\r\n"], true, false, false),
        (&["Subject: x\r\n\r\n\u{e5}\r\n"], true, true, false),
        (&["Subject: \u{e5}\r\n\r\nx\r\n"], true, true, true),
        // Headers in UTF-8 from a client that did not ask for it go as they always went.
        (&["Subject: \u{e5}\r\n\r\nx\r\n"], false, true, false),
        (&["Subject: x\r\n", "\r\n", "\u{e5}\r\n"], true, true, false),
        (&["Subject: x\r", "\n\r", "\n\u{e5}\r\n"], true, true, false),
    ];
    for (pieces, flag, eight_bit, utf8_headers) in rows {
        let content = content(pieces, flag);
        assert_eq!(content.eight_bit, eight_bit, "{pieces:?}");
        assert_eq!(content.utf8_headers, utf8_headers, "{pieces:?}");
        assert_eq!(content.size, pieces.concat().len() as u64);
    }
}

#[test]
fn l6_a_flag_without_octets_above_127_needs_nothing() {
    let envelope = Envelope {
        eight_bit: true,
        ..envelope(None, &["a@b"], "x")
    };
    assert!(!Content::new(&envelope, vec![Bytes::from_static(b"x")]).eight_bit);
}

#[test]
fn m12_own_addresses_are_known_without_a_packet() {
    assert!(is_own("127.0.0.1".parse().unwrap()));
    assert!(!is_own("192.0.2.1".parse().unwrap()));
}

#[test]
fn m7_m8_m11_and_null_exchangers_have_their_codes() {
    let name = || "a.test".to_owned();
    let temporary = ResolveError::Temporary {
        name: name(),
        cause: "Server Failure".into(),
    };
    let rows = [
        (
            ResolveError::NoSuchName(name()),
            Kind::Failed,
            "5.1.2",
            "5.4.4",
        ),
        (
            ResolveError::NoRecords(name()),
            Kind::Failed,
            "5.1.2",
            "5.4.4",
        ),
        (
            ResolveError::NullExchanger(name()),
            Kind::Failed,
            "5.1.10",
            "5.4.4",
        ),
        (
            ResolveError::NotAName(name()),
            Kind::Failed,
            "5.1.2",
            "5.4.4",
        ),
        (temporary, Kind::Deferred, "4.4.3", "4.4.3"),
    ];
    for (error, kind, of_domain, of_host) in rows {
        let fate = of_resolve(&error);
        assert_eq!(
            (fate.kind, fate.status.to_string()),
            (kind, of_domain.into()),
            "{error}"
        );
        assert!(!fate.host_fault);
        let fate = of_host_lookup(&error);
        assert_eq!(
            (fate.kind, fate.status.to_string()),
            (kind, of_host.into()),
            "{error}"
        );
        assert!(fate.host_fault);
        assert_eq!(hopeful(fate).kind, Kind::Deferred);
    }
    assert_eq!(forbidden("localhost").status.to_string(), "5.4.6");
}
