//! In which order a reconcile talks to the API server: what a crash at any point leaves behind depends on it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use operator_api::SmtpRelay;
use operator_api::names::{DRAINED_ANNOTATION, FINALIZER, RELAY_LABEL, SHARD_LABEL};
use serde_json::{Value, json};

use crate::context::Context;
use crate::testing::api::Api;

fn relay(metadata: &Value) -> SmtpRelay {
    let mut relay = json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "post", "uid": "7b1c", "resourceVersion": "4",
            "generation": 1},
        "spec": {},
    });
    let all = relay["metadata"].as_object_mut().unwrap();
    all.extend(metadata.as_object().unwrap().clone());
    serde_json::from_value(relay).unwrap()
}

/// Reconciles a relay; the writes.
async fn writes(api: &Api, context: Arc<Context>, relay: SmtpRelay) -> Vec<String> {
    super::reconcile(Arc::new(relay), context).await.unwrap();
    api.writes()
}

/// Where the first write is that contains `part`.
fn place(writes: &[String], part: &str) -> usize {
    let found = writes.iter().position(|write| write.contains(part));
    found.unwrap_or_else(|| panic!("no {part} in {writes:#?}"))
}

#[tokio::test]
async fn a_relay_has_its_finalizer_before_anything_is_made_for_it_and_its_status_comes_last() {
    let api = Api::empty();
    let made = writes(&api, api.context(), relay(&json!({}))).await;
    assert_eq!(
        made.first().unwrap(),
        "PATCH smtprelays/outbox",
        "{made:#?}"
    );
    assert_eq!(
        made.last().unwrap(),
        "PATCH smtprelays/outbox/status",
        "{made:#?}"
    );
    assert_eq!(
        made.iter()
            .filter(|write| write.contains("smtprelays"))
            .count(),
        2,
        "{made:#?}"
    );
}

#[tokio::test]
async fn whatever_a_pod_mounts_and_needs_is_there_before_its_deployment() {
    let api = Api::empty();
    let made = writes(&api, api.context(), relay(&json!({}))).await;
    let deployment = place(&made, "deployments/outbox-0");
    for before in [
        "secrets/outbox-tls",
        "secrets/outbox-internal",
        "secrets/outbox-config",
        "serviceaccounts/outbox",
        "networkpolicies/outbox",
        "persistentvolumeclaims/",
    ] {
        assert!(place(&made, before) < deployment, "{before}: {made:#?}");
    }
    // Whoever signs comes before what it signed.
    assert!(place(&made, "secrets/outbox-authority") < place(&made, "secrets/outbox-internal"));
}

#[tokio::test]
async fn a_claim_goes_after_its_deployment_and_the_finalizer_after_both() {
    let api = Api::empty();
    let context = api.context();
    let metadata = |name: &str, uid: &str| {
        json!({"name": name, "namespace": "post", "uid": uid, "resourceVersion": "5",
            "labels": {RELAY_LABEL: "outbox", SHARD_LABEL: "0"}})
    };
    let deployment: Deployment =
        serde_json::from_value(json!({"metadata": metadata("outbox-0", "d")})).unwrap();
    let mut claim = json!({"metadata": metadata(&operator_api::names::claim("outbox", 0), "c"),
        "spec": {"volumeName": "pv-7"}});
    claim["metadata"]["annotations"][DRAINED_ANNOTATION] = "true".into();
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
    context.stores.deployments.put(&deployment);
    context.stores.claims.put(&claim);
    let leaving =
        relay(&json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let made = writes(&api, context, leaving).await;
    let marked = place(&made, "PATCH persistentvolumeclaims/");
    let stopped = place(&made, "DELETE deployments/outbox-0");
    let removed = place(&made, "DELETE persistentvolumeclaims/");
    assert!(marked < stopped && stopped < removed, "{made:#?}");
    assert_eq!(made.last().unwrap(), "PATCH smtprelays/outbox", "{made:#?}");
}

#[tokio::test]
async fn a_relay_that_is_in_order_is_neither_written_nor_asked_for() {
    let api = Api::empty();
    let context = api.context();
    let mut relay = relay(&json!({"finalizers": [FINALIZER]}));
    super::reconcile(Arc::new(relay.clone()), Arc::clone(&context))
        .await
        .unwrap();
    api.show(&context);
    // The second time it sees what it made, and says so; the third time there is nothing to say.
    for quiet in [false, true] {
        api.clear();
        relay.status = api.status("smtprelays/outbox");
        super::reconcile(Arc::new(relay.clone()), Arc::clone(&context))
            .await
            .unwrap();
        let asked = api.requests();
        assert!(!quiet || asked.is_empty(), "{asked:#?}");
    }
}

#[tokio::test]
async fn o22_a_claim_or_a_shard_that_the_api_server_never_takes_is_told_in_a_condition() {
    for (refused, kind, reason) in [
        ("persistentvolumeclaims/", "QueueHealthy", "ClaimRefused"),
        ("deployments/", "Programmed", "ShardRefused"),
    ] {
        let api = Api::empty();
        api.refuse(refused);
        super::reconcile(Arc::new(relay(&json!({}))), api.context())
            .await
            .unwrap();
        let status: operator_api::SmtpRelayStatus = api.status("smtprelays/outbox").unwrap();
        let told = crate::conditions::find(&status.conditions, kind).unwrap();
        assert_eq!((&*told.status, &*told.reason), ("False", reason));
    }
}
