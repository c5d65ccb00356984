//! What the relay learns of its bounce domains and of its shards.

use super::*;

#[test]
fn bounces_and_suppression_reach_the_relay_once_there_is_a_secret() {
    let mut shop = domain("shop", "web", 1, "shop.example");
    shop.spec.bounces =
        serde_json::from_value(json!({"domain": "bounces.shop.example", "validFor": "48h"}))
            .unwrap();
    shop.spec.suppression =
        serde_json::from_value(json!({"hardBounces": "24h", "complaints": "0s"})).unwrap();
    let now = jiff::Timestamp::from_second(1_795_564_800).unwrap();
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let with = crate::domain::return_keys::apply(KEYS.clone(), true, secret, now);
    let without = domain_entry(&shop, &KEYS).unwrap();
    assert_eq!(without.bounces, None);
    let built = domain_entry(&shop, &with).unwrap();
    let bounces = built.bounces.unwrap();
    assert_eq!(bounces.domain.as_deref(), Some("bounces.shop.example"));
    assert_eq!(bounces.address, None);
    assert_eq!(bounces.valid_for.to_string(), "48h");
    assert_eq!(bounces.keys[0].expose(), secret);
    assert_eq!(built.suppression.hard_bounces.to_string(), "24h");
    assert!(built.suppression.complaints.get().is_zero());
    // The whole of it is a configuration that a relay takes.
    let keys = Some(&with);
    let domain = DomainInput {
        domain: &shop,
        keys,
    };
    let listeners = json!([
        {"name": "submission", "port": 587},
        {"name": "mx", "port": 25, "role": "Bounces", "authentication": "None"},
    ]);
    let mut spec = open();
    spec["listeners"] = listeners;
    let relay = relay(spec);
    let inputs = RelayInputs {
        relay: &relay,
        namespaces: &namespaces(),
        domains: &[domain],
        credentials: &[],
        secrets: &BTreeMap::new(),
        issuers: &[],
        tls: Some(&CERTIFICATES.serving.data),
        staying: 1,
        shards: 1,
        internal: &CERTIFICATES.internal.data,
    };
    let rendered = render(&inputs).unwrap();
    let config: Config = serde_json::from_slice(&rendered.config[MAIN_FILE]).unwrap();
    assert_eq!(
        config.listeners[1].role,
        relay_config::ListenerRole::Bounces
    );
    assert!(config.listeners[1].clients.is_empty());
}

#[test]
fn a_relay_knows_all_of_its_shards_and_which_of_them_stay() {
    let siblings = |replicas: i32, shards: i32| {
        let relay = relay(json!({"replicas": replicas}));
        let inputs = RelayInputs {
            relay: &relay,
            namespaces: &namespaces(),
            domains: &[],
            credentials: &[],
            secrets: &BTreeMap::new(),
            issuers: &[],
            tls: Some(&CERTIFICATES.serving.data),
            staying: replicas,
            shards,
            internal: &CERTIFICATES.internal.data,
        };
        config(&render(&inputs).unwrap()).siblings
    };
    let three = siblings(3, 3).unwrap();
    let host = |index| format!("outbox-{index}.outbox-shards.mail.svc");
    assert_eq!(three.hosts, [host(0), host(1), host(2)]);
    assert_eq!((three.staying().count(), three.port), (3, 8443));
    assert_eq!(three.server_name, "outbox.mailrelay.internal");
    let shrinks = siblings(1, 3).unwrap();
    assert_eq!((shrinks.hosts.len(), shrinks.staying().count()), (3, 1));
    let goes = siblings(0, 1).unwrap();
    assert_eq!((goes.hosts.len(), goes.staying().count()), (1, 0));
    assert_eq!(siblings(0, 0), None);
    // A stray claim may carry any number.
    assert_eq!(siblings(1, i32::MAX).unwrap().hosts.len(), 1024);
}
