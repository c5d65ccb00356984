//! What the other shards ask about the tables that all share (`crate::table`).

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::context::now;
use crate::table::{Ask, Changes, Digest, Page, Row, Table, TableError, Want, path};

/// Octets of a request: a full message of changes has about one in ten of that.
const LONGEST_BODY: usize = 8 * 1024 * 1024;

/// The routes of one table, for siblings.
pub(super) fn routes<R: Row>(table: Arc<Table<R>>) -> Router {
    Router::new()
        .route(&path::<R>("digest"), post(digest::<R>))
        .route(&path::<R>("page"), post(page::<R>))
        .route(&path::<R>("changes"), post(changes::<R>))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(table)
}

struct Fault(TableError);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", self.0)).into_response()
    }
}

async fn digest<R: Row>(
    State(table): State<Arc<Table<R>>>,
    Json(ask): Json<Ask>,
) -> Result<Json<Digest>, Fault> {
    on_thread(move || table.digest(ask.at)).await
}

async fn page<R: Row>(
    State(table): State<Arc<Table<R>>>,
    Json(want): Json<Want>,
) -> Result<Json<Page<R>>, Fault> {
    on_thread(move || {
        let most = Page::<R>::MOST;
        Page::new(table.part(&want.buckets, want.after.as_ref(), most, want.at))
    })
    .await
}

async fn changes<R: Row>(
    State(table): State<Arc<Table<R>>>,
    Json(told): Json<Changes<R>>,
) -> Result<Json<usize>, Fault> {
    table
        .merge(told.changes, now())
        .await
        .map(Json)
        .map_err(Fault)
}

/// Going through a large table takes tens of milliseconds, which other tasks should not wait for.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Json<T>, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map(Json).map_err(|_| Fault(TableError::Stopping))
}
