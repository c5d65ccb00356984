//! The form of a message for a server without `8BITMIME` (RFC 6152 section 3, case L6).
//!
//! Converting breaks the relay's own signatures, so they are taken off, and the converted message is
//! signed with the keys that its domain has now: an older one may have left DNS. Signatures that came
//! with the message stay: what becomes of them is not ours to hide.

use std::sync::Arc;

use bytes::Bytes;

use super::Content;
use crate::context::Context;
use crate::conversion;
use crate::dkim;
use crate::edit::{self, Edit};
use crate::fields::{self, Header};
use crate::mime::{Need, Obstacle};
use crate::signing;
use crate::snapshot::{SendingDomain, Snapshot};

/// Why there is no such form.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unconvertible {
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// Sent unsigned it would be taken for a forgery.
    #[error("it cannot be signed again, as {0} is no sending domain with keys any more")]
    NoKeys(String),
    /// The log says why.
    #[error("it could not be signed again")]
    Unsigned,
}

/// `content` without octets above 127, signed if it was.
pub(super) async fn to_seven_bit(
    context: &Context,
    snapshot: &Snapshot,
    content: &Content,
) -> Result<Content, Unconvertible> {
    let whole = match &content.pieces[..] {
        [whole] => whole.clone(),
        // What is kept in memory in pieces is small.
        pieces => Bytes::from(pieces.concat()),
    };
    let mut edits = conversion::edits(&whole, Need::SevenBit).await?;
    let header = fields::parse(&whole).map_err(|_| Obstacle::Header)?;
    let domain = match signed(&header, &whole) {
        None => None,
        Some((octets, name)) => {
            edits.push(Edit::remove(0..octets));
            Some(signing_domain(snapshot, name)?)
        }
    };
    let mut pieces = Vec::with_capacity(2 + 2 * edits.len());
    edit::apply(&whole, edits, &mut pieces);
    if let Some(domain) = domain {
        let signatures = signing::sign(context, &domain, &pieces).await;
        pieces.insert(0, signatures.map_err(|_| Unconvertible::Unsigned)?);
    }
    Ok(Content::seven_bit(pieces))
}

/// Octets of the relay's own signatures, and whose they are. They are what stands before the
/// `Received` that the relay put before everything that it was given.
fn signed(header: &Header, whole: &[u8]) -> Option<(usize, String)> {
    let is_own = |field: &&fields::Field| field.is(whole, "DKIM-Signature");
    let last = header.fields.iter().take_while(is_own).last()?;
    let domain = dkim::domain_of(header.fields.first()?.value(whole))?;
    Some((last.whole.end, domain))
}

fn signing_domain(snapshot: &Snapshot, name: String) -> Result<Arc<SendingDomain>, Unconvertible> {
    let domain = snapshot.domains.get(&name);
    domain
        .filter(|domain| !domain.signers.is_empty())
        .cloned()
        .ok_or(Unconvertible::NoKeys(name))
}
