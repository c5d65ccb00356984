//! Every policy, for every state that a shard may be in.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use operator_api::names::DRAINED_ANNOTATION;
use serde_json::json;

use super::*;

fn spec(json: serde_json::Value) -> SmtpRelaySpec {
    serde_json::from_value(json).unwrap()
}

fn shard(volume: bool, drained: bool) -> Shard {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"annotations": if drained { json!({DRAINED_ANNOTATION: "true"}) } else { json!({}) }},
        "spec": {"volumeName": volume.then_some("pv-7")},
    }))
    .unwrap();
    Shard {
        claim: Some(Arc::new(claim)),
        ..Shard::absent(0)
    }
}

fn keep(why: &str) -> Ending {
    Ending::Keep(why.to_owned())
}

#[test]
fn a_shard_drains_until_its_time_is_over_and_keeps_then_what_is_left() {
    let spec = spec(json!({"drainTimeout": "2m"}));
    let wait = || Step::Wait("3 messages".to_owned());
    let rows = [
        (Step::Leave, 0, Ending::Leave),
        (wait(), 119, Ending::Wait("3 messages".to_owned())),
        (wait(), 120, keep("3 messages")),
        (Step::Leave, 120, keep("it never left the Service")),
        (Step::Revive, 0, keep("it has no pod to deliver it")),
        (Step::Remove, 0, Ending::Remove),
        (Step::Remove, 9000, Ending::Remove),
    ];
    for (step, waited, expected) in rows {
        let text = format!("{step:?} after {waited} s");
        assert_eq!(
            of(&spec, &shard(true, false), step, waited),
            expected,
            "{text}"
        );
    }
}

#[test]
fn o24_retained_claims_are_those_that_may_hold_mail() {
    let spec = spec(json!({"deletionPolicy": "Retain"}));
    let rows = [
        (true, false, keep("spec.deletionPolicy is Retain")),
        (true, true, Ending::Remove),
        (false, false, Ending::Remove),
    ];
    for (volume, drained, expected) in rows {
        let shard = shard(volume, drained);
        assert_eq!(
            of(&spec, &shard, Step::Leave, 0),
            expected,
            "{volume} {drained}"
        );
    }
}

#[test]
fn what_is_discarded_is_not_waited_for() {
    let spec = spec(json!({"deletionPolicy": "Discard"}));
    for step in [
        Step::Leave,
        Step::Wait("3 messages".to_owned()),
        Step::Revive,
    ] {
        assert_eq!(of(&spec, &shard(true, false), step, 0), Ending::Remove);
    }
}

#[test]
fn o7_every_wait_of_a_deletion_ends() {
    let rows = [
        (json!({}), 600),
        (json!({"drainTimeout": "90s"}), 90),
        // What no schema let through is no reason to wait for ever.
        (json!({"drainTimeout": "tomorrow"}), 600),
        (json!({"drainTimeout": "0s"}), 0),
    ];
    for (json, seconds) in rows {
        let spec = spec(json.clone());
        assert_eq!(drain_timeout(&spec), seconds, "{json}");
        assert!(waits_for_pods(&spec, seconds + 119), "{json}");
        assert!(!waits_for_pods(&spec, seconds + 120), "{json}");
        let ending = of(
            &spec,
            &shard(true, false),
            Step::Wait("x".into()),
            seconds + 120,
        );
        assert_eq!(ending, keep("x"), "{json}");
    }
    let retain = spec(json!({"deletionPolicy": "Retain", "drainTimeout": "1h"}));
    assert!(waits_for_pods(&retain, 119) && !waits_for_pods(&retain, 120));
}
