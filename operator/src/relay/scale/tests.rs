//! Scaling to zero, by policy and by what waits.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::*;
use crate::relay::dereference::fixtures::report as report_of;
use crate::relay::moves;

fn relay(replicas: i32, policy: Option<&str>) -> SmtpRelay {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1",
        "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "post"},
        "spec": {"replicas": replicas, "scaleToZeroPolicy": policy},
    }))
    .unwrap()
}

fn labelled<T: serde::de::DeserializeOwned>(value: &Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value.clone()).unwrap())
}

/// A running shard with a claim. `pod`: the label of its pod, if it has one; `template`: that of its
/// Deployment.
fn shard(
    index: i32,
    pod: Option<&str>,
    template: &str,
    report: Option<Result<u64, &str>>,
) -> Shard {
    let labels = |accepting: &str| json!({"labels": {ACCEPTING_LABEL: accepting}});
    Shard {
        index,
        deployment: Some(labelled::<Deployment>(&json!({"spec": {
            "selector": {}, "template": {"metadata": labels(template)}}}))),
        claim: Some(labelled::<PersistentVolumeClaim>(
            &json!({"spec": {"volumeName": "pv-7"}}),
        )),
        pod: pod.map(|pod| labelled::<Pod>(&json!({"metadata": labels(pod)}))),
        report: report.map(|one| one.map(report_of).map_err(str::to_owned)),
    }
}

fn in_service(index: i32, messages: u64) -> Shard {
    shard(index, Some("true"), "true", Some(Ok(messages)))
}

#[test]
fn scaling_to_zero_is_refused_while_mail_waits_and_says_how_much_and_what_to_set() {
    let shards = [in_service(0, 2), in_service(1, 0), in_service(2, 5)];
    let scale = decide(&relay(0, None), &shards);
    assert_eq!((scale.wanted, scale.discards), ([0, 1, 2].into(), false));
    let refused = scale.refused.unwrap();
    assert!(
        refused.starts_with("spec.replicas is 0, but 7 messages wait in outbox-0, outbox-2;"),
        "{refused}"
    );
    assert!(
        refused.contains("spec.scaleToZeroPolicy to Wait"),
        "{refused}"
    );
}

#[test]
fn a_queue_that_nobody_knows_counts_as_mail_that_waits() {
    let silent = || shard(1, Some("true"), "true", Some(Err("refused")));
    let starting = || shard(1, Some("true"), "true", None);
    let podless = || shard(1, None, "true", None);
    for unknown in [silent(), starting(), podless()] {
        let scale = decide(&relay(0, None), &[in_service(0, 0), unknown]);
        assert_eq!(scale.wanted, [0, 1].into());
        let refused = scale.refused.unwrap();
        assert!(
            refused.contains("the queue of outbox-1 is not known"),
            "{refused}"
        );
    }
}

#[test]
fn with_nothing_queued_a_relay_just_goes() {
    let never_ran = Shard::absent(1);
    let scale = decide(&relay(0, None), &[in_service(0, 0), never_ran]);
    assert_eq!(scale, Scale::default());
    assert_eq!(decide(&relay(0, None), &[]), Scale::default());
}

#[test]
fn mail_that_comes_between_the_look_and_the_leaving_is_delivered_and_brings_nobody_back() {
    // Out of the Service since the look; the Deployment may or may not have followed yet.
    for template in ["true", "false"] {
        let late = shard(0, Some("false"), template, Some(Ok(1)));
        assert_eq!(decide(&relay(0, None), &[late]), Scale::default());
    }
    let restarting = shard(0, None, "false", None);
    assert_eq!(decide(&relay(0, None), &[restarting]), Scale::default());
    // As long as one is still in the Service, all are asked, but none comes back.
    let late = shard(0, Some("false"), "false", Some(Ok(1)));
    let scale = decide(&relay(0, None), &[late, in_service(1, 0)]);
    assert_eq!(scale.wanted, [1].into());
    assert!(scale.refused.is_some());
}

#[test]
fn a_spec_that_says_so_lets_shards_go_in_spite_of_mail() {
    let shards = [in_service(0, 2)];
    assert_eq!(decide(&relay(0, Some("Wait")), &shards), Scale::default());
    let discards = Scale {
        discards: true,
        ..Scale::default()
    };
    assert_eq!(decide(&relay(0, Some("Discard")), &shards), discards);
    for policy in ["Refuse", "Wait", "Discard"] {
        let scale = decide(&relay(2, Some(policy)), &shards);
        let decided = (scale.wanted, scale.discards);
        assert_eq!(decided, ([0, 1].into(), false), "{policy}");
    }
}

#[test]
fn a_move_to_another_class_does_not_go_on_while_zero_is_asked_for() {
    let decide = |shards: &[Shard]| {
        let scale = decide(&relay(0, None), shards);
        moves::decide(&scale, Some("fast"), shards)
    };
    let stays = |index| moves::Moves {
        staying: [index].into(),
        moving: None,
    };
    // The only shard hands its mail to the one that stands in for it; then it is gone.
    let going = shard(0, Some("false"), "false", Some(Ok(1)));
    assert_eq!(decide(&[going, in_service(1, 1)]), stays(1));
    assert_eq!(decide(&[in_service(1, 1)]), stays(1));
    // Nor does it begin, however ready the shard is.
    assert_eq!(decide(&[in_service(0, 1)]), stays(0));
    assert_eq!(decide(&[in_service(0, 0)]), moves::Moves::default());
}
