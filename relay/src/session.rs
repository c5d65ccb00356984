//! Drives one SMTP session: sockets, TLS, time and shutdown around the state machine of
//! `relay_smtp::server`.
//!
//! Everything that has arrived is worked through before anything is written, so that a pipelined
//! batch costs one read and one write. A session holds [`READ`] octets of input ([`READ_MESSAGE`] in a
//! large message), the line and reply limits of the state machine, and its share of
//! `limits.receivingBytes`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use relay_config::{Authentication, Limits, Listener, ListenerTls, ScramVerifier};
use relay_smtp::command::Syntax;
use relay_smtp::server::{Answer, ChannelBindings, HoldLimit, LoginPolicy, Server, Settings};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::context::now;
use crate::listener::{Inbound, Share};
use crate::tls;

mod events;
mod login;
mod pace;

use events::Step;
use login::Identified;
use pace::{Pace, Seen};

/// Octets read at a time.
const READ: usize = 16 * 1024;
/// Octets read at a time once a message has proved to be larger than that.
const READ_MESSAGE: usize = 64 * 1024;
/// A TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// What a client gets to read the last reply before its connection is closed under it.
const LINGER: Duration = Duration::from_secs(1);

const STOPPING: Answer = Answer::fixed(421, "4.3.2", "the relay is stopping; connect again");
const NO_MEMORY: Answer = Answer::fixed(
    452,
    "4.3.1",
    "too many messages are being received; try again later",
);

/// Names a session in the log. Random, so that those of two shards differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(u64);

impl SessionId {
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// One session.
struct Session {
    id: SessionId,
    inbound: Arc<Inbound>,
    listener: Listener,
    limits: Limits,
    peer: SocketAddr,
    server: Server,
    input: BytesMut,
    share: Share,
    pace: Pace,
    login: Option<Identified>,
    /// Behind the keys of the SCRAM exchange that is going on.
    scram: Vec<ScramVerifier>,
    /// TLS version and cipher suite.
    tls: Option<String>,
}

/// How a conversation over one stream ended.
enum End {
    Closed,
    StartTls,
}

/// Serves a connection to its end. What goes wrong with one is logged here and nobody else's
/// concern.
pub(crate) async fn run(
    inbound: Arc<Inbound>,
    listener: Listener,
    stream: TcpStream,
    peer: SocketAddr,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection ended before it began");
        return;
    }
    let mut session = Session::new(inbound, listener, peer);
    match session.serve(stream).await {
        Ok(()) => {}
        // Clients that hang up are everyday life.
        Err(error) => tracing::debug!(%error, "session broken off"),
    }
}

impl Session {
    fn new(inbound: Arc<Inbound>, listener: Listener, peer: SocketAddr) -> Self {
        let snapshot = inbound.context.snapshot.load_full();
        let config = &snapshot.config;
        let has_certificate = snapshot.server_tls.is_some();
        let settings = Settings {
            hostname: config.hostname.clone(),
            // Case O34: whoever reaches the wrong server by a shared address sees it here.
            banner: format!("{} {}", config.relay, inbound.context.instance),
            message_bytes: config.limits.message_bytes,
            recipients: usize::try_from(config.limits.recipients).unwrap_or(usize::MAX),
            start_tls: listener.tls == ListenerTls::StartTls && has_certificate,
            implicit_tls: listener.tls == ListenerTls::Implicit,
            login: login_policy(&listener, peer.ip()),
            login_without_tls: listener.cleartext_authentication,
            tokens: !snapshot.issuers.list.is_empty(),
            binary_mime: true,
            judge_recipients: true,
            syntax: if listener.lenient {
                Syntax::Lenient
            } else {
                Syntax::Strict
            },
            hold: hold_limit(&config.limits),
            header_bytes: config.limits.header_bytes,
            commands: config.limits.commands,
        };
        let limits = config.limits.clone();
        Self {
            id: SessionId::random(),
            share: Share::new(&inbound.budget, limits.receiving_bytes),
            pace: Pace::new(&limits, Instant::now()),
            server: Server::new(settings),
            inbound,
            listener,
            limits,
            peer,
            input: BytesMut::with_capacity(READ),
            login: None,
            scram: Vec::new(),
            tls: None,
        }
    }

    async fn serve(&mut self, mut stream: TcpStream) -> io::Result<()> {
        if self.listener.tls != ListenerTls::Implicit {
            match self.converse(&mut stream).await? {
                End::Closed => return Ok(()),
                End::StartTls => self.input.clear(),
            }
        }
        let (mut stream, bindings) = self.handshake(stream).await?;
        self.server.tls_started();
        self.server.bind_channel(bindings);
        self.login = None;
        self.converse(&mut stream).await.map(|_| ())
    }

    async fn handshake(
        &mut self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, ChannelBindings)> {
        let metrics = &self.inbound.context.metrics;
        let snapshot = self.inbound.context.snapshot.load_full();
        let Some(config) = snapshot.server_tls.clone() else {
            return Err(io::Error::other("the configuration has no certificate"));
        };
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                metrics.tls("in", "failed");
                let (listener, peer) = (&self.listener.name, self.peer);
                tracing::info!(session = %self.id, listener, %peer, %error, "TLS handshake failed");
                return Err(error);
            }
            Err(_) => {
                metrics.tls("in", "timeout");
                let (listener, peer) = (&self.listener.name, self.peer);
                tracing::info!(session = %self.id, listener, %peer, "TLS handshake timed out");
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        metrics.tls("in", "ok");
        let connection = stream.get_ref().1;
        self.tls = describe(connection);
        let bindings = tls::channel_bindings(connection, snapshot.end_point.clone());
        Ok((stream, bindings))
    }

