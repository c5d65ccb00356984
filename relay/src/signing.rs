//! Signing (`dkim`) without holding up the other sessions of a worker thread.

use std::sync::Arc;

use bytes::Bytes;

use crate::context::Context;
use crate::dkim;
use crate::snapshot::SendingDomain;

/// Octets above which hashing is done on a thread that may block.
const ASIDE: usize = 64 * 1024;

/// A message could not be signed; the log says why.
#[derive(Debug)]
pub(crate) struct Unsigned;

/// All signatures of the domain, as header fields; empty if it has no keys.
pub(crate) async fn sign(
    context: &Context,
    domain: &Arc<SendingDomain>,
    pieces: &[Bytes],
) -> Result<Bytes, Unsigned> {
    if domain.signers.is_empty() {
        return Ok(Bytes::new());
    }
    let size: usize = pieces.iter().map(Bytes::len).sum();
    let result = if size <= ASIDE {
        dkim::sign_all(&domain.signers, pieces).map_err(|error| error.to_string())
    } else {
        let pieces = pieces.to_vec();
        let aside = domain.clone();
        tokio::task::spawn_blocking(move || dkim::sign_all(&aside.signers, &pieces))
            .await
            .map_err(|error| error.to_string())
            .and_then(|result| result.map_err(|error| error.to_string()))
    };
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    for signer in &domain.signers {
        context.metrics.signature(signer.algorithm(), outcome);
    }
    result.map_err(|error| {
        tracing::error!(domain = domain.name, error, "a message could not be signed");
        Unsigned
    })
}
