//! What tests apply and read.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use mailrelay_tests::control_plane::{ControlPlane, Operator, Proxy, User};
use mailrelay_tests::wait;
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use serde_json::json;

/// The program under test: the one built with the tests, or the one that `OPERATOR_BINARY` names, such
/// as a release build.
fn binary() -> PathBuf {
    let named = std::env::var_os("OPERATOR_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_operator").into())
}

/// An API server with the chart's CRDs and rights.
pub(crate) async fn plane() -> anyhow::Result<ControlPlane> {
    let plane = ControlPlane::start().await?;
    plane.install().await?;
    Ok(plane)
}

/// Starts an operator with the chart's rights; `proxy` stands before the API server if given.
pub(crate) fn operator(
    plane: &ControlPlane,
    proxy: Option<&Proxy>,
    identity: &str,
    arguments: &[&str],
) -> anyhow::Result<Operator> {
    let kubeconfig = plane.kubeconfig(User::Operator, proxy)?;
    let logs = plane.directory();
    Operator::start(&binary(), &kubeconfig, identity, logs, arguments)
}

/// Makes a namespace.
pub(crate) async fn namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// Applies a relay with `spec`.
pub(crate) async fn relay(
    client: &Client,
    namespace: &str,
    name: &str,
    spec: serde_json::Value,
) -> anyhow::Result<SmtpRelay> {
    let object = json!({"apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpRelay",
        "metadata": {"name": name}, "spec": spec});
    apply(&Api::namespaced(client.clone(), namespace), name, &object).await
}

/// Applies a domain with `spec` besides `domain` and `relayRef`.
pub(crate) async fn domain(
    client: &Client,
    namespace: &str,
    name: &str,
    relay: &str,
    spec: serde_json::Value,
) -> anyhow::Result<SendingDomain> {
    let mut object = json!({"apiVersion": "mailrelay.dev/v1alpha1", "kind": "SendingDomain",
        "metadata": {"name": name}, "spec": spec});
    object["spec"]["domain"] = format!("{name}.example").into();
    object["spec"]["relayRef"] = json!({"name": relay});
    apply(&Api::namespaced(client.clone(), namespace), name, &object).await
}

/// Applies a credential.
pub(crate) async fn credential(
    client: &Client,
    namespace: &str,
    name: &str,
    relay: &str,
) -> anyhow::Result<SmtpCredential> {
    let object = json!({"apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpCredential",
        "metadata": {"name": name}, "spec": {"relayRef": {"name": relay}}});
    apply(&Api::namespaced(client.clone(), namespace), name, &object).await
}

async fn apply<K>(api: &Api<K>, name: &str, object: &serde_json::Value) -> anyhow::Result<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let parameters = PatchParams::apply("a-person").force();
    api.patch(name, &parameters, &Patch::Apply(object))
        .await
        .with_context(|| format!("{name} cannot be applied"))
}

/// Waits until `condition` of the relay has a status for its generation; the status.
pub(crate) async fn relay_is_judged(
    client: &Client,
    namespace: &str,
    name: &str,
    limit: Duration,
) -> anyhow::Result<SmtpRelay> {
    let api: Api<SmtpRelay> = Api::namespaced(client.clone(), namespace);
    wait::until(
        &format!("relay {namespace}/{name} is judged"),
        limit,
        || async {
            let relay = api.get(name).await.map_err(|error| error.to_string())?;
            let seen = relay
                .status
                .as_ref()
                .and_then(|status| status.observed_generation);
            if seen.is_some() && seen == relay.metadata.generation {
                return Ok(relay);
            }
            Err(format!("{} at {seen:?}", relay.name_any()))
        },
    )
    .await
}
