//! A relay that is deleted: by `spec.deletionPolicy` its shards deliver what they hold, stop and leave
//! their claims, or go at once; the rest goes with its owner.
//!
//! The spec is read anew in each round, so a policy that is changed meanwhile is obeyed. Every wait is
//! bounded, since a finalizer must not block for ever (case O7); what holds mail then is kept and named
//! in an Event. Never depends on whether the spec is valid.

mod ending;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_api::{DeletionPolicy, SmtpRelay, names};

use super::dereference::{self, Found};
use super::{Key, RelayError, apply, discard, drain, issued, key, status};
use crate::context::Context;
use crate::kubernetes::controller::Action;
use crate::kubernetes::store::Index;
use crate::kubernetes::{events, finalizer};
use ending::Ending;

/// Action of the Events.
const DELETE: &str = "Delete";

pub(super) async fn run(
    relay: &Arc<SmtpRelay>,
    context: &Context,
    now: Timestamp,
) -> Result<Action, RelayError> {
    let key = key(relay);
    if !finalizer::is_set(relay.as_ref()) {
        forget(context, &key);
        return Ok(Action::await_change());
    }
    // In a namespace that goes, everything goes, mail included: nobody is left to wait for.
    if !context.stores.is_terminating(&key.0) {
        let found = dereference::run(relay, context, now).await?;
        let deleted = relay.metadata.deletion_timestamp.as_ref();
        let waited = deleted.map_or(0, |deleted| now.as_second() - deleted.0.as_second());
        let round = round(context, &found, waited, now).await?;
        if !round.waiting.is_empty() {
            status::deleting(context, &found, &round.waiting, now).await?;
            return Ok(Action::requeue(pause(waited)));
        }
        // What cert-manager wrote has no owner that would take it along.
        if !issued::clear(relay, &found.issued, context, now).await? {
            return Ok(Action::requeue(pause(waited)));
        }
        tell_kept(context, &found, &round.kept).await;
    }
    finalizer::remove(&context.client, relay.as_ref()).await?;
    forget(context, &key);
    Ok(Action::await_change())
}

/// How long until the next look: pods and claims tell of their changes, but what a shard holds has to be
/// asked for, maybe for weeks. The end of `spec.drainTimeout` may be seen that much late.
fn pause(waited: i64) -> Duration {
    status::pause(Duration::from_secs(u64::try_from(waited).unwrap_or(0)))
}

/// The relay is gone, or about to be: what this process knows of it goes, too.
pub(super) fn forget(context: &Context, key: &Key) {
    context.programmed.forget(key);
    context.admin.forget(key);
    issued::forget(context, key);
}

/// Where the shards are after one round.
#[derive(Default)]
struct Round {
    /// Shards that are waited for, by index, and why.
    waiting: Vec<(i32, String)>,
    /// Claims that stay, and why.
    kept: Vec<(String, String)>,
}

/// Lets all shards go, each as far as it is.
async fn round(
    context: &Context,
    found: &Found,
    waited: i64,
    now: Timestamp,
) -> Result<Round, RelayError> {
    let spec = &found.relay.spec;
    if spec.deletion_policy == Some(DeletionPolicy::Discard) {
        discard::tell(context, found, DELETE).await;
    }
    let mut round = Round::default();
    let endings: Vec<Ending> = found
        .shards
        .iter()
        .map(|shard| {
            let step = drain::step(shard, spec.storage(), now);
            ending::of(spec, shard, step, waited)
        })
        .collect();
    // As long as one of them has mail, another one may have to be asked whose some of it is.
    let all_end = endings
        .iter()
        .all(|ending| matches!(ending, Ending::Remove | Ending::Keep(_)));
    for (shard, ending) in found.shards.iter().zip(endings) {
        match ending {
            Ending::Remove if !all_end => {}
            Ending::Remove => {
                if !apply::remove_shard(context, shard).await? {
                    round.wait(shard.index, "its claim got a volume just now");
                }
            }
            Ending::Leave => {
                apply::leave_as_is(context, shard, spec.storage()).await?;
                round.wait(shard.index, "it leaves the Service");
            }
            Ending::Wait(why) => round.wait(shard.index, why),
            Ending::Keep(why) => {
                apply::stop_shard(context, shard).await?;
                if has_pod(context, found, shard.index) && ending::waits_for_pods(spec, waited) {
                    round.wait(shard.index, "its pod stops; its claim is kept");
                }
                if let Some(claim) = &shard.claim {
                    round.kept.push((claim.name_any(), why));
                }
            }
        }
    }
    Ok(round)
}

impl Round {
    fn wait(&mut self, index: i32, why: impl Into<String>) {
        self.waiting.push((index, why.into()));
    }
}

/// Whether a pod of the shard is there, one that stops included.
fn has_pod(context: &Context, found: &Found, index: i32) -> bool {
    let number = index.to_string();
    let pods = &context.stores.pods;
    let of_relay = Index::Relay(found.key.0.clone(), found.key.1.clone());
    pods.sharing(&of_relay)
        .iter()
        .any(|pod| pod.labels().get(names::SHARD_LABEL) == Some(&number))
}

/// One Event for all claims: several of one reason would be folded into the first.
async fn tell_kept(context: &Context, found: &Found, kept: &[(String, String)]) {
    if kept.is_empty() {
        return;
    }
    let list = kept.iter().map(|(claim, why)| format!("{claim} ({why})"));
    let note = format!(
        "claims are kept, since they may hold accepted mail; make an SmtpRelay of the same name to \
         deliver it, or annotate them {}=true and delete them to throw it away: {}",
        names::ALLOW_DELETION_ANNOTATION,
        list.collect::<Vec<_>>().join(", ")
    );
    tracing::warn!(
        namespace = found.key.0,
        relay = found.key.1,
        note,
        "claims kept"
    );
    let relay = found.relay.as_ref();
    let asked = relay.spec.deletion_policy == Some(DeletionPolicy::Retain);
    let publish = (&context.recorder, "ClaimKept");
    if asked {
        events::normal(publish.0, relay, publish.1, DELETE, &note).await;
    } else {
        events::warning(publish.0, relay, publish.1, DELETE, &note).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_takes_long_is_looked_at_rarely() {
        let rows = [
            (-5, 1),
            (0, 1),
            (59, 1),
            (60, 5),
            (599, 5),
            (600, 15),
            (2_592_000, 15),
        ];
        for (waited, seconds) in rows {
            assert_eq!(pause(waited), Duration::from_secs(seconds), "{waited}");
        }
    }
}
