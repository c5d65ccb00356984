//! Claims that grow, claims that cannot, and volumes that are full.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::relay::dereference::fixtures::report;
use crate::relay::status::verdicts::tests::{NOW, found, shard};
use crate::relay::validate::Tls;

/// `QueueHealthy` of a relay of one shard with this claim and report.
fn judge(
    claim: Value,
    shard_report: Option<Result<relay_config::RelayStatus, String>>,
    refused: &[String],
) -> Verdict {
    let mut found = found(json!({}), true);
    let mut claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
    claim.metadata.name = Some("outbox-queue-0".to_owned());
    found.shards[0].claim = Some(Arc::new(claim));
    found.shards[0].report = shard_report;
    healthy(&Seen {
        found: &found,
        refused: None,
        tls: &Tls::Unused,
        shards: &[shard(ShardPhase::Running, true, true, None)],
        draining: &[],
        refused_claims: refused,
        refused_shards: &[],
        refused_service: None,
        was_ready: true,
        now: NOW,
    })
}

fn claim(asked: &str, real: &str, condition: Option<(&str, &str)>) -> Value {
    let conditions: Vec<Value> = condition
        .iter()
        .map(|(kind, message)| json!({"type": kind, "status": "True", "message": message}))
        .collect();
    json!({
        "spec": {"volumeName": "pv-7", "resources": {"requests": {"storage": asked}}},
        "status": {"capacity": {"storage": real}, "conditions": conditions},
    })
}

#[test]
fn a_claim_that_grows_says_what_it_waits_for_and_what_is_in_force() {
    let pending = Some(("FileSystemResizePending", "waiting for the node"));
    let rows = [
        (
            claim("2Gi", "1Gi", pending),
            "outbox-queue-0 has 1Gi of 2Gi: FileSystemResizePending (waiting for the node); until then 1Gi are in force",
        ),
        (
            claim("2Gi", "1Gi", Some(("Resizing", ""))),
            "outbox-queue-0 has 1Gi of 2Gi: Resizing",
        ),
        (
            claim("2Gi", "1Gi", None),
            "outbox-queue-0 has 1Gi of 2Gi: it waits for the storage driver",
        ),
        (
            claim("2Gi", "2Gi", pending),
            "outbox-queue-0 has 2Gi of 2Gi: FileSystemResizePending",
        ),
    ];
    for (claim, message) in rows {
        let verdict = judge(claim.clone(), None, &[]);
        assert_eq!(
            (verdict.holds(), verdict.reason),
            (false, reason::CLAIM_RESIZING),
            "{claim}"
        );
        assert!(verdict.message.starts_with(message), "{}", verdict.message);
    }
    for real in ["2Gi", "2048Mi", "3Gi"] {
        assert!(judge(claim("2Gi", real, None), None, &[]).holds(), "{real}");
    }
    assert!(judge(json!({}), None, &[]).holds());
}

#[test]
fn o22_a_claim_that_cannot_grow_is_told_with_the_remedy() {
    let refused = ["outbox-queue-0: the class must support resize".to_owned()];
    let verdict = judge(claim("1Gi", "1Gi", None), None, &refused);
    assert_eq!(
        (verdict.holds(), verdict.reason),
        (false, reason::CLAIM_REFUSED)
    );
    assert!(
        verdict.message.contains("the class must support resize")
            && verdict.message.contains("Give the size that they have"),
        "{}",
        verdict.message
    );
}

#[test]
fn a_full_volume_is_told_first_and_an_unknown_one_is_not_called_healthy() {
    let full = || {
        let mut full = report(7);
        full.queue.full = true;
        Some(Ok(full))
    };
    let growing = || claim("2Gi", "1Gi", None);
    let verdict = judge(growing(), full(), &["x".to_owned()]);
    assert_eq!(
        (verdict.holds(), verdict.reason),
        (false, reason::QUEUE_FULL)
    );
    assert!(
        verdict.message.starts_with("outbox-0 answer clients 452"),
        "{}",
        verdict.message
    );
    let well = claim("1Gi", "1Gi", None);
    assert!(judge(well.clone(), Some(Ok(report(7))), &[]).holds());
    let unknown = judge(well, Some(Err("connection refused".to_owned())), &[]);
    assert_eq!(
        (unknown.status, unknown.reason),
        (None, reason::SHARD_UNREACHABLE)
    );
}
