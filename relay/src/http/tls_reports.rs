//! What other shards counted for TLS reports: `POST /v1/siblings/tls-results`.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use crate::context::SharedContext;
use crate::tls_reports::{Batch, HANDED_IN, HandedIn};

/// Octets of a hand-in: those of a full one, and of one domain more.
const LONGEST: usize = 1 << 20;

/// The route, for siblings.
pub(super) fn routes(context: SharedContext) -> Router {
    Router::new()
        .route(HANDED_IN, post(take_in))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(context)
}

async fn take_in(
    State(context): State<SharedContext>,
    Json(batch): Json<Batch>,
) -> Result<Json<HandedIn>, (StatusCode, String)> {
    let failed = |error: &dyn std::fmt::Display| {
        let text = format!("the counts cannot be written: {error}\n");
        (StatusCode::SERVICE_UNAVAILABLE, text)
    };
    let reports = Arc::clone(&context.tls_reports);
    let taken = tokio::task::spawn_blocking(move || reports.take_in(batch)).await;
    let late = taken
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    for _ in 0..late.unwrap_or_default() {
        context.metrics.tls_report("late");
    }
    Ok(Json(HandedIn {
        late: late.unwrap_or_default(),
    }))
}
