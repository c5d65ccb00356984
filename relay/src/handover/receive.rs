//! The side that stays: answers givers, and holds what they offer.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use relay_queue::{MessageId, Transfer};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::wire::{self, Given, Offer, Open, Opened, Owned, Owner, Taken};
use crate::context::{Context, SharedContext};

/// Octets of a request without messages.
const LONGEST_QUESTION: usize = 1 << 20;
/// Octets of a batch beyond those of the largest message.
const BATCH_ROOM: usize = 32 << 20;

/// What is known of givers: the token of each. One of them is dealt with at a time, which bounds memory
/// and puts their questions and offers in an order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offers(Arc<Mutex<HashMap<u16, u64>>>);

impl Offers {
    /// Nothing is taken while this is held.
    pub(super) async fn lock(&self) -> OwnedMutexGuard<HashMap<u16, u64>> {
        Arc::clone(&self.0).lock_owned().await
    }
}

/// Routes for siblings.
pub(crate) fn routes(context: SharedContext) -> Router {
    Router::new()
        .route("/v1/siblings/hand-over/open", post(open))
        .route("/v1/siblings/hand-over/given", post(given))
        .route("/v1/siblings/hand-over/owner", post(owner))
        .layer(DefaultBodyLimit::max(LONGEST_QUESTION))
        // Reads its body itself.
        .route("/v1/siblings/hand-over/offer", post(offer))
        .with_state(context)
}

async fn open(
    State(context): State<SharedContext>,
    Json(open): Json<Open>,
) -> Result<Json<Opened>, Refusal> {
    // What is under way of this giver ends first.
    let mut tokens = context.hand_over.offers.lock().await;
    let token = fastrand::u64(..);
    tokens.insert(open.from, token);
    let held = open.offered.into_iter();
    let opened = Opened {
        token,
        accepting: takes_from(&context, open.from),
        held: held.filter(|id| context.queue.holds(*id)).collect(),
    };
    known(&context)?;
    Ok(Json(opened))
}

/// After a write that failed nobody knows what the next start will find on the disk: "not held" would be
/// a guess.
fn known(context: &Context) -> Result<(), Refusal> {
    if context.queue.failed() {
        let text = "the queue cannot write; ask again after the restart";
        return Err((StatusCode::SERVICE_UNAVAILABLE, text.into()));
    }
    Ok(())
}

/// A shard that is to go takes nothing, nor is anything taken of one that cannot be asked later.
fn takes_from(context: &Context, giver: u16) -> bool {
    let siblings = &context.snapshot.load().config.siblings;
    let is_known = siblings
        .as_ref()
        .is_some_and(|siblings| siblings.host(giver.into()).is_some());
    is_known && !context.place().is_leaving() && context.unready().is_none()
}

type Refusal = (StatusCode, String);

async fn offer(
    State(context): State<SharedContext>,
    Query(offer): Query<Offer>,
    request: Request,
) -> Result<Json<Taken>, Refusal> {
    let tokens = context.hand_over.offers.lock().await;
    if tokens.get(&offer.from) != Some(&offer.token) {
        let text = "this offer is older than a question about it; ask again";
        return Err((StatusCode::CONFLICT, text.into()));
    }
    let largest = context.snapshot.load().config.limits.message_bytes;
    let largest = usize::try_from(largest).unwrap_or(usize::MAX);
    let body = Limited::new(request.into_body(), largest.saturating_add(BATCH_ROOM));
    let body = body
        .collect()
        .await
        .map_err(|error| (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
    let messages = wire::read(body.to_bytes())
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    // The configuration may be another one than when the conversation began.
    if !takes_from(&context, offer.from) {
        let text = "this shard takes nothing any more: it is not ready, or is to go itself";
        return Err((StatusCode::CONFLICT, text.into()));
    }
    let context_after = Arc::clone(&context);
    // Goes on when the giver goes away: what was begun must have ended before its next question.
    let held = tokio::spawn(async move {
        let ids = hold(&context, offer.from, messages).await;
        drop(tokens);
        ids
    });
    let ids = held
        .await
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    known(&context_after)?;
    Ok(Json(Taken { ids }))
}

/// Holds messages, all with one sync or few; gives those that are here now.
async fn hold(context: &Context, giver: u16, messages: Vec<(Transfer, Bytes)>) -> Vec<MessageId> {
    let appends: Vec<_> = messages
        .into_iter()
        .map(|(transfer, content)| {
            let id = transfer.id;
            let held = context.queue.hold(giver, transfer, vec![content]);
            (id, tokio::spawn(held))
        })
        .collect();
    let mut ids = Vec::with_capacity(appends.len());
    for (id, append) in appends {
        match append.await {
            Ok(Ok(())) => ids.push(id),
            Ok(Err(error)) => {
                tracing::warn!(message_id = %id, from_shard = giver, %error, "a message is not taken over");
            }
            Err(error) => {
                tracing::error!(message_id = %id, from_shard = giver, %error, "a message is not taken over");
            }
        }
    }
    ids
}

async fn given(
    State(context): State<SharedContext>,
    Json(given): Json<Given>,
) -> Result<Json<Taken>, Refusal> {
    let released = context.queue.release(given.from, &given.ids).await;
    let ids = released.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    for id in &ids {
        tracing::info!(message_id = %id, from_shard = given.from, "taken over from another shard");
    }
    context.metrics.handed_over("taken", ids.len());
    Ok(Json(Taken { ids }))
}

async fn owner(State(context): State<SharedContext>, Json(owner): Json<Owner>) -> Json<Owned> {
    let ids = owner.ids.into_iter();
    Json(Owned {
        claims: ids.map(|id| context.queue.claim(owner.from, id)).collect(),
    })
}
