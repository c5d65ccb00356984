//! An operator that has rights in one namespace only.

use anyhow::ensure;
use mailrelay_tests::audit;
use mailrelay_tests::chart::Release;
use mailrelay_tests::clients::Mail;
use mailrelay_tests::cluster::{OPERATOR, OPERATOR_NAMESPACE};
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::Value;

/// The namespace of the operator with few rights; its requests are audited, too.
const TENANT: &str = "mailrelay-tenant";

/// Rights in all namespaces that an operator of one namespace has.
const OF_THE_CLUSTER: &[(&str, &str)] = &[
    (
        "namespaces",
        "their labels, for selectors, and whether they are about to go",
    ),
    (
        "/.well-known/openid-configuration",
        "who issues ServiceAccount tokens",
    ),
    ("/openid/v1/jwks", "and with which keys"),
    (
        "leases",
        "whether the operator that a relay names is at work",
    ),
];

async fn scale_the_other(scenario: &Scenario, replicas: u32) -> anyhow::Result<()> {
    scenario
        .cluster
        .kubectl()
        .args([
            "--namespace",
            OPERATOR_NAMESPACE,
            "scale",
            "deployment",
            OPERATOR,
        ])
        .arg(format!("--replicas={replicas}"))
        .succeed()
        .await?;
    let wait = ["rollout", "status", "deployment", OPERATOR, "--timeout=90s"];
    let kubectl = scenario.cluster.kubectl();
    kubectl
        .args(["--namespace", OPERATOR_NAMESPACE])
        .args(wait)
        .succeed()
        .await?;
    Ok(())
}

#[tokio::test]
async fn of_two_operators_one_waits_for_the_other_and_one_of_a_namespace_needs_little_outside()
-> anyhow::Result<()> {
    scenario::run_alone("tenant", 79, async |scenario: &mut Scenario| {
        let judged = beside_and_alone(scenario).await;
        scenario.cluster.remove(TENANT).await?;
        scale_the_other(scenario, 1).await?;
        judged
    })
    .await
}

/// Waits until the relay names the operator of this namespace as its own.
async fn in_hand(scenario: &Scenario, operator: &str) -> anyhow::Result<()> {
    let named = |relay: Option<&Value>| {
        let annotations = relay.map(|relay| &relay["metadata"]["annotations"]);
        annotations.is_some_and(|found| found["mailrelay.dev/operator"] == operator)
    };
    let namespace = &scenario.namespace;
    namespace
        .watch(Kind::SmtpRelay, RELAY, operator, PATIENCE, named)
        .await?;
    Ok(())
}

async fn beside_and_alone(scenario: &mut Scenario) -> anyhow::Result<()> {
    let namespace = scenario.namespace.name.clone();
    let release = Release {
        namespace: TENANT.into(),
        values: vec![
            "crds.install=false".into(),
            "userRoles.aggregate=false".into(),
            format!("watchNamespaces={{{namespace}}}"),
        ],
        ..Release::default()
    };
    let account = scenario.set_up("").await?;
    in_hand(scenario, OPERATOR_NAMESPACE).await?;
    scenario.cluster.deploy(&release).await?;
    wait::until(
        "the second operator stays away and says so",
        PATIENCE,
        async || {
            let events = scenario
                .namespace
                .list(Kind::Event)
                .await
                .unwrap_or_default();
            let told = events
                .iter()
                .any(|event| event["reason"] == "AnotherOperator");
            if told {
                Ok(())
            } else {
                Err(format!("{} Events", events.len()))
            }
        },
    )
    .await?;
    in_hand(scenario, OPERATOR_NAMESPACE).await?;
    scale_the_other(scenario, 0).await?;
    in_hand(scenario, TENANT).await?;
    let mail = Mail::new(&scenario.sender(), &scenario.customer(), "of one namespace");
    let outcome = scenario.place.send(&account, &mail).await?;
    ensure!(outcome.accepted, "{outcome:?}");
    scenario
        .receiver
        .expect(&scenario.customer(), 1, PATIENCE)
        .await?;
    scenario.namespace.remove(Kind::SmtpRelay, RELAY).await?;
    scenario
        .namespace
        .gone(Kind::SmtpRelay, RELAY, PATIENCE)
        .await?;

    asked_little(scenario, &namespace)?;
    may_do_little(&mailrelay_tests::chart::render(&["watchNamespaces={alpha}"]).await?)
}

/// What it asked of the API server.
fn asked_little(scenario: &Scenario, namespace: &str) -> anyhow::Result<()> {
    let requests = scenario.cluster.audit(TENANT)?;
    let outside = |request: &&audit::Request| {
        let object = request.object_ref.as_ref();
        let within = object.map_or("", |object| object.namespace.as_str());
        within != namespace && within != TENANT
    };
    let others: Vec<String> = requests
        .iter()
        .filter(outside)
        .filter(|request| {
            !OF_THE_CLUSTER
                .iter()
                .any(|(what, _)| request.uri.contains(what))
        })
        .map(audit::Request::line)
        .collect();
    ensure!(
        others.is_empty(),
        "asked for outside its namespaces: {others:#?}"
    );
    let refused: Vec<String> = requests
        .iter()
        .filter(|request| request.code() == 403)
        .map(audit::Request::line)
        .collect();
    ensure!(refused.is_empty(), "refused: {refused:#?}");
    ensure!(
        !scenario.cluster.is_own() || requests.len() > 20,
        "{} requests",
        requests.len()
    );
    Ok(())
}

/// What the chart grants in all namespaces.
fn may_do_little(objects: &[Value]) -> anyhow::Result<()> {
    let roles = objects.iter().filter(|object| {
        object["kind"] == "ClusterRole"
            && !object["metadata"]["labels"]
                .to_string()
                .contains("aggregate-to")
    });
    for rule in roles.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        for field in ["resources", "nonResourceURLs"] {
            for what in rule[field].as_array().into_iter().flatten() {
                let known = OF_THE_CLUSTER.iter().any(|(name, _)| what == name);
                ensure!(known, "granted in all namespaces: {what}");
            }
        }
    }
    Ok(())
}
