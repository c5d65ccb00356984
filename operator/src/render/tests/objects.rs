//! Which domains and credentials a relay takes, and what the others are told.

use super::*;

#[test]
fn the_older_of_two_claims_wins_unless_it_is_refused_or_about_to_go() {
    let relay = relay(
        json!({"domains": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}}}),
    );
    let older = domain("bank", "first", 1, "shop.example");
    let younger = domain("shop", "second", 2, "shop.example");
    let rendered = run(&relay, &[&younger, &older], &[], &BTreeMap::new()).unwrap();
    assert_eq!(
        bucket(&rendered, "shop.example").domains[0].senders,
        ["credential:shop/*", "sa:shop/*"].map(Grant::from)
    );
    let open = self::relay(open());
    let rendered = run(&open, &[&younger, &older], &[], &BTreeMap::new()).unwrap();
    assert_eq!(
        bucket(&rendered, "shop.example").domains[0].senders,
        ["credential:bank/*", "sa:bank/*"].map(Grant::from)
    );
    let mut going = older.clone();
    going.metadata.deletion_timestamp = younger.metadata.creation_timestamp.clone();
    let rendered = run(&open, &[&younger, &going], &[], &BTreeMap::new()).unwrap();
    assert_eq!(
        bucket(&rendered, "shop.example").domains[0].senders,
        ["credential:shop/*", "sa:shop/*"].map(Grant::from)
    );
}

#[test]
fn what_cannot_be_used_is_left_out_and_the_others_go_on() {
    let relay = relay(open());
    let (shop, bank) = (
        domain("shop", "web", 1, "shop.example"),
        domain("bank", "web", 1, "bank.example"),
    );
    let mut damaged = KEYS.clone();
    damaged.insert("mail-e1.pem".into(), b"x".to_vec());
    let edited = BTreeMap::from([("verifier".to_owned(), b"hunter2".to_vec())]);
    let (orders, loans) = (
        credential("shop", "orders", 1, None),
        credential("bank", "loans", 1, None),
    );
    let rendered = render(&RelayInputs {
        relay: &relay,
        namespaces: &namespaces(),
        domains: &[
            DomainInput {
                domain: &shop,
                keys: Some(&damaged),
            },
            DomainInput {
                domain: &bank,
                keys: Some(&KEYS),
            },
        ],
        credentials: &[
            CredentialInput {
                credential: &orders,
                binding: Some(&edited),
            },
            CredentialInput {
                credential: &loans,
                binding: Some(&BINDING),
            },
        ],
        secrets: &BTreeMap::new(),
        issuers: &[],
        tls: Some(&CERTIFICATES.serving.data),
        staying: &BTreeSet::from([0]),
        leaving: &BTreeSet::new(),
        internal: &CERTIFICATES.internal.data,
    })
    .unwrap();
    assert!(rendered.entries.domains.keys().eq(["bank.example"]));
    assert!(rendered.entries.credentials.keys().eq(["bank.loans"]));
}

#[test]
fn objects_of_other_relays_are_passed_over() {
    let mut elsewhere = domain("mail", "web", 1, "shop.example");
    elsewhere.spec.relay_ref.name = "bulk".into();
    let mut nameless = credential("mail", "orders", 1, None);
    nameless.spec.relay_ref.namespace = Some("bank".into());
    let rendered = run(
        &relay(open()),
        &[&elsewhere],
        &[&nameless],
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(rendered.entries, Entries::default());
}

/// What refused objects say of themselves; the same functions left them out above.
#[test]
fn a_refused_object_names_the_relay_the_rule_and_the_remedy() {
    let relay = relay(json!({}));
    let shop = domain("shop", "web", 1, "shop.example");
    let none: [&SendingDomain; 0] = [];
    let judge = |relay, namespaces: &Namespaces| admission::judge(&shop, relay, namespaces, none);
    let missing = judge(None, &namespaces()).unwrap_err();
    assert_eq!(missing.reason, "RelayNotFound");
    assert!(
        missing
            .message
            .contains("there is no SmtpRelay mail/outbox"),
        "{}",
        missing.message
    );
    let refused = judge(Some(&relay), &namespaces()).unwrap_err();
    assert_eq!(refused.reason, "NotAllowedByRelay");
    assert!(
        refused.message.contains("\"shop\"") && refused.message.contains("spec.domains.namespaces"),
        "{}",
        refused.message
    );
    let orders = credential("shop", "orders", 1, None);
    let refused = admission::judge(&orders, Some(&relay), &namespaces(), [&orders]).unwrap_err();
    assert!(
        refused.message.contains("spec.clients.namespaces"),
        "{}",
        refused.message
    );
}

#[test]
fn the_younger_of_two_claims_is_told_who_has_it() {
    let relay = relay(open());
    let older = credential("bank", "first", 1, Some("printer"));
    let younger = credential("shop", "second", 2, Some("printer"));
    let both = [&younger, &older];
    assert_eq!(
        admission::judge(&older, Some(&relay), &namespaces(), both),
        Ok(())
    );
    let refused = admission::judge(&younger, Some(&relay), &namespaces(), both).unwrap_err();
    assert_eq!(refused.reason, "Conflict");
    assert!(
        refused
            .message
            .starts_with("user name \"printer\" belongs to the older SmtpCredential bank/first"),
        "{}",
        refused.message
    );
    // Of the same second, the first by namespace and name; and every object against itself.
    let twin = credential("shop", "first", 1, Some("printer"));
    assert!(admission::judge(&twin, Some(&relay), &namespaces(), [&older, &twin]).is_err());
    assert_eq!(
        admission::judge(&older, Some(&relay), &namespaces(), [&twin, &older]),
        Ok(())
    );
}
