//! The suppression lists, seen and edited: `GET`, `PUT` and `DELETE /v1/suppressions`.
//!
//! On the admin port for who has a certificate, and on the health port for who connects by loopback
//! from a program and not from a page in a browser: whoever runs a command in the pod or on the
//! machine may read the configuration anyway.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Extension, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use relay_smtp::Address;
use relay_smtp::address::canonical_domain;
use serde::{Deserialize, Serialize};

use crate::context::{SharedContext, now};
use crate::suppression::{Cause, Entry, Mark, Source};
use crate::table::TableError;

/// Entries of one answer at most.
const MOST: usize = 1000;
/// Octets of a request's body.
const LONGEST_BODY: usize = 16 * 1024;

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The routes, for anybody who gets this far.
pub(super) fn routes(context: SharedContext) -> Router {
    Router::new()
        .route("/v1/suppressions", get(list).put(add).delete(remove))
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(context)
}

/// The routes, for programs on this machine.
pub(super) fn local_routes(context: SharedContext) -> Router {
    routes(context).route_layer(from_fn(only_local))
}

/// A page in a browser is kept out by the name that it had to ask for (DNS rebinding) and by its
/// `Origin`.
async fn only_local(
    peer: Option<Extension<Peer>>,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let is_local = peer.is_some_and(|Extension(Peer(peer))| peer.ip().to_canonical().is_loopback());
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_named = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    if is_local && is_named && !request.headers().contains_key(header::ORIGIN) {
        Ok(next.run(request).await)
    } else {
        Err(Fault(
            StatusCode::FORBIDDEN,
            "the suppression lists are for programs on this machine (http://127.0.0.1) and for the admin port".into(),
        ))
    }
}

/// Why there is no answer, in words.
struct Fault(StatusCode, String);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        let code = match error {
            TableError::Full(..) => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(code, error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    domain: Option<String>,
    /// `next` of the answer before.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    entries: Vec<Entry>,
    /// For `after` of the next request; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

async fn list(
    State(context): State<SharedContext>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Fault> {
    let limit = wanted.limit.unwrap_or(MOST).clamp(1, MOST);
    let after = match wanted.after.as_deref() {
        None => None,
        Some(text) => {
            let place = text.split_once('/');
            let place = place.and_then(|(domain, mark)| Some((domain, mark.parse().ok()?)));
            Some(place.ok_or_else(|| bad("after: is not the `next` of another answer"))?)
        }
    };
    let lists = &context.suppressions;
    let entries = lists.page(wanted.domain.as_deref(), after, limit, now());
    let last = entries.last().filter(|_| entries.len() == limit);
    let next = last.map(|last| format!("{}/{}", last.domain, last.mark));
    Ok(Json(Page { entries, next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct New {
    domain: String,
    address: String,
    #[serde(default)]
    detail: String,
    /// Seconds until it expires; for ever without it.
    expires_in: Option<u64>,
}

async fn add(
    State(context): State<SharedContext>,
    Json(new): Json<New>,
) -> Result<Json<Entry>, Fault> {
    let address = parse(&new.address)?;
    let now = now();
    let entry = Entry {
        domain: known_domain(&context, &new.domain)?,
        mark: Mark::of(&address),
        address: Some(address),
        cause: Cause::Manual,
        source: Source::Api,
        detail: new.detail,
        message: None,
        since: now,
        expires: new
            .expires_in
            .map(|seconds| now.after(Duration::from_secs(seconds))),
    };
    context.suppressions.add(entry.clone(), now).await?;
    context.metrics.suppression(Cause::Manual.name(), "added");
    tracing::info!(domain = entry.domain, mark = %entry.mark, "a recipient was suppressed by hand");
    Ok(Json(entry))
}

/// By address, or by mark for those whose address is not known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    domain: String,
    address: Option<String>,
    mark: Option<String>,
}

async fn remove(
    State(context): State<SharedContext>,
    Query(which): Query<Which>,
) -> Result<StatusCode, Fault> {
    let mark = match (&which.address, &which.mark) {
        (Some(address), None) => Mark::of(&parse(address)?),
        (None, Some(mark)) => mark
            .parse()
            .map_err(|_| bad("mark: is not the mark of an entry"))?,
        _ => return Err(bad("give address or mark, and not both")),
    };
    let domain = which.domain.to_ascii_lowercase();
    if context
        .suppressions
        .remove(domain.clone(), mark, now())
        .await?
    {
        tracing::info!(domain, %mark, "a recipient was taken off the suppression list");
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Fault(
            StatusCode::NOT_FOUND,
            format!("there is no such entry in the list of {domain}"),
        ))
    }
}

fn parse(address: &str) -> Result<Address, Fault> {
    Address::parse(address).map_err(|error| bad(&format!("address: {address:?}: {error}")))
}

fn known_domain(context: &SharedContext, domain: &str) -> Result<String, Fault> {
    let name = canonical_domain(domain)
        .map_err(|error| bad(&format!("domain: {domain:?}: {error}")))?
        .into_owned();
    if context.snapshot.load().domains.contains_key(&name) {
        Ok(name)
    } else {
        Err(bad(&format!(
            "domain: {name} is not a sending domain of this relay"
        )))
    }
}

fn bad(text: &str) -> Fault {
    Fault(StatusCode::BAD_REQUEST, text.to_owned())
}

#[cfg(test)]
mod tests;
