//! Many objects: how long until all are in order, what an idle operator writes, what it needs.
//!
//! A short form runs with the other tests. `make operator-bench` runs the long one: the sizes come from
//! the environment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use mailrelay_tests::control_plane::{ControlPlane, Names, Operator, Write};
use mailrelay_tests::wait;
use mailrelay_tests::zone::Record;
use operator::domain::keys::{self, SigningKey};
use operator::labels;
use operator_api::names::dkim_secret;
use operator_api::{SendingDomain, SmtpRelay};
use relay_config::DkimAlgorithm;
use serde_json::json;

use crate::objects::{namespace, operator, plane};

/// Requests of the test's own at the same time.
const AT_ONCE: usize = 48;
/// Different keys: many domains share one, which nobody notices.
const KEYS: usize = 16;
const ZONE: &str = "bulk.test";

/// How many of what, and what is allowed.
struct Size {
    relays: usize,
    domains: usize,
    namespaces: usize,
    /// How long an idle operator is watched.
    idle: Duration,
    reconciled: Duration,
    restarted: Duration,
    memory: u64,
}

impl Size {
    /// What the environment asks for, or the short form with generous bounds.
    fn from_environment() -> Self {
        let number = |name: &str, short: u64| {
            let text = std::env::var(format!("OPERATOR_BENCH_{name}"));
            text.map_or(short, |text| text.parse().unwrap())
        };
        let size = |name, short| usize::try_from(number(name, short)).unwrap();
        Self {
            relays: size("RELAYS", 50),
            domains: size("DOMAINS", 500),
            namespaces: size("NAMESPACES", 10),
            idle: Duration::from_secs(number("IDLE_SECONDS", 15)),
            reconciled: Duration::from_secs(number("RECONCILED_SECONDS", 90)),
            restarted: Duration::from_secs(number("RESTARTED_SECONDS", 15)),
            memory: number("MEMORY_MIB", 200) << 20,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_objects_are_reconciled_soon_and_an_idle_operator_writes_nothing() {
    let size = Size::from_environment();
    let plane = plane().await.unwrap();
    let keys = make_keys().await;
    let started = Instant::now();
    let names = Names::start(&plane, ZONE, &records(&size, &keys))
        .await
        .unwrap();
    make_objects(&plane.client, &size, &keys).await.unwrap();
    let made = started.elapsed();
    let dns = format!("--dns-server={}", names.address);

    let (asked, server_cpu) = (plane.requests().await.unwrap(), plane.cpu().unwrap());
    let started = Instant::now();
    let first = operator(&plane, None, "first", &[&dns]).unwrap();
    let ended = settled(&plane, size.reconciled * 4).await;
    let ended = ended.unwrap_or_else(|error| panic!("{error:#}\n{}", first.log()));
    let reconciled = ended.duration_since(started);
    let cpu = first.cpu().unwrap();
    let server_cpu = plane.cpu().unwrap() - server_cpu;
    let asked = more(&plane.requests().await.unwrap(), &asked);
    let reconciles = reconciles(&first).await.unwrap();
    all_are_in_order(&plane.client, &size).await.unwrap();
    let before = plane.writes().unwrap().len();
    let (calm, idle_cpu) = (Instant::now(), first.cpu().unwrap());
    // What an idle operator writes cannot be waited for: it is watched for a while.
    tokio::time::sleep(size.idle).await;
    let idle = plane.writes().unwrap().split_off(before);
    let idle: Vec<&Write> = idle.iter().filter(|write| counts(write)).collect();
    let per_minute = idle.len() as f64 * 60.0 / calm.elapsed().as_secs_f64();
    let idle_cpu = (first.cpu().unwrap() - idle_cpu) / calm.elapsed().as_secs_f64();
    let (memory, peak) = first.memory().unwrap();
    first.stop().await.unwrap();

    let before = plane.writes().unwrap().len();
    let started = Instant::now();
    let second = operator(&plane, None, "second", &[&dns]).unwrap();
    synced(&second, &size).await.unwrap();
    let restarted = started.elapsed();
    let again = plane.writes().unwrap().split_off(before);
    let again: Vec<&Write> = again.iter().filter(|write| counts(write)).collect();
    let (_, peak_restarted) = second.memory().unwrap();
    println!("{}{reconciles}", summary(&asked));
    println!(
        "operator: {} relays, {} domains ({} ms to make): reconciled in {:.1} s with {} requests, {} of them \
         writes, {:.1} s of CPU here and {:.1} s at the API server; idle {:.2} writes/min, {:.3} cores; memory {} MiB, peak {} and {} MiB; restart \
         to synced {:.1} s, {} writes",
        size.relays,
        size.domains,
        made.as_millis(),
        reconciled.as_secs_f64(),
        asked.values().sum::<u64>(),
        writes(&asked),
        cpu,
        server_cpu,
        per_minute,
        idle_cpu,
        memory >> 20,
        peak >> 20,
        peak_restarted >> 20,
        restarted.as_secs_f64(),
        again.len(),
    );
    assert!(reconciled < size.reconciled, "{reconciled:?}");
    assert!(idle.len() <= 1 || per_minute < 1.0, "{idle:#?}");
    assert!(
        peak.max(peak_restarted) < size.memory,
        "{peak} {peak_restarted}"
    );
    assert!(restarted < size.restarted, "{restarted:?}");
    assert!(again.is_empty(), "{again:#?}");
}

/// The Lease is renewed every two seconds by whoever leads, which no reconcile causes.
fn counts(write: &Write) -> bool {
    write.resource != "leases"
}

/// Waits until nothing was written for a while; when the last write was.
///
/// The API server's own counters are asked, which costs less than a watch of all objects would: that would be
/// measured, too.
async fn settled(plane: &ControlPlane, limit: Duration) -> anyhow::Result<Instant> {
    const CALM: Duration = Duration::from_secs(5);
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    let started = Instant::now();
    let mut seen = (0, started);
    loop {
        let now = writes(&plane.requests().await?);
        if now != seen.0 {
            seen = (now, Instant::now());
        } else if seen.1.elapsed() > CALM {
            return Ok(seen.1);
        }
        anyhow::ensure!(
            started.elapsed() < limit,
            "still {now} writes after {limit:?}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Requests that change something, without those for the Lease.
fn writes(requests: &BTreeMap<String, u64>) -> u64 {
    let reads = ["GET", "LIST", "WATCH"];
    let changes = requests.iter().filter(|(name, _)| {
        let verb = name.split(' ').next().unwrap_or_default();
        !reads.contains(&verb) && !name.contains(" leases ")
    });
    changes.map(|(_, count)| count).sum()
}

/// What was counted since `before`.
fn more(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = |(name, count): (&String, &u64)| {
        let more = count - before.get(name).unwrap_or(&0);
        (more > 0).then(|| (name.clone(), more))
    };
    now.iter().filter_map(since).collect()
}

/// A line each.
fn summary(requests: &BTreeMap<String, u64>) -> String {
    let lines = requests.iter();
    lines.fold(String::new(), |text, (name, count)| {
        text + &format!("{count:8} {name}\n")
    })
}

/// How often which kind was reconciled.
async fn reconciles(operator: &Operator) -> anyhow::Result<String> {
    let metrics = operator.metrics().await?;
    let lines = metrics.lines();
    let counts = lines.filter(|line| line.starts_with("operator_reconciles_total"));
    Ok(counts.fold(String::new(), |text, line| text + line + "\n"))
}

/// RSA and Ed25519.
type Pair = [SigningKey; 2];

async fn make_keys() -> Vec<Pair> {
    let make = |_| {
        tokio::task::spawn_blocking(|| {
            [DkimAlgorithm::RsaSha256, DkimAlgorithm::Ed25519Sha256]
                .map(|it| keys::generate(it).unwrap())
        })
    };
    let made = futures_util::future::join_all((0..KEYS).map(make)).await;
    made.into_iter().map(Result::unwrap).collect()
}

const SELECTORS: [&str; 2] = ["mailrelay-r1", "mailrelay-e1"];
const ACTIVE: &str = "mailrelay-e1\nmailrelay-r1";

fn place(size: &Size, number: usize) -> (String, String, String) {
    let namespace = format!("team-{}", number % size.namespaces);
    let relay = format!("relay-{}", number % size.relays);
    (namespace, relay, format!("domain-{number}"))
}

fn records(size: &Size, keys: &[Pair]) -> Vec<Record> {
    let of_domain = |number: usize| {
        let pair = &keys[number % KEYS];
        let kinds = ["rsa", "ed25519"];
        [0, 1].map(|which| {
            let name = format!("{}._domainkey.domain-{number}.{ZONE}", SELECTORS[which]);
            let text = format!("v=DKIM1; k={}; p={}", kinds[which], pair[which].public);
            Record::text(&name, &text)
        })
    };
    (0..size.domains).flat_map(of_domain).collect()
}

async fn make_objects(client: &Client, size: &Size, keys: &[Pair]) -> anyhow::Result<()> {
    // A relay's domains are in its namespace.
    assert_eq!(size.relays % size.namespaces, 0);
    for number in 0..size.namespaces {
        namespace(client, &format!("team-{number}")).await?;
    }
    let relays = stream::iter(0..size.relays).map(|number| async move {
        let (namespace, relay, _) = place(size, number);
        let relay: SmtpRelay = serde_json::from_value(json!({
            "apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpRelay",
            "metadata": {"name": relay}, "spec": {}}))?;
        let api: Api<SmtpRelay> = Api::namespaced(client.clone(), &namespace);
        anyhow::Ok(api.create(&PostParams::default(), &relay).await.map(drop)?)
    });
    relays.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let domains = stream::iter(0..size.domains).map(|number| {
        let pair = &keys[number % KEYS];
        async move {
            let (namespace, relay, name) = place(size, number);
            let domain: SendingDomain = serde_json::from_value(json!({
                "apiVersion": "mailrelay.dev/v1alpha1", "kind": "SendingDomain",
                "metadata": {"name": name},
                "spec": {"domain": format!("{name}.{ZONE}"), "relayRef": {"name": relay},
                    "dkim": {"selectorPrefix": "mailrelay"}}}))?;
            let api: Api<SendingDomain> = Api::namespaced(client.clone(), &namespace);
            let made = api.create(&PostParams::default(), &domain).await?;
            let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            anyhow::Ok(
                api.create(&PostParams::default(), &secret(&made, pair))
                    .await
                    .map(drop)?,
            )
        }
    });
    domains.buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// The keys of a domain, as an operator before this one would have left them.
fn secret(domain: &SendingDomain, pair: &Pair) -> Secret {
    let mut data = BTreeMap::from([("active".to_owned(), ByteString(ACTIVE.as_bytes().to_vec()))]);
    for (selector, key) in SELECTORS.iter().zip(pair) {
        let pem = key.private.expose().as_bytes().to_vec();
        data.insert(format!("{selector}.pem"), ByteString(pem));
        let created = jiff::Timestamp::now().to_string().into_bytes();
        data.insert(format!("{selector}.created"), ByteString(created));
    }
    Secret {
        metadata: labels::owned_by(
            domain,
            dkim_secret(&domain.name_any()),
            labels::common("dkim"),
        ),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn all_hold(conditions: &[Condition], wanted: &[&str]) -> bool {
    wanted.iter().all(|kind| {
        let found = conditions.iter().find(|condition| condition.type_ == *kind);
        found.is_some_and(|condition| condition.status == "True")
    })
}

/// Every relay has its objects and every domain is verified, as far as that is possible without pods.
async fn all_are_in_order(client: &Client, size: &Size) -> anyhow::Result<()> {
    let page = ListParams::default().limit(500);
    let relays = every::<SmtpRelay>(client, &page, |relay| {
        relay.status.as_ref().is_some_and(|status| {
            all_hold(&status.conditions, &["Accepted", "TlsReady"]) && status.replicas == 1
        })
    });
    let domains = every::<SendingDomain>(client, &page, |domain| {
        let wanted = ["Accepted", "KeysReady", "DnsVerified"];
        let status = domain.status.as_ref();
        status.is_some_and(|status| all_hold(&status.conditions, &wanted))
    });
    let counts = (relays.await?, domains.await?);
    anyhow::ensure!(counts == (size.relays, size.domains), "{counts:?}");
    Ok(())
}

/// How many there are; an error if one is not in order.
async fn every<K>(
    client: &Client,
    page: &ListParams,
    is_in_order: impl Fn(&K) -> bool,
) -> anyhow::Result<usize>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let api = Api::<K>::all(client.clone());
    let (mut page, mut count) = (page.clone(), 0);
    loop {
        let list = api.list(&page).await?;
        if let Some(open) = list.items.iter().find(|object| !is_in_order(object)) {
            anyhow::bail!("{open:#?}");
        }
        count += list.items.len();
        page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return Ok(count);
        }
    }
}

/// Waits until a started operator has looked at everything and nothing waits any more.
async fn synced(operator: &Operator, size: &Size) -> anyhow::Result<()> {
    let wanted = [("SmtpRelay", size.relays), ("SendingDomain", size.domains)];
    wait::until("a synced operator", size.restarted * 8, || async move {
        let metrics = operator
            .metrics()
            .await
            .map_err(|error| error.to_string())?;
        let value = |metric: &str, kind: &str| {
            let line = metrics.lines().find(|line| {
                line.starts_with(&format!("{metric}{{")) && line.contains(&format!("\"{kind}\""))
            });
            line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        };
        let seen: Vec<_> = wanted
            .iter()
            .map(|(kind, _)| {
                (
                    value("operator_reconciles_total", kind),
                    value("operator_objects_waiting", kind),
                )
            })
            .collect();
        let synced = wanted
            .iter()
            .zip(&seen)
            .all(|((_, count), (reconciles, waiting))| {
                reconciles.is_some_and(|number| number >= *count as f64) && *waiting == Some(0.0)
            });
        if synced {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
}
