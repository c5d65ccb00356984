mod objects;
mod returns_and_shards;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use relay_config::{Bucket, Config, DkimAlgorithm, Grant, ScramVerifier};
use serde_json::json;

use super::fixtures::{credential, domain, namespaces, open, relay};
use super::*;
use crate::certificates::{Existing, RelayCertificates};
use crate::domain::keyring::{self, Keyring, Wanted};
use crate::domain::keys::{self, SigningKey};

static CERTIFICATES: LazyLock<RelayCertificates> = LazyLock::new(|| {
    let now = jiff::Timestamp::from_second(1_795_564_800).unwrap();
    let names = certificates::serving_names("outbox", "mail", "outbox.mail.svc");
    certificates::ensure(Existing::default(), "mail", "outbox", &names, now).unwrap()
});

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| keys::generate(DkimAlgorithm::Ed25519Sha256).unwrap());

/// A key Secret with one Ed25519 key.
static KEYS: LazyLock<SecretData> = LazyLock::new(|| {
    let wanted = Wanted {
        algorithms: &BTreeSet::from([DkimAlgorithm::Ed25519Sha256]),
        own: &BTreeMap::new(),
        prefix: "mail",
        former: &BTreeSet::new(),
        shown: &BTreeMap::new(),
        unknown: &BTreeSet::new(),
        rotate_every: None,
        rotate_now: None,
        revoked: &BTreeSet::new(),
        retirement: jiff::SignedDuration::ZERO,
    };
    let now = jiff::Timestamp::from_second(1_795_564_800).unwrap();
    let empty = SecretData::new();
    let plan = keyring::plan(&Keyring::read(&empty), &wanted, now);
    let made = BTreeMap::from([("mail-e1".to_owned(), KEY.clone())]);
    keyring::apply(&empty, &plan, &made, now)
});

static BINDING: LazyLock<SecretData> = LazyLock::new(|| {
    let verifier = ScramVerifier::derive("blue-otter", b"0123456789abcdef", 4096);
    BTreeMap::from([
        ("verifier".to_owned(), verifier.to_string().into_bytes()),
        ("password".to_owned(), b"blue-otter".to_vec()),
    ])
});

fn run(
    relay: &SmtpRelay,
    domains: &[&SendingDomain],
    credentials: &[&SmtpCredential],
    secrets: &BTreeMap<String, SecretData>,
) -> Result<Rendered, Violation> {
    let keys = &*KEYS;
    let domains: Vec<_> = domains
        .iter()
        .map(|domain| DomainInput {
            domain,
            keys: Some(keys),
        })
        .collect();
    let credentials: Vec<_> = credentials
        .iter()
        .map(|credential| CredentialInput {
            credential,
            binding: Some(&BINDING),
        })
        .collect();
    render(&RelayInputs {
        relay,
        namespaces: &namespaces(),
        domains: &domains,
        credentials: &credentials,
        secrets,
        issuers: &[],
        tls: Some(&CERTIFICATES.serving.data),
        staying: &BTreeSet::from([0]),
        leaving: &BTreeSet::new(),
        internal: &CERTIFICATES.internal.data,
    })
}

fn config(rendered: &Rendered) -> Config {
    serde_json::from_slice(&rendered.config[MAIN_FILE]).unwrap()
}

fn bucket(rendered: &Rendered, name: &str) -> Bucket {
    let content = rendered.buckets.get(&relay_config::bucket_of(name));
    content
        .map(|content| serde_json::from_slice(content).unwrap())
        .unwrap_or_default()
}

#[test]
fn an_empty_spec_is_a_working_relay() {
    let rendered = run(&relay(json!({})), &[], &[], &BTreeMap::new()).unwrap();
    assert!(rendered.buckets.is_empty());
    insta::assert_yaml_snapshot!(config(&rendered));
}

