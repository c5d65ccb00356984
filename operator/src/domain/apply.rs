//! Writes the key Secret, so that no key is ever overwritten.

use kube::Client;

use super::DomainError;
use super::build::Prepared;
use crate::certificates::SecretData;

/// What stands after the write.
pub(super) struct Applied {
    /// Data of the key Secret; `None` when there are no keys.
    pub(super) data: Option<SecretData>,
    /// Selectors of new keys.
    pub(super) made: Vec<String>,
    /// Selectors of keys that took over from others.
    pub(super) switched: Vec<String>,
}

pub(super) async fn run(client: &Client, prepared: Prepared) -> Result<Applied, DomainError> {
    let Prepared {
        change,
        data,
        made,
        switched,
    } = prepared;
    if let Some(change) = change {
        change.write(client).await?;
    }
    Ok(Applied {
        data,
        made,
        switched,
    })
}
