//! Whether mail is safe where it waits, and whether there is room for more.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use operator_api::conditions::{self as types, reason};
use operator_api::{ShardPhase, Storage};

use super::Seen;
use crate::conditions::Verdict;
use crate::render::octets;

/// What a claim says while it grows, the most telling first.
const RESIZING: [&str; 4] = [
    "ControllerResizeError",
    "NodeResizeError",
    "FileSystemResizePending",
    "Resizing",
];

pub(super) fn durable(seen: &Seen<'_>) -> Verdict {
    if seen.found.relay.spec.storage() == Storage::Ephemeral {
        return Verdict::no(
            types::QUEUE_DURABLE,
            reason::EPHEMERAL_STORAGE,
            "spec.queue.storage is Ephemeral: accepted mail is lost with its pod; use Persistent for \
             mail that matters",
        );
    }
    let pending: Vec<&str> = seen
        .found
        .shards
        .iter()
        .zip(seen.shards)
        .filter(|(shard, _)| !shard.has_volume())
        .map(|(_, status)| status.name.as_str())
        .collect();
    if pending.is_empty() {
        return Verdict::yes(
            types::QUEUE_DURABLE,
            reason::PERSISTENT_STORAGE,
            "every queue lies on a claim",
        );
    }
    Verdict::no(
        types::QUEUE_DURABLE,
        reason::CLAIM_PENDING,
        format!(
            "the claims of {} have no volume yet; if that lasts, see the claims' Events and \
             spec.queue.storageClassName",
            pending.join(", ")
        ),
    )
}

pub(super) fn healthy(seen: &Seen<'_>) -> Verdict {
    let no = |reason, message| Verdict::no(types::QUEUE_HEALTHY, reason, message);
    if let Some(full) = full(seen) {
        return no(reason::QUEUE_FULL, full);
    }
    if !seen.refused_claims.is_empty() {
        let message = format!(
            "spec.queue cannot be brought about: {}; claims that exist stay as they are. Give the size \
             that they have, or a spec.queue.storageClassName that exists and can grow, to which shards \
             then move",
            seen.refused_claims.join("; ")
        );
        return no(reason::CLAIM_REFUSED, message);
    }
    let claims = seen.found.shards.iter();
    let claims = claims.filter_map(|shard| shard.claim.as_deref());
    let resizing: Vec<String> = claims.filter_map(resizing).collect();
    if !resizing.is_empty() {
        return no(reason::CLAIM_RESIZING, resizing.join("; "));
    }
    unknown(seen).unwrap_or_else(|| {
        Verdict::yes(
            types::QUEUE_HEALTHY,
            reason::HEALTHY,
            "every queue has its size and room for more",
        )
    })
}

fn full(seen: &Seen<'_>) -> Option<String> {
    let full: Vec<&str> = seen
        .found
        .shards
        .iter()
        .zip(seen.shards)
        .filter(|(shard, _)| matches!(&shard.report, Some(Ok(report)) if report.queue.full))
        .map(|(_, status)| status.name.as_str())
        .collect();
    (!full.is_empty()).then(|| {
        format!(
            "{} answer clients 452, since their volumes are full or too many messages wait; mail that \
             waits is delivered. Raise spec.queue.size or spec.replicas, and see condition EgressHealthy",
            full.join(", ")
        )
    })
}

/// What a claim waits for; `None` when it has the size that it asks for.
fn resizing(claim: &PersistentVolumeClaim) -> Option<String> {
    let storage = |map: Option<&std::collections::BTreeMap<String, Quantity>>| {
        map.and_then(|map| map.get("storage")).cloned()
    };
    let spec = claim.spec.as_ref()?;
    let status = claim.status.as_ref()?;
    let asked = storage(spec.resources.as_ref()?.requests.as_ref())?;
    let real = storage(status.capacity.as_ref())?;
    let conditions = status.conditions.iter().flatten();
    let told = RESIZING.iter().find_map(|kind| {
        conditions
            .clone()
            .find(|one| one.type_ == *kind && one.status == "True")
    });
    if told.is_none() && octets(&real)? >= octets(&asked)? {
        return None;
    }
    let state = told.map_or("it waits for the storage driver", |told| &told.type_);
    let words = told.and_then(|told| told.message.as_deref());
    Some(format!(
        "{} has {} of {}: {state}{}; until then {} are in force",
        claim.name_any(),
        real.0,
        asked.0,
        words.map_or_else(String::new, |words| format!(" ({words})")),
        real.0
    ))
}

/// A shard that should be there and does not answer.
fn unknown(seen: &Seen<'_>) -> Option<Verdict> {
    let mut shards = seen.found.shards.iter().zip(seen.shards);
    let (status, error) = shards.find_map(|(shard, status)| match &shard.report {
        Some(Err(error)) if status.phase == ShardPhase::Running => Some((status, error)),
        _ => None,
    })?;
    Some(Verdict::unknown(
        types::QUEUE_HEALTHY,
        reason::SHARD_UNREACHABLE,
        format!("{} cannot be asked: {error}", status.name),
    ))
}

#[cfg(test)]
mod tests;