/// Secrets that [`every_field_of_the_spec_reaches_the_relay`] names.
fn named_secrets() -> BTreeMap<String, SecretData> {
    BTreeMap::from([
        (
            "provider".to_owned(),
            BTreeMap::from([
                ("username".to_owned(), b"agent\n".to_vec()),
                ("password".to_owned(), b"hunter2\r\n".to_vec()),
            ]),
        ),
        (
            "application".to_owned(),
            BTreeMap::from([
                ("username".to_owned(), b"agent@shop.example".to_vec()),
                ("clientId".to_owned(), b"4711".to_vec()),
                ("clientSecret".to_owned(), b"hunter3\n".to_vec()),
                ("refreshToken".to_owned(), b"hunter4".to_vec()),
            ]),
        ),
        (
            "authorities".to_owned(),
            BTreeMap::from([(
                "bundle.pem".to_owned(),
                CERTIFICATES.serving.data["ca.crt"].clone(),
            )]),
        ),
    ])
}

#[test]
fn every_field_of_the_spec_reaches_the_relay() {
    let secrets = named_secrets();
    let spec = json!({
        "hostname": "smtp.example",
        "listeners": [
            {"name": "in", "port": 26, "tls": "StartTls", "authentication": "Optional",
             "lenient": false, "proxyProtocol": true, "proxies": ["198.51.100.0/24"]},
            {"name": "printers", "port": 2526, "tls": "None", "authentication": "None"},
        ],
        "clients": {"cidrs": ["192.0.2.0/24"]},
        "delivery": {
            "smarthosts": [
                {"host": "provider.example", "port": 465, "tls": "Implicit",
                 "credentialsSecretRef": {"name": "provider"},
                 "caSecretRef": {"name": "authorities", "key": "bundle.pem"}},
                {"host": "192.0.2.9", "tls": "Opportunistic", "priority": 0, "weight": 7,
                 "credentialsSecretRef": {"name": "provider"}, "allowUnverifiedLogin": true},
            ],
            "reports": {
                "returnPath": "postmaster@shop.example",
                "tls": {
                    "from": "tls-reports@shop.example",
                    "organization": "The Shop",
                    "contact": "postmaster@shop.example",
                },
            },
            "retry": {"initial": "5s", "maximum": "10m", "expireAfter": "48h", "delayAfter": "2h"},
            "routes": [
                {"name": "partner", "recipientDomains": ["*.partner.example"],
                 "senderDomains": ["<>"], "mxSuffixes": ["mx.example"], "tls": "Required"},
                {"name": "bulk", "tags": ["bulk"], "smarthosts": [
                    {"host": "bulk.example", "lookup": "Srv",
                     "credentialsSecretRef": {"name": "application"},
                     "caSecretRef": {"name": "authorities", "key": "bundle.pem"},
                     "oauth2": {"tokenUrl": "https://tokens.example/token", "scope": "mail",
                                "caSecretRef": {"name": "authorities", "key": "bundle.pem"}}}]},
            ],
            "addressLiterals": "Refuse",
            "tls": "Verified",
            "dnssec": "TrustResolver",
            "mtaSts": {"enabled": false, "port": 8443},
            "tlsOverrides": [{"domain": "partner.example", "policy": "Required",
                              "expires": "2026-12-01T00:00:00Z", "reason": "ticket 7"}],
            "caSecretRef": {"name": "authorities", "key": "bundle.pem"},
            "connectionsPerDestination": 3,
            "mxPort": 2600,
            "permittedNetworks": ["10.0.0.0/8"],
        },
        "dns": {"servers": ["192.0.2.53", "[2001:db8::53]:5353"],
                "trustAnchors": ["corp.example. IN DNSKEY 257 3 13 AAAA"]},
        "limits": {"messageSize": "128Mi", "recipients": 200, "connections": 50,
                   "connectionsPerAddress": 5, "connectionsPerIdentity": 7, "headerSize": "64Ki",
                   "commands": 99, "sessionTimeout": "30m", "minimumRate": 1000,
                   "maximumHold": "24h"},
        "privacy": {"hideClients": true},
    });
    let rendered = run(&relay(spec), &[], &[], &secrets).unwrap();
    for file in [
        "mx-ca.crt",
        "smarthost-0-ca.crt",
        "route-1-smarthost-0-ca.crt",
        "route-1-smarthost-0-tokens-ca.crt",
    ] {
        assert_eq!(
            rendered.config[file], CERTIFICATES.serving.data["ca.crt"],
            "{file}"
        );
    }
    insta::assert_yaml_snapshot!(config(&rendered));
}

