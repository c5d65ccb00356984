//! What the HTTP ports answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus::Encoder as _;
use relay_config::{QueueStatus, RelayStatus};

use super::siblings;
use crate::context::{SharedContext, now};
use crate::handover;
use crate::siblings::SiblingState;

/// Routes of the health port.
pub(crate) fn health(context: SharedContext, registry: prometheus::Registry) -> Router {
    let local = super::suppressions::local_routes(context.clone());
    Router::new()
        // That the answer comes is the answer: the event loop turns.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(context))
        .route("/metrics", get(metrics).with_state(registry))
        .merge(local)
}

/// Routes of the admin port.
pub(crate) fn admin(context: SharedContext) -> Router {
    let suppressions = super::suppressions::routes(context.clone());
    let operators = Router::new()
        .route("/v1/status", get(status).with_state(context.clone()))
        .merge(suppressions);
    let siblings = Router::new()
        .route(
            "/v1/siblings/state",
            post(sibling_state).with_state(context.clone()),
        )
        .merge(super::tls_reports::routes(context.clone()))
        .merge(super::tables::routes(Arc::clone(&context.suppressions)))
        .merge(super::tables::routes(Arc::clone(&context.senders.table)))
        .merge(handover::routes(context.clone()));
    siblings::for_operator(operators).merge(siblings::for_siblings(siblings, context))
}

async fn ready(State(context): State<SharedContext>) -> impl IntoResponse {
    match context.unready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(registry): State<prometheus::Registry>) -> impl IntoResponse {
    let encoder = prometheus::TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain".to_owned())],
            error.to_string().into_bytes(),
        ),
    }
}

async fn sibling_state(State(context): State<SharedContext>) -> Json<SiblingState> {
    let place = context.place();
    Json(SiblingState {
        shard: place.number,
        leaving: place.is_leaving(),
        accepting: context.unready().is_none(),
    })
}

async fn status(State(context): State<SharedContext>) -> Json<RelayStatus> {
    let (messages, _) = context.queue.status();
    Json(RelayStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_hash: context.snapshot.load().hash.to_string(),
        config_error: context.config.lock().error().map(str::to_owned),
        shard: Some(context.shard),
        accepting: context.unready().is_none(),
        queue: QueueStatus {
            messages,
            oldest_seconds: context.oldest_seconds(now()),
            full: context.queue.is_full(),
        },
        hand_over: context.hand_over.status(),
        blocked_since: context.egress.blocked_since().map(|since| since.0 / 1000),
        tokens: context
            .egress
            .tokens
            .status(&context.snapshot.load().config),
        refused_logins: context.egress.logins.status(),
    })
}
