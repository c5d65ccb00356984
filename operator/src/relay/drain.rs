//! How a shard goes: out of the Service, until its queue is empty, and only then away. Pure.
//!
//! Connections outlive a Service's endpoints, so a pod that was in the Service may get mail as long
//! as it runs. A shard with a claim is therefore restarted outside the Service: its new pod never
//! had a client, and its queue, once empty, stays empty. A queue on the pod's own disk would not
//! survive the restart; there a settling time has to do.
//!
//! Such a shard finds in its configuration which shards stay, and hands them what waits by itself; what
//! none of them takes it delivers. The operator waits for the empty queue either way. A shard whose queue
//! holds mail for another is not empty, so that whoever may have to be asked about a message is there.
//!
//! A claim is marked as drained before its Deployment goes, so that an operator that is stopped in
//! between knows afterwards that nothing waits there. Without the mark and without a pod, nobody can
//! say, and the shard is started again to deliver what it may hold.

use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_api::Storage;
use operator_api::names::{ACCEPTING_LABEL, DRAINED_ANNOTATION, DRAINING_SINCE_ANNOTATION};
use relay_config::{HandOverStatus, RelayStatus};

use super::build::workload::SINCE_BIRTH;
use super::dereference::Shard;

/// How long a shard without a claim must have been out of the Service, in seconds, before an empty
/// queue counts.
const SETTLE: i64 = 10;

/// What to do with a shard that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Take its pod out of the Service; with a claim, start it anew outside.
    Leave,
    /// Nothing yet.
    Wait(String),
    /// Start it again, so that it delivers what its claim may hold.
    Revive,
    /// Remove Deployment and claim: nothing waits there.
    Remove,
}

