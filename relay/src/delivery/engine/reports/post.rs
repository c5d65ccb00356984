//! A report over HTTPS (RFC 8460 section 5.4): one POST, no redirects, bounded in time.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use tokio::time::timeout;

use crate::delivery::sts::{self, FetchError, Way};

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("there is no way to ask DNS")]
    NoWay,
    #[error("the place is not one of HTTPS")]
    Place,
    #[error(transparent)]
    Connect(#[from] FetchError),
    #[error("the host does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the host answers {0}")]
    Status(StatusCode),
    #[error("the host took too long")]
    Timeout,
}

/// Sends a report to `place`.
pub(super) async fn post(way: &Way<'_>, place: &str, gzip: &[u8]) -> Result<(), PostError> {
    let posted = timeout(way.limit, post_unlimited(way, place, gzip)).await;
    posted.unwrap_or(Err(PostError::Timeout))
}

async fn post_unlimited(way: &Way<'_>, place: &str, gzip: &[u8]) -> Result<(), PostError> {
    let uri: Uri = place.parse().map_err(|_| PostError::Place)?;
    let authority = uri.authority().ok_or(PostError::Place)?;
    let (mut client, _driver) = sts::speak(way, authority.host()).await?;
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/tlsrpt+gzip")
        .body(Full::new(Bytes::copy_from_slice(gzip)))
        .map_err(|_| PostError::Place)?;
    let status = client.send_request(request).await?.status();
    status
        .is_success()
        .then_some(())
        .ok_or(PostError::Status(status))
}
