//! The two HTTP ports: health and metrics in clear text for the kubelet and Prometheus, and status
//! over mutual TLS for the operator and the relay's other shards. The suppression lists are on both; in clear text for programs on
//! the same machine alone.
//!
//! Connections are few, short and bounded: [`CONNECTIONS`] at a time per port, [`HANDSHAKE`] for
//! TLS, [`HEADERS`] for a request's headers and for the next request of an idle connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::context::SharedContext;

mod routes;
mod siblings;
mod suppressions;
mod tables;
mod tls_reports;

pub(crate) use routes::{admin, health};
use siblings::Caller;

/// Connections at a time on one port; more wait in the system's backlog.
const CONNECTIONS: usize = 64;
/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the headers of a request, and between requests.
const HEADERS: Duration = Duration::from_secs(10);
/// After the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds `address`. `[::]` takes IPv4 as well, and falls back to it on hosts without IPv6 (cases
/// O28, O29).
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if falls_back(address, error.kind()) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        result => result,
    }
}

/// Whether a failure to bind means that the host has no IPv6.
fn falls_back(address: SocketAddr, error: io::ErrorKind) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    let all = address.is_ipv6() && address.ip().is_unspecified();
    all && !matches!(error, AddrInUse | PermissionDenied)
}

/// Serves `router` in clear text until `stop` is cancelled.
pub(crate) async fn serve_plain(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve(listener, router, stop, |stream| async {
        Some((stream, None))
    })
    .await;
}

/// Serves `router` over mutual TLS until `stop` is cancelled. Each connection gets the certificate
/// and the client authority of the configuration in force.
pub(crate) async fn serve_mutual_tls(
    listener: TcpListener,
    router: Router,
    context: SharedContext,
    stop: CancellationToken,
) {
    serve(listener, router, stop, move |stream| {
        let snapshot = context.snapshot.load_full();
        let config = snapshot.admin_tls.clone();
        async move {
            let handshake = TlsAcceptor::from(config?).accept(stream);
            match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(stream)) => {
                    let siblings = snapshot.config.siblings.as_ref();
                    let name = siblings.map(|siblings| siblings.server_name.as_str());
                    let chain = stream.get_ref().1.peer_certificates();
                    let caller = Caller::of(chain, name);
                    Some((stream, Some(caller)))
                }
                Ok(Err(error)) => {
                    tracing::info!(%error, "admin connection refused");
                    None
                }
                Err(_) => None,
            }
        }
    })
    .await;
}

async fn serve<Secure, Secured, Stream>(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    secure: Secure,
) where
    Secure: Fn(TcpStream) -> Secured,
    Secured: Future<Output = Option<(Stream, Option<Caller>)>> + Send + 'static,
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let secured = secure(stream);
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let Some((stream, caller)) = secured.await else {
                return;
            };
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(suppressions::Peer(peer));
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                service.call(request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                // Errors are the client's: it went away or sent no HTTP.
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(HEADERS, connection).await;
                }
            }
        });
    }
}

/// A connection with its permit; `None` when the system refused.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "an HTTP connection cannot be accepted");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o28_only_a_host_without_ipv6_gets_ipv4_in_its_place() {
        let missing = io::ErrorKind::AddrNotAvailable;
        let rows = [
            ("[::]:25", missing, true),
            ("[::]:25", io::ErrorKind::Unsupported, true),
            ("[::]:25", io::ErrorKind::AddrInUse, false),
            ("[::]:25", io::ErrorKind::PermissionDenied, false),
            ("[::1]:25", missing, false),
            ("0.0.0.0:25", missing, false),
        ];
        for (address, error, expected) in rows {
            assert_eq!(
                falls_back(address.parse().unwrap(), error),
                expected,
                "{address} {error}"
            );
        }
    }
}
