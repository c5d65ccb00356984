//! What is told about attempts: one log line per attempt and one per recipient, joined by the
//! message's id, and metrics, whose labels never hold an address or a domain.

use std::time::Duration;

use relay_queue::{Timestamp, Work};

use super::outcome::{Category, Fate, Kind};
use crate::metrics::Metrics;

/// Tells about one attempt.
pub(super) fn attempt(
    metrics: &Metrics,
    work: &Work,
    fates: &[Fate],
    took: Duration,
    now: Timestamp,
) {
    let count = |kind: Kind| fates.iter().filter(|fate| fate.kind == kind).count() as u64;
    let delivered = count(Kind::Delivered);
    let deferred = count(Kind::Deferred);
    let failed = count(Kind::Failed);
    let result = match (delivered, deferred, failed) {
        (_, 0, 0) => "delivered",
        (0, _, 0) => "deferred",
        (0, 0, _) => "failed",
        _ => "partial",
    };
    metrics.attempt(result, took);
    outcomes(metrics, fates);
    let delay = Duration::from_millis(now.0.saturating_sub(work.envelope.accepted_at.0));
    if delivered > 0 {
        metrics.delivered_after(delay);
    }
    tracing::info!(
        message_id = %work.id,
        destination = %work.destination,
        attempt = work.attempts + 1,
        result,
        delivered,
        deferred,
        failed,
        seconds = took.as_secs_f64(),
        "delivery attempt"
    );
    for (index, fate) in work.recipients.iter().zip(fates) {
        recipient(work, *index, fate, delay);
    }
}

/// What a recipient can come to.
const OUTCOMES: [&str; 4] = ["delivered", "deferred", "failed", "expired"];

/// Counts recipients by outcome and category.
fn outcomes(metrics: &Metrics, fates: &[Fate]) {
    let mut counts = [[0; Category::ALL.len()]; OUTCOMES.len()];
    for fate in fates {
        counts[outcome(fate)][fate.category() as usize] += 1;
    }
    for (name, counts) in OUTCOMES.iter().zip(counts) {
        for (category, count) in Category::ALL.iter().zip(counts) {
            if count > 0 {
                metrics.outcome(name, category.name(), count);
            }
        }
    }
}

/// Index into [`OUTCOMES`].
fn outcome(fate: &Fate) -> usize {
    match fate.kind {
        Kind::Delivered => 0,
        Kind::Deferred => 1,
        Kind::Failed if !fate.expired => 2,
        Kind::Failed => 3,
    }
}

fn recipient(work: &Work, index: u32, fate: &Fate, delay: Duration) {
    let recipient = work.envelope.recipients.get(index as usize);
    let remote = fate.remote.as_ref();
    let encryption = remote.and_then(|remote| remote.encryption);
    let policy = remote.and_then(|remote| remote.policy);
    tracing::info!(
        message_id = %work.id,
        recipient = recipient.map(tracing::field::display),
        outcome = OUTCOMES[outcome(fate)],
        category = fate.category().name(),
        destination = %work.destination,
        host = remote.map(|remote| &*remote.host),
        address = remote.map(|remote| tracing::field::display(remote.address)),
        tls = encryption.map_or("none", |encryption| encryption.version),
        cipher = encryption.map(|encryption| encryption.cipher),
        tls_policy = policy.map(|policy| policy.security),
        tls_source = policy.map(|policy| policy.source),
        code = fate.reply.as_ref().map(|(_, reply)| reply.code()),
        enhanced = %fate.status,
        reply = %fate.diagnostic(),
        possible_duplicate = fate.unconfirmed.then_some(true),
        delay = delay.as_secs_f64(),
        "delivery outcome"
    );
}
