//! What counts as a difference, and which requests an apply makes.

use k8s_openapi::api::core::v1::ConfigMap;
use operator_api::names::APPLIED_ANNOTATION;
use serde_json::json;

use super::*;
use crate::testing::{answer, failure, pair};

#[test]
fn fields_that_the_server_adds_are_no_difference() {
    let desired = json!({"spec": {"ports": [{"port": 25}], "selector": {}}});
    let live = json!({"spec": {"ports": [{"port": 25, "protocol": "TCP"}], "clusterIP": "10.96.0.7"},
        "status": {}});
    assert!(covers(&live, &desired));
}

#[test]
fn an_edit_a_lost_item_and_a_new_entry_are_differences() {
    let desired = json!({"spec": {"ports": [{"port": 25}, {"port": 587}]}, "data": {"a": "MQ=="}});
    let rows = [
        json!({"spec": {"ports": [{"port": 25}, {"port": 588}]}, "data": {"a": "MQ=="}}),
        json!({"spec": {"ports": [{"port": 25}]}, "data": {"a": "MQ=="}}),
        json!({"spec": {"ports": [{"port": 25}, {"port": 587}]}, "data": {"a": "Mg=="}}),
        json!({"spec": {"ports": [{"port": 25}, {"port": 587}]}, "data": {"a": "MQ==", "b": ""}}),
        json!({"spec": {"ports": [{"port": 25}, {"port": 587}]}}),
        json!({}),
    ];
    for live in rows {
        assert!(!covers(&live, &desired), "{live}");
    }
}

#[test]
fn a_selector_with_one_key_more_is_a_difference() {
    let desired = json!({"spec": {"selector": {"mailrelay.dev/relay": "outbox"}}});
    let mut live = desired.clone();
    assert!(covers(&live, &desired));
    live["spec"]["selector"]["app"] = "somebody-else".into();
    assert!(!covers(&live, &desired));
}

#[test]
fn o11_the_digest_says_nothing_about_content() {
    let secret = |password: &str| json!({"kind": "Secret", "data": {"password": password}});
    assert_eq!(
        digest_of(&secret("aHVudGVyMg==")),
        digest_of(&secret("b3R0ZXI="))
    );
    assert_ne!(
        digest_of(&json!({"spec": 1})),
        digest_of(&json!({"spec": 2}))
    );
    assert_eq!(digest_of(&json!({})).len(), 32);
}

const OWNER: &str = "7b1c";

/// A ConfigMap of the relay with `content`; as the server would show it with a version.
fn map(content: &str, uid: &str, version: Option<&str>) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "outbox-ca",
            "namespace": "mail",
            "resourceVersion": version,
            "ownerReferences": [{"apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpRelay",
                "name": "outbox", "uid": uid, "controller": true}],
        },
        "data": {"ca.crt": content},
    }))
    .unwrap()
}

#[tokio::test]
async fn a_new_object_is_looked_for_and_then_made() {
    let (client, mut server) = pair();
    let applier = Applier::default();
    let desired = map("one", OWNER, None);
    let script = async {
        answer(
            &mut server,
            "GET",
            "/configmaps/outbox-ca",
            404,
            &failure(404, "NotFound"),
        )
        .await;
        let made = json!(map("one", OWNER, Some("5")));
        answer(&mut server, "PATCH", "/configmaps/outbox-ca", 201, &made).await
    };
    let (outcome, sent) = tokio::join!(applier.apply(&client, &desired, None), script);
    assert_eq!(outcome.unwrap(), Outcome::Created);
    assert_eq!(sent["data"]["ca.crt"], "one");
    assert!(sent["metadata"]["annotations"][APPLIED_ANNOTATION].is_string());
}

#[tokio::test]
async fn o5_an_object_of_somebody_else_is_left_alone() {
    let (client, mut server) = pair();
    let applier = Applier::default();
    let desired = map("one", OWNER, None);
    let script = async {
        let theirs = json!(map("theirs", "other", Some("5")));
        answer(&mut server, "GET", "/configmaps/outbox-ca", 200, &theirs).await;
    };
    let (outcome, ()) = tokio::join!(applier.apply(&client, &desired, None), script);
    let error = outcome.unwrap_err();
    assert!(matches!(error, ApplyError::Conflict { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("ConfigMap outbox-ca exists and does not belong")
    );
}

#[tokio::test]
async fn what_is_in_order_is_not_sent_and_what_is_edited_is() {
    let (client, mut server) = pair();
    let applier = Applier::default();
    let desired = map("one", OWNER, None);
    let mut live = serde_json::to_value(map("one", OWNER, Some("5"))).unwrap();
    annotate(&mut live, &digest_of(&wanted(&desired).unwrap()));
    let live: ConfigMap = serde_json::from_value(live).unwrap();
    // No request is answered here: one would hang.
    let outcome = applier.apply(&client, &desired, Some(&live)).await;
    assert_eq!(outcome.unwrap(), Outcome::Unchanged);
    let edited = map("two", OWNER, Some("6"));
    let script = async {
        let mended = json!(map("one", OWNER, Some("7")));
        answer(&mut server, "PATCH", "/configmaps/outbox-ca", 200, &mended).await;
    };
    let (outcome, ()) = tokio::join!(applier.apply(&client, &desired, Some(&edited)), script);
    assert_eq!(outcome.unwrap(), Outcome::Changed);
    // The answer has no digest, but the version is the one that we made.
    let mended = map("one", OWNER, Some("7"));
    let outcome = applier.apply(&client, &desired, Some(&mended)).await;
    assert_eq!(outcome.unwrap(), Outcome::Unchanged);
}

#[test]
fn a_rolling_update_that_somebody_set_is_unset_by_name() {
    let desired = json!({"kind": "Deployment", "spec": {"strategy": {"type": "Recreate"}}});
    let value = wanted(&desired).unwrap();
    assert_eq!(
        value["spec"]["strategy"].get("rollingUpdate"),
        Some(&Value::Null)
    );
}

/// A Deployment as the server shows it: the CPU is written in another form than it was sent in.
fn deployment(cpu: &str, generation: i64, version: &str, digest: Option<&str>) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "outbox-0",
            "namespace": "mail",
            "generation": generation,
            "resourceVersion": version,
            "annotations": digest.map(|digest| json!({APPLIED_ANNOTATION: digest})),
        },
        "spec": {
            "selector": {},
            "template": {"spec": {"containers": [
                {"name": "relay", "resources": {"requests": {"cpu": cpu}}}]}},
        },
    })
}

