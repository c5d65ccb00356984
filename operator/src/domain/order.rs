//! In which order a reconcile talks to the API server.

use std::sync::Arc;

use operator_api::SendingDomain;
use serde_json::json;

use crate::testing::api::Api;

#[tokio::test]
async fn keys_are_stored_before_anybody_is_told_to_publish_them() {
    let api = Api::empty();
    let domain: SendingDomain = serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SendingDomain",
        "metadata": {"name": "shop", "namespace": "post", "uid": "7b1c", "generation": 1},
        "spec": {"domain": "shop.example", "relayRef": {"name": "outbox"},
            "dkim": {"algorithms": ["Ed25519Sha256"]}},
    }))
    .unwrap();
    super::reconcile(Arc::new(domain), api.context())
        .await
        .unwrap();
    assert_eq!(
        api.writes(),
        ["POST secrets", "PATCH sendingdomains/shop/status"]
    );
}
