//! Writes the key Secret, so that no key is ever overwritten, and publishes records.

use jiff::Timestamp;
use operator_api::SendingDomain;

use super::DomainError;
use super::build::Prepared;
use super::dereference::Seen;
use super::keyring::Keyring;
use super::publish::{self, Published};
use super::validate::{self, Judged};
use crate::certificates::SecretData;
use crate::context::Context;

/// What stands after the write.
pub(super) struct Applied {
    /// Data of the key Secret; `None` when there are no keys.
    pub(super) data: Option<SecretData>,
    /// Selectors of new keys.
    pub(super) made: Vec<String>,
    /// Selectors of keys that took over from others.
    pub(super) switched: Vec<String>,
    /// What became of the records.
    pub(super) published: Published,
}

pub(super) async fn run(
    domain: &SendingDomain,
    context: &Context,
    seen: &Seen,
    judged: &Judged,
    prepared: Prepared,
    now: Timestamp,
) -> Result<Applied, DomainError> {
    let Prepared {
        change,
        data,
        made,
        switched,
    } = prepared;
    if let Some(change) = change {
        change.write(&context.client).await?;
    }
    let keyring = data.as_ref().map(Keyring::read);
    let planned = validate::publishing(domain, seen, judged, keyring.as_ref(), now);
    let published = publish::run(domain, context, &seen.publishing, planned, now).await?;
    Ok(Applied {
        data,
        made,
        switched,
        published,
    })
}
