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
        staying: &BTreeSet::from([0]),
        leaving: &BTreeSet::new(),
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
    let siblings = |staying: &[i32], leaving: &[i32]| {
        let relay = relay(json!({}));
        let inputs = RelayInputs {
            relay: &relay,
            namespaces: &namespaces(),
            domains: &[],
            credentials: &[],
            secrets: &BTreeMap::new(),
            issuers: &[],
            tls: Some(&CERTIFICATES.serving.data),
            staying: &staying.iter().copied().collect(),
            leaving: &leaving.iter().copied().collect(),
            internal: &CERTIFICATES.internal.data,
        };
        config(&render(&inputs).unwrap()).siblings
    };
    let three = siblings(&[0, 1, 2], &[]).unwrap();
    let host = |index| format!("outbox-{index}.outbox-shards.mail.svc");
    assert_eq!(three.hosts, [host(0), host(1), host(2)]);
    assert_eq!((three.staying().count(), three.port), (3, 8443));
    assert_eq!(three.server_name, "outbox.mailrelay.internal");
    let shrinks = siblings(&[0], &[3, 4]).unwrap();
    assert_eq!(shrinks.hosts.len(), 5);
    assert_eq!((shrinks.leaving, shrinks.gone), (vec![3, 4], vec![1, 2]));
    let goes = siblings(&[], &[0]).unwrap();
    assert_eq!((goes.hosts.len(), goes.staying().count()), (1, 0));
    assert_eq!(siblings(&[], &[]), None);
    // A stray claim may carry any number, or none that makes sense.
    let stray = siblings(&[0], &[i32::MAX, -1, 1024, 1023]).unwrap();
    assert_eq!((stray.hosts.len(), stray.leaving), (1024, vec![1023]));
}

#[test]
fn o29_listeners_probes_and_admin_port_are_on_all_addresses_of_both_families() {
    let rendered = run(&relay(json!({})), &[], &[], &BTreeMap::new()).unwrap();
    let config = config(&rendered);
    let listeners = config.listeners.iter().map(|listener| listener.address);
    let addresses = listeners.chain([config.health.address, config.admin.unwrap().address]);
    for address in addresses {
        assert_eq!(address.ip(), std::net::Ipv6Addr::UNSPECIFIED, "{address}");
    }
}
