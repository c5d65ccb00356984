use serde_json::{Value, json};

use super::*;

#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better with the JSON in place"
)]
fn relay(tls: Value) -> SmtpRelay {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "post", "uid": "7b1c"},
        "spec": {"tls": tls, "hostname": "mail.shop.example"},
    }))
    .unwrap()
}

fn found(conditions: &Value) -> Lookup {
    let wanted = wanted(
        &relay(json!({"issuerRef": {"name": "inner"}})),
        &Lookup::Known(None),
    );
    let mut certificate = wanted.unwrap();
    certificate.status = serde_json::from_value(json!({"conditions": conditions})).unwrap();
    Lookup::Known(Some(Box::new(certificate)))
}

#[test]
fn a_certificate_is_asked_for_with_the_names_of_the_service_or_those_given() {
    let known = Lookup::Known(None);
    let own = wanted(&relay(json!({"issuerRef": {"name": "inner"}})), &known).unwrap();
    insta::assert_yaml_snapshot!("certificate", own);
    let given = relay(json!({
        "issuerRef": {"name": "public", "kind": "ClusterIssuer", "group": "issuers.example"},
        "dnsNames": ["smtp.shop.example"],
    }));
    let given = wanted(&given, &known).unwrap().spec;
    assert_eq!(given.dns_names, ["smtp.shop.example"]);
    assert_eq!(
        serde_json::to_value(given.issuer_ref).unwrap(),
        json!({"name": "public", "kind": "ClusterIssuer", "group": "issuers.example"})
    );
}

#[test]
fn nothing_is_asked_for_without_an_issuer_or_without_cert_manager() {
    let issued = relay(json!({"issuerRef": {"name": "inner"}}));
    assert!(
        wanted(
            &relay(json!({"secretName": "bought"})),
            &Lookup::Known(None)
        )
        .is_none()
    );
    for lookup in [Lookup::Unknown, Lookup::Refused("no".to_owned())] {
        assert!(wanted(&issued, &lookup).is_none(), "{lookup:?}");
    }
}

#[test]
fn what_keeps_a_certificate_away_is_named_with_its_remedy() {
    let issued = relay(json!({"issuerRef": {"name": "inner"}}));
    let pending = json!([
        {"type": "Issuing", "status": "True", "message": "x"},
        {"type": "Ready", "status": "False", "message": "Issuer inner not found."},
    ]);
    let rows = [
        (
            Lookup::Unknown,
            "CertManagerUnavailable",
            "install it, or remove the field",
        ),
        (
            Lookup::Refused("certificates is forbidden".to_owned()),
            "CertManagerUnavailable",
            "set certManager.enabled",
        ),
        (
            Lookup::Known(None),
            "CertificatePending",
            "was just asked for",
        ),
        (
            found(&json!([])),
            "CertificatePending",
            "has not looked at it",
        ),
        (
            found(&pending),
            "CertificatePending",
            "Issuer inner not found; `kubectl describe certificate outbox-tls-issued`",
        ),
    ];
    for (lookup, reason, words) in rows {
        let violation = missing(&issued, &lookup).unwrap();
        assert_eq!(violation.reason, reason, "{lookup:?}");
        assert!(violation.message.starts_with("spec.tls.issuerRef: "));
        assert!(violation.message.contains(words), "{}", violation.message);
    }
    let own = relay(json!({"secretName": "bought"}));
    assert!(missing(&own, &Lookup::NotAsked).is_none());
}

#[test]
fn o7_a_certificate_that_somebody_keeps_is_waited_for_and_not_for_ever() {
    let now: Timestamp = "2026-05-04T10:00:00Z".parse().unwrap();
    let relay = relay(json!({"secretName": "bought"}));
    let deleted = |deleted: Option<&str>, relay: &SmtpRelay| {
        let Lookup::Known(Some(mut certificate)) = found(&json!([])) else {
            panic!("no Certificate");
        };
        certificate.metadata.deletion_timestamp =
            deleted.map(|deleted| serde_json::from_value(json!(deleted)).unwrap());
        let lookup = Lookup::Known(Some(certificate));
        format!("{:?}", rest(relay, &lookup, now))
            .chars()
            .take(6)
            .collect::<String>()
    };
    assert_eq!(deleted(None, &relay), "Delete");
    assert_eq!(deleted(Some("2026-05-04T09:59:30Z"), &relay), "Wait");
    assert_eq!(deleted(Some("2026-05-04T09:58:30Z"), &relay), "Secret");
    let mut anew = relay.clone();
    anew.metadata.uid = Some("9d0e".to_owned());
    assert_eq!(deleted(None, &anew), "Nothin");
    assert!(matches!(
        rest(&relay, &Lookup::Known(None), now),
        Rest::Secret
    ));
}

#[test]
fn only_what_cert_manager_wrote_for_the_relay_is_its_secret() {
    let rows = [
        ("outbox", "issued-certificate", json!([]), true),
        (
            "outbox",
            "issued-certificate",
            json!([("Certificate", "outbox-tls-issued")]),
            true,
        ),
        // An SmtpCredential with this secretName.
        (
            "outbox",
            "binding",
            json!([("SmtpCredential", "orders")]),
            false,
        ),
        (
            "outbox",
            "issued-certificate",
            json!([("SmtpCredential", "orders")]),
            false,
        ),
        ("inbox", "issued-certificate", json!([]), false),
        ("outbox", "binding", json!([]), false),
    ];
    for (name, component, owners, expected) in rows {
        let owner = |owner: &Value| json!({"apiVersion": "v1", "kind": owner[0], "name": owner[1], "uid": "1f"});
        let owners: Vec<Value> = owners.as_array().unwrap().iter().map(owner).collect();
        let secret: Secret = serde_json::from_value(json!({"metadata": {
            "name": "outbox-tls-issued", "ownerReferences": owners,
            "labels": {names::RELAY_LABEL: name, COMPONENT_LABEL: component},
        }}))
        .unwrap();
        assert_eq!(
            is_issued(&secret, "outbox"),
            expected,
            "{name} {component} {owners:?}"
        );
    }
}

#[test]
fn a_certificate_in_force_that_is_not_renewed_is_told() {
    let issued = relay(json!({"issuerRef": {"name": "inner"}}));
    let ready = |status: &str| {
        let condition = json!({"type": "Ready", "status": status, "message": "Renewal failed"});
        notice(&issued, &found(&json!([condition])))
    };
    assert_eq!(ready("True"), None);
    assert!(ready("False").unwrap().ends_with("ready: Renewal failed"));
    assert!(notice(&issued, &Lookup::Unknown).is_some());
}
