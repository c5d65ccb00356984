//! Records that the operator publishes, in zones of BIND: by RFC 2136 and through external-dns.

mod external;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mailrelay_tests::control_plane::{Bind, Key};
use mailrelay_tests::wait;
use operator_api::{KeyState, SendingDomain};
use serde_json::{Value, json};

use crate::objects::{domain, namespace, operator, plane, relay};

const LIMIT: Duration = Duration::from_mins(2);
/// A rotation waits for DNS twice, each time up to a minute, and for two RSA keys.
const ROTATION: Duration = Duration::from_mins(5);
const TEAM: &str = "team";
/// What the zone has besides: BIND takes no MX record whose host it should know and does not.
const HOST: &str = "mx.shop.example. IN A 192.0.2.25";
/// The SPF record that the bounce domain's leads to.
const SPF: &str = "shop.example. IN TXT \"v=spf1 mx -all\"";

/// What a name server itself has at a name: each record's strings, or an MX as one.
async fn served(server: Ipv4Addr, name: &str, kind: RecordType) -> Vec<Vec<String>> {
    let udp_and_tcp = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let server = NameServerConfig::new(server.into(), true, udp_and_tcp.into());
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().cache_size = 0;
    let Ok(found) = builder
        .build()
        .unwrap()
        .lookup(format!("{name}."), kind)
        .await
    else {
        return Vec::new();
    };
    let records = found.answers().iter();
    let mut records: Vec<Vec<String>> = records
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(
                text.txt_data
                    .iter()
                    .map(|part| String::from_utf8_lossy(part).into_owned())
                    .collect(),
            ),
            RData::MX(mx) => Some(vec![format!("{} {}", mx.preference, mx.exchange)]),
            _ => None,
        })
        .collect();
    records.sort();
    records
}

async fn text_at(server: Ipv4Addr, name: &str) -> Vec<String> {
    let found = served(server, name, RecordType::TXT).await;
    found.into_iter().map(|parts| parts.concat()).collect()
}

async fn key_secret(client: &Client, name: &str, key: Key, secret: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"keyname": key.name, "secret": secret}});
    let api: Api<Secret> = Api::namespaced(client.clone(), TEAM);
    api.patch(
        name,
        &PatchParams::apply("a-person").force(),
        &Patch::Apply(object),
    )
    .await
    .unwrap();
}

/// A domain with `publish`, whose selectors begin with `mail`.
async fn published(client: &Client, name: &str, publish: Value, revoked: &[&str]) {
    let spec = json!({
        "dkim": {"selectorPrefix": "mail", "revokedSelectors": revoked},
        "bounces": {"domain": format!("bounces.{name}.example")},
        "dns": {"publish": publish},
    });
    domain(client, TEAM, name, "outbox", spec).await.unwrap();
}

fn rfc2136(server: &str, secret: &str) -> Value {
    json!({"ttl": "2s", "rfc2136": {"server": server, "tsigSecretRef": {"name": secret}}})
}

fn condition(domain: &SendingDomain, kind: &str) -> (String, String, String) {
    let conditions = domain.status.iter().flat_map(|status| &status.conditions);
    let found = conditions.clone().find(|one| one.type_ == kind);
    found.map_or_else(Default::default, |one| {
        (one.status.clone(), one.reason.clone(), one.message.clone())
    })
}

/// Waits until a condition has a reason for the present spec; its message.
async fn has(client: &Client, name: &str, kind: &str, reason: &str) -> String {
    let api: Api<SendingDomain> = Api::namespaced(client.clone(), TEAM);
    wait::until(&format!("{name}: {kind} {reason}"), LIMIT, || async {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        let (status, seen, message) = condition(&found, kind);
        if seen == reason {
            Ok(message)
        } else {
            Err(format!("{status} {seen}: {message}"))
        }
    })
    .await
    .unwrap()
}

async fn status(client: &Client, name: &str) -> operator_api::SendingDomainStatus {
    let api: Api<SendingDomain> = Api::namespaced(client.clone(), TEAM);
    api.get(name).await.unwrap().status.unwrap()
}

/// Every record with a value in the status is served as it should be.
async fn all_are_served(client: &Client, name: &str, server: Ipv4Addr) {
    let mut lengths = Vec::new();
    for record in status(client, name).await.dns_records {
        if record.value.is_empty() {
            continue;
        }
        if record.r#type == "MX" {
            let found = served(server, &record.name, RecordType::MX).await;
            assert_eq!(found, [[format!("{}.", record.value)]]);
            continue;
        }
        let found = served(server, &record.name, RecordType::TXT).await;
        assert_eq!(found, [record.split_value], "{}", record.name);
        lengths.push(record.value.len());
    }
    assert!(
        lengths.iter().any(|length| *length > 400),
        "no RSA key: {lengths:?}"
    );
}

/// Selectors by state.
async fn keys(client: &Client, name: &str) -> BTreeMap<String, KeyState> {
    let keys = status(client, name).await.keys;
    keys.into_iter()
        .map(|key| (key.selector, key.state))
        .collect()
}

