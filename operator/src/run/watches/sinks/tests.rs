//! What is told of objects that are gone.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::testing::{answer, pair};

#[test]
fn nothing_is_kept_of_an_object_that_is_gone() {
    let changes = Changes::new();
    assert!(changes.differ("shop", Some(1)));
    assert!(!changes.differ("shop", Some(1)));
    assert!(changes.differ("shop", None));
    assert!(changes.0.lock().is_empty());
}

#[test]
fn a_namespace_that_is_gone_is_news_to_relays_that_select_by_labels() {
    let (asking, late) = (Asking::default(), Late::default());
    let tell = namespace_sink(&asking, &late);
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {
        "name": "shop", "deletionTimestamp": "2030-01-01T00:00:00Z"}}))
    .unwrap();
    tell(&namespace, Told::Changed);
    let relays = Store::new(|_| Vec::new());
    relays.put(&crate::render::fixtures::relay(json!({
        "clients": {"namespaces": {"from": "Selector", "selector": {}}}})));
    late.set(
        &relays,
        &Store::new(|_| Vec::new()),
        &Store::new(|_| Vec::new()),
    );
    tell(&namespace, Told::Changed);
    assert_eq!(asking.relays.waiting(), 0);
    tell(&namespace, Told::Gone);
    assert_eq!(asking.relays.waiting(), 1);
}

#[tokio::test]
async fn what_the_garbage_collector_takes_is_forgotten() {
    let (client, mut server) = pair();
    let applier = Arc::new(Applier::default());
    let map = |content: &str, version: Option<&str>| -> ConfigMap {
        serde_json::from_value(json!({
            "metadata": {"name": "outbox-ca", "namespace": "mail", "resourceVersion": version},
            "data": {"ca.crt": content},
        }))
        .unwrap()
    };
    let (desired, edited, mended) = (
        map("one", None),
        map("two", Some("6")),
        map("one", Some("7")),
    );
    let script = async {
        let path = "/configmaps/outbox-ca";
        answer(&mut server, "PATCH", path, 200, &json!(mended)).await;
    };
    let (outcome, ()) = tokio::join!(applier.apply(&client, &desired, Some(&edited)), script);
    outcome.unwrap();
    let tell = owned_sink(&Asking::default(), &Late::default(), &applier);
    tell(&mended, Told::Changed);
    assert!(!applier.differs(&desired, &mended));
    tell(&mended, Told::Gone);
    assert!(applier.differs(&desired, &mended));
}
