use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::*;
use crate::domain::dns::Check;
use crate::domain::keyring::apply;
use crate::domain::keys;
use crate::labels;
use crate::render::fixtures::{domain, namespaces, open, relay};

fn now() -> Timestamp {
    Timestamp::from_second(1_795_564_800).unwrap()
}

fn shop() -> SendingDomain {
    let mut domain = domain("shop", "web", 5, "shop.example");
    domain.spec.dkim = serde_json::from_value(json!({"algorithms": ["Ed25519Sha256"]})).unwrap();
    domain
}

fn seen(relay: Option<SmtpRelay>) -> Seen {
    Seen {
        relay: relay.map(Arc::new),
        namespaces: namespaces().into(),
        rivals: vec![Arc::new(shop())],
        secret: None,
        own: BTreeMap::new(),
        terminating: false,
        lacks_room: false,
        check: Check::default(),
        spread: BTreeMap::new(),
    }
}

/// The key Secret that a first reconcile makes.
fn first_secret(domain: &SendingDomain, seen: &Seen) -> Secret {
    let plan = run(domain, seen, now()).keys.unwrap();
    let make = |(selector, algorithm): (&String, &DkimAlgorithm)| {
        (selector.clone(), keys::generate(*algorithm).unwrap())
    };
    let made: BTreeMap<_, _> = plan.make.iter().map(make).collect();
    let data = apply(&SecretData::new(), &plan, &made, now());
    Secret {
        metadata: labels::owned_by(domain, "web-dkim".into(), labels::common("dkim")),
        data: Some(
            data.into_iter()
                .map(|(entry, content)| (entry, ByteString(content)))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// Reasons of `accepted` and `keys`; an empty one where nothing is wrong.
fn reasons(domain: &SendingDomain, seen: &Seen) -> (&'static str, &'static str) {
    let judged = run(domain, seen, now());
    (
        judged
            .accepted
            .err()
            .map_or("", |violation| violation.reason),
        judged.keys.err().map_or("", |violation| violation.reason),
    )
}

#[test]
fn keys_are_made_as_soon_as_nothing_but_the_relay_is_missing() {
    let mut unusable = relay(open());
    unusable.status = serde_json::from_value(json!({"conditions": [{
        "type": "Accepted", "status": "False", "reason": "InvalidSpec", "message": "",
        "lastTransitionTime": "2026-11-25T00:00:00Z"}]}))
    .unwrap();
    let older = Arc::new(domain("bank", "first", 1, "shop.example"));
    let rows = [
        (seen(Some(relay(open()))), ("", "")),
        (seen(None), ("RelayNotFound", "")),
        (seen(Some(unusable)), ("RelayNotAccepted", "")),
        (
            seen(Some(relay(json!({})))),
            ("NotAllowedByRelay", "KeysPending"),
        ),
        (
            Seen {
                rivals: vec![older, Arc::new(shop())],
                ..seen(Some(relay(open())))
            },
            ("Conflict", "KeysPending"),
        ),
        (
            Seen {
                terminating: true,
                ..seen(Some(relay(open())))
            },
            ("", "KeysPending"),
        ),
        (
            Seen {
                secret: Some(Secret::default()),
                ..seen(Some(relay(open())))
            },
            ("", "KeysInvalid"),
        ),
    ];
    for (seen, expected) in rows {
        assert_eq!(reasons(&shop(), &seen), expected);
    }
}

#[test]
fn existing_keys_stay_in_use_when_the_domain_is_refused() {
    let secret = first_secret(&shop(), &seen(Some(relay(open()))));
    let refused = Seen {
        secret: Some(secret),
        terminating: true,
        ..seen(Some(relay(json!({}))))
    };
    let plan = run(&shop(), &refused, now()).keys.unwrap();
    assert_eq!((plan.make.len(), plan.active.len()), (0, 1));
}

#[test]
fn selectors_differ_between_objects_of_one_domain_and_stay_the_same_for_each() {
    let mut twin = shop();
    twin.metadata.uid = Some("another".into());
    assert_eq!(prefix(&shop()), prefix(&shop()));
    assert_ne!(prefix(&shop()), prefix(&twin));
    assert_eq!(prefix(&shop()).len(), 8);
    assert!(prefix(&shop()).starts_with("mr"));
    twin.spec.dkim = serde_json::from_value(json!({"selectorPrefix": "mail"})).unwrap();
    assert_eq!(prefix(&twin), "mail");
}

#[test]
fn both_algorithms_are_the_default() {
    assert_eq!(
        algorithms(&domain("shop", "web", 1, "shop.example")).len(),
        2
    );
    assert_eq!(
        algorithms(&shop()),
        BTreeSet::from([DkimAlgorithm::Ed25519Sha256])
    );
}

#[test]
fn a_new_prefix_takes_over_when_dns_shows_its_record() {
    let mut domain = shop();
    let mut seen = seen(Some(relay(open())));
    seen.secret = Some(first_secret(&domain, &seen));
    domain.spec.dkim.as_mut().unwrap().selector_prefix = Some("mail".into());
    let pending = run(&domain, &seen, now()).keys.unwrap();
    assert!(pending.make.contains_key("mail-e1"));
    assert!(!pending.active.contains("mail-e1"));
    // The key is there, and its record is not everywhere, then is, and then has been for long enough.
    let made = pending
        .make
        .iter()
        .map(|(selector, algorithm)| (selector.clone(), keys::generate(*algorithm).unwrap()));
    let mut data = apply(
        &seen.keys(&domain).unwrap(),
        &pending,
        &made.collect(),
        now(),
    );
    let hour = SignedDuration::from_hours(1);
    let later = |hours| now().checked_add(hour * hours).unwrap();
    let rows = [
        (Spread::NotAt("one.dns.example".into()), 0, false),
        (Spread::Everywhere(hour), 1, false),
        (Spread::Everywhere(hour), 2, true),
    ];
    for (spread, hours, signs) in rows {
        let entries = data.iter();
        let entries = entries.map(|(entry, content)| (entry.clone(), ByteString(content.clone())));
        seen.secret.as_mut().unwrap().data = Some(entries.collect());
        seen.spread = BTreeMap::from([("mail-e1".to_owned(), spread)]);
        let plan = run(&domain, &seen, later(hours)).keys.unwrap();
        assert_eq!(plan.active.contains("mail-e1"), signs, "{hours}");
        data = apply(&data, &plan, &BTreeMap::new(), later(hours));
    }
}

#[test]
fn keys_outlive_the_longest_way_of_a_message() {
    let spec = |retry: serde_json::Value, limits: serde_json::Value| {
        let mut spec = open();
        spec["delivery"] = retry;
        spec["limits"] = limits;
        retirement(Some(&relay(spec)))
    };
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    assert_eq!(retirement(None), days(5 + 7 + 2));
    assert_eq!(spec(json!({}), json!({})), days(5 + 7 + 2));
    let retry = json!({"retry": {"expireAfter": "240h"}});
    assert_eq!(
        spec(retry, json!({"maximumHold": "2160h"})),
        days(10 + 90 + 2)
    );
}

#[test]
fn the_annotation_and_the_age_ask_for_successors() {
    let mut domain = shop();
    let mut seen = seen(Some(relay(open())));
    seen.secret = Some(first_secret(&domain, &seen));
    let makes = |domain: &SendingDomain, days: i64| {
        let later = now().checked_add(SignedDuration::from_hours(24 * days));
        let plan = run(domain, &seen, later.unwrap()).keys.unwrap();
        !plan.make.is_empty()
    };
    assert!(!makes(&domain, 10_000), "never by default");
    let dkim = domain.spec.dkim.as_mut().unwrap();
    dkim.rotation = serde_json::from_value(json!({"every": "4320h"})).unwrap();
    assert!(!makes(&domain, 179) && makes(&domain, 180));
    let asked = (
        ROTATE_NOW_ANNOTATION.to_owned(),
        "leak of 27 November".to_owned(),
    );
    domain.metadata.annotations = Some([asked].into());
    assert!(makes(&domain, 0));
}

#[test]
fn o5_a_key_secret_of_a_former_object_is_not_used() {
    let mut seen = seen(Some(relay(open())));
    let mut former = shop();
    former.metadata.uid = Some("former".into());
    seen.secret = Some(first_secret(&former, &seen));
    assert_eq!(reasons(&shop(), &seen), ("", "KeysInvalid"));
    assert!(seen.keys(&shop()).is_none());
}
