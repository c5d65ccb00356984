use serde_json::json;

use super::*;

fn lease(holder: &str, renewed: &str) -> Lease {
    serde_json::from_value(json!({
        "metadata": {"name": "mailrelay-operator"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
    }))
    .unwrap()
}

#[test]
fn an_operator_is_at_work_while_it_renews_its_lease() {
    let now: Timestamp = "2026-05-04T10:00:00Z".parse().unwrap();
    let rows = [
        ("pod-a", "2026-05-04T09:59:55.000000Z", true),
        // A clock that is ahead.
        ("pod-a", "2026-05-04T10:00:10.000000Z", true),
        ("pod-a", "2026-05-04T09:59:20.000000Z", false),
        // Released.
        ("", "2026-05-04T09:59:55.000000Z", false),
    ];
    for (holder, renewed, held) in rows {
        assert_eq!(
            is_held(&lease(holder, renewed), now),
            held,
            "{holder} {renewed}"
        );
    }
    assert!(!is_held(&Lease::default(), now));
}

#[test]
fn a_relay_names_its_operators_namespace_and_nothing_else() {
    let relay = |value: &str| {
        let mut relay = SmtpRelay::new("outbox", operator_api::SmtpRelaySpec::default());
        relay
            .annotations_mut()
            .insert(OPERATOR_ANNOTATION.to_owned(), value.to_owned());
        relay
    };
    assert_eq!(named(&relay("mail-system")), Some("mail-system"));
    for none in ["", "../secrets", "Mail"] {
        assert_eq!(named(&relay(none)), None, "{none}");
    }
}
