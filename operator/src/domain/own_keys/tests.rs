use serde_json::json;

use super::*;
use crate::domain::keyring::{Plan, apply};
use crate::render::fixtures;
use relay_config::DkimAlgorithm;

fn domain(keys: &serde_json::Value) -> SendingDomain {
    let mut domain = fixtures::domain("shop", "web", 1, "shop.example");
    domain.spec.dkim = serde_json::from_value(json!({"keys": keys})).unwrap();
    domain
}

fn key(algorithm: DkimAlgorithm) -> SigningKey {
    keys::generate(algorithm).unwrap()
}

fn data(entry: &str, text: &str) -> SecretData {
    SecretData::from([(entry.to_owned(), text.as_bytes().to_vec())])
}

fn empty() -> Keyring {
    Keyring::read(&SecretData::new())
}

/// Reason and message.
fn fault(
    domain: &SendingDomain,
    secrets: &BTreeMap<String, Option<SecretData>>,
    keyring: &Keyring,
) -> (&'static str, String) {
    let violation = read(domain, secrets, keyring).unwrap_err();
    (violation.reason, violation.message)
}

#[test]
fn keys_are_read_from_the_entries_that_the_spec_names() {
    let (rsa, ed25519) = (
        key(DkimAlgorithm::RsaSha256),
        key(DkimAlgorithm::Ed25519Sha256),
    );
    let domain = domain(&json!([
        {"selector": "one", "secretRef": {"name": "rsa"}},
        {"selector": "two", "secretRef": {"name": "ed", "key": "ed.pem"}},
    ]));
    let secrets = BTreeMap::from([
        (
            "rsa".to_owned(),
            Some(data("private.pem", rsa.private.expose())),
        ),
        (
            "ed".to_owned(),
            Some(data("ed.pem", ed25519.private.expose())),
        ),
    ]);
    let found = read(&domain, &secrets, &empty()).unwrap();
    let expected = [("one".to_owned(), rsa), ("two".to_owned(), ed25519)];
    assert_eq!(found, BTreeMap::from(expected));
    assert_eq!(named_secrets(&domain).collect::<Vec<_>>(), ["rsa", "ed"]);
}

#[test]
fn each_fault_names_field_secret_and_remedy() {
    let one = domain(&json!([{"selector": "one", "secretRef": {"name": "own"}}]));
    let of = |data: Option<SecretData>| {
        fault(&one, &BTreeMap::from([("own".to_owned(), data)]), &empty())
    };
    let expected = "spec.dkim.keys[0].secretRef: there is no Secret own; create it";
    assert_eq!(of(None), ("SecretNotFound", expected.to_owned()));
    let expected = "spec.dkim.keys[0].secretRef: Secret own has no entry private.pem; add it";
    assert_eq!(
        of(Some(data("other", ""))),
        ("SecretNotFound", expected.to_owned())
    );
    let expected = "spec.dkim.keys[0]: entry private.pem of Secret own is no private key in PEM; give an \
                    unencrypted key, RSA or Ed25519";
    assert_eq!(
        of(Some(data("private.pem", "hunter2"))),
        ("KeysInvalid", expected.to_owned())
    );
    let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for unsuitable in [elliptic.as_str(), SHORT] {
        let (reason, message) = of(Some(data("private.pem", unsuitable)));
        assert_eq!(reason, "KeysInvalid");
        assert!(
            message.contains("neither an RSA key of 2048 to 4096 bits"),
            "{message}"
        );
    }
}

#[test]
fn there_is_one_key_of_each_algorithm_and_a_selector_keeps_its_algorithm() {
    let two = domain(&json!([
        {"selector": "one", "secretRef": {"name": "own", "key": "a"}},
        {"selector": "two", "secretRef": {"name": "own", "key": "b"}},
    ]));
    let text = key(DkimAlgorithm::Ed25519Sha256).private;
    let mut both = data("a", text.expose());
    both.extend(data(
        "b",
        key(DkimAlgorithm::Ed25519Sha256).private.expose(),
    ));
    let secrets = BTreeMap::from([("own".to_owned(), Some(both))]);
    let (reason, message) = fault(&two, &secrets, &empty());
    assert_eq!(reason, "KeysInvalid");
    assert!(
        message.starts_with("spec.dkim.keys[1]: selectors one and two"),
        "{message}"
    );

    let one = domain(&json!([{"selector": "one", "secretRef": {"name": "own", "key": "a"}}]));
    let made = BTreeMap::from([("one".to_owned(), key(DkimAlgorithm::RsaSha256))]);
    let stored = apply(
        &SecretData::new(),
        &Plan::default(),
        &made,
        jiff::Timestamp::UNIX_EPOCH,
    );
    let (_, message) = fault(&one, &secrets, &Keyring::read(&stored));
    assert!(
        message.contains("selector one is that of a key of another algorithm"),
        "{message}"
    );
}

/// Of 1024 bits, made for this test with openssl genrsa and used nowhere.
const SHORT: &str = include_str!("short.pem");
