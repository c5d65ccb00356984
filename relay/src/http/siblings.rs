//! What shards ask of each other, and who may ask what on the admin port.
//!
//! The operator and the shards have certificates of one authority; a shard's carries
//! `siblings.serverName`. Each gets at its own routes only.

use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::context::SharedContext;
use crate::siblings::SHARD_HEADER;

/// For one request of a sibling: its body, the work and the answer.
const REQUEST: Duration = Duration::from_mins(1);

/// Who is at the other end of a connection to the admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A shard of this relay.
    Sibling,
    /// Whoever else the authority signed for.
    Operator,
}

impl Caller {
    /// By the certificate that was verified in the handshake.
    pub(super) fn of(chain: Option<&[CertificateDer<'_>]>, sibling: Option<&str>) -> Self {
        let leaf = chain.and_then(<[_]>::first);
        let is_sibling = leaf
            .zip(sibling)
            .is_some_and(|(leaf, name)| carries(leaf, name));
        if is_sibling {
            Self::Sibling
        } else {
            Self::Operator
        }
    }
}

fn carries(leaf: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return false;
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return false;
    };
    let mut names = names.value.general_names.iter();
    names.any(|one| matches!(one, GeneralName::DNSName(one) if one.eq_ignore_ascii_case(name)))
}

/// Routes for the operator alone.
pub(super) fn for_operator(routes: Router) -> Router {
    routes.route_layer(from_fn(only_operator))
}

/// Routes for siblings alone, in bounded time, and only for those that mean this shard.
pub(super) fn for_siblings(routes: Router, context: SharedContext) -> Router {
    routes.route_layer(from_fn_with_state(context, only_siblings))
}

async fn only_operator(
    caller: Option<Extension<Caller>>,
    request: Request,
    next: Next,
) -> Response {
    match caller {
        Some(Extension(Caller::Operator)) => next.run(request).await,
        _ => refuse(StatusCode::FORBIDDEN, "this is for the operator"),
    }
}

async fn only_siblings(
    State(context): State<SharedContext>,
    caller: Option<Extension<Caller>>,
    request: Request,
    next: Next,
) -> Response {
    if !matches!(caller, Some(Extension(Caller::Sibling))) {
        return refuse(
            StatusCode::FORBIDDEN,
            "this is for shards of the relay, whose certificate carries siblings.serverName",
        );
    }
    let meant = request.headers().get(SHARD_HEADER);
    let meant = meant.and_then(|meant| meant.to_str().ok()?.parse().ok());
    if meant != Some(context.shard) {
        let text = format!(
            "this is shard {}; look up the other's address again",
            context.shard
        );
        return refuse(StatusCode::MISDIRECTED_REQUEST, &text);
    }
    match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
    }
}

fn refuse(code: StatusCode, text: &str) -> Response {
    (code, format!("{text}\n")).into_response()
}
