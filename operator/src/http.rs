//! Plain HTTP for the kubelet and Prometheus: `/healthz`, `/readyz`, `/metrics`.
//!
//! `/healthz` is 200 while the process runs. `/readyz` is 200 once the process either leads with
//! filled caches or stands by; a standby counts as ready, so that a rollout can go on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder as _, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the routes tell.
#[derive(Clone)]
pub struct Health {
    ready: Arc<AtomicBool>,
    registry: prometheus::Registry,
}

impl Health {
    /// Not ready yet.
    pub fn new(registry: prometheus::Registry) -> Self {
        Self {
            ready: Arc::default(),
            registry,
        }
    }

    /// Sets what `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

/// Binds `address`. `[::]` takes IPv4 as well, and falls back to it on hosts without IPv6.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        result => result,
    }
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) {
    let serving =
        axum::serve(listener, router(health)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the health port failed");
    }
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    if health.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "caches are being filled\n")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&health.registry.gather(), &mut text) {
        Ok(()) => (
            StatusCode::OK,
            [("content-type", encoder.format_type().to_owned())],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [("content-type", "text/plain".to_owned())],
            error.to_string().into_bytes(),
        ),
    }
}
