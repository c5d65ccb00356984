//! Which operator has a relay in hand. Two that watch the same namespace would undo each other's work without
//! end, when their versions or settings differ; so each relay names the namespace of its operator, and another
//! one leaves it, and what is attached to it, alone for as long as that operator's Lease is held.
//!
//! An operator outside a cluster has no namespace, and takes what it finds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use operator_api::SmtpRelay;
use operator_api::names::OPERATOR_ANNOTATION;

use crate::context::Context;
use crate::leader::LEASE;

/// How long until a relay of another operator is looked at again.
pub const PAUSE: Duration = Duration::from_secs(15);
/// Reason of the Event at a relay that another operator has in hand.
pub const REASON: &str = "AnotherOperator";
/// A Lease without a duration counts this long, in seconds.
const DURATION: i32 = 15;

/// The namespace of the operator that has `relay` in hand and is at work, if that is another one.
pub async fn elsewhere(context: &Context, relay: &SmtpRelay, now: Timestamp) -> Option<String> {
    let own = context.settings.namespace.as_deref()?;
    let other = named(relay).filter(|other| *other != own)?;
    let api: Api<Lease> = Api::namespaced(context.client.clone(), other);
    let at_work = match api.get_opt(LEASE).await {
        Ok(lease) => lease.is_some_and(|lease| is_held(&lease, now)),
        // Who cannot tell stays away, and asks again.
        Err(_) => true,
    };
    at_work.then(|| other.to_owned())
}

/// As [`elsewhere`], of the relay that an object is attached to. A relay that is not there is in nobody's hand.
pub async fn attached_elsewhere(
    context: &Context,
    (namespace, name): &(String, String),
    now: Timestamp,
) -> bool {
    let reference = ObjectRef::new(name).within(namespace);
    match context.stores.relays.get(&reference) {
        Some(relay) => elsewhere(context, &relay, now).await.is_some(),
        None => false,
    }
}

/// What to tell of a relay that the operator in namespace `other` has in hand.
pub fn note(other: &str) -> String {
    format!(
        "the operator in namespace {other} has this relay in hand and is at work; give each operator \
         namespaces of its own (watchNamespaces), or uninstall one of them"
    )
}

fn named(relay: &SmtpRelay) -> Option<&str> {
    let name = relay.annotations().get(OPERATOR_ANNOTATION)?;
    // An empty one is nobody's, and a text that is no name could be asked for at another path.
    let usable = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-';
    (!name.is_empty() && name.chars().all(usable)).then_some(name)
}

/// Whether somebody holds a Lease. Clocks may differ by as long as it counts.
fn is_held(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else {
        return false;
    };
    let held = spec
        .holder_identity
        .as_ref()
        .is_some_and(|holder| !holder.is_empty());
    let seconds = spec
        .lease_duration_seconds
        .unwrap_or(DURATION)
        .clamp(1, 600);
    let limit = SignedDuration::from_secs(2 * i64::from(seconds));
    let renewed = spec.renew_time.as_ref().map(|renewed| renewed.0);
    held && renewed.is_some_and(|renewed| now.duration_since(renewed) < limit)
}

#[cfg(test)]
mod tests;
