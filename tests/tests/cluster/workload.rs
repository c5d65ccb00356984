//! A pod as a team would write it, with the Go program of the documentation and nothing of ours in
//! it, sends with the token that the kubelet gave it.

use std::path::Path;

use anyhow::ensure;
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::process::{Run, checkout};
use mailrelay_tests::scenario::{self, CREDENTIAL, DOMAIN, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::{Value, json};

/// The application's ServiceAccount.
const ACCOUNT: &str = "billing";
/// The application's image; no registry has it, and its tag is not `latest`, so none is asked.
const IMAGE: &str = "mailrelay.test/documented/go:1";
/// The program in the documentation, with the addresses that it prints there.
const PROGRAM: &str = "examples/tokens/send.go";
const SENDER: &str = "orders@shop.example";
const RECIPIENT: &str = "ada@reader.example";

/// Compiles the documented program for this scenario's addresses.
async fn compile(scenario: &Scenario, folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let source = std::fs::read_to_string(checkout().join(PROGRAM))?;
    ensure!(
        source.contains(SENDER) && source.contains(RECIPIENT),
        "{PROGRAM} has other addresses than {SENDER} and {RECIPIENT}"
    );
    let source = source
        .replace(SENDER, &scenario.sender())
        .replace(RECIPIENT, &scenario.customer());
    let path = folder.join("send.go");
    std::fs::write(&path, source)?;
    let program = folder.join("send");
    Run::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(&path)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-trimpath")
        .succeed()
        .await?;
    Ok(program)
}

/// The pod of the documentation's page "How to send", in a namespace that enforces `restricted`.
fn pod(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "automountServiceAccountToken": false,
            "restartPolicy": "OnFailure",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app", "image": IMAGE, "imagePullPolicy": "Never",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
                "env": [
                    {"name": "SMTP_HOST", "value": host},
                    {"name": "SMTP_PORT", "value": "587"},
                    {"name": "SMTP_CA", "value": "/etc/relay/ca.crt"},
                    {"name": "SMTP_TOKEN", "value": "/var/run/secrets/relay/token"},
                ],
                "volumeMounts": [
                    {"name": "relay-ca", "mountPath": "/etc/relay", "readOnly": true},
                    {
                        "name": "relay-token", "readOnly": true,
                        "mountPath": "/var/run/secrets/relay",
                    },
                ],
            }],
            "volumes": [
                {"name": "relay-token", "projected": {"sources": [{"serviceAccountToken": {
                    "audience": host, "expirationSeconds": 3600, "path": "token",
                }}]}},
                {"name": "relay-ca", "configMap": {"name": format!("{RELAY}-ca")}},
            ],
        },
    })
}

/// Runs the pod until its program was accepted, or refused for what it is: whether it was accepted, and
/// what it logged. A container that found no open port starts again, as that of any application does: a
/// node leads a Service to a pod, and lets a new pod through to it, only some moments after both run.
async fn run(scenario: &Scenario, name: &str, host: &str) -> anyhow::Result<(bool, String)> {
    let namespace = &scenario.namespace;
    namespace.apply(&pod(name, host).to_string()).await?;
    let log = async |previous: &[&str]| {
        let command = namespace.kubectl().args(["logs", name]).args(previous);
        let finished = command.finish().await;
        finished.map_or_else(|error| error.to_string(), |finished| finished.said())
    };
    wait::until("the end of the pod's program", PATIENCE, async || {
        let pod = namespace.get(Kind::Pod, name).await.ok().flatten();
        let phase = pod.map_or(Value::Null, |pod| pod["status"]["phase"].clone());
        let said = log(&[]).await + &log(&["--previous"]).await;
        match phase.as_str() {
            Some("Succeeded") => Ok((true, said)),
            _ if said.contains("550 ") => Ok((false, said)),
            _ => Err(said),
        }
    })
    .await
}

/// Gives the grant to whoever `senders` says, and waits until every shard runs it.
async fn grant(scenario: &Scenario, senders: Value) -> anyhow::Result<()> {
    let namespace = &scenario.namespace;
    let patch = json!({"spec": {"senders": senders}});
    namespace.patch(Kind::SendingDomain, DOMAIN, &patch).await?;
    namespace
        .condition(Kind::SendingDomain, DOMAIN, "Programmed", "True", PATIENCE)
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_unmodified_pod_sends_with_its_token_while_it_has_a_grant() -> anyhow::Result<()> {
    scenario::run("workload", 72, async |scenario: &mut Scenario| {
        let host = scenario.set_up("").await?.host;
        let manifest =
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {ACCOUNT}}}\n");
        scenario.namespace.apply(&manifest).await?;
        let folder = tempfile::tempdir()?;
        let program = compile(scenario, folder.path()).await?;
        scenario.cluster.load_program(IMAGE, &program).await?;

        let (succeeded, log) = run(scenario, "first", &host).await?;
        ensure!(succeeded, "{log}");
        scenario
            .receiver
            .expect(&scenario.customer(), 1, PATIENCE)
            .await?;

        let namespace = scenario.namespace.name.clone();
        let other = json!([{"namespace": namespace, "credential": CREDENTIAL}]);
        grant(scenario, other).await?;
        let (succeeded, log) = run(scenario, "refused", &host).await?;
        let identity = format!("sa:{namespace}/{ACCOUNT}");
        ensure!(
            !succeeded && log.contains("5.7.1 MAIL FROM") && log.contains(&identity),
            "{log}"
        );

        let own = json!([{"namespace": namespace, "serviceAccount": ACCOUNT}]);
        grant(scenario, own).await?;
        let (succeeded, log) = run(scenario, "again", &host).await?;
        ensure!(succeeded, "{log}");
        scenario
            .receiver
            .expect(&scenario.customer(), 2, PATIENCE)
            .await?;
        Ok(())
    })
    .await
}
