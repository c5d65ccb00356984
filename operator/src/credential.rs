//! SmtpCredential: a generated password as a Service Binding Secret in the application's namespace,
//! its verifier for the relay.
//!
//! The Secret goes with the credential by its owner reference; nothing is written in another
//! namespace, so no finalizer is needed. The relay's controller reads the verifier from there and
//! renders it; the password stays where the application is.

mod apply;
pub mod binding;
mod build;
mod dereference;
mod status;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use operator_api::SmtpCredential;

use crate::context::Context;
use crate::guarded_secret::WriteError;
use crate::holder;
use crate::kubernetes::controller::{Action, Failure};
use crate::render::admission::Attached as _;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The Secret cannot be read.
    #[error("Secret {name} of the credential cannot be read: {source}")]
    ReadSecret {
        /// Name of the Secret.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// A password cannot be made.
    #[error(transparent)]
    MakePassword(#[from] binding::RandomError),
    /// The Secret cannot be written.
    #[error(transparent)]
    WriteSecret(#[from] WriteError),
    /// The status cannot be written.
    #[error("the status cannot be written: {0}")]
    WriteStatus(Box<kube::Error>),
}

impl Failure for CredentialError {
    fn reason(&self) -> &'static str {
        match self {
            Self::ReadSecret { .. } => "ReadSecret",
            Self::MakePassword(_) => "MakePassword",
            Self::WriteSecret(WriteError::Conflict { .. }) => "Conflict",
            Self::WriteSecret(WriteError::Refused { .. }) => "WriteSecret",
            Self::WriteStatus(_) => "WriteStatus",
        }
    }
}

/// Reconciles one credential.
pub async fn reconcile(
    credential: Arc<SmtpCredential>,
    context: Arc<Context>,
) -> Result<Action, CredentialError> {
    if credential.metadata.deletion_timestamp.is_some() {
        // The Secret goes by its owner reference, the relay forgets the name by its own watch.
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let relay = credential.relay_key();
    if let Some(action) = holder::left_alone(&context, credential.as_ref(), &relay, now).await {
        return Ok(action);
    }
    let seen = dereference::run(&credential, &context).await?;
    let judged = validate::run(&credential, &seen);
    let prepared = build::run(&credential, &seen, &judged, now)?;
    let applied = apply::run(&context.client, prepared).await?;
    status::run(&credential, &context, &judged, &applied, now).await
}
