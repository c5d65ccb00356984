//! Domains without keys: RSA keys take most of a core each, and nothing else waits for them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::api::{Api, ListParams};
use mailrelay_tests::control_plane::Names;
use mailrelay_tests::wait;
use operator::domain::keys;
use operator_api::SendingDomain;
use relay_config::DkimAlgorithm;
use serde_json::json;

use crate::objects::{domain, namespace, operator, plane, relay};

const LIMIT: Duration = Duration::from_mins(10);

/// Domains of the import, if the environment names no other number.
const DOMAINS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_the_keys_of_a_bulk_import_and_all_cores_make_them() {
    let count = std::env::var("OPERATOR_BENCH_KEYS").map_or(DOMAINS, |text| text.parse().unwrap());
    let plane = plane().await.unwrap();
    let client = &plane.client;
    let names = Names::start(&plane, "example", &[]).await.unwrap();
    for team in ["bulk", "shop"] {
        namespace(client, team).await.unwrap();
        relay(client, team, "outbox", json!({})).await.unwrap();
    }
    let dns = format!("--dns-server={}", names.address);
    let operator = operator(&plane, None, "lone", &[&dns]).unwrap();
    operator.leads().await.unwrap();

    for number in 0..count {
        domain(
            client,
            "bulk",
            &format!("bulk-{number}"),
            "outbox",
            json!({}),
        )
        .await
        .unwrap();
    }
    let started = Instant::now();
    let before = ready(client, "bulk").await.unwrap().len();
    let late = [("shop", "single"), ("bulk", "late")];
    for (team, name) in late {
        domain(client, team, name, "outbox", json!({}))
            .await
            .unwrap();
    }
    for (team, name) in late {
        wait::until("a single domain's keys", LIMIT, || async {
            let ready = ready(client, team)
                .await
                .map_err(|error| error.to_string())?;
            if ready.contains(name) {
                Ok(())
            } else {
                Err(format!("{}", ready.len()))
            }
        })
        .await
        .unwrap();
    }
    let single = started.elapsed();
    let then = ready(client, "bulk").await.unwrap().len();
    // Every domain of the import has its Ed25519 key, or it would wait behind RSA keys.
    let (signing, _) = signing(client).await.unwrap();
    assert!(
        then < count,
        "the import was over before: {then} of {count}"
    );
    wait::until("the import", LIMIT, || async {
        let ready = ready(client, "bulk")
            .await
            .map_err(|error| error.to_string())?;
        if ready.len() > count {
            Ok(())
        } else {
            Err(format!("{}", ready.len()))
        }
    })
    .await
    .unwrap();
    let rate = (count + 2 - before) as f64 / started.elapsed().as_secs_f64();
    let possible = possible().await;
    println!(
        "keys: {count} domains and 2: {rate:.1} RSA keys/s of {possible:.1} that the cores can make, {:.0} %; \
         the single ones ready after {single:?}, when {then} of {count} were and {signing} signed",
        100.0 * rate / possible
    );
    assert_eq!(
        signing,
        count + 2,
        "domains that sign with Ed25519 meanwhile"
    );
}

/// Domains whose keys are ready.
async fn ready(client: &kube::Client, team: &str) -> anyhow::Result<BTreeSet<String>> {
    let api: Api<SendingDomain> = Api::namespaced(client.clone(), team);
    let all = api.list(&ListParams::default()).await?;
    let ready = all.iter().filter(|domain| {
        let keys = domain.status.as_ref().map_or(0, |status| status.keys.len());
        keys == 2
    });
    Ok(ready.map(kube::ResourceExt::name_any).collect())
}

/// Domains that sign, and all.
async fn signing(client: &kube::Client) -> anyhow::Result<(usize, usize)> {
    let api: Api<SendingDomain> = Api::all(client.clone());
    let all = api.list(&ListParams::default()).await?;
    let signs = |domain: &&SendingDomain| {
        let status = domain.status.as_ref();
        status.is_some_and(|status| !status.keys.is_empty())
    };
    Ok((all.iter().filter(signs).count(), all.items.len()))
}

/// RSA keys per second with all cores and nothing else.
async fn possible() -> f64 {
    const KEYS: usize = 20;
    let started = Instant::now();
    let cores = std::thread::available_parallelism().unwrap().get();
    let make = |_| {
        tokio::task::spawn_blocking(|| {
            for _ in 0..KEYS {
                keys::generate(DkimAlgorithm::RsaSha256).unwrap();
            }
        })
    };
    futures_util::future::join_all((0..cores).map(make)).await;
    (KEYS * cores) as f64 / started.elapsed().as_secs_f64()
}
