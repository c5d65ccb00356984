//! SendingDomain: DKIM keys, the records to publish, what DNS shows of them, and whether the relay
//! takes the domain.
//!
//! Keys lie in Secret `<name>-dkim` of the domain's own namespace and go with it by their owner
//! reference; a finalizer is needed only where records were put into DNS. The relay's
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
pub(crate) mod publish;
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
use crate::kubernetes::apply::ApplyError;
use crate::kubernetes::controller::{Action, Failure};
use crate::render::admission::Attached as _;

pub(crate) use own_keys::named_secrets;
pub(crate) use publish::named_secret as tsig_secret;
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
    /// The Secret of the TSIG key cannot be read.
    #[error("Secret {name} with the TSIG key cannot be read: {source}")]
    ReadTsig {
        /// Name of the Secret.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The DNSEndpoint cannot be read.
    #[error("the DNSEndpoint cannot be read: {0}")]
    ReadEndpoint(Box<kube::Error>),
    /// The DNSEndpoint cannot be written.
    #[error(transparent)]
    Publish(ApplyError),
    /// The finalizer cannot be set or removed.
    #[error("the finalizer cannot be changed: {0}")]
    Finalizer(Box<kube::Error>),
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
            Self::ReadTsig { .. } => "ReadTsig",
            Self::ReadEndpoint(_) => "ReadEndpoint",
            Self::Publish(_) => "Publish",
            Self::Finalizer(_) => "Finalizer",
            Self::WriteStatus(_) => "WriteStatus",
        }
    }
}

/// Reconciles one domain.
pub async fn reconcile(
    domain: Arc<SendingDomain>,
    context: Arc<Context>,
) -> Result<Action, DomainError> {
    let now = Timestamp::now();
    let relay = domain.relay_key();
    if let Some(action) = holder::left_alone(&context, domain.as_ref(), &relay, now).await {
        return Ok(action);
    }
    if domain.metadata.deletion_timestamp.is_some() {
        return publish::at_end(&domain, &context, now).await;
    }
    let seen = dereference::run(&domain, &context, now).await?;
    let judged = validate::run(&domain, &seen, now);
    let prepared = build::run(&domain, &seen, &judged, &context.key_maker, now)?;
    let applied = apply::run(&domain, &context, &seen, &judged, prepared, now).await?;
    status::run(&domain, &context, &seen, &judged, &applied, now).await
}
