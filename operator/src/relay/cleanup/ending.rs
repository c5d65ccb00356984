//! How a shard of a deleted relay ends, by `spec.deletionPolicy`. Pure.

use operator_api::{DeletionPolicy, SmtpRelaySpec};

use crate::relay::dereference::Shard;
use crate::relay::drain::Step;

/// Seconds that shards may deliver when the spec names no usable time.
const DRAIN_TIMEOUT: i64 = 600;
/// Seconds in which pods that are told to stop have to be gone. A pod of a lost node never goes, and the
/// object must.
const STOP_TIMEOUT: i64 = 120;

/// What happens to a shard now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It leaves the Service, to deliver what it holds.
    Leave,
    /// It delivers what it holds; why it is still there.
    Wait(String),
    /// Deployment and claim go: nothing waits there, or it is to be thrown away.
    Remove,
    /// The Deployment goes, the claim stays, since it may hold mail; why.
    Keep(String),
}

/// Seconds that shards may deliver after the deletion.
pub(super) fn drain_timeout(spec: &SmtpRelaySpec) -> i64 {
    let asked = spec.drain_timeout.as_deref();
    let asked = asked.and_then(|text| text.parse::<relay_config::Duration>().ok());
    asked.map_or(DRAIN_TIMEOUT, |asked| {
        i64::try_from(asked.get().as_secs()).unwrap_or(DRAIN_TIMEOUT)
    })
}

/// `step`: how the shard would go if it had all the time. `waited`: seconds since the deletion.
pub(super) fn of(spec: &SmtpRelaySpec, shard: &Shard, step: Step, waited: i64) -> Ending {
    match spec.deletion_policy.unwrap_or_default() {
        DeletionPolicy::Retain if shard.may_hold_mail() || shard.messages() != Some(0) => {
            Ending::Keep("spec.deletionPolicy is Retain".to_owned())
        }
        DeletionPolicy::Retain | DeletionPolicy::Discard => Ending::Remove,
        DeletionPolicy::Drain => {
            let expired = waited >= drain_timeout(spec);
            match step {
                Step::Remove => Ending::Remove,
                Step::Leave if !expired => Ending::Leave,
                Step::Leave => Ending::Keep("it never left the Service".to_owned()),
                Step::Wait(why) if !expired => Ending::Wait(why),
                Step::Wait(why) => Ending::Keep(why),
                // Nobody would start it again, and waiting for it shows nothing new.
                Step::Revive => Ending::Keep("it has no pod to deliver it".to_owned()),
            }
        }
    }
}

/// Whether pods of shards whose claims stay are still waited for, so that a relay made anew finds the
/// claims free.
pub(super) fn waits_for_pods(spec: &SmtpRelaySpec, waited: i64) -> bool {
    let stopped_after = match spec.deletion_policy.unwrap_or_default() {
        DeletionPolicy::Drain => drain_timeout(spec),
        DeletionPolicy::Retain | DeletionPolicy::Discard => 0,
    };
    waited < stopped_after.saturating_add(STOP_TIMEOUT)
}

#[cfg(test)]
mod tests;
