//! Converting a message (`mime`) without holding up the other sessions of a worker thread.

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::edit::Edit;
use crate::mime::{self, Need, Obstacle};

/// Octets above which the work is done on a thread that may block.
const ASIDE: usize = 64 * 1024;
/// Large messages that are converted at one time: each may take, beside itself, 1.4 times its size
/// for parts encoded anew.
static LARGE: Semaphore = Semaphore::const_new(4);

/// The edits that make `content` fit.
pub(crate) async fn edits(content: &Bytes, need: Need) -> Result<Vec<Edit>, Obstacle> {
    if content.len() <= ASIDE {
        return mime::convert(content, need);
    }
    // It is never closed; without a permit the work would be done all the same.
    let _permit = LARGE.acquire().await;
    let content = content.clone();
    match tokio::task::spawn_blocking(move || mime::convert(&content, need)).await {
        Ok(edits) => edits,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
