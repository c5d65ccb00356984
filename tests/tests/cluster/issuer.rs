//! Certificates of cert-manager: its own controllers, built from its packages (`tests/cluster/certmanager`),
//! issue and renew the certificate of a relay.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Encryption, Mail};
use mailrelay_tests::cluster::not_run;
use mailrelay_tests::namespace::{Kind, condition, text};
use mailrelay_tests::process::{Run, checkout};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::durability::relay_pod;

/// A cold build of cert-manager.
const BUILD_LIMIT: Duration = Duration::from_mins(10);
/// From a renewal to the new certificate at the port (case O17).
const RENEWAL_LIMIT: Duration = Duration::from_mins(1);
const MODULE: &str = "github.com/cert-manager/cert-manager";
const CRDS: [&str; 4] = [
    "certificaterequests",
    "certificates",
    "clusterissuers",
    "issuers",
];
/// An issuer with an authority of its own.
const ISSUERS: &str = "\
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: root}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: authority}
spec: {isCA: true, commonName: authority, secretName: authority, issuerRef: {name: root}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: inner}
spec: {ca: {secretName: authority}}
";

fn go(arguments: &[&str]) -> Run {
    let folder = checkout().join("tests/cluster/certmanager");
    Run::new("go")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .limit(BUILD_LIMIT)
}

/// Installs the kinds and starts the controllers.
async fn start(scenario: &Scenario, folder: &std::path::Path) -> anyhow::Result<Child> {
    let program = folder.join("certmanager");
    go(&["build", "-o"])
        .arg(&program)
        .arg(".")
        .progress()
        .succeed()
        .await?;
    let module = go(&["list", "-m", "-f", "{{.Dir}}", MODULE])
        .succeed()
        .await?;
    for name in CRDS {
        let file = format!("{}/deploy/crds/cert-manager.io_{name}.yaml", module.trim());
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", &file];
        scenario.cluster.kubectl().args(apply).succeed().await?;
    }
    let log = std::fs::File::create(folder.join("log"))?;
    Ok(Command::new(&program)
        .arg("-kubeconfig")
        .arg(scenario.cluster.kubeconfig())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?)
}

/// Waits for a reason of `TlsReady`.
async fn tls_ready(scenario: &Scenario, reason: &str, words: &str) -> anyhow::Result<()> {
    let told = |relay: Option<&Value>| {
        let condition = relay.and_then(|relay| condition(relay, "TlsReady"));
        condition.is_some_and(|one| {
            one["reason"] == reason
                && one["message"]
                    .as_str()
                    .is_some_and(|said| said.contains(words))
        })
    };
    let namespace = &scenario.namespace;
    namespace
        .watch(Kind::SmtpRelay, RELAY, reason, PATIENCE, told)
        .await?;
    Ok(())
}

async fn set_tls(scenario: &Scenario, tls: Value) -> anyhow::Result<()> {
    let patch = json!({"spec": {"tls": tls}});
    scenario
        .namespace
        .patch(Kind::SmtpRelay, RELAY, &patch)
        .await
}

#[tokio::test]
async fn o17_cert_manager_issues_and_renews_and_no_pod_is_restarted() -> anyhow::Result<()> {
    scenario::run("issuer", 80, async |scenario: &mut Scenario| {
        if !scenario.cluster.is_own() {
            not_run("cert-manager of another cluster is not ours to replace");
            return Ok(());
        }
        let folder = tempfile::tempdir()?;
        let judged = issued(scenario, folder.path()).await;
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        for name in CRDS {
            let definition = format!("crd/{name}.cert-manager.io");
            let delete = ["delete", "--ignore-not-found", &definition];
            scenario.cluster.kubectl().args(delete).succeed().await?;
        }
        let taken = judged.with_context(|| format!("cert-manager said:\n{log}"))?;
        println!("from the request for a renewal to the new certificate: {taken:.1?}");
        Ok(())
    })
    .await
}

async fn issued(scenario: &mut Scenario, folder: &std::path::Path) -> anyhow::Result<Duration> {
    let manifests = scenario.manifests("  tls: {issuerRef: {name: inner}}");
    scenario.namespace.apply(&manifests).await?;
    tls_ready(
        scenario,
        "CertManagerUnavailable",
        "install it, or remove the field",
    )
    .await?;

    let mut controllers = start(scenario, folder).await?;
    // Nothing tells the operator of a new kind; an edit has it look at once.
    let host = format!("{RELAY}.{}.svc", scenario.namespace.name);
    set_tls(scenario, json!({"dnsNames": [host]})).await?;
    tls_ready(scenario, "CertificatePending", "Secret does not exist").await?;
    scenario.namespace.apply(ISSUERS).await?;
    let account = scenario.ready().await?;
    scenario.publish().await?;
    // The application trusts what its binding Secret has: the issuer's authority.
    let mail = Mail::new(&scenario.sender(), &scenario.customer(), "issued");
    let outcome = scenario.place.send(&account, &mail).await?;
    ensure!(outcome.accepted, "{outcome:?}");

    let pod = relay_pod(&scenario.namespace).await?;
    let renewal = renewed(scenario, &account.at(465, Encryption::Implicit)).await?;
    let same = relay_pod(&scenario.namespace).await?;
    ensure!(
        text(&same, "/metadata/uid")? == text(&pod, "/metadata/uid")?
            && same["status"]["containerStatuses"][0]["restartCount"] == 0,
        "the pod was restarted"
    );

    // Without the issuer nothing of it is left, and the operator's own certificate serves.
    set_tls(scenario, Value::Null).await?;
    tls_ready(scenario, "CertificateValid", "the operator's certificate").await?;
    let secret = format!("{RELAY}-tls-issued");
    wait::until("the Certificate and its Secret go", PATIENCE, async || {
        let get = ["get", "certificates,secrets", "--output=name"];
        let said = scenario.namespace.kubectl().args(get).finish().await;
        let said = said.map_or_else(|error| error.to_string(), |finished| finished.said());
        if said.contains(&secret) {
            Err(said)
        } else {
            Ok(())
        }
    })
    .await?;
    controllers.kill().await?;
    Ok(renewal)
}

/// Asks for a renewal, as `cmctl renew` does, and waits for it at the port.
async fn renewed(
    scenario: &Scenario,
    implicit: &mailrelay_tests::clients::Account,
) -> anyhow::Result<Duration> {
    let old = scenario.place.certificate(implicit).await?;
    let issuing = json!({"status": {"conditions": [{
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "asked for by a test", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let start = Instant::now();
    scenario
        .namespace
        .kubectl()
        .args([
            "patch",
            "certificates.cert-manager.io",
            &format!("{RELAY}-tls-issued"),
        ])
        .args(["--subresource=status", "--type=merge", "--patch"])
        .arg(issuing.to_string())
        .succeed()
        .await?;
    wait::until(
        "the renewed certificate at port 465",
        PATIENCE,
        async || match scenario.place.certificate(implicit).await {
            Ok(new) if new != old => Ok(()),
            Ok(_) => Err("the old one".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await?;
    let taken = start.elapsed();
    ensure!(taken < RENEWAL_LIMIT, "in force after {taken:.1?}");
    Ok(taken)
}
