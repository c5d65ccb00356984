//! What others and the API server do to an operator: it ends where it should, and asks in measure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mailrelay_tests::control_plane::{Fault, Proxy, User};
use mailrelay_tests::wait;
use serde_json::json;

use crate::objects::{domain, namespace, operator, plane, relay, relay_is_judged};

const LIMIT: Duration = Duration::from_mins(1);
/// How long requests are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// How long the API server is away, if `MAILRELAY_API_OUTAGE` names no other number of seconds.
const AWAY: u64 = 20;
/// What memory may grow by meanwhile: nothing is remembered of what cannot be asked.
const GROWTH: u64 = 8 << 20;
const LONE: [&str; 2] = ["--leader-election=false", "--dns-server=127.0.0.1:9"];

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_repairs_once_and_gets_over_an_api_server_that_fails_or_is_gone() {
    let mut plane = plane().await.unwrap();
    let client = plane.client.clone();
    namespace(&client, "post").await.unwrap();
    let upstream = plane.client_of(User::Operator).await.unwrap();
    let proxy = Proxy::start(upstream).await.unwrap();
    let running = operator(&plane, Some(&proxy), "lone", &LONE).unwrap();
    running.leads().await.unwrap();

    // Answers that are too many, failures, garbage, and more than anybody wants.
    let huge = "x".repeat(4 << 20);
    let answers = [(429, "{}"), (500, "{}"), (200, "no JSON"), (503, &huge)];
    for (number, (code, body)) in answers.into_iter().enumerate() {
        let body = body.to_owned();
        proxy.set(Fault::Answer {
            every: 10,
            code,
            body,
        });
        let name = format!("relay-{number}");
        relay(&client, "post", &name, json!({})).await.unwrap();
        relay_is_judged(&client, "post", &name, LIMIT)
            .await
            .unwrap();
    }
    proxy.set(Fault::None);

    is_repaired_once(&client, &proxy).await;

    // The API server goes and comes back.
    let away = std::env::var("MAILRELAY_API_OUTAGE");
    let away = Duration::from_secs(away.map_or(AWAY, |text| text.parse().unwrap()));
    plane.stop_server().await.unwrap();
    proxy.clear();
    let (before, cpu) = (running.memory().unwrap().0, running.cpu().unwrap());
    tokio::time::sleep(away).await;
    let (memory, cpu) = (running.memory().unwrap().0, running.cpu().unwrap() - cpu);
    let asked = proxy.requests().len();
    plane.start_server().await.unwrap();
    println!(
        "no API server for {away:?}: {asked} requests, {} MiB after {} MiB, {cpu:.2} s of CPU",
        memory >> 20,
        before >> 20
    );
    // Each of the watches tries again, ever more rarely, and so does each relay.
    assert!(asked as u64 <= 400 + 2 * away.as_secs(), "{asked}");
    assert!(memory < before + GROWTH, "{memory} after {before}");
    assert!(cpu < away.as_secs_f64() / 20.0, "{cpu}");
    relay(&client, "post", "afterwards", json!({}))
        .await
        .unwrap();
    domain(&client, "post", "shop", "afterwards", json!({}))
        .await
        .unwrap();
    relay_is_judged(&client, "post", "afterwards", LIMIT * 2)
        .await
        .unwrap();
    running.stop().await.unwrap();
}

/// Others take away or change what is ours.
async fn is_repaired_once(client: &Client, proxy: &Proxy) {
    let services: Api<Service> = Api::namespaced(client.clone(), "post");
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "post");
    let before = wait::until("a Deployment", LIMIT, || async {
        deployments
            .get("relay-0-0")
            .await
            .map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    proxy.clear();
    services
        .delete("relay-0", &DeleteParams::default())
        .await
        .unwrap();
    let changed = json!({"spec": {"template": {"spec": {"serviceAccountName": "somebody"}}}});
    let parameters = PatchParams {
        field_manager: Some("somebody".to_owned()),
        ..PatchParams::default()
    };
    deployments
        .patch("relay-0-0", &parameters, &Patch::Strategic(changed))
        .await
        .unwrap();
    let account = |deployment: &Deployment| {
        let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
        pod.service_account_name.clone()
    };
    wait::until("both in order", LIMIT, || async {
        services
            .get("relay-0")
            .await
            .map_err(|error| error.to_string())?;
        let now = deployments
            .get("relay-0-0")
            .await
            .map_err(|error| error.to_string())?;
        if account(&now) == account(&before) {
            Ok(())
        } else {
            Err("another account".to_owned())
        }
    })
    .await
    .unwrap();
    // That nothing more is written cannot be waited for: it is watched for a while.
    tokio::time::sleep(COUNTED).await;
    let requests = proxy.requests();
    let writes: Vec<_> = requests.iter().filter(|request| request.writes).collect();
    println!(
        "two repairs: {} writes of {} requests",
        writes.len(),
        requests.len()
    );
    assert!(writes.len() <= 4, "{writes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_told_late_ends_with_the_same_and_makes_nothing_twice() {
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, "post").await.unwrap();
    let upstream = plane.client_of(User::Operator).await.unwrap();
    let proxy = Proxy::start(upstream).await.unwrap();
    proxy.set(Fault::LateWatches(Duration::from_secs(2)));
    let running = operator(&plane, Some(&proxy), "lone", &LONE).unwrap();
    running.leads().await.unwrap();
    relay(client, "post", "outbox", json!({})).await.unwrap();
    let judged = relay_is_judged(client, "post", "outbox", LIMIT)
        .await
        .unwrap();
    relay(client, "post", "outbox", json!({"replicas": 2}))
        .await
        .unwrap();
    relay_is_judged(client, "post", "outbox", LIMIT)
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "post");
    wait::until("a second shard", LIMIT, || async {
        deployments
            .get("outbox-1")
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    tokio::time::sleep(COUNTED).await;
    let authority = |relay: &operator_api::SmtpRelay| {
        relay
            .status
            .as_ref()
            .and_then(|status| status.certificate_not_after.clone())
    };
    let last = relay_is_judged(client, "post", "outbox", LIMIT)
        .await
        .unwrap();
    assert_eq!(
        authority(&last),
        authority(&judged),
        "the certificate was made twice"
    );
    let writes = proxy
        .requests()
        .into_iter()
        .filter(|request| request.writes);
    let writes: Vec<String> = writes.map(|request| request.line).collect();
    println!("told late: {} writes", writes.len());
    assert!(writes.len() < 60, "{writes:#?}");
}
