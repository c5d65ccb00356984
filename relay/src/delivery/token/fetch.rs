//! Asking a token endpoint: one form over HTTPS, no redirects, bounded in time and size. Its name is
//! the administrator's, so it may lie anywhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use relay_config::{OAuth2, Secret};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exchange::{self, Granted};
use super::{TokenError, Way};

/// Time for everything by default.
pub(in crate::delivery) const LIMIT: Duration = Duration::from_secs(20);
/// Time for one address.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of the endpoint that are tried.
const ADDRESSES: usize = 4;
/// Octets of an answer.
const LARGEST: usize = 64 * 1024;
/// Octets of an answer's header.
const HEADER: usize = 16 * 1024;

/// Asks for a token.
pub(super) async fn ask(
    way: &Way,
    settings: &OAuth2,
    refresh: Option<&Secret>,
) -> Result<Granted, TokenError> {
    let form = exchange::form(settings, refresh);
    let answer = match timeout(way.limit, post(way, &settings.token_url, form)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} ms", way.limit.as_millis())),
    };
    let (status, body) = answer.map_err(TokenError::Unreachable)?;
    exchange::read(status, &body)
}

async fn post(way: &Way, url: &str, form: String) -> Result<(u16, Bytes), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let uri: Uri = url.parse().map_err(|error| text(&error))?;
    let authority = uri.authority().ok_or("its URL names no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = connect(way, host, authority.port_u16().unwrap_or(443)).await?;
    let (mut client, connection) = http1::Builder::new()
        .max_buf_size(HEADER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| text(&error))?;
    // Ends with this function.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| text(&error))?;
    let response = client.send_request(request).await;
    let response = response.map_err(|error| text(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body =
        body.map_err(|_| format!("its answer has more than {LARGEST} octets, or ends early"))?;
    Ok((status, body.to_bytes()))
}

async fn connect(way: &Way, host: &str, port: u16) -> Result<TlsStream<TcpStream>, String> {
    let addresses: Vec<IpAddr> = if let Ok(address) = host.parse() {
        vec![address]
    } else {
        let found = way.resolver.addresses(host).await;
        found.map_err(|error| error.to_string())?
    };
    let mut fault = "it has no address".to_owned();
    for address in addresses.into_iter().take(ADDRESSES) {
        let address = SocketAddr::new(address, port);
        match timeout(CONNECT, connect_to(way, host, address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => fault = format!("{address}: {error}"),
            Err(_) => fault = format!("{address}: no answer within {} s", CONNECT.as_secs()),
        }
    }
    Err(fault)
}

async fn connect_to(
    way: &Way,
    host: &str,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(&way.tls));
    connector.connect(name, stream).await
}
