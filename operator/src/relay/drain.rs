//! How a shard goes: out of the Service, until its queue is empty, and only then away. Pure.
//!
//! A claim is marked as drained before its Deployment goes, so that an operator that is stopped in
//! between knows afterwards that nothing waits there. Without the mark and without a pod, nobody can
//! say, and the shard is started again to deliver what it may hold.

use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_api::names::{ACCEPTING_LABEL, DRAINED_ANNOTATION, DRAINING_SINCE_ANNOTATION};

use super::dereference::Shard;

/// How long a shard must have been out of the Service, in seconds, before an empty queue counts:
/// connections that were under way may still bring mail.
const SETTLE: i64 = 10;

/// What to do with a shard that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Take its pod out of the Service.
    Leave,
    /// Nothing yet.
    Wait(String),
    /// Start it again, so that it delivers what its claim may hold.
    Revive,
    /// Remove Deployment and claim: nothing waits there.
    Remove,
}

pub(super) fn step(shard: &Shard, now: Timestamp) -> Step {
    let drained = shard
        .claim
        .as_ref()
        .is_some_and(|claim| claim.annotations().contains_key(DRAINED_ANNOTATION));
    if drained || !(shard.has_volume() || shard.pod.is_some()) {
        return Step::Remove;
    }
    let Some(pod) = &shard.pod else {
        return match shard.deployment {
            None => Step::Revive,
            Some(_) => Step::Wait(
                "its pod does not run, so its queue cannot be delivered; see the pod's Events"
                    .into(),
            ),
        };
    };
    if pod.labels().get(ACCEPTING_LABEL).map(String::as_str) == Some("true") {
        return Step::Leave;
    }
    let since: i64 = pod
        .annotations()
        .get(DRAINING_SINCE_ANNOTATION)
        .and_then(|since| since.parse().ok())
        .unwrap_or(i64::MAX);
    match &shard.report {
        None => Step::Wait("its pod is not running yet".into()),
        Some(Err(error)) => Step::Wait(format!("its queue is not known: {error}")),
        Some(Ok(report)) if report.queue.messages > 0 => Step::Wait(format!(
            "{} messages wait for delivery",
            report.queue.messages
        )),
        Some(Ok(_)) if now.as_second().saturating_sub(since) < SETTLE => {
            Step::Wait("its queue is empty; connections under way are let finish".into())
        }
        Some(Ok(_)) => Step::Remove,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod};
    use relay_config::{QueueStatus, RelayStatus};

    use super::*;

    fn report(messages: u64) -> Result<RelayStatus, String> {
        Ok(RelayStatus {
            version: "1".into(),
            config_hash: String::new(),
            config_error: None,
            accepting: true,
            queue: QueueStatus {
                messages,
                oldest_seconds: 0,
            },
        })
    }

    fn pod(accepting: &str, since: i64) -> Option<Arc<Pod>> {
        let mut pod = Pod::default();
        pod.labels_mut()
            .insert(ACCEPTING_LABEL.into(), accepting.into());
        pod.annotations_mut()
            .insert(DRAINING_SINCE_ANNOTATION.into(), since.to_string());
        Some(Arc::new(pod))
    }

    fn claim(drained: bool) -> Option<Arc<PersistentVolumeClaim>> {
        let mut claim = PersistentVolumeClaim {
            spec: Some(PersistentVolumeClaimSpec {
                volume_name: Some("pv-7".into()),
                ..PersistentVolumeClaimSpec::default()
            }),
            ..PersistentVolumeClaim::default()
        };
        if drained {
            claim
                .annotations_mut()
                .insert(DRAINED_ANNOTATION.into(), "true".into());
        }
        Some(Arc::new(claim))
    }

    #[test]
    fn o24_a_shard_goes_only_when_its_queue_is_known_to_be_empty() {
        let now = Timestamp::from_second(1000).unwrap();
        let deployment = || Some(Arc::new(Deployment::default()));
        let shard = |deployment, claim, pod, report| Shard {
            index: 1,
            deployment,
            claim,
            pod,
            report,
        };
        let wait = |step: &Step| matches!(step, Step::Wait(_));
        let in_service = shard(deployment(), claim(false), pod("true", 0), Some(report(0)));
        assert_eq!(step(&in_service, now), Step::Leave);
        let full = shard(deployment(), claim(false), pod("false", 0), Some(report(3)));
        assert_eq!(
            step(&full, now),
            Step::Wait("3 messages wait for delivery".into())
        );
        let fresh = shard(
            deployment(),
            claim(false),
            pod("false", 995),
            Some(report(0)),
        );
        assert!(wait(&step(&fresh, now)));
        let empty = shard(
            deployment(),
            claim(false),
            pod("false", 990),
            Some(report(0)),
        );
        assert_eq!(step(&empty, now), Step::Remove);
        let silent = shard(
            deployment(),
            claim(false),
            pod("false", 0),
            Some(Err("refused".into())),
        );
        assert!(wait(&step(&silent, now)));
        let podless = shard(deployment(), claim(false), None, None);
        assert!(wait(&step(&podless, now)));
        let interrupted = shard(None, claim(true), None, None);
        assert_eq!(step(&interrupted, now), Step::Remove);
        let orphan = shard(None, claim(false), None, None);
        assert_eq!(step(&orphan, now), Step::Revive);
        let never_ran = shard(deployment(), None, None, None);
        assert_eq!(step(&never_ran, now), Step::Remove);
    }
}