pub(super) fn step(shard: &Shard, storage: Storage, now: Timestamp) -> Step {
    let drained = shard
        .claim
        .as_ref()
        .is_some_and(|claim| claim.annotations().contains_key(DRAINED_ANNOTATION));
    if drained || shard.never_ran() {
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
    let since = pod.annotations().get(DRAINING_SINCE_ANNOTATION);
    let since = since.map_or("", String::as_str);
    if storage == Storage::Persistent && since != SINCE_BIRTH {
        return Step::Leave;
    }
    // A value that nobody can read counts from now on for ever: it is not ours.
    let since: i64 = since.parse().unwrap_or(i64::MAX);
    match &shard.report {
        None => Step::Wait("its pod is not running yet".into()),
        Some(Err(error)) => Step::Wait(format!("its queue is not known: {error}")),
        Some(Ok(report)) if report.queue.messages > 0 => Step::Wait(waiting(report)),
        Some(Ok(_)) if now.as_second().saturating_sub(since) < SETTLE => {
            Step::Wait("its queue is empty; connections under way are let finish".into())
        }
        Some(Ok(_)) => Step::Remove,
    }
}

/// Whether a shard that runs knows that it is to go: until then it may take the mail of another one that
/// goes, too. `others_stay`: without any that stays nothing is handed over.
pub(super) fn knows(shard: &Shard, others_stay: bool) -> bool {
    match &shard.report {
        Some(Ok(report)) => !others_stay || report.hand_over.is_some(),
        // One that does not run takes nothing.
        _ => true,
    }
}

/// What becomes of the mail of a shard that still has some.
fn waiting(report: &RelayStatus) -> String {
    let messages = report.queue.messages;
    match &report.hand_over {
        None => format!("{messages} messages wait for delivery"),
        Some(HandOverStatus { error: None }) => {
            format!(
                "{messages} messages are handed to the shards that stay, or are being delivered"
            )
        }
        Some(HandOverStatus { error: Some(error) }) => {
            format!(
                "{messages} messages wait for delivery here, since they cannot be handed over: {error}"
            )
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the fixtures have the types of a shard's fields"
)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod};

    use super::*;
    use crate::relay::dereference::fixtures;

    fn report(messages: u64) -> Result<RelayStatus, String> {
        Ok(fixtures::report(messages))
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
        let persistent = |shard: &Shard| step(shard, Storage::Persistent, now);
        let in_service = shard(deployment(), claim(false), pod("true", 0), Some(report(0)));
        assert_eq!(persistent(&in_service), Step::Leave);
        let old_pod = shard(deployment(), claim(false), pod("false", 7), Some(report(0)));
        assert_eq!(persistent(&old_pod), Step::Leave);
        let full = shard(deployment(), claim(false), pod("false", 0), Some(report(3)));
        assert_eq!(
            persistent(&full),
            Step::Wait("3 messages wait for delivery".into())
        );
        let empty = shard(deployment(), claim(false), pod("false", 0), Some(report(0)));
        assert_eq!(persistent(&empty), Step::Remove);
        let silent = shard(
            deployment(),
            claim(false),
            pod("false", 0),
            Some(Err("refused".into())),
        );
        assert!(wait(&persistent(&silent)));
        let podless = shard(deployment(), claim(false), None, None);
        assert!(wait(&persistent(&podless)));
        let interrupted = shard(None, claim(true), None, None);
        assert_eq!(persistent(&interrupted), Step::Remove);
        let orphan = shard(None, claim(false), None, None);
        assert_eq!(persistent(&orphan), Step::Revive);
        // Its pod waits for a node, and so does its volume.
        let unscheduled = Shard {
            claim: Some(Arc::new(PersistentVolumeClaim::default())),
            ..shard(deployment(), None, pod("true", 0), None)
        };
        assert_eq!(persistent(&unscheduled), Step::Remove);
        let mut on_a_node = unscheduled.clone();
        let scheduled = Arc::make_mut(on_a_node.pod.as_mut().unwrap());
        scheduled.spec.get_or_insert_default().node_name = Some("node-1".into());
        assert_eq!(persistent(&on_a_node), Step::Leave);
        let never_ran = shard(deployment(), None, None, None);
        assert_eq!(persistent(&never_ran), Step::Remove);
    }

    #[test]
    fn an_empty_shard_stays_until_it_knows_that_it_is_to_go() {
        let shard = |report| Shard {
            index: 2,
            deployment: None,
            claim: None,
            pod: None,
            report,
        };
        let told = report(0).map(|report| RelayStatus {
            hand_over: Some(HandOverStatus { error: None }),
            ..report
        });
        assert!(!knows(&shard(Some(report(0))), true));
        assert!(knows(&shard(Some(told)), true));
        assert!(knows(&shard(Some(report(0))), false));
        assert!(knows(&shard(None), true));
    }

    #[test]
    fn what_keeps_a_shard_says_whether_its_mail_is_handed_over() {
        let shard = |hand_over| {
            let report = report(3).map(|report| RelayStatus {
                hand_over,
                ..report
            });
            Shard {
                index: 1,
                deployment: Some(Arc::new(Deployment::default())),
                claim: claim(false),
                pod: pod("false", 0),
                report: Some(report),
            }
        };
        let says = |hand_over| {
            let now = Timestamp::from_second(1000).unwrap();
            match step(&shard(Some(hand_over)), Storage::Persistent, now) {
                Step::Wait(why) => why,
                other => panic!("{other:?}"),
            }
        };
        let moving = says(HandOverStatus { error: None });
        assert_eq!(
            moving,
            "3 messages are handed to the shards that stay, or are being delivered"
        );
        let error = Some("shard 0 has no room for more mail".to_owned());
        let stuck = says(HandOverStatus { error });
        assert!(stuck.ends_with("cannot be handed over: shard 0 has no room for more mail"));
    }

    #[test]
    fn a_queue_without_a_claim_settles_before_it_counts_as_empty() {
        let now = Timestamp::from_second(1000).unwrap();
        let shard = |since| Shard {
            index: 0,
            deployment: Some(Arc::new(Deployment::default())),
            claim: None,
            pod: pod("false", since),
            report: Some(report(0)),
        };
        let ephemeral = |since| step(&shard(since), Storage::Ephemeral, now);
        assert!(matches!(ephemeral(995), Step::Wait(_)));
        assert_eq!(ephemeral(990), Step::Remove);
    }
}
