//! Fetching a policy (RFC 8461 section 3.3): HTTPS to `mta-sts.<domain>` with a certificate that is
//! valid for that name, no redirects, plain text, 64 KiB.
//!
//! Who publishes a policy chooses what the relay connects to; addresses that mail may not go to are
//! left alone here, too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use relay_config::Cidr;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::delivery::plan;
use crate::delivery::resolve::{ResolveError, Resolver};
use crate::tls_reports::ResultType;

/// Octets of a policy.
const LARGEST: usize = 64 * 1024;
/// Octets of the answer's header.
const HEADER: usize = 16 * 1024;
/// Time for one fetch by default; RFC 8461 section 3.3 gives a minute.
pub(in crate::delivery) const LIMIT: Duration = Duration::from_secs(30);
/// Time for one address.
const CONNECT: Duration = Duration::from_secs(8);
/// Addresses of the host that are tried.
const ADDRESSES: usize = 4;

/// How policies are fetched.
pub(in crate::delivery) struct Way<'a> {
    pub(in crate::delivery) resolver: Arc<Resolver>,
    pub(in crate::delivery) tls: Arc<ClientConfig>,
    pub(in crate::delivery) port: u16,
    pub(in crate::delivery) permitted: &'a [Cidr],
    /// Time for one fetch.
    pub(in crate::delivery) limit: Duration,
}

/// Why a policy cannot be had.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum FetchError {
    #[error(transparent)]
    Address(#[from] ResolveError),
    #[error("its host lies at an address that nothing is fetched from")]
    Forbidden,
    #[error("its host cannot be reached: {0}")]
    Connect(std::io::Error),
    #[error("TLS with its host failed: {0}")]
    Tls(std::io::Error),
    #[error("its host does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("its host answers {0}; only 200 counts, and redirects are not followed")]
    Status(StatusCode),
    #[error("it is not text/plain")]
    ContentType,
    #[error("it has more than {LARGEST} octets, or ends early")]
    Body,
    #[error("its host took longer than {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl FetchError {
    /// For the domain that is told of it (RFC 8460 section 4.3.2.2).
    pub(super) const fn result_type(&self) -> ResultType {
        match self {
            Self::Tls(_) => ResultType::StsWebpkiInvalid,
            _ => ResultType::StsPolicyFetchError,
        }
    }

    /// For metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Address(_) => "dns",
            Self::Forbidden => "forbidden",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Status(_) => "status",
            Self::ContentType => "content_type",
            Self::Body => "body",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// The text of the policy of `domain`.
pub(super) async fn fetch(way: &Way<'_>, domain: &str) -> Result<Bytes, FetchError> {
    let result = timeout(way.limit, fetch_unlimited(way, domain)).await;
    result.unwrap_or(Err(FetchError::Timeout(way.limit)))
}

async fn fetch_unlimited(way: &Way<'_>, domain: &str) -> Result<Bytes, FetchError> {
    let host = format!("mta-sts.{domain}");
    let (mut client, _driver) = speak(way, &host).await?;
    let request = Request::get("/.well-known/mta-sts.txt")
        .header(HOST, &host)
        .header(ACCEPT, "text/plain")
        .body(Empty::<Bytes>::new())
        // All parts are constant but the host, which is a name that DNS took.
        .map_err(|_| FetchError::Body)?;
    let response = client.send_request(request).await?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> Result<Bytes, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/plain") {
        return Err(FetchError::ContentType);
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    body.map(Collected::to_bytes).map_err(|_| FetchError::Body)
}

/// A conversation by HTTP with a host that a stranger named, which has proved its name. It ends with the
/// second part.
pub(in crate::delivery) async fn speak<B>(
    way: &Way<'_>,
    host: &str,
) -> Result<(SendRequest<B>, JoinSet<hyper::Result<()>>), FetchError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = connect(way, host).await?;
    let (client, connection) = http1::Builder::new()
        .max_buf_size(HEADER)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok((client, driver))
}

async fn connect(way: &Way<'_>, host: &str) -> Result<TlsStream<TcpStream>, FetchError> {
    let mut addresses: Vec<IpAddr> = way.resolver.addresses(host).await?;
    addresses.retain(|address| !plan::is_forbidden(*address, way.permitted, |_| false));
    let mut error = FetchError::Forbidden;
    for address in addresses.into_iter().take(ADDRESSES) {
        let address = SocketAddr::new(address, way.port);
        match timeout(CONNECT, connect_to(way, host, address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(newer)) => error = newer,
            Err(_) => error = FetchError::Connect(std::io::ErrorKind::TimedOut.into()),
        }
    }
    Err(error)
}

async fn connect_to(
    way: &Way<'_>,
    host: &str,
    address: SocketAddr,
) -> Result<TlsStream<TcpStream>, FetchError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(FetchError::Connect)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| FetchError::Tls(std::io::Error::other(error)))?;
    TlsConnector::from(Arc::clone(&way.tls))
        .connect(name, stream)
        .await
        .map_err(FetchError::Tls)
}
