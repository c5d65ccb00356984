//! Which operator has a relay in hand. Two that watch the same namespace would undo each other's work without
//! end, when their versions or settings differ; so each relay names the namespace of its operator, and another
//! one leaves it, and what is attached to it, alone for as long as that operator's Lease is held and says that its
//! holder watches the relay's namespace.
//!
//! An operator outside a cluster has no namespace, and takes what it finds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt as _};
use operator_api::SmtpRelay;
use operator_api::names::{OPERATOR_ANNOTATION, WATCHED_ANNOTATION};

use crate::context::{Context, Settings};
use crate::kubernetes::controller::Action;
use crate::kubernetes::events::{self, RECONCILE};
use crate::kubernetes::watch::Scope;
use crate::leader::LEASE;

/// How long until a relay of another operator is looked at again.
pub const PAUSE: Duration = Duration::from_secs(15);
/// Reason of the Event at a relay that another operator has in hand.
pub const REASON: &str = "AnotherOperator";
/// Reason of the Event at an object whose relay is in a namespace that is not watched.
const UNWATCHED: &str = "RelayNotWatched";
/// A Lease without a duration counts this long, in seconds.
const DURATION: i32 = 15;

/// Who has a relay in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hand {
    /// This operator, or nobody yet.
    Own,
    /// The operator of this namespace, which is at work and watches the relay's namespace.
    Other(String),
    /// Another one perhaps: the API server does not say whether it is at work.
    Unknown,
}

/// Who has `relay` in hand.
pub async fn of_relay(
    client: &Client,
    settings: &Settings,
    relay: &SmtpRelay,
    now: Timestamp,
) -> Hand {
    let own = settings.namespace.as_deref();
    let other = named(relay).filter(|other| own.is_some_and(|own| own != *other));
    let Some(other) = other else {
        return Hand::Own;
    };
    let namespace = relay.namespace().unwrap_or_default();
    match Api::<Lease>::namespaced(client.clone(), other)
        .get_opt(LEASE)
        .await
    {
        Ok(Some(lease)) if is_held(&lease, now) && watched(&lease).covers(&namespace) => {
            Hand::Other(other.to_owned())
        }
        Ok(_) => Hand::Own,
        Err(error) => {
            let relay = relay.name_any();
            tracing::warn!(namespace, relay, operator = other, %error, "the Lease of its operator cannot be read");
            Hand::Unknown
        }
    }
}

/// What to do with `object`, which is attached to the relay `key`, when it is not for this operator to judge;
/// `None` when it is. A relay that is not there is in nobody's hand; of one in a namespace that is not watched
/// nobody here can tell whether it is there.
pub async fn left_alone<K>(
    context: &Context,
    object: &K,
    key: &(String, String),
    now: Timestamp,
) -> Option<Action>
where
    K: Resource<DynamicType = ()>,
{
    let (namespace, name) = key;
    let settings = &context.settings;
    if !settings.scope.covers(namespace) {
        let note = unwatched(namespace, name);
        events::normal(&context.recorder, object, UNWATCHED, RECONCILE, &note).await;
        // What is watched does not change while this process runs.
        return Some(Action::await_change());
    }
    let reference = ObjectRef::new(name).within(namespace);
    let relay = context.stores.relays.get(&reference)?;
    match of_relay(&context.client, settings, &relay, now).await {
        Hand::Own => None,
        Hand::Other(_) | Hand::Unknown => Some(Action::requeue(PAUSE)),
    }
}

fn unwatched(namespace: &str, name: &str) -> String {
    format!(
        "spec.relayRef names SmtpRelay {namespace}/{name}, and this operator does not watch namespace \
         {namespace}: it leaves this object to the operator that watches both; if there is none, name another \
         relay or add the namespace to watchNamespaces"
    )
}

/// What the holder of a Lease watches.
fn watched(lease: &Lease) -> Scope {
    Scope::parse(
        lease
            .annotations()
            .get(WATCHED_ANNOTATION)
            .map(String::as_str),
    )
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
