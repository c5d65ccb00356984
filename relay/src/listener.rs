//! Accepts connections, within limits, and sees the sessions to their end.
//!
//! One task per listener and one per session. Too many sessions are answered 421 and clients from
//! other networks 554, both before anything is read from them. Behind a proxy it is the client of
//! whom the proxy's header speaks that is judged, and counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use relay_config::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::authentication::Authenticator;
use crate::context::SharedContext;
use crate::session;

mod admission;
mod budget;
mod proxy;
mod tally;

pub(crate) use budget::{Budget, Share};
pub(crate) use tally::{Claim, Tally};

use admission::{Refused, dismiss, judge, judge_client};

/// Pause after `accept` failed, as it does when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all sessions share beyond the context.
pub(crate) struct Inbound {
    pub(crate) context: SharedContext,
    pub(crate) authenticator: Authenticator,
    pub(crate) budget: Arc<Budget>,
    /// Sessions that are open.
    sessions: AtomicU32,
    addresses: Arc<Tally<IpAddr>>,
    pub(crate) identities: Arc<Tally<String>>,
}

impl Inbound {
    pub(crate) fn new(context: SharedContext) -> Self {
        Self {
            context,
            authenticator: Authenticator::new(),
            budget: Arc::default(),
            sessions: AtomicU32::new(0),
            addresses: Arc::default(),
            identities: Arc::default(),
        }
    }
}

/// Serves `sockets`, which are parallel to the configuration's listeners, until shutdown; then
/// waits `limits.shutdownGrace` for open transactions and ends what is left.
pub(crate) async fn run(context: SharedContext, sockets: Vec<TcpListener>) {
    let inbound = Arc::new(Inbound::new(Arc::clone(&context)));
    let sessions = TaskTracker::new();
    let abort = CancellationToken::new();
    let listeners = TaskTracker::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let loops = accept_loop(
            Arc::clone(&inbound),
            index,
            socket,
            sessions.clone(),
            abort.clone(),
        );
        listeners.spawn(loops);
    }
    listeners.close();
    listeners.wait().await;
    sessions.close();
    let grace = context.snapshot.load().config.limits.shutdown_grace.get();
    if tokio::time::timeout(grace, sessions.wait()).await.is_err() {
        tracing::warn!(
            sessions = sessions.len(),
            "sessions did not end within limits.shutdownGrace and are cut off"
        );
        abort.cancel();
        sessions.wait().await;
    }
}

async fn accept_loop(
    inbound: Arc<Inbound>,
    index: usize,
    socket: TcpListener,
    sessions: TaskTracker,
    abort: CancellationToken,
) {
    let shutdown = inbound.context.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // IPv4 clients of a dual-stack socket, as everybody writes them.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let Some(open) = admit(&inbound, index, stream, peer) else {
                    continue;
                };
                let abort = abort.clone();
                sessions.spawn(async move {
                    tokio::select! {
                        () = open.serve() => {}
                        () = abort.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that becomes a session.
struct Open {
    /// Counts it until dropped.
    count: Count,
    listener: Listener,
    stream: TcpStream,
    peer: SocketAddr,
}

impl Open {
    async fn serve(self) {
        let Self {
            count,
            listener,
            mut stream,
            mut peer,
        } = self;
        let inbound = &count.inbound;
        if listener.proxy_protocol {
            match proxy::origin(&mut stream, peer).await {
                Ok(client) => peer = client,
                Err(error) => {
                    inbound
                        .context
                        .metrics
                        .connection(&listener.name, "proxy_header");
                    tracing::warn!(listener = listener.name, proxy = %peer, %error, "no usable PROXY header");
                    return;
                }
            }
        }
        let snapshot = inbound.context.snapshot.load_full();
        let most = snapshot.config.limits.connections_per_address;
        drop(snapshot);
        let claim = match judge_client(&listener, peer.ip(), &inbound.addresses, most) {
            Ok(claim) => claim,
            Err(refusal) => return refuse(inbound, &listener, peer, stream, &refusal),
        };
        inbound
            .context
            .metrics
            .connection(&listener.name, "accepted");
        let span = tracing::info_span!("session", listener = listener.name, %peer);
        session::run(Arc::clone(inbound), listener, stream, peer)
            .instrument(span)
            .await;
        drop(claim);
    }
}

/// One open session, on the listener of this name.
struct Count {
    inbound: Arc<Inbound>,
    listener: String,
}

impl Count {
    fn new(inbound: &Arc<Inbound>, listener: &str) -> Self {
        inbound.sessions.fetch_add(1, Ordering::Relaxed);
        inbound.context.metrics.session_opened(listener);
        Self {
            inbound: Arc::clone(inbound),
            listener: listener.to_owned(),
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.inbound.sessions.fetch_sub(1, Ordering::Relaxed);
        self.inbound.context.metrics.session_closed(&self.listener);
    }
}

/// Lets a connection in, or answers why not and drops it.
fn admit(
    inbound: &Arc<Inbound>,
    index: usize,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Open> {
    let snapshot = inbound.context.snapshot.load();
    let listener = snapshot.config.listeners.get(index)?;
    let most = snapshot.config.limits.connections;
    let open = inbound.sessions.load(Ordering::Relaxed);
    if let Err(refusal) = judge(listener, peer.ip(), open, most) {
        refuse(inbound, listener, peer, stream, &refusal);
        return None;
    }
    Some(Open {
        count: Count::new(inbound, &listener.name),
        listener: listener.clone(),
        stream,
        peer,
    })
}

fn refuse(
    inbound: &Inbound,
    listener: &Listener,
    peer: SocketAddr,
    stream: TcpStream,
    refusal: &Refused,
) {
    let metrics = &inbound.context.metrics;
    metrics.connection(&listener.name, refusal.reason);
    tracing::info!(listener = listener.name, %peer, reason = refusal.reason, "connection refused");
    dismiss(stream, listener, refusal.reply);
}
