//! Writes the Secret, so that nobody else's is ever overwritten.

use kube::Client;

use super::CredentialError;
use super::binding::Password;
use super::build::Prepared;
use crate::certificates::SecretData;

/// What stands after the write.
pub(super) struct Applied {
    /// Data of the Secret; `None` when there is none.
    pub(super) data: Option<SecretData>,
    /// What happened to the password.
    pub(super) password: Password,
}

pub(super) async fn run(client: &Client, prepared: Prepared) -> Result<Applied, CredentialError> {
    let Prepared {
        change,
        data,
        password,
    } = prepared;
    if let Some(change) = change {
        change.write(client).await?;
    }
    Ok(Applied { data, password })
}
