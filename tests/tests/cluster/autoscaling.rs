//! A HorizontalPodAutoscaler that goes by the queue: up while mail waits, down once it has gone.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailrelay_tests::clients::Mail;
use mailrelay_tests::cluster::not_run;
use mailrelay_tests::namespace::{Kind, text};
use mailrelay_tests::process::{Run, checkout};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const METRIC: &str = "relay_queue_messages";
const PORT: u16 = 6443;
const HOST: u8 = 142;
const ADAPTER: &str = "metrics-adapter";
const API: &str = "v1beta2.custom.metrics.k8s.io";

/// The autoscaler of the docs, which reacts at once.
const AUTOSCALER: &str = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: outbox}
spec:
  scaleTargetRef: {apiVersion: mailrelay.dev/v1alpha1, kind: SmtpRelay, name: outbox}
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - type: Pods
    pods:
      metric: {name: relay_queue_messages}
      target: {type: AverageValue, averageValue: \"10\"}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 0}
";

#[tokio::test]
async fn an_autoscaler_makes_shards_while_mail_waits_and_takes_them_back_without_loss()
-> anyhow::Result<()> {
    scenario::run("autoscaling", 42, async |scenario: &mut Scenario| {
        if !scenario.cluster.is_own() {
            not_run("another cluster has metrics of its own");
            return Ok(());
        }
        let judged = follows_the_queue(scenario).await;
        // Whatever came of it: an API that does not answer keeps every namespace from being deleted.
        let kubectl = scenario.cluster.kubectl();
        kubectl
            .args(["delete", "apiservice", API, "--ignore-not-found"])
            .succeed()
            .await?;
        judged
    })
    .await
}

async fn follows_the_queue(scenario: &mut Scenario) -> anyhow::Result<()> {
    let account = scenario.set_up("").await?;
    scenario.receiver.stop().await?;
    let _adapter = adapter(scenario).await?;
    scenario.namespace.apply(AUTOSCALER).await?;

    let mails: Vec<Mail> = (0..40)
        .map(|number| {
            let subject = format!("waits {number}");
            Mail::new(&scenario.sender(), &scenario.customer(), &subject)
        })
        .collect();
    let outcomes = scenario.place.smtplib(&account, &mails, 2).await?;
    ensure!(outcomes.iter().all(|one| one.accepted), "{outcomes:?}");
    replicas(scenario, 3).await?;

    scenario.receiver.resume().await?;
    let (customer, sent) = (scenario.customer(), mails.len());
    scenario.receiver.expect(&customer, sent, PATIENCE).await?;
    replicas(scenario, 1).await?;
    for shard in 1..3 {
        let name = format!("{RELAY}-{shard}");
        scenario
            .namespace
            .gone(Kind::Deployment, &name, PATIENCE)
            .await?;
    }
    // None of them came a second time while shards went.
    let delivered = scenario
        .receiver
        .expect(&customer, sent, Duration::ZERO)
        .await?;
    ensure!(delivered.len() == sent, "{} delivered", delivered.len());
    Ok(())
}

/// Waits until the autoscaler has set so many shards and all are ready.
async fn replicas(scenario: &Scenario, replicas: u32) -> anyhow::Result<()> {
    let holds = |relay: Option<&Value>| {
        relay.is_some_and(|relay| {
            relay["spec"]["replicas"] == replicas && relay["status"]["readyReplicas"] == replicas
        })
    };
    let awaited = format!("{replicas} shards by the autoscaler");
    let namespace = &scenario.namespace;
    let relay = namespace
        .watch(Kind::SmtpRelay, RELAY, &awaited, 2 * PATIENCE, holds)
        .await;
    if let Err(error) = relay {
        let autoscaler = namespace.kubectl().args(["describe", "hpa", RELAY]);
        let said = autoscaler.finish().await.map(|finished| finished.said());
        return Err(error.context(said.unwrap_or_default()));
    }
    Ok(())
}

/// Starts the server of metrics and tells the API server of it.
async fn adapter(scenario: &Scenario) -> anyhow::Result<Child> {
    let address = format!("10.250.0.{HOST}");
    scenario.cluster.add_address(address.parse()?).await?;
    let namespace = &scenario.namespace.name;
    let (kubectl, kubeconfig) = scenario.cluster.programs();
    let mut child = Command::new(checkout().join("tests/cluster").join(ADAPTER))
        .arg(format!("{address}:{PORT}"))
        .arg(format!("{ADAPTER}.{namespace}.svc"))
        .args([kubectl as &Path, kubeconfig])
        .arg(METRIC)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let said = child.stdout.take().context("no standard output")?;
    let mut bundle = String::new();
    tokio::time::timeout(PATIENCE, BufReader::new(said).read_line(&mut bundle)).await??;

    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": ADAPTER},
        "spec": {"ports": [{"port": 443, "targetPort": PORT}]},
    });
    let endpoints = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": ADAPTER, "labels": {"kubernetes.io/service-name": ADAPTER}},
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
    });
    let registration = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API},
        "spec": {
            "group": "custom.metrics.k8s.io", "version": "v1beta2",
            "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": ADAPTER, "namespace": namespace},
            "caBundle": bundle.trim(),
        },
    });
    // As every such adapter's manifests have it.
    let rights = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": ADAPTER},
        "rules": [{"apiGroups": ["custom.metrics.k8s.io"], "resources": ["*"], "verbs": ["*"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": ADAPTER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ADAPTER},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system",
            "name": "horizontal-pod-autoscaler"}],
    });
    for object in [service, endpoints, rights, binding] {
        scenario.namespace.apply(&object.to_string()).await?;
    }
    is_routed(scenario, &bundle).await?;
    scenario.namespace.apply(&registration.to_string()).await?;
    let waited = scenario
        .cluster
        .kubectl()
        .args(["wait", "apiservice", API, "--for=condition=Available"])
        .arg("--timeout=90s")
        .limit(2 * PATIENCE)
        .succeed()
        .await;
    if let Err(error) = waited {
        let kubectl = scenario.cluster.kubectl();
        let said = kubectl.args(["describe", "apiservice", API]).finish().await;
        return Err(error.context(said?.said()));
    }
    Ok(child)
}

/// Waits until the Service leads to the adapter. The API server keeps its first connection: one that went
/// elsewhere, before the node knew of the Service, would be asked for minutes.
async fn is_routed(scenario: &Scenario, bundle: &str) -> anyhow::Result<()> {
    let namespace = &scenario.namespace;
    let service = namespace.get(Kind::Service, ADAPTER).await?;
    let address = text(&service.context("no Service")?, "/spec/clusterIP")?;
    let authority = tempfile::NamedTempFile::new()?;
    std::fs::write(&authority, STANDARD.decode(bundle.trim())?)?;
    let name = format!("{ADAPTER}.{}.svc", namespace.name);
    let target = format!("{address}:443");
    wait::until("the Service of the adapter", PATIENCE, || async {
        Run::new("openssl")
            .args(["s_client", "-connect", &target, "-servername", &name])
            .args(["-verify_hostname", &name, "-verify_return_error", "-CAfile"])
            .arg(authority.path())
            .limit(Duration::from_secs(5))
            .succeed()
            .await
            .map_err(|error| error.to_string())
    })
    .await?;
    Ok(())
}
