use serde_json::json;

use super::*;
use crate::testing::{answer, failure, pair};

const NOW: &str = "2026-05-04T10:00:00Z";

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

/// Relay `post/outbox`, in the hand of the operator in namespace `ops-a`.
fn relay_of_another() -> SmtpRelay {
    let mut relay = SmtpRelay::new("outbox", operator_api::SmtpRelaySpec::default());
    relay.metadata.namespace = Some("post".to_owned());
    let annotation = (OPERATOR_ANNOTATION.to_owned(), "ops-a".to_owned());
    relay.metadata.annotations = Some([annotation].into());
    relay
}

fn settings(own: Option<&str>) -> Settings {
    Settings {
        relay_image: String::new(),
        dns_servers: Vec::new(),
        namespace: own.map(str::to_owned),
        scope: Scope::Namespaces(vec!["post".to_owned()]),
    }
}

#[tokio::test]
async fn a_relay_that_its_operator_no_longer_watches_is_taken_over() {
    let now: Timestamp = NOW.parse().unwrap();
    let other = Hand::Other("ops-a".to_owned());
    let rows = [
        // As an operator before this annotation writes it.
        (None, &other),
        (Some("*"), &other),
        (Some("press,post"), &other),
        (Some("press,poster"), &Hand::Own),
    ];
    for (watched, expected) in rows {
        let mut lease = lease("pod-a", "2026-05-04T09:59:55.000000Z");
        if let Some(watched) = watched {
            let annotations = lease.annotations_mut();
            annotations.insert(WATCHED_ANNOTATION.to_owned(), watched.to_owned());
        }
        let (client, mut server) = pair();
        let (relay, own, lease) = (relay_of_another(), settings(Some("ops-b")), json!(lease));
        let path = "/namespaces/ops-a/leases/mailrelay-operator";
        let (hand, _) = tokio::join!(
            of_relay(&client, &own, &relay, now),
            answer(&mut server, "GET", path, 200, &lease)
        );
        assert_eq!(hand, *expected, "{watched:?}");
    }
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_leaves_open_whose_a_relay_is() {
    let now: Timestamp = NOW.parse().unwrap();
    let relay = relay_of_another();
    let rows = [
        (403, "Forbidden", Hand::Unknown),
        (500, "InternalError", Hand::Unknown),
        (404, "NotFound", Hand::Own),
    ];
    for (code, reason, expected) in rows {
        let (client, mut server) = pair();
        let (own, failure) = (settings(Some("ops-b")), failure(code, reason));
        let (hand, _) = tokio::join!(
            of_relay(&client, &own, &relay, now),
            answer(
                &mut server,
                "GET",
                "/leases/mailrelay-operator",
                code,
                &failure
            )
        );
        assert_eq!(hand, expected, "{code}");
    }
    // Nobody answers: nothing is asked.
    let (client, _server) = pair();
    for own in [Some("ops-a"), None] {
        assert_eq!(
            of_relay(&client, &settings(own), &relay, now).await,
            Hand::Own
        );
    }
}

#[test]
fn what_is_watched_is_read_back_as_it_was_written() {
    for scope in [
        Scope::Cluster,
        Scope::Namespaces(vec!["post".to_owned(), "press".to_owned()]),
    ] {
        assert_eq!(Scope::parse(Some(&scope.text())), scope);
    }
    assert_eq!(Scope::parse(None), Scope::Cluster);
}
