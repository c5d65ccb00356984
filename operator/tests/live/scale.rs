//! Many objects: how long until all are in order, what an idle operator writes, what it needs.
//!
//! A short form runs with the other tests. `make operator-bench` runs the long one: the sizes come from
//! the environment.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
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

    let started = Instant::now();
    let first = operator(&plane, None, "first", &[&dns]).unwrap();
    wait_for_all(&plane.client, &size, started, size.reconciled * 4)
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", first.log()));
    let reconciled = started.elapsed();
    let cpu = first.cpu().unwrap();
    let writes = settled(&plane, size.idle).await.unwrap();
    let before = writes.len();
    let calm = Instant::now();
    // What an idle operator writes cannot be waited for: it is watched for a while.
    tokio::time::sleep(size.idle).await;
    let idle = plane.writes().unwrap().split_off(before);
    let idle: Vec<&Write> = idle.iter().filter(|write| counts(write)).collect();
    let per_minute = idle.len() as f64 * 60.0 / calm.elapsed().as_secs_f64();
    let idle_cpu = (first.cpu().unwrap() - cpu) / calm.elapsed().as_secs_f64();
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
    println!("{}", summary(&writes));
    println!(
        "operator: {} relays, {} domains ({} ms to make): reconciled in {:.1} s with {} writes and \
         {:.1} s of CPU; idle {:.2} writes/min, {:.3} cores; memory {} MiB, peak {} and {} MiB; restart \
         to synced {:.1} s, {} writes",
        size.relays,
        size.domains,
        made.as_millis(),
        reconciled.as_secs_f64(),
        writes.len(),
        cpu,
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

/// Waits until nothing was written for a while; all writes so far.
async fn settled(plane: &ControlPlane, idle: Duration) -> anyhow::Result<Vec<Write>> {
    let count = || {
        plane
            .writes()
            .map(|writes| writes.iter().filter(|write| counts(write)).count())
    };
    let mut seen = (count()?, Instant::now());
    wait::until("no more writes", idle * 20, || {
        let now = count().unwrap_or_default();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        let calm = seen.1.elapsed() > Duration::from_secs(5);
        std::future::ready(if calm {
            Ok(())
        } else {
            Err(format!("{now} writes"))
        })
    })
    .await?;
    plane.writes()
}

/// Writes by verb and resource.
fn summary(writes: &[Write]) -> String {
    let mut counts: BTreeMap<(String, String, u64), usize> = BTreeMap::new();
    for write in writes {
        let key = (write.verb.clone(), write.resource.clone(), write.code);
        *counts.entry(key).or_default() += 1;
    }
    let lines = counts.iter();
    lines.fold(String::new(), |text, ((verb, resource, code), count)| {
        text + &format!("{count:8} {verb} {resource} {code}\n")
    })
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

/// Waits until every relay has its objects and every domain is verified, as far as that is possible
/// without pods.
async fn wait_for_all(
    client: &Client,
    size: &Size,
    started: Instant,
    limit: Duration,
) -> anyhow::Result<()> {
    let relays = watched::<SmtpRelay>("relays", client, size.relays, started, limit, |relay| {
        relay.status.as_ref().is_some_and(|status| {
            all_hold(&status.conditions, &["Accepted", "TlsReady"]) && status.replicas == 1
        })
    });
    let domains =
        watched::<SendingDomain>("domains", client, size.domains, started, limit, |domain| {
            let wanted = ["Accepted", "KeysReady", "DnsVerified"];
            let status = domain.status.as_ref();
            status.is_some_and(|status| all_hold(&status.conditions, &wanted))
        });
    tokio::try_join!(relays, domains)?;
    Ok(())
}

async fn watched<K>(
    what: &str,
    client: &Client,
    count: usize,
    started: Instant,
    limit: Duration,
    is_done: impl Fn(&K) -> bool,
) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let mut events = watcher(Api::<K>::all(client.clone()), watcher::Config::default()).boxed();
    let mut done = HashSet::new();
    let all = async {
        while done.len() < count {
            match events.try_next().await? {
                Some(Event::Apply(object) | Event::InitApply(object)) if is_done(&object) => {
                    done.insert((object.namespace(), object.name_any()));
                }
                _ => {}
            }
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(limit, all).await;
    println!(
        "{what}: {} of {count} after {:?}",
        done.len(),
        started.elapsed()
    );
    ended.map_err(|_| anyhow::anyhow!("{} of {count} {what} after {limit:?}", done.len()))?
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
