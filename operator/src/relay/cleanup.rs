//! A relay that is deleted: shards leave the Service and deliver what they hold, claims go when
//! their queue is known to be empty, and the rest goes with its owner.
//!
//! The wait is bounded, since a finalizer must not block for ever (case O7). What holds mail then is
//! kept and named in an Event. Never depends on whether the spec is valid.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use operator_api::SmtpRelay;
use operator_api::conditions::{self as types, reason};
use operator_api::names;

use super::dereference::{self, Found, Shard};
use super::{RelayError, apply, build, drain, key};
use crate::conditions::{self, Verdict};
use crate::context::Context;
use crate::kubernetes::{events, finalizer, status};

/// How long shards of a deleted relay may deliver what they hold, in seconds.
const DRAIN_WAIT: i64 = 600;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

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
        let waiting = drain_all(context, &found, now).await?;
        if !waiting.is_empty() {
            tell(context, &found, &waiting, now).await?;
            return Ok(Action::requeue(PAUSE));
        }
    }
    finalizer::remove(&context.client, relay.as_ref()).await?;
    forget(context, &key);
    Ok(Action::await_change())
}

fn forget(context: &Context, key: &(String, String)) {
    context.programmed.forget(key);
    context.admin.forget(key);
}

/// Lets all shards go; those that are still there, and why.
async fn drain_all(
    context: &Context,
    found: &Found,
    now: Timestamp,
) -> Result<Vec<String>, RelayError> {
    let deleted = found.relay.metadata.deletion_timestamp.as_ref();
    let waited = deleted.map_or(0, |deleted| now.as_second() - deleted.0.as_second());
    let expired = waited >= DRAIN_WAIT;
    let mut waiting = Vec::new();
    for shard in &found.shards {
        let name = names::shard(&found.key.1, shard.index);
        match drain::step(shard, found.relay.spec.storage(), now) {
            drain::Step::Remove => apply::remove_shard(context, shard).await?,
            drain::Step::Leave if !expired => {
                let objects = build::shard_objects(&found.relay, shard.index, &context.settings);
                apply::leave_service(context, shard, &objects).await?;
                waiting.push(format!("{name}: it leaves the Service"));
            }
            drain::Step::Wait(why) if !expired => waiting.push(format!("{name}: {why}")),
            // Nobody would start it again, and waiting for it shows nothing new.
            drain::Step::Revive => {
                retain(context, found, shard, "it has no pod to deliver it").await;
            }
            drain::Step::Leave => retain(context, found, shard, "it never left the Service").await,
            drain::Step::Wait(why) => retain(context, found, shard, &why).await,
        }
    }
    Ok(waiting)
}

/// Leaves a claim behind, and says so.
async fn retain(context: &Context, found: &Found, shard: &Shard, why: &str) {
    let Some(claim) = &shard.claim else {
        return;
    };
    let note = format!(
        "PersistentVolumeClaim {} is kept, since it may hold accepted mail ({why}); make an \
         SmtpRelay of the same name to deliver it, or delete the claim to throw it away",
        claim.name_any()
    );
    tracing::warn!(
        namespace = found.key.0,
        relay = found.key.1,
        note,
        "claim kept"
    );
    events::warning(
        &context.recorder,
        found.relay.as_ref(),
        "ClaimKept",
        "Delete",
        &note,
    )
    .await;
}

async fn tell(
    context: &Context,
    found: &Found,
    waiting: &[String],
    now: Timestamp,
) -> Result<(), RelayError> {
    let message = format!(
        "the relay is being deleted and delivers what it holds, for at most {} minutes: {}",
        DRAIN_WAIT / 60,
        waiting.join("; ")
    );
    let verdicts = [Verdict::no(types::READY, reason::DRAINING, message)];
    let old = found.relay.status.clone().unwrap_or_default();
    let generation = found.relay.metadata.generation;
    let mut desired = old.clone();
    desired.observed_generation = generation;
    desired.conditions = conditions::merge(&old.conditions, &verdicts, generation, now);
    let current = found.relay.status.as_ref();
    status::write(&context.client, found.relay.as_ref(), current, &desired).await?;
    Ok(())
}