#[tokio::test]
async fn a_value_that_the_server_writes_in_another_form_is_applied_once() {
    use k8s_openapi::api::apps::v1::Deployment;
    let (client, mut server) = pair();
    let applier = Applier::default();
    let mut desired: Deployment = serde_json::from_value(deployment("1000m", 0, "", None)).unwrap();
    desired.metadata.generation = None;
    desired.metadata.resource_version = None;
    let digest = digest_of(&wanted(&desired).unwrap());
    let read = |generation, version| -> Deployment {
        serde_json::from_value(deployment("1", generation, version, Some(&digest))).unwrap()
    };
    // A new process does not know yet, and asks once.
    assert!(applier.differs(&desired, &read(3, "7")));
    let script = async {
        answer(
            &mut server,
            "PATCH",
            "/deployments/outbox-0",
            200,
            &json!(read(3, "7")),
        )
        .await;
    };
    let live = read(3, "7");
    let (outcome, ()) = tokio::join!(applier.apply(&client, &desired, Some(&live)), script);
    outcome.unwrap();
    // The status has changed since, the spec has not.
    assert!(!applier.differs(&desired, &read(3, "9")));
    assert!(applier.differs(&desired, &read(4, "10")));
}

#[test]
fn what_fails_the_same_way_each_time_is_not_allowed_and_an_outage_is_no_refusal() {
    let rows = [
        (403, "Forbidden", true),
        (422, "Invalid", true),
        (400, "quantities must match the regular expression", true),
        (
            500,
            "failed to convert new object (post/outbox-0): unable to",
            true,
        ),
        (
            500,
            "failed to create typed patch object (post/outbox-0): .spec",
            true,
        ),
        (500, "etcdserver: leader changed", false),
        (429, "too many requests", false),
        (404, "namespace not found", false),
    ];
    for (code, message, expected) in rows {
        let status: Status = serde_json::from_value(failure(code, message)).unwrap();
        assert_eq!(is_not_allowed(&status), expected, "{code} {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn o22_what_is_not_allowed_is_not_asked_for_over_and_over() {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;

    let claim = |size: &str, version: Option<&str>| -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "outbox-queue-0", "namespace": "mail", "resourceVersion": version},
            "spec": {"resources": {"requests": {"storage": size}}},
        }))
        .unwrap()
    };
    let live = claim("1Gi", Some("7"));
    let (client, mut server) = pair();
    let applier = Applier::default();
    let asked = async |size: &str, server: &mut crate::testing::Server| {
        let wish = claim(size, None);
        let refusal = failure(403, "Forbidden");
        let script = answer(server, "PATCH", "/outbox-queue-0", 403, &refusal);
        let (outcome, _) = tokio::join!(applier.apply(&client, &wish, Some(&live)), script);
        assert_eq!(outcome.unwrap_err().not_allowed(), Some("Forbidden"));
    };
    asked("2Gi", &mut server).await;
    // The same wish for the same object: nobody is asked, or this would wait for ever.
    let wish = claim("2Gi", None);
    let again = applier.apply(&client, &wish, Some(&live));
    assert_eq!(again.await.unwrap_err().not_allowed(), Some("Forbidden"));
    // Another wish, and time.
    asked("3Gi", &mut server).await;
    tokio::time::advance(REFUSAL_HOLDS).await;
    asked("3Gi", &mut server).await;
    // A changed object.
    let grown = claim("1Gi", Some("8"));
    let wish = claim("3Gi", None);
    let taken = json!(claim("3Gi", Some("9")));
    let script = answer(&mut server, "PATCH", "/outbox-queue-0", 200, &taken);
    let (outcome, _) = tokio::join!(applier.apply(&client, &wish, Some(&grown)), script);
    assert_eq!(outcome.unwrap(), Outcome::Changed);
}
