//! SmtpRelay: shards, their storage, Service, certificates, configuration and policies.
//!
//! Five steps: dereference reads everything, including what the shards say of themselves; validate
//! and build are pure but for the generation of keys; apply writes objects; status writes what was
//! seen. A change of mind in the middle is no harm: each reconcile starts from what is there.

pub mod admin;
mod apply;
mod build;
mod cleanup;
mod dereference;
mod discard;
mod drain;
mod issued;
mod issuers;
mod moves;
#[cfg(test)]
mod order;
#[cfg(test)]
mod random;
mod refresh;
mod rollout;
mod scale;
mod status;
mod template;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_api::SmtpRelay;
use operator_api::conditions::reason;

use crate::certificates::CertificateError;
use crate::context::Context;
use crate::holder::{self, Hand};
use crate::kubernetes::apply::ApplyError;
use crate::kubernetes::controller::{Action, Failure};
use crate::kubernetes::events::{self, RECONCILE};
use crate::kubernetes::{finalizer, queue};
use crate::render::Violation;

/// How long until a relay in order is looked at again: for queue depths and certificates.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The API server refused or did not answer.
    #[error("{0}")]
    Api(Box<kube::Error>),
    /// An object could not be applied.
    #[error("{0}")]
    Apply(#[from] ApplyError),
    /// A certificate could not be made.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
}

impl From<kube::Error> for RelayError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl Failure for RelayError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) if is_conflict(error) => "Conflict",
            Self::Api(_) => "ApiRequestFailed",
            Self::Apply(ApplyError::Conflict { .. }) => reason::NAME_CONFLICT,
            Self::Apply(_) => "ApplyFailed",
            Self::Certificate(_) => "CertificateFailed",
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Namespace and name.
type Key = (String, String);

fn key(relay: &SmtpRelay) -> Key {
    (relay.namespace().unwrap_or_default(), relay.name_any())
}

/// Brings one relay in order.
pub async fn reconcile(relay: Arc<SmtpRelay>, context: Arc<Context>) -> Result<Action, RelayError> {
    let now = Timestamp::now();
    match holder::of_relay(&context.client, &context.settings, &relay, now).await {
        Hand::Own => {}
        Hand::Other(other) => {
            let (recorder, note) = (&context.recorder, holder::note(&other));
            events::warning(recorder, relay.as_ref(), holder::REASON, RECONCILE, &note).await;
            return Ok(Action::requeue(holder::PAUSE));
        }
        // Who cannot tell stays away, and asks again.
        Hand::Unknown => return Ok(Action::requeue(holder::PAUSE)),
    }
    if relay.metadata.deletion_timestamp.is_some() {
        return cleanup::run(&relay, &context, now).await;
    }
    // Nothing can be made in a namespace that goes, and nothing needs to be (case O8).
    if context.stores.is_terminating(&key(&relay).0) {
        return Ok(Action::await_change());
    }
    let operator = context.settings.namespace.as_deref();
    finalizer::ensure(&context.client, relay.as_ref(), operator).await?;
    let found = dereference::run(&relay, &context, now).await?;
    let judged = validate::run(&found, now)?;
    let prepared = build::run(&found, judged, &context.settings, now);
    let verdict = match Box::pin(apply::run(&context, &found, prepared, now)).await {
        Ok(applied) => status::run(&context, &found, applied, now).await?,
        Err(RelayError::Apply(error @ ApplyError::Conflict { .. })) => {
            let violation = Violation::new(reason::NAME_CONFLICT, error.to_string());
            status::refused(&context, &found, &violation, now).await?
        }
        Err(error) => return Err(error),
    };
    Ok(Action::requeue(verdict.look_again(now)))
}

/// Forgets a relay that is gone, however it went: somebody may have taken its finalizer away.
pub fn gone(key: &queue::Key, context: &Context) {
    cleanup::forget(context, &(key.namespace.to_string(), key.name.to_string()));
}

/// Names of the Secrets of its namespace that the relay's spec names, each once.
pub fn named_secrets(relay: &SmtpRelay) -> Vec<String> {
    let spec = &relay.spec;
    let mut named: Vec<String> = relay.provided_tls_secret().into_iter().collect();
    if let Some(delivery) = &spec.delivery {
        let authorities = delivery.ca_secret_ref.iter();
        named.extend(authorities.map(|secret| secret.name.clone()));
        for (_, host) in delivery.all_smarthosts() {
            named.extend(host.secrets().map(str::to_owned));
        }
    }
    named.sort_unstable();
    named.dedup();
    named
}
