//! What Kubernetes says of pods that do not come up.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::relay::status::verdicts::tests::found;

fn told(pod: Option<Value>, deployment: &Value) -> Option<String> {
    let mut found = found(json!({}), true);
    found.shards = vec![Shard {
        pod: pod.map(|pod| Arc::new(serde_json::from_value(pod).unwrap())),
        deployment: Some(Arc::new(
            serde_json::from_value(deployment.clone()).unwrap(),
        )),
        ..Shard::absent(0)
    }];
    failing(&found)
}

fn container(state: &Value) -> Value {
    json!({"status": {"containerStatuses": [
        {"name": "relay", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}})
}

#[test]
fn a_pod_that_will_not_come_up_by_waiting_is_told_in_kubernetes_words() {
    let unscheduled = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available"}]}});
    let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    let crash = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
    let quota = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True",
        "message": "exceeded quota: pods=0"}]}});
    let rows = [
        (
            Some(unscheduled),
            json!({}),
            "no node takes its pod: 0/3 nodes are available",
        ),
        (
            Some(container(&pull)),
            json!({}),
            "container relay is in ImagePullBackOff: no such image",
        ),
        (
            Some(container(&crash)),
            json!({}),
            "container relay is in CrashLoopBackOff: back-off 40s",
        ),
        (
            None,
            quota,
            "its pod is not admitted: exceeded quota: pods=0",
        ),
    ];
    for (pod, deployment, words) in rows {
        let told = told(pod, &deployment).unwrap();
        let expected = format!("outbox-0 cannot run: {words}");
        assert!(told.starts_with(&expected), "{told}");
    }
}

#[test]
fn a_pod_that_is_starting_is_waited_for() {
    let rows = [
        None,
        Some(json!({})),
        Some(container(
            &json!({"waiting": {"reason": "ContainerCreating"}}),
        )),
        Some(container(
            &json!({"waiting": {"reason": "PodInitializing"}}),
        )),
        Some(container(&json!({"running": {}}))),
        Some(json!({"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}})),
    ];
    for pod in rows {
        assert_eq!(told(pod.clone(), &json!({})), None, "{pod:?}");
    }
}

#[test]
fn what_a_shard_does_that_is_ready_or_to_go_is_not_told() {
    let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let ready =
        json!({"status": {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}});
    assert_eq!(told(Some(container(&crash)), &ready), None);
    let mut found = found(json!({"replicas": 1}), true);
    found.shards = vec![Shard {
        pod: Some(Arc::new(serde_json::from_value(container(&crash)).unwrap())),
        ..Shard::absent(1)
    }];
    assert_eq!(failing(&found), None);
}
