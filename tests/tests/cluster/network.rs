//! Who reaches a relay and whom it reaches, as a policy engine enforces it (kube-router): from the same
//! grants that the relay itself goes by.

use std::time::Duration;

use anyhow::ensure;
use mailrelay_tests::cluster::not_run;
use mailrelay_tests::namespace::{Kind, Namespace, condition, text};
use mailrelay_tests::node;
use mailrelay_tests::process::Run;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::{Value, json};

use crate::durability::relay_pod;

/// busybox, which every node of the own cluster has.
const IMAGE: &str = "mailrelay.test/cluster/busybox:1";
/// A port that no relay needs.
const OTHER_PORT: u16 = 7777;
/// Beyond this an open port would have answered.
const CONNECT: &str = "3";
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// A pod that listens on a port of its own and connects on request.
async fn start(namespace: &Namespace) -> anyhow::Result<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "probe", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["nc", "-ll", "-p", OTHER_PORT.to_string(), "-e", "true"],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    namespace.apply(&pod.to_string()).await?;
    let running = |pod: Option<&Value>| {
        pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["ready"] == true)
    };
    let pod = namespace
        .watch(Kind::Pod, "probe", "it runs", PATIENCE, running)
        .await?;
    text(&pod.unwrap_or_default(), "/status/podIP")
}

/// `nc` towards an address; whether it connected.
async fn connects(nc: Run, address: &str, port: u16) -> anyhow::Result<bool> {
    let finished = nc
        .args(["nc", "-w", CONNECT, address, &port.to_string()])
        .limit(PROBE_LIMIT)
        .finish()
        .await?;
    Ok(finished.code == Some(0))
}

fn from_pod(namespace: &Namespace) -> Run {
    namespace.kubectl().args(["exec", "probe", "--"])
}

/// Waits until a pod's connection to the relay's submission port is let through, or is not.
async fn until(namespace: &Namespace, relay: &str, open: bool) -> anyhow::Result<()> {
    let awaited = format!(
        "a connection from {} is let through: {open}",
        namespace.name
    );
    wait::until(&awaited, PATIENCE, async || {
        match connects(from_pod(namespace), relay, 10587).await {
            Ok(found) if found == open => Ok(()),
            Ok(found) => Err(format!("let through: {found}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

#[tokio::test]
async fn a_relay_is_reached_by_whom_it_grants_and_reaches_what_it_needs() -> anyhow::Result<()> {
    scenario::run("policy", 78, async |scenario: &mut Scenario| {
        if !scenario.cluster.is_own() {
            not_run("whether another cluster enforces NetworkPolicy is not known");
            return Ok(());
        }
        scenario.set_up("").await?;
        let own = scenario.namespace.clone();
        // Before the other pods of its namespace.
        let pod = relay_pod(&own).await?;
        let strangers = Namespace::create(&scenario.cluster, "t-policy-strangers").await?;
        let (_, outside) = (start(&own).await?, start(&strangers).await?);
        let relay = text(&pod, "/status/podIP")?;

        // In: pods of the relay's namespace, and to mail alone.
        until(&own, &relay, true).await?;
        until(&strangers, &relay, false).await?;
        for namespace in [&own, &strangers] {
            let admin = connects(from_pod(namespace), &relay, 8443).await?;
            ensure!(!admin, "{} reaches the admin port", namespace.name);
            // Prometheus may be anywhere.
            let metrics = connects(from_pod(namespace), &relay, 8080).await?;
            ensure!(metrics, "{} does not reach the metrics", namespace.name);
        }

        // Out: mail servers, and not whatever else listens.
        let from_relay = || anyhow::Ok(node::in_network_of(&pod)?.arg("busybox"));
        let server = scenario.receiver.address().ip().to_string();
        ensure!(
            connects(from_relay()?, &server, 25).await?,
            "no way to the mail server"
        );
        let control = connects(from_pod(&own), &outside, OTHER_PORT).await?;
        ensure!(control, "nothing listens at {outside}:{OTHER_PORT}");
        let reached = connects(from_relay()?, &outside, OTHER_PORT).await?;
        ensure!(!reached, "the relay reaches {outside}:{OTHER_PORT}");

        grant(scenario, &strangers, &relay).await?;
        strangers.delete().await
    })
    .await
}

/// A grant opens the network and lets credentials in, and its end takes both away.
async fn grant(scenario: &Scenario, strangers: &Namespace, relay: &str) -> anyhow::Result<()> {
    let own = &scenario.namespace;
    let manifest = format!(
        "apiVersion: mailrelay.dev/v1alpha1\nkind: SmtpCredential\nmetadata: {{name: guest}}\n\
         spec: {{relayRef: {{name: {RELAY}, namespace: {}}}}}\n",
        own.name
    );
    strangers.apply(&manifest).await?;
    let accepted = async |status: &str| {
        let kind = Kind::SmtpCredential;
        let found = strangers
            .condition(kind, "guest", "Accepted", status, PATIENCE)
            .await?;
        anyhow::Ok(condition(&found, "Accepted").map(|one| one["reason"].clone()))
    };
    ensure!(accepted("False").await? == Some(json!("NotAllowedByRelay")));
    let label = json!({"matchLabels": {"kubernetes.io/metadata.name": strangers.name}});
    let namespaces = json!({"from": "Selector", "selector": label});
    let patch = json!({"spec": {"clients": {"namespaces": namespaces}}});
    own.patch(Kind::SmtpRelay, RELAY, &patch).await?;
    accepted("True").await?;
    until(strangers, relay, true).await?;
    // It is the selector that counts now, and it leaves the relay's own namespace out.
    until(own, relay, false).await?;

    let patch = json!({"spec": {"clients": null}});
    own.patch(Kind::SmtpRelay, RELAY, &patch).await?;
    accepted("False").await?;
    until(strangers, relay, false).await?;

    let patch = json!({"spec": {"networkPolicy": {"enabled": false}}});
    own.patch(Kind::SmtpRelay, RELAY, &patch).await?;
    until(strangers, relay, true).await
}