    /// Speaks over `stream` until it ends or is to be encrypted.
    async fn converse<S>(&mut self, stream: &mut S) -> io::Result<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let token = self.inbound.context.shutdown.clone();
        let shutdown = token.cancelled();
        tokio::pin!(shutdown);
        let mut reloaded = self.inbound.context.reloaded.subscribe();
        loop {
            let step = self.work().await;
            if step == Step::Read && self.server.is_idle() && self.end_if_revoked() {
                continue;
            }
            // Asked here and not only while waiting: a client that never pauses must see it too.
            let stopping = token.is_cancelled();
            if stopping && step == Step::Read && self.server.is_idle() {
                self.server.end(&STOPPING);
                continue;
            }
            self.write(stream).await?;
            match step {
                Step::Flushed => {}
                Step::StartTls => return Ok(End::StartTls),
                Step::Close => {
                    // Closing a socket of which everything was read is goodbye enough; TLS has one
                    // of its own.
                    if !self.server.has_quit() || self.server.is_tls() {
                        stream.shutdown().await?;
                    }
                    if !self.server.has_quit() {
                        linger(stream).await;
                    }
                    return Ok(End::Closed);
                }
                Step::Read => {
                    self.widen();
                    let seen = self.seen();
                    self.pace.observe(Instant::now(), seen);
                    let limit = self.pace.limit(seen);
                    tokio::select! {
                        biased;
                        read = read(stream, &mut self.input, limit.at) => {
                            match read? {
                                Read::Octets => {}
                                Read::End => return Ok(End::Closed),
                                Read::Nothing => self.time_out(&limit),
                            }
                        }
                        () = &mut shutdown, if !stopping => {}
                        // What was granted may be so no more.
                        Ok(()) = reloaded.changed(), if self.login.is_some() => {}
                    }
                }
            }
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            lines: self.server.lines(),
            content: self.server.content_octets(),
            in_content: self.server.is_in_content(),
            is_idle: self.server.is_idle(),
        }
    }

    fn time_out(&mut self, limit: &pace::Limit) {
        self.inbound.context.metrics.refused(limit.reason);
        tracing::info!(
            reason = limit.reason,
            reply = %limit.answer,
            session = %self.id,
            listener = self.listener.name,
            identity = self.identity().unwrap_or_default(),
            peer = %self.peer,
            "the client's time is over"
        );
        self.server.end(&limit.answer);
    }

    /// Room to read into; what a large message needed is given back after it.
    fn widen(&mut self) {
        let room = if self.server.receiving() > 0 {
            READ_MESSAGE
        } else {
            READ
        };
        if self.input.is_empty() && self.input.capacity() > 2 * room {
            self.input = BytesMut::new();
        }
        self.input.reserve(room);
    }

    async fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        let output = self.server.output();
        if output.is_empty() {
            return Ok(());
        }
        let write = async {
            stream.write_all(output).await?;
            stream.flush().await
        };
        // A client that reads nothing is held to the same patience as one that sends nothing.
        match tokio::time::timeout(self.limits.idle_timeout.get(), write).await {
            Ok(result) => result?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        output.clear();
        Ok(())
    }
}

/// Version and cipher suite by their registered names, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`.
fn describe(connection: &rustls::ServerConnection) -> Option<String> {
    let version = connection.protocol_version()?.as_str()?.replace('_', ".");
    let suite = connection.negotiated_cipher_suite()?.suite().as_str()?;
    Some(format!("{version} {}", suite.replace("TLS13_", "TLS_")))
}

fn login_policy(listener: &Listener, peer: IpAddr) -> LoginPolicy {
    match listener.authentication {
        // Only an address in one of the networks says who somebody is.
        Authentication::Optional if listener.is_client(peer) => LoginPolicy::Optional,
        Authentication::Required | Authentication::Optional => LoginPolicy::Required,
        Authentication::None => LoginPolicy::None,
    }
}

/// Counted from the start of the session, so that what `EHLO` says holds.
fn hold_limit(limits: &Limits) -> Option<HoldLimit> {
    let seconds = limits.maximum_hold.get().as_secs();
    (seconds > 0).then(|| HoldLimit {
        seconds,
        until: now().0 / 1000 + seconds,
    })
}

enum Read {
    Octets,
    End,
    /// The time is over.
    Nothing,
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut BytesMut,
    until: Instant,
) -> io::Result<Read> {
    match tokio::time::timeout_at(until, stream.read_buf(input)).await {
        Ok(Ok(0)) => Ok(Read::End),
        Ok(Ok(_)) => Ok(Read::Octets),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Read::Nothing),
    }
}

/// Waits for the client to close. Closing first, with octets of its unread, would reset the
/// connection and take the last reply from it.
async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut rest = [0; 1024];
    let drain = async {
        for _ in 0..64 {
            match stream.read(&mut rest).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

#[cfg(test)]
mod tests;
