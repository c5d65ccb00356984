//! Which shards a relay has now: as many as the spec asks for, or, where that is none and mail waits, those
//! that are in the Service. Pure.
//!
//! The look and the leaving are two moments, and mail may come in between. That is no harm: a shard
//! leaves the Service first and is removed only once it is seen empty after that ([`super::drain`]). So a
//! relay that has begun to leave goes on to deliver, whatever the policy, and does not come back for a
//! message that came late; as long as one shard is still in the Service, all are asked again.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use operator_api::names::{self, ACCEPTING_LABEL};
use operator_api::{ScaleToZeroPolicy, SmtpRelay};

use super::dereference::Shard;

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scale {
    /// Shards that are to be there, by index.
    pub(super) wanted: BTreeSet<i32>,
    /// Why there are more than the spec asks for.
    pub(super) refused: Option<String>,
    /// Whether all shards go at once, with what they hold.
    pub(super) discards: bool,
}

pub(super) fn decide(relay: &SmtpRelay, shards: &[Shard]) -> Scale {
    let asked = Scale {
        wanted: (0..relay.spec.replicas).collect(),
        ..Scale::default()
    };
    if !asked.wanted.is_empty() {
        return asked;
    }
    match relay.spec.scale_to_zero_policy.unwrap_or_default() {
        ScaleToZeroPolicy::Wait => asked,
        ScaleToZeroPolicy::Discard => Scale {
            discards: true,
            ..asked
        },
        ScaleToZeroPolicy::Refuse => {
            let accepting = shards.iter().filter(|shard| is_accepting(shard));
            let accepting: BTreeSet<i32> = accepting.map(|shard| shard.index).collect();
            match waiting(&relay.name_any(), shards) {
                Some(waiting) if !accepting.is_empty() => Scale {
                    wanted: accepting,
                    refused: Some(format!(
                        "spec.replicas is 0, but {waiting}; the shards go on as they are, and go once \
                         nothing waits. Set spec.replicas to 1 or more, or spec.scaleToZeroPolicy to \
                         Wait (deliver first) or Discard (throw it away)"
                    )),
                    discards: false,
                },
                _ => asked,
            }
        }
    }
}

/// Whether the shard is in the Service.
pub(super) fn is_accepting(shard: &Shard) -> bool {
    match (&shard.pod, &shard.deployment) {
        (Some(pod), _) => pod
            .labels()
            .get(ACCEPTING_LABEL)
            .is_some_and(|it| it == "true"),
        (None, Some(deployment)) => is_born_accepting(deployment),
        (None, None) => false,
    }
}

/// Whether pods of a Deployment are in the Service from the start.
pub(super) fn is_born_accepting(deployment: &Deployment) -> bool {
    let spec = deployment.spec.as_ref();
    let labels = spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref());
    labels
        .and_then(|labels| labels.get(ACCEPTING_LABEL))
        .is_some_and(|it| it == "true")
}

/// What waits and where; `None` when nothing does.
fn waiting(relay: &str, shards: &[Shard]) -> Option<String> {
    let named = |held: fn(&Shard) -> bool| -> Vec<String> {
        let shards = shards.iter().filter(|shard| held(shard));
        shards
            .map(|shard| names::shard(relay, shard.index))
            .collect()
    };
    let messages: u64 = shards.iter().filter_map(Shard::messages).sum();
    let holding = named(|shard| shard.messages().is_some_and(|messages| messages > 0));
    let unknown = named(|shard| shard.messages().is_none());
    let parts = [
        (messages > 0).then(|| format!("{messages} messages wait in {}", holding.join(", "))),
        (!unknown.is_empty()).then(|| format!("the queue of {} is not known", unknown.join(", "))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", and "))
}

#[cfg(test)]
mod tests;
