//! Relays and shards for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use operator_api::SmtpRelay;
use relay_config::{QueueStatus, RelayStatus};
use serde_json::json;

use super::{Found, Shard};

/// The time.
pub(in crate::relay) const NOW: Timestamp = Timestamp::constant(1_000_000_000, 0);

/// A relay with this spec and its shards; with volumes, each has a claim that is bound.
#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better with the JSON in place"
)]
pub(in crate::relay) fn found(spec: serde_json::Value, with_volumes: bool) -> Found {
    let relay: SmtpRelay = serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "post"},
        "spec": spec,
    }))
    .unwrap();
    let claim = with_volumes.then(|| {
        Arc::new(PersistentVolumeClaim {
            spec: Some(PersistentVolumeClaimSpec {
                volume_name: Some("pv-7".to_owned()),
                ..PersistentVolumeClaimSpec::default()
            }),
            ..PersistentVolumeClaim::default()
        })
    });
    let replicas = relay.spec.replicas;
    let shards = (0..replicas)
        .map(|index| Shard {
            claim: claim.clone(),
            ..Shard::absent(index)
        })
        .collect();
    Found {
        relay: Arc::new(relay),
        key: ("post".to_owned(), "outbox".to_owned()),
        namespaces: BTreeMap::new().into(),
        domains: Vec::new(),
        credentials: Vec::new(),
        named: BTreeMap::new(),
        issued: crate::relay::issued::Lookup::default(),
        issuers: crate::relay::issuers::Issuers::default(),
        authority: None,
        serving: None,
        internal: None,
        scale: crate::relay::scale::Scale {
            wanted: (0..replicas).collect(),
            ..crate::relay::scale::Scale::default()
        },
        moves: crate::relay::moves::Moves {
            staying: (0..replicas).collect(),
            moving: None,
        },
        shards,
    }
}

/// What a shard with so many messages says of itself.
pub(in crate::relay) fn report(messages: u64) -> RelayStatus {
    RelayStatus {
        version: "1".into(),
        config_hash: String::new(),
        config_error: None,
        shard: None,
        accepting: true,
        hand_over: None,
        blocked_since: None,
        tokens: Vec::new(),
        refused_logins: Vec::new(),
        queue: QueueStatus {
            messages,
            oldest_seconds: 0,
            full: false,
        },
    }
}
