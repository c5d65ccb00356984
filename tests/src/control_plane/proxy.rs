//! Stands between an operator and the API server: counts requests, and does to them what networks,
//! overloaded servers and power cuts do. Plain HTTP on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An object has at most 1.5 MiB, and its JSON some more.
const LARGEST_REQUEST: usize = 8 * 1024 * 1024;
/// Chunks of one watch that are kept back at most.
const KEPT_BACK: usize = 4096;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub at: Instant,
    /// Method and path with query.
    pub line: String,
    /// Whether it changes something.
    pub writes: bool,
    /// The answer's status; `None` while there is none.
    pub status: Option<u16>,
}

/// What is done to requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Write number N, counted from 1 since the fault was set, is held for ever, and all that comes after
    /// it: before it reaches the API server or, with `after`, once the API server has done it.
    HoldWrite {
        /// N.
        number: usize,
        /// Whether the API server gets it.
        after: bool,
    },
    /// Nothing passes in either direction, and no connection breaks.
    Cut,
    /// Every Nth request is answered so, without asking the API server.
    Answer {
        /// N.
        every: usize,
        /// HTTP status.
        code: u16,
        /// Body.
        body: String,
    },
    /// What watches tell comes so much later.
    LateWatches(Duration),
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    /// Since the fault was set.
    writes: usize,
    all: usize,
}

struct Shared {
    upstream: kube::Client,
    fault: watch::Sender<Fault>,
    log: Mutex<Log>,
    held: watch::Sender<bool>,
}

/// A running proxy.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Starts one that asks with the rights of `upstream`.
    pub async fn start(upstream: kube::Client) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            fault: watch::channel(Fault::None).0,
            log: Mutex::default(),
            held: watch::channel(false).0,
        });
        let router = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            shared,
            serving,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does `fault` from now on, and counts anew.
    pub fn set(&self, fault: Fault) {
        let mut log = self.shared.log.lock();
        log.writes = 0;
        log.all = 0;
        self.shared.held.send_replace(false);
        self.shared.fault.send_replace(fault);
    }

    /// Waits until a write is held; whether one was within `limit`.
    pub async fn holds(&self, limit: Duration) -> bool {
        let mut held = self.shared.held.subscribe();
        tokio::time::timeout(limit, held.wait_for(|held| *held))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// What came so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().requests.clone()
    }

    /// Forgets what came so far.
    pub fn clear(&self) {
        self.shared.log.lock().requests.clear();
    }
}

impl Shared {
    /// Notes a request; its place in the log and its number among writes and among all.
    fn note(&self, method: &Method, line: &str) -> (usize, usize, usize) {
        // Events tell people, the Lease is the leader's: neither is a step of a reconcile.
        let counted = !line.contains("/leases") && !line.contains("/events");
        let writes = method != Method::GET && counted;
        let mut log = self.log.lock();
        log.writes += usize::from(writes);
        log.all += 1;
        log.requests.push(Request {
            at: Instant::now(),
            line: format!("{method} {line}"),
            writes,
            status: None,
        });
        let number = if writes { log.writes } else { 0 };
        (log.requests.len() - 1, number, log.all)
    }

    fn answered(&self, place: usize, status: StatusCode) {
        // The log may have been cleared meanwhile.
        if let Some(request) = self.log.lock().requests.get_mut(place) {
            request.status = Some(status.as_u16());
        }
    }

    /// Returns once nothing is cut.
    async fn passes(&self) {
        let mut fault = self.fault.subscribe();
        // The sender lives as long as this.
        let _ = fault.wait_for(|fault| *fault != Fault::Cut).await;
    }

    /// Held until the proxy goes, which is never answered.
    async fn hold(&self) -> Response {
        self.held.send_replace(true);
        std::future::pending().await
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    match forward(&shared, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn forward(
    shared: &Arc<Shared>,
    request: axum::extract::Request,
) -> anyhow::Result<Response> {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST_REQUEST).await?;
    let line = parts.uri.path_and_query().context("no path")?.to_string();
    let (place, write, number) = shared.note(&parts.method, &line);
    shared.passes().await;
    let fault = shared.fault.borrow().clone();
    match &fault {
        Fault::HoldWrite { number, after } if write >= *number && !(*after && write == *number) => {
            return Ok(shared.hold().await);
        }
        Fault::Answer { every, code, body } if number % every == 0 => {
            let code = StatusCode::from_u16(*code)?;
            shared.answered(place, code);
            let mut response = (code, body.clone()).into_response();
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            return Ok(response);
        }
        _ => {}
    }
    parts.uri = line.parse()?;
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::CONTENT_LENGTH);
    let upstream = axum::http::Request::from_parts(parts, kube::client::Body::from(body));
    let answer = shared.upstream.send(upstream).await?;
    shared.answered(place, answer.status());
    if let Fault::HoldWrite {
        number,
        after: true,
    } = fault
        && write == number
    {
        // What is held has happened.
        let _ = answer.into_body().collect().await;
        return Ok(shared.hold().await);
    }
    let late = match fault {
        Fault::LateWatches(late) if line.contains("watch=1") || line.contains("watch=true") => late,
        _ => Duration::ZERO,
    };
    Ok(streamed(Arc::clone(shared), answer, late))
}

/// Passes the answer on as it comes, or `late` behind.
fn streamed(
    shared: Arc<Shared>,
    answer: axum::http::Response<kube::client::Body>,
    late: Duration,
) -> Response {
    let (parts, body) = answer.into_parts();
    let chunks = body.into_data_stream().map(move |chunk| {
        let shared = Arc::clone(&shared);
        async move {
            if !late.is_zero() {
                tokio::time::sleep(late).await;
            }
            shared.passes().await;
            chunk
        }
    });
    // Without delay one chunk at a time, so that a slow reader slows the server down.
    let kept = if late.is_zero() { 1 } else { KEPT_BACK };
    Response::from_parts(parts, Body::from_stream(chunks.buffered(kept)))
}
