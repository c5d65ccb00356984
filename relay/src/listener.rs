//! Accepts connections, within limits, and sees the sessions to their end.
//!
//! One task per listener and one per session. Too many sessions are answered 421 and clients from
//! other networks 554, both before anything is read from them.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use relay_config::{Authentication, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::authentication::Authenticator;
use crate::context::SharedContext;
use crate::session;

mod budget;

pub(crate) use budget::{Budget, Share};

/// Pause after `accept` failed, as it does when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all sessions share beyond the context.
pub(crate) struct Inbound {
    pub(crate) context: SharedContext,
    pub(crate) authenticator: Authenticator,
    pub(crate) budget: Arc<Budget>,
    /// Sessions that are open.
    sessions: AtomicU32,
}

impl Inbound {
    pub(crate) fn new(context: SharedContext) -> Self {
        Self {
            context,
            authenticator: Authenticator::new(),
            budget: Arc::default(),
            sessions: AtomicU32::new(0),
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
            stream,
            peer,
        } = self;
        let span = tracing::info_span!("session", listener = listener.name, %peer);
        session::run(Arc::clone(&count.inbound), listener, stream, peer)
            .instrument(span)
            .await;
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
    let metrics = &inbound.context.metrics;
    let most = snapshot.config.limits.connections;
    if let Err(refusal) = judge(
        listener,
        peer.ip(),
        inbound.sessions.load(Ordering::Relaxed),
        most,
    ) {
        metrics.connection(&listener.name, refusal.reason);
        tracing::info!(listener = listener.name, %peer, reason = refusal.reason, "connection refused");
        dismiss(stream, listener, refusal.reply);
        return None;
    }
    metrics.connection(&listener.name, "accepted");
    Some(Open {
        count: Count::new(inbound, &listener.name),
        listener: listener.clone(),
        stream,
        peer,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Refused {
    reason: &'static str,
    reply: &'static str,
}

fn judge(listener: &Listener, peer: IpAddr, open: u32, most: u32) -> Result<(), Refused> {
    // With optional authentication the networks say who may do without it, not who may connect.
    let gated = listener.authentication != Authentication::Optional && !listener.clients.is_empty();
    if gated && !listener.is_client(peer) {
        return Err(Refused {
            reason: "client_network",
            reply: "554 5.7.1 your address is in none of the networks that this port is for\r\n",
        });
    }
    if open >= most {
        return Err(Refused {
            reason: "limit",
            reply: "421 4.3.2 too many sessions; try again later\r\n",
        });
    }
    Ok(())
}

/// Says why and closes, at once: a refused client is worth no task. A client that speaks TLS from
/// the start could not read it.
fn dismiss(stream: TcpStream, listener: &Listener, reply: &str) {
    if listener.tls == relay_config::ListenerTls::Implicit {
        return;
    }
    // The socket does not block and its buffer is empty, so this writes all or nothing.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write_all(reply.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_config::ListenerTls;

    #[test]
    fn clients_are_let_in_by_network_and_number() {
        let listener = |authentication, clients: &[&str]| Listener {
            name: "submission".into(),
            address: "127.0.0.1:0".parse().unwrap(),
            tls: ListenerTls::None,
            authentication,
            cleartext_authentication: false,
            clients: clients
                .iter()
                .map(|network| network.parse().unwrap())
                .collect(),
        };
        for (clients, peer, open, reason) in [
            (&[][..], "192.0.2.1", 9, None),
            (&[], "192.0.2.1", 10, Some("limit")),
            (&["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.1", 0, None),
            (&["192.0.2.0/24"], "::ffff:192.0.2.1", 0, None),
            (&["10.0.0.0/8"], "192.0.2.1", 0, Some("client_network")),
            (&["10.0.0.0/8"], "2001:db8::1", 99, Some("client_network")),
        ] {
            let listener = listener(Authentication::None, clients);
            let verdict = judge(&listener, peer.parse().unwrap(), open, 10);
            assert_eq!(
                verdict.err().map(|refused| refused.reason),
                reason,
                "{peer} {open}"
            );
        }
        let listener = listener(Authentication::Optional, &["10.0.0.0/8"]);
        assert!(judge(&listener, "192.0.2.1".parse().unwrap(), 0, 10).is_ok());
    }
}