async fn until_gone(server: Ipv4Addr, name: &str) {
    wait::until(&format!("nothing at {name}"), LIMIT, || async {
        match text_at(server, name).await {
            found if found.is_empty() => Ok(()),
            found => Err(found.join("; ")),
        }
    })
    .await
    .unwrap();
}

async fn annotate(client: &Client, name: &str, annotation: &str, value: &str) {
    let api: Api<SendingDomain> = Api::namespaced(client.clone(), TEAM);
    let patch = json!({"metadata": {"annotations": {annotation: value}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_published_by_rfc_2136_and_keys_rotate_are_revoked_and_go_by_what_dns_shows() {
    let server = Ipv4Addr::new(127, 53, 1, 1);
    let foreign = "mail-e1._domainkey.bank.example. IN TXT \"somebody else's\"";
    let mut bind = Bind::start(
        server,
        &[
            ("shop.example", &format!("{HOST}\n{SPF}")),
            ("bank.example", foreign),
            ("lost.example", ""),
        ],
    )
    .await
    .unwrap();
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, TEAM).await.unwrap();
    relay(
        client,
        TEAM,
        "outbox",
        json!({"hostname": "mx.shop.example"}),
    )
    .await
    .unwrap();
    let dns = format!("--dns-server={}", bind.socket());
    let running = operator(&plane, None, "lone", &["--leader-election=false", &dns]).unwrap();
    running.leads().await.unwrap();
    let address = server.to_string();

    faults_are_told(client, &address).await;
    all_are_served(client, "shop", server).await;
    others_are_left(client, server).await;

    // While DNS shows what it should, nothing is sent.
    let updates = bind.updates().unwrap();
    annotate(client, "shop", "a-person/looks", "again").await;
    rotates(client, server).await;
    println!(
        "updates: {updates} before the rotation, {} after it",
        bind.updates().unwrap()
    );
    assert_eq!(bind.updates().unwrap(), updates + 2, "{}", bind.log());
    is_revoked(client, server, &address).await;

    all_go(client, &mut bind).await;
    let log = running.whole_log().unwrap();
    assert!(!log.contains(Key::WRITER.secret) && !log.contains(Key::READER.secret));
    running.stop().await.unwrap();
}

async fn faults_are_told(client: &Client, address: &str) {
    // Whatever is wrong with the key or the server is told, and set right at once.
    published(client, "shop", rfc2136(address, "zone-key"), &[]).await;
    let said = has(client, "shop", "RecordsPublished", "SecretNotFound").await;
    assert!(
        said.contains("spec.dns.publish.rfc2136.tsigSecretRef") && said.contains("zone-key"),
        "{said}"
    );
    key_secret(client, "zone-key", Key::WRITER, Key::READER.secret).await;
    let said = has(client, "shop", "RecordsPublished", "TsigKeyInvalid").await;
    assert!(
        said.contains("BADSIG") && !said.contains(Key::READER.secret),
        "{said}"
    );
    key_secret(
        client,
        "zone-key",
        Key {
            name: "nobody",
            ..Key::WRITER
        },
        Key::WRITER.secret,
    )
    .await;
    wait_for_message(client, "shop", "knows no TSIG key nobody").await;
    key_secret(client, "zone-key", Key::READER, Key::READER.secret).await;
    let said = has(client, "shop", "RecordsPublished", "UpdateRefused").await;
    assert!(
        said.contains("REFUSED") && said.contains("outbox.reader"),
        "{said}"
    );
    key_secret(client, "zone-key", Key::WRITER, Key::WRITER.secret).await;
    has(client, "shop", "RecordsPublished", "RecordsPublished").await;
    has(client, "shop", "DnsVerified", "RecordsVerified").await;
    published(client, "lost", rfc2136("127.0.0.1", "zone-key"), &[]).await;
    has(client, "lost", "RecordsPublished", "ServerUnreachable").await;
    let mut elsewhere = rfc2136(address, "zone-key");
    elsewhere["rfc2136"]["zone"] = json!("example");
    published(client, "lost", elsewhere, &[]).await;
    wait_for_message(client, "lost", "NOTAUTH").await;
}

async fn others_are_left(client: &Client, server: Ipv4Addr) {
    // What others published stays.
    published(
        client,
        "bank",
        rfc2136(&server.to_string(), "zone-key"),
        &[],
    )
    .await;
    let said = has(client, "bank", "RecordsPublished", "ForeignRecord").await;
    assert!(said.contains("mail-e1._domainkey.bank.example"), "{said}");
    assert_eq!(
        text_at(server, "mail-e1._domainkey.bank.example").await,
        ["somebody else's"]
    );
    // The RSA key takes longer to be made.
    wait::until("the record of the other key", LIMIT, || async {
        match text_at(server, "mail-r1._domainkey.bank.example").await {
            found if found.len() == 1 => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await
    .unwrap();
}

async fn all_go(client: &Client, bind: &mut Bind) {
    let server = bind.address;
    // With the domain go its records, and those of others stay. A server that is away for a moment holds that up.
    bind.stop().await.unwrap();
    let api: Api<SendingDomain> = Api::namespaced(client.clone(), TEAM);
    for name in ["shop", "bank"] {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    bind.begin().await.unwrap();
    for name in ["shop", "bank"] {
        wait::until("a domain that is gone", LIMIT, || async {
            match api.get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{:?}", other.map(|_| ()))),
            }
        })
        .await
        .unwrap();
    }
    for name in [
        "mail-r3._domainkey.shop.example",
        "mail-r2._domainkey.shop.example",
        "bounces.shop.example",
        "mail-r1._domainkey.bank.example",
    ] {
        assert_eq!(text_at(server, name).await, Vec::<String>::new(), "{name}");
    }
    assert_eq!(
        served(server, "bounces.shop.example", RecordType::MX).await,
        Vec::<Vec<String>>::new()
    );
    assert_eq!(
        text_at(server, "mail-e1._domainkey.bank.example").await,
        ["somebody else's"]
    );
}

async fn wait_for_message(client: &Client, name: &str, words: &str) {
    let api: Api<SendingDomain> = Api::namespaced(client.clone(), TEAM);
    wait::until(words, LIMIT, || async {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        let (_, reason, message) = condition(&found, "RecordsPublished");
        if message.contains(words) {
            Ok(())
        } else {
            Err(format!("{reason}: {message}"))
        }
    })
    .await
    .unwrap();
}

/// New keys are published, seen for a time to live, and sign; the old ones' records go when their time is over.
async fn rotates(client: &Client, server: Ipv4Addr) {
    let before = keys(client, "shop").await;
    let signs = |selector: &str| (selector.to_owned(), KeyState::Active);
    assert_eq!(before, BTreeMap::from([signs("mail-e1"), signs("mail-r1")]));
    annotate(client, "shop", "mailrelay.dev/rotate-now", "once").await;
    rotated(client).await;
    for selector in ["mail-e1", "mail-r1", "mail-e2", "mail-r2"] {
        let name = format!("{selector}._domainkey.shop.example");
        assert_eq!(text_at(server, &name).await.len(), 1, "{name}");
    }
    // As if the time had passed that mail may be on its way.
    let api: Api<Secret> = Api::namespaced(client.clone(), TEAM);
    let long_ago = json!({"stringData": {"mail-r1.retired": "2026-01-01T00:00:00Z"}});
    api.patch(
        "shop-dkim",
        &PatchParams::default(),
        &Patch::Merge(long_ago),
    )
    .await
    .unwrap();
    until_gone(server, "mail-r1._domainkey.shop.example").await;
    assert_eq!(
        text_at(server, "mail-e1._domainkey.shop.example")
            .await
            .len(),
        1
    );
}

/// Waits until the second keys sign.
async fn rotated(client: &Client) {
    wait::until("keys that rotated", ROTATION, || async {
        let keys = keys(client, "shop").await;
        let done = ["mail-e2", "mail-r2"]
            .iter()
            .all(|one| keys.get(*one) == Some(&KeyState::Active));
        if done {
            Ok(())
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await
    .unwrap();
}

async fn is_revoked(client: &Client, server: Ipv4Addr, address: &str) {
    published(client, "shop", rfc2136(address, "zone-key"), &["mail-r2"]).await;
    wait::until("a revocation and a new key in DNS", LIMIT, || async {
        let revoked = text_at(server, "mail-r2._domainkey.shop.example").await;
        let new = text_at(server, "mail-r3._domainkey.shop.example").await;
        if revoked == ["v=DKIM1; p="] && new.len() == 1 {
            Ok(())
        } else {
            Err(format!("{revoked:?} {new:?}"))
        }
    })
    .await
    .unwrap();
    let keys = keys(client, "shop").await;
    assert_eq!(keys["mail-r3"], KeyState::Active);
    assert_eq!(keys["mail-r2"], KeyState::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_to_paste_are_served_as_they_are_meant() {
    let nowhere: SocketAddr = (Ipv4Addr::LOCALHOST, 9).into();
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, TEAM).await.unwrap();
    relay(
        client,
        TEAM,
        "outbox",
        json!({"hostname": "mx.shop.example",
        "egress": {"addresses": ["192.0.2.1", "2001:db8::1"]}}),
    )
    .await
    .unwrap();
    let dns = format!("--dns-server={nowhere}");
    let running = operator(&plane, None, "lone", &["--leader-election=false", &dns]).unwrap();
    running.leads().await.unwrap();
    let spec = json!({"bounces": {"domain": "bounces.shop.example"},
        "dns": {"tlsReports": ["mailto:tls@shop.example"]}});
    domain(client, TEAM, "shop", "outbox", spec).await.unwrap();
    has(client, "shop", "KeysReady", "KeysReady").await;
    let records = status(client, "shop").await.dns_records;
    let lines: Vec<String> = records.into_iter().map(|record| record.zone).collect();
    let server = Ipv4Addr::new(127, 53, 1, 2);
    let _bind = Bind::start(
        server,
        &[("shop.example", &format!("{HOST}\n{}", lines.join("\n")))],
    )
    .await
    .unwrap();
    all_are_served(client, "shop", server).await;
    running.stop().await.unwrap();
}