#[test]
fn domains_and_credentials_lie_in_their_buckets() {
    let (shop, orders) = (
        domain("shop", "web", 1, "shop.example"),
        credential("shop", "orders", 1, None),
    );
    let rendered = run(&relay(open()), &[&shop], &[&orders], &BTreeMap::new()).unwrap();
    let found = bucket(&rendered, "shop.example").domains.remove(0);
    assert_eq!(
        found.senders,
        ["credential:shop/*", "sa:shop/*"].map(Grant::from)
    );
    assert_eq!(found.dkim[0].selector, "mail-e1");
    assert_eq!(found.dkim[0].private_key, KEY.private);
    let found = bucket(&rendered, "shop.orders").credentials.remove(0);
    assert_eq!(found.identity, "shop/orders");
    assert!(
        !String::from_utf8_lossy(
            &rendered
                .buckets
                .values()
                .flatten()
                .copied()
                .collect::<Vec<_>>()
        )
        .contains("blue-otter")
    );
    assert_eq!(
        rendered.entries.domains.len() + rendered.entries.credentials.len(),
        2
    );
}

#[test]
fn o13_the_order_of_objects_changes_nothing() {
    let domains: Vec<_> = (0..20)
        .map(|number| {
            domain(
                "shop",
                &format!("d{number}"),
                number,
                &format!("d{number}.example"),
            )
        })
        .collect();
    let credentials: Vec<_> = (0..20)
        .map(|number| credential("bank", &format!("c{number}"), number, None))
        .collect();
    let relay = relay(open());
    let forward = run(
        &relay,
        &domains.iter().collect::<Vec<_>>(),
        &credentials.iter().collect::<Vec<_>>(),
        &BTreeMap::new(),
    )
    .unwrap();
    let backward = run(
        &relay,
        &domains.iter().rev().collect::<Vec<_>>(),
        &credentials.iter().rev().collect::<Vec<_>>(),
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(forward.hash, backward.hash);
    assert_eq!(forward.buckets, backward.buckets);
    assert_eq!(forward.config, backward.config);
}

#[test]
fn o10_a_change_of_one_domain_changes_one_bucket() {
    let relay = relay(open());
    let shop = domain("shop", "web", 1, "shop.example");
    let bank = domain("bank", "web", 1, "bank.example");
    let before = run(&relay, &[&shop, &bank], &[], &BTreeMap::new()).unwrap();
    let mut edited = shop.clone();
    edited.spec.senders = Some(vec![]);
    let after = run(&relay, &[&edited, &bank], &[], &BTreeMap::new()).unwrap();
    assert_eq!(before.config, after.config);
    assert_ne!(before.hash, after.hash);
    let changed: Vec<_> = before
        .buckets
        .iter()
        .filter(|(index, content)| after.buckets.get(index) != Some(content))
        .collect();
    assert_eq!(changed.len(), 1);
    assert!(bucket(&after, "shop.example").domains[0].senders.is_empty());
}

/// The relay reads from a directory; its hash has to be the one that was rendered.
#[test]
fn o12_the_expected_hash_is_the_one_that_the_relay_computes_from_its_files() {
    let shop = domain("shop", "web", 1, "shop.example");
    let rendered = run(&relay(open()), &[&shop], &[], &BTreeMap::new()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |path: PathBuf, content: &[u8]| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    for (name, content) in &rendered.config {
        write(name.into(), content);
    }
    for (index, content) in &rendered.buckets {
        write(Path::new("buckets").join(bucket_file(*index)), content);
    }
    for (name, content) in &CERTIFICATES.serving.data {
        write(Path::new("tls").join(name), content);
    }
    for (name, content) in &CERTIFICATES.internal.data {
        write(Path::new("internal").join(name), content);
    }
    let read = relay_config::read(&directory.path().join(MAIN_FILE)).unwrap();
    assert_eq!(read.hash, rendered.hash);
    assert_eq!(read.config.domains[0].name, "shop.example");
}

#[test]
fn senders_are_the_named_ones_each_once() {
    let rows = [
        (
            json!([{"namespace": "shop"}, {"namespace": "bank", "credential": "loans"}, {"namespace": "shop"}]),
            vec!["credential:bank/loans", "credential:shop/*", "sa:shop/*"],
        ),
        (
            json!([{"namespace": "shop", "serviceAccount": "web"}, {"namespace": "bank", "serviceAccount": "*"}]),
            vec!["sa:bank/*", "sa:shop/web"],
        ),
        (
            json!([{"oidc": {"issuer": "corp", "identity": "a@b.example"}}, {"oidc": {"issuer": "lab"}}]),
            vec!["oidc:corp/a@b.example", "oidc:lab/*"],
        ),
        // What the API server refuses grants nothing.
        (
            json!([{}, {"credential": "x"}, {"namespace": "*", "serviceAccount": "x"}]),
            vec![],
        ),
        (json!([{"namespace": "*"}]), vec!["*"]),
        (json!([{"namespace": "*", "credential": "loans"}]), vec![]),
        (json!([]), vec![]),
    ];
    for (senders, expected) in rows {
        let mut shop = domain("shop", "web", 1, "shop.example");
        shop.spec.senders = serde_json::from_value(senders).unwrap();
        let rendered = run(&relay(open()), &[&shop], &[], &BTreeMap::new()).unwrap();
        assert_eq!(
            bucket(&rendered, "shop.example").domains[0].senders,
            expected.into_iter().map(Grant::from).collect::<Vec<_>>()
        );
    }
}

#[test]
fn local_parts_and_the_address_for_others_reach_the_relay() {
    let mut shop = domain("shop", "web", 1, "shop.example");
    shop.spec.senders = serde_json::from_value(
        json!([{"namespace": "shop", "serviceAccount": "web", "localParts": ["orders", "billing"]}]),
    )
    .unwrap();
    shop.spec.unauthorized_from =
        serde_json::from_value(json!({"policy": "Rewrite", "localPart": "noreply"})).unwrap();
    let found = |shop: &SendingDomain| {
        let rendered = run(&relay(open()), &[shop], &[], &BTreeMap::new()).unwrap();
        bucket(&rendered, "shop.example").domains.remove(0)
    };
    let rendered = found(&shop);
    assert_eq!(
        rendered.senders,
        [Grant {
            identity: "sa:shop/web".into(),
            local_parts: vec!["orders".into(), "billing".into()],
        }]
    );
    assert_eq!(
        rendered.rewrite_from.as_deref(),
        Some("noreply@shop.example")
    );
    shop.spec.unauthorized_from = serde_json::from_value(json!({"policy": "Reject"})).unwrap();
    assert_eq!(found(&shop).rewrite_from, None);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_breaks_the_whole_relay_names_the_field_and_the_remedy() {
    let smarthost = |more: serde_json::Value| {
        let mut smarthost = json!({"host": "provider.example", "port": 465, "tls": "Implicit"});
        smarthost
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"delivery": {"smarthosts": [smarthost]}})
    };
    let secrets = BTreeMap::from([(
        "half".to_owned(),
        BTreeMap::from([
            ("username".to_owned(), b"agent".to_vec()),
            ("password".to_owned(), vec![]),
            ("big".to_owned(), vec![b'x'; SECRET_LIMIT]),
            ("lines".to_owned(), b"a\nb".to_vec()),
        ]),
    )]);
    let rows = [
        (
            smarthost(json!({"credentialsSecretRef": {"name": "gone"}})),
            "SecretNotFound",
            "spec.delivery.smarthosts[0].credentialsSecretRef: there is no Secret mail/gone; create it",
        ),
        (
            smarthost(json!({"credentialsSecretRef": {"name": "half"}})),
            "SecretNotFound",
            "spec.delivery.smarthosts[0].credentialsSecretRef: Secret mail/half has no entry \"password\"; add it",
        ),
        (
            smarthost(json!({"caSecretRef": {"name": "half"}})),
            "SecretNotFound",
            "spec.delivery.smarthosts[0].caSecretRef: Secret mail/half has no entry \"ca.crt\"; add it",
        ),
        (
            smarthost(json!({"caSecretRef": {"name": "half", "key": "big"}})),
            "InvalidSpec",
            "spec.delivery.smarthosts: the certificate authorities together exceed",
        ),
        (
            smarthost(json!({"credentialsSecretRef": {"name": "half"},
                "oauth2": {"tokenUrl": "https://tokens.example/"}})),
            "SecretNotFound",
            "spec.delivery.smarthosts[0].credentialsSecretRef: Secret mail/half has no entry \"clientSecret\"; add it",
        ),
        (
            json!({"delivery": {"routes": [{"name": "a", "tags": ["x"], "smarthosts":
                [{"host": "b.example", "port": 25, "caSecretRef": {"name": "gone"}}]}]}}),
            "SecretNotFound",
            "spec.delivery.routes[0].smarthosts[0].caSecretRef: there is no Secret mail/gone; create it",
        ),
        (
            json!({"delivery": {"retry": {"initial": "soon"}}}),
            "InvalidSpec",
            "spec.delivery.retry.initial: \"soon\" is not a duration",
        ),
        (
            json!({"delivery": {"retry": {"initial": "2h"}}}),
            "InvalidSpec",
            "delivery.retry: initial (2h) must be above 0 and at most maximum (1h)",
        ),
        (
            json!({"clients": {"cidrs": ["everybody"]}}),
            "InvalidSpec",
            "spec.clients.cidrs: \"everybody\" is not a network",
        ),
        (
            json!({"dns": {"servers": ["dns.example"]}}),
            "InvalidSpec",
            "spec.dns.servers: \"dns.example\" is not a name server",
        ),
        (
            json!({"limits": {"messageSize": "big"}}),
            "InvalidSpec",
            "spec.limits.messageSize: \"big\" is not a size",
        ),
        (
            json!({"limits": {"connections": -1}}),
            "InvalidSpec",
            "spec.limits.connections: \"-1\" is negative",
        ),
        (
            json!({"listeners": [{"name": "in", "port": 70000}]}),
            "InvalidSpec",
            "spec.listeners[in].port: \"70000\" is not a port",
        ),
        (
            json!({"hostname": "out box"}),
            "InvalidSpec",
            "hostname: \"out box\" is not a host name",
        ),
    ];
    for (spec, reason, message) in rows {
        let violation = run(&relay(spec.clone()), &[], &[], &secrets).unwrap_err();
        assert_eq!(violation.reason, reason, "{violation:?}");
        assert!(
            violation.message.starts_with(message),
            "{}\nnot {message}",
            violation.message
        );
    }
}

#[test]
fn what_a_secret_cannot_hold_is_left_out_and_older_objects_go_on() {
    let long = "x".repeat(253);
    let sender = |number| json!({"namespace": "shop", "credential": format!("{number}{long}")});
    // Of one bucket: the first fills half of it, the second more than the rest, and the third little.
    let mut names = (0..).map(|number| format!("d{number}.example"));
    let index = relay_config::bucket_of("d0.example");
    let mut of_bucket = || {
        names
            .find(|name| relay_config::bucket_of(name) == index)
            .unwrap()
    };
    let sizes = [1800, 2000, 1];
    let domains: Vec<_> = (1..)
        .zip(sizes)
        .map(|(age, senders)| {
            let mut one = domain("shop", &format!("web{age}"), age, &of_bucket());
            one.spec.senders = serde_json::from_value((0..senders).map(sender).collect()).unwrap();
            one
        })
        .collect();
    let [first, second, third] = &domains[..] else {
        unreachable!()
    };
    let rendered = run(
        &relay(open()),
        &[third, second, first],
        &[],
        &BTreeMap::new(),
    )
    .unwrap();
    let held: Vec<&str> = rendered
        .entries
        .domains
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        held,
        [first.spec.domain.as_str(), third.spec.domain.as_str()]
    );
    let left_out: Vec<&String> = rendered.entries.domains_left_out.iter().collect();
    assert_eq!(left_out, [&second.spec.domain]);
    assert!(rendered.buckets[&index].len() <= SECRET_LIMIT);

    let violation = admission::has_room(true, second).unwrap_err();
    assert_eq!(violation.reason, "RelayFull");
    assert!(
        violation
            .message
            .contains(&format!("bucket {index} of SmtpRelay"))
    );
    assert!(violation.message.ends_with("use a second SmtpRelay"));
}

#[test]
fn nothing_shows_a_secret() {
    let shop = domain("shop", "web", 1, "shop.example");
    let rendered = run(&relay(open()), &[&shop], &[], &BTreeMap::new()).unwrap();
    let shown = format!("{rendered:?}");
    assert!(
        !shown.contains("PRIVATE") && !shown.contains("buckets"),
        "{shown}"
    );
}
