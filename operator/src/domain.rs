//! SendingDomain: DKIM keys, the records to publish, what DNS shows of them, and whether the relay
//! takes the domain.
//!
//! Keys lie in Secret `<name>-dkim` of the domain's own namespace and go with it by their owner
//! reference; nothing is written in another namespace, so no finalizer is needed. The relay's
//! controller reads them from there and renders them. Keys sign as soon as they are rendered,
//! whether or not DNS shows their records yet: an unknown signature does no more harm than none,
//! and the first mail need not wait. `Ready` is stricter and waits for DNS.

mod apply;
mod bounces;
mod build;
mod dereference;
mod dmarc;
pub mod dns;
mod judge;
pub mod key_maker;
pub mod keyring;
pub mod keys;
#[cfg(test)]
mod order;
mod own_keys;
mod records;
pub mod return_keys;
mod services;
mod spf;
mod status;
mod tags;
mod validate;
mod zone;

use std::sync::Arc;

use jiff::Timestamp;
use operator_api::SendingDomain;

use crate::context::Context;
use crate::guarded_secret::WriteError;
use crate::holder;
use crate::kubernetes::controller::{Action, Failure};
use crate::render::admission::Attached as _;

pub(crate) use own_keys::named_secrets;
pub(crate) use validate::relay_is_accepted;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The key Secret cannot be read.
    #[error("Secret {name} with the DKIM keys cannot be read: {source}")]
    ReadKeys {
        /// Name of the Secret.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Keys cannot be made.
    #[error("DKIM keys cannot be made: {0}")]
    MakeKeys(#[from] keys::KeyError),
    /// The key Secret cannot be written.
    #[error(transparent)]
    WriteKeys(#[from] WriteError),
    /// The status cannot be written.
    #[error("the status cannot be written: {0}")]
    WriteStatus(Box<kube::Error>),
}

impl Failure for DomainError {
    fn reason(&self) -> &'static str {
        match self {
            Self::ReadKeys { .. } => "ReadKeys",
            Self::MakeKeys(_) => "MakeKeys",
            Self::WriteKeys(WriteError::Conflict { .. }) => "Conflict",
            Self::WriteKeys(WriteError::Refused { .. }) => "WriteKeys",
            Self::WriteStatus(_) => "WriteStatus",
        }
    }
}

/// Reconciles one domain.
pub async fn reconcile(
    domain: Arc<SendingDomain>,
    context: Arc<Context>,
) -> Result<Action, DomainError> {
    if domain.metadata.deletion_timestamp.is_some() {
        // The keys go by their owner reference, the relay forgets the domain by its own watch.
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let relay = domain.relay_key();
    if let Some(action) = holder::left_alone(&context, domain.as_ref(), &relay, now).await {
        return Ok(action);
    }
    let seen = dereference::run(&domain, &context, now).await?;
    let judged = validate::run(&domain, &seen, now);
    let prepared = build::run(&domain, &seen, &judged, &context.key_maker, now)?;
    let applied = apply::run(&context.client, prepared).await?;
    status::run(&domain, &context, &seen, &judged, &applied, now).await
}
