use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::*;
use crate::labels;
use crate::render::fixtures::{credential, namespaces, open, relay};

fn orders() -> SmtpCredential {
    credential("shop", "orders", 5, None)
}

fn seen(relay: Option<SmtpRelay>) -> Seen {
    Seen {
        relay: relay.map(Arc::new),
        namespaces: namespaces().into(),
        rivals: vec![Arc::new(orders())],
        secret: None,
        terminating: false,
        lacks_room: false,
        authorities: Some("-----BEGIN".to_owned()),
    }
}

/// A Secret of the credential's own with an authority in it.
fn own_secret() -> Secret {
    Secret {
        metadata: labels::owned_by(&orders(), "orders-smtp".into(), labels::common("binding")),
        data: Some([("ca.crt".to_owned(), ByteString(b"old".to_vec()))].into()),
        ..Secret::default()
    }
}

fn reasons(seen: &Seen) -> (&'static str, &'static str) {
    let judged = run(&orders(), seen);
    (
        judged
            .accepted
            .err()
            .map_or("", |violation| violation.reason),
        judged
            .endpoint
            .err()
            .map_or("", |violation| violation.reason),
    )
}

#[test]
fn the_secret_is_written_when_nothing_stands_against_it() {
    let listeners = |value| {
        let mut spec = open();
        spec["listeners"] = json!([{"name": "in", "port": 2525, "tls": value}]);
        spec
    };
    let mut tls = open();
    tls["tls"] = json!({"secretName": "public"});
    // A public issuer, whose Secret has no authority.
    let mut issued = open();
    issued["tls"] = json!({"issuerRef": {"name": "public"}});
    let rows = [
        (seen(Some(relay(open()))), ("", "")),
        (seen(None), ("RelayNotFound", "NotAccepted")),
        (
            seen(Some(relay(json!({})))),
            ("NotAllowedByRelay", "NotAccepted"),
        ),
        (
            seen(Some(relay(listeners("None")))),
            ("RelayNotAccepted", "NotAccepted"),
        ),
        (seen(Some(relay(listeners("StartTls")))), ("", "")),
        (
            Seen {
                rivals: vec![Arc::new(credential(
                    "bank",
                    "first",
                    1,
                    Some("shop.orders"),
                ))],
                ..seen(Some(relay(open())))
            },
            ("Conflict", "NotAccepted"),
        ),
        (
            Seen {
                secret: Some(Secret::default()),
                ..seen(Some(relay(open())))
            },
            ("", "SecretConflict"),
        ),
        (
            Seen {
                terminating: true,
                ..seen(Some(relay(open())))
            },
            ("", "Pending"),
        ),
        (
            Seen {
                authorities: None,
                ..seen(Some(relay(open())))
            },
            ("", "Pending"),
        ),
        (
            Seen {
                authorities: None,
                ..seen(Some(relay(tls)))
            },
            ("", ""),
        ),
        (
            Seen {
                lacks_room: true,
                ..seen(Some(relay(open())))
            },
            ("RelayFull", "NotAccepted"),
        ),
        (
            Seen {
                authorities: None,
                ..seen(Some(relay(issued)))
            },
            ("", ""),
        ),
    ];
    for (seen, expected) in rows {
        assert_eq!(reasons(&seen), expected);
    }
}

#[test]
fn an_application_keeps_the_authority_that_it_has_until_there_is_another() {
    let authority = |seen: &Seen| run(&orders(), seen).endpoint.unwrap().authorities;
    let mut seen = Seen {
        secret: Some(own_secret()),
        ..seen(Some(relay(open())))
    };
    assert_eq!(authority(&seen).as_deref(), Some("-----BEGIN"));
    seen.authorities = None;
    assert_eq!(authority(&seen).as_deref(), Some("old"));
}

#[test]
fn a_conflict_names_the_secret() {
    let seen = Seen {
        secret: Some(Secret::default()),
        ..seen(Some(relay(open())))
    };
    let violation = run(&orders(), &seen).endpoint.unwrap_err();
    assert!(
        violation
            .message
            .starts_with("Secret orders-smtp exists and was not made for this")
    );
}
