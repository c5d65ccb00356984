//! Objects for the tests of this crate. Names of fixtures differ from those of the product.

use std::collections::BTreeMap;

use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use serde_json::{Value, json};

use super::Namespaces;

#[expect(
    clippy::needless_pass_by_value,
    reason = "json! at the call reads better without a reference"
)]
fn object<T: serde::de::DeserializeOwned>(
    kind: &str,
    namespace: &str,
    name: &str,
    second: u32,
    spec: Value,
) -> T {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": format!("uid-{namespace}-{name}"),
            "generation": 3,
            "creationTimestamp": format!("2026-11-25T00:00:{second:02}Z"),
        },
        "spec": spec,
    }))
    .unwrap()
}

/// `mail/outbox`.
pub(crate) fn relay(spec: Value) -> SmtpRelay {
    object("SmtpRelay", "mail", "outbox", 0, spec)
}

/// A domain for `mail/outbox`.
pub(crate) fn domain(namespace: &str, name: &str, second: u32, domain: &str) -> SendingDomain {
    let spec = json!({"domain": domain, "relayRef": {"namespace": "mail", "name": "outbox"}});
    object("SendingDomain", namespace, name, second, spec)
}

/// A credential for `mail/outbox`.
pub(crate) fn credential(
    namespace: &str,
    name: &str,
    second: u32,
    username: Option<&str>,
) -> SmtpCredential {
    let spec = json!({"relayRef": {"namespace": "mail", "name": "outbox"}, "username": username});
    object("SmtpCredential", namespace, name, second, spec)
}

/// `mail`, `shop` (team: web) and `bank` (team: money).
pub(crate) fn namespaces() -> Namespaces {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    };
    BTreeMap::from([
        ("mail".to_owned(), labels(&[])),
        ("shop".to_owned(), labels(&[("team", "web")])),
        ("bank".to_owned(), labels(&[("team", "money")])),
    ])
}

/// A spec that allows every namespace.
pub(crate) fn open() -> Value {
    json!({
        "domains": {"namespaces": {"from": "All"}},
        "clients": {"namespaces": {"from": "All"}},
    })
}
