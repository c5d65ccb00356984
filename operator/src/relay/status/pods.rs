//! Why a pod does not come up, in the words of Kubernetes. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use operator_api::names;

use crate::relay::dereference::{Found, Shard};

/// The first shard that is to stay, is not ready, and will not be by waiting alone.
pub(super) fn failing(found: &Found) -> Option<String> {
    let mut waited = found
        .shards
        .iter()
        .filter(|shard| found.stays(shard.index) && !shard.is_ready());
    waited.find_map(|shard| {
        let why = why(shard)?;
        Some(format!(
            "{} cannot run: {why}",
            names::shard(&found.key.1, shard.index)
        ))
    })
}

fn why(shard: &Shard) -> Option<String> {
    match (&shard.pod, &shard.deployment) {
        (Some(pod), _) => unscheduled(pod).or_else(|| waiting(pod)),
        (None, Some(deployment)) => not_admitted(deployment),
        (None, None) => None,
    }
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|one| one.type_ == "PodScheduled")?;
    let no = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    no.then(|| {
        let words = scheduled.message.as_deref().unwrap_or("no reason given");
        format!("no node takes its pod: {words}; see spec.podTemplate and the claims")
    })
}

/// Reasons of a container that waits which pass by themselves.
const PASSING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let mut containers = init.chain(status.container_statuses.iter().flatten());
    containers.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        if PASSING.contains(&reason) {
            return None;
        }
        let words = waiting.message.as_deref().unwrap_or("no message");
        Some(format!(
            "container {} is in {reason}: {words}",
            container.name
        ))
    })
}

fn not_admitted(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    let words = failure.message.as_deref().unwrap_or("no message");
    Some(format!(
        "its pod is not admitted: {words}; see quotas, PodSecurity and spec.podTemplate"
    ))
}

#[cfg(test)]
mod tests;
