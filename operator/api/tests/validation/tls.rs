//! The listeners' certificate of an SmtpRelay.

use super::*;

#[test]
fn a_certificate_has_one_source() {
    for good in [
        json!({}),
        json!({"secretName": "bought"}),
        json!({"issuerRef": {"name": "inner"}}),
        json!({
            "issuerRef": {"name": "public", "kind": "ClusterIssuer", "group": "issuers.example"},
            "dnsNames": ["smtp.shop.example", "outbox"],
        }),
    ] {
        assert_eq!(relay(&json!({"tls": good})), "", "{good}");
    }
    let issuer = json!({"name": "inner"});
    for (bad, expected) in [
        (
            json!({"secretName": "bought", "issuerRef": issuer}),
            "secretName and issuerRef exclude each other",
        ),
        (
            json!({"secretName": "bought", "dnsNames": ["smtp.shop.example"]}),
            "dnsNames are for a certificate of cert-manager",
        ),
        (
            json!({"issuerRef": issuer, "dnsNames": ["*.shop.example"]}),
            "each entry must be a host name in lower case",
        ),
    ] {
        refused(&relay(&json!({"tls": bad})), expected, &bad);
    }
}
