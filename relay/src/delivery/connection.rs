//! One connection to a next server: TCP, TLS and time limits around the state machine of
//! `relay_smtp::client`.
//!
//! Opportunistic TLS that does not work (the handshake fails, stalls, or the server talks clear text
//! after its `220`) is followed by a second connection without it, in the same attempt (cases T1, T2,
//! T3 and T6): nothing demanded encryption, and a mail in clear text is better than none.

mod patience;
mod stream;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_config::Timeouts;
use relay_queue::Destination;
use relay_smtp::client::{
    Client, Credentials, Envelope, Failure, Next, Settings, StartTls, Verdict, Wait,
};
use relay_smtp::transparency;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::outcome::{AppliedPolicy, Encryption, Remote};
use super::plan::Security;
use super::policy::{Candidate, TlsPolicy};
use crate::context::now;
use crate::metrics::Metrics;
use crate::tls::client_bindings;
use crate::tls_reports::{Ending, ResultType, Watch};
use patience::Patience;
use stream::Stream;

/// Octets read at once; replies are short.
const READ: usize = 4096;
/// Pieces written at once.
const PIECES: usize = 64;
/// Octets a second that a server must take of a message, on average and after `timeouts.data`.
const SLOWEST: u64 = 1024;
/// Time for `QUIT` and its reply; nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(2);
/// Time to look for a reply after a write failed: a server that refuses content in the middle says
/// why before it closes.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What to connect to, and how.
pub(super) struct Target {
    /// Whose mail it is for.
    pub(super) destination: Destination,
    pub(super) remote: Remote,
    /// The name that a certificate has to have, if not that of the host.
    pub(super) identity: Option<Arc<str>>,
    /// The host as it was chosen, for another look at its policy.
    pub(super) candidate: Candidate,
    pub(super) policy: TlsPolicy,
    /// For TLS: as the policy wants it verified.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) credentials: Option<Credentials>,
    /// Own name for `EHLO`.
    pub(super) name: String,
    pub(super) timeouts: Timeouts,
    /// Who is told how TLS went.
    pub(super) watch: Option<Watch>,
}

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("connecting failed: {0}")]
    Connect(io::Error),
    #[error("the server did not answer within {}", show(*.0))]
    ConnectTimeout(Duration),
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("the TLS handshake took longer than {}", show(*.0))]
    TlsTimeout(Duration),
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("the server was silent for {}", show(*.0))]
    Silent(Duration),
    #[error("the server took more than {} for its replies to sender and recipients", show(*.0))]
    Slow(Duration),
    #[error(transparent)]
    Session(#[from] Failure),
}

impl ConnectionError {
    /// Whether nobody was there.
    pub(super) const fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::Closed
            | Self::Broken(_)
            | Self::Silent(_) => true,
            Self::Tls(_) | Self::TlsTimeout(_) | Self::Slow(_) | Self::Session(_) => false,
        }
    }
}

fn show(duration: Duration) -> relay_config::Duration {
    relay_config::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A connection whose session stands ready for a transaction.
pub(super) struct Connection {
    stream: Stream,
    client: Client,
    destination: Destination,
    remote: Remote,
    timeouts: Timeouts,
    candidate: Candidate,
    policy: TlsPolicy,
    /// When it was last seen to fit its destination's policy.
    judged_at: Instant,
    /// Transactions that were begun.
    transactions: u32,
    /// Boxed: the future of an attempt holds a connection in several places.
    patience: Box<Patience>,
    buffer: Box<[u8; READ]>,
    metrics: Metrics,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.outgoing_open(-1);
    }
}

/// Opens a connection and brings its session to where transactions begin.
pub(super) async fn open(
    target: &Target,
    metrics: &Metrics,
) -> Result<Connection, ConnectionError> {
    let security = target.policy.security;
    let starttls = match security {
        Security::Clear | Security::Implicit => StartTls::Never,
        Security::Opportunistic => StartTls::Opportunistic,
        Security::Required | Security::Verified | Security::Dane => StartTls::Required,
    };
    let first = establish(target, starttls, metrics).await;
    if let (Some(watch), Some(ending)) = (&target.watch, ending(&first)) {
        watch.note(&ending, now());
    }
    let result = match first {
        Err(error @ (ConnectionError::Tls(_) | ConnectionError::TlsTimeout(_)))
            if security == Security::Opportunistic && target.credentials.is_none() =>
        {
            tracing::info!(
                host = %target.remote.host, address = %target.remote.address, %error,
                "opportunistic TLS does not work; connecting again in clear text"
            );
            establish(target, StartTls::Never, metrics).await
        }
        result => result,
    };
    let AppliedPolicy { security, source } = target.policy.applied();
    let outcome = match &result {
        Ok(connection) if connection.remote.encryption.is_some() => "encrypted",
        Ok(_) => "clear",
        Err(_) => "failed",
    };
    metrics.tls_policy(security, source, outcome);
    result
}

/// How TLS went, if the session came so far.
fn ending(result: &Result<Connection, ConnectionError>) -> Option<Ending> {
    match result {
        Ok(connection) if connection.remote.encryption.is_some() => Some(Ending::Good),
        Ok(_) => Some(Ending::NoTls),
        Err(ConnectionError::Tls(error)) => Some(Ending::of_handshake(error)),
        Err(error @ ConnectionError::TlsTimeout(_)) => Some(Ending::Failed(
            ResultType::ValidationFailure,
            error.to_string(),
        )),
        Err(ConnectionError::Session(Failure::TlsNotOffered | Failure::TlsRefused(_))) => {
            Some(Ending::NoTls)
        }
        Err(_) => None,
    }
}

async fn establish(
    target: &Target,
    starttls: StartTls,
    metrics: &Metrics,
) -> Result<Connection, ConnectionError> {
    let result = establish_unmetered(target, starttls, metrics).await;
    metrics.outgoing(match &result {
        Ok(_) => "ok",
        Err(ConnectionError::Connect(_)) => "unreachable",
        Err(
            ConnectionError::ConnectTimeout(_)
            | ConnectionError::Silent(_)
            | ConnectionError::Slow(_),
        ) => "timeout",
        Err(ConnectionError::Tls(_) | ConnectionError::TlsTimeout(_)) => "tls",
        Err(ConnectionError::Closed | ConnectionError::Broken(_)) => "lost",
        Err(ConnectionError::Session(_)) => "refused",
    });
    result
}

async fn establish_unmetered(
    target: &Target,
    starttls: StartTls,
    metrics: &Metrics,
) -> Result<Connection, ConnectionError> {
    let limit = target.timeouts.connect.get();
    let stream = timeout(limit, TcpStream::connect(target.remote.address))
        .await
        .map_err(|_| ConnectionError::ConnectTimeout(limit))?
        .map_err(ConnectionError::Connect)?;
    // Commands and content are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    metrics.outgoing_open(1);
    let mut connection = Connection {
        stream: Stream::Clear(stream),
        client: Client::new(Settings {
            name: target.name.clone(),
            starttls,
            implicit_tls: target.policy.security == Security::Implicit,
            credentials: target.credentials.clone(),
        }),
        destination: target.destination.clone(),
        remote: target.remote.clone(),
        timeouts: target.timeouts.clone(),
        candidate: target.candidate.clone(),
        policy: target.policy.clone(),
        judged_at: Instant::now(),
        transactions: 0,
        patience: Box::default(),
        buffer: Box::new([0; READ]),
        metrics: metrics.clone(),
    };
    if target.policy.security == Security::Implicit {
        connection = connection.handshake(target).await?;
    }
    let mut next = connection.client.next();
    loop {
        next = match next {
            Next::Ready => return Ok(connection),
            Next::StartTls => {
                connection = connection.handshake(target).await?;
                connection.client.tls_established()?;
                // In TLS 1.3 the server's refusal may come after the client's side is done.
                connection
                    .exchange(Wait::Command)
                    .await
                    .map_err(|error| match error {
                        ConnectionError::Broken(error) => ConnectionError::Tls(error),
                        ConnectionError::Closed => {
                            ConnectionError::Tls(io::ErrorKind::UnexpectedEof.into())
                        }
                        other => other,
                    })?
            }
            Next::Read(wait) => connection.exchange(wait).await?,
            Next::SendContent | Next::Finished => return Err(Failure::OutOfOrder.into()),
        };
    }
}

impl Connection {
    /// Whose mail it was opened for.
    pub(super) const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Who is at the other end.
    pub(super) const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What the server offers.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is encrypted towards a server that proved its name.
    pub(super) const fn is_verified(&self) -> bool {
        self.policy.security.is_verified()
    }

    /// What it was opened to.
    pub(super) const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What it was opened under.
    pub(super) const fn policy(&self) -> &TlsPolicy {
        &self.policy
    }

    /// Whether it was seen to fit its destination's policy within the last `time`.
    pub(super) fn is_judged_within(&self, time: Duration) -> bool {
        self.judged_at.elapsed() < time
    }

    /// It was seen to fit just now.
    pub(super) fn judged(&mut self) {
        self.judged_at = Instant::now();
    }

    /// Transactions that were begun on it.
    pub(super) const fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Whether another transaction may begin.
    pub(super) fn is_ready(&self) -> bool {
        self.client.is_ready()
    }

    async fn handshake(mut self, target: &Target) -> Result<Self, ConnectionError> {
        let name = server_name(target);
        let connector = TlsConnector::from(target.tls.clone());
        let limit = self.timeouts.tls.get();
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(Failure::OutOfOrder.into());
        };
        let result = timeout(limit, connector.connect(name, stream)).await;
        self.metrics.tls(
            "out",
            if matches!(result, Ok(Ok(_))) {
                "ok"
            } else {
                "failed"
            },
        );
        let stream = result
            .map_err(|_| ConnectionError::TlsTimeout(limit))?
            .map_err(ConnectionError::Tls)?;
        let (_, session) = stream.get_ref();
        self.remote.encryption = Some(Encryption {
            version: session
                .protocol_version()
                .and_then(|version| version.as_str())
                .unwrap_or("unknown"),
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
        });
        self.client.bind_channel(client_bindings(session));
        self.stream = Stream::Tls(Box::new(stream));
        Ok(self)
    }

    /// Writes what the session has to say and reads what comes.
    async fn exchange(&mut self, wait: Wait) -> Result<Next, ConnectionError> {
        let output = self.client.take_output();
        if !output.is_empty() {
            let limit = self.timeouts.command.get();
            timeout(limit, self.stream.write_all(&output))
                .await
                .map_err(|_| ConnectionError::Silent(limit))?
                .map_err(ConnectionError::Broken)?;
        }
        let limit = match wait {
            Wait::Greeting => self.timeouts.greeting,
            Wait::Command => self.timeouts.command,
            Wait::Content => self.timeouts.data_reply,
        };
        self.read(limit.get()).await
    }

    /// Reads within the time that is left for the reply.
    async fn read(&mut self, limit: Duration) -> Result<Next, ConnectionError> {
        let replies = self.client.replies();
        let until = self.patience.until(replies, limit, Instant::now());
        let length = timeout_at(until, self.stream.read(&mut self.buffer[..]))
            .await
            .map_err(|_| self.patience.late(limit))?
            .map_err(ConnectionError::Broken)?;
        let octets = self.buffer.get(..length).unwrap_or_default();
        if octets.is_empty() {
            return Err(ConnectionError::Closed);
        }
        if self.client.is_costly() {
            let octets = octets.to_vec();
            return Box::pin(self.receive_aside(octets)).await;
        }
        Ok(self.client.receive(octets)?)
    }

    /// Lets the session work on a thread where no other session waits for it to be done.
    async fn receive_aside(&mut self, octets: Vec<u8>) -> Result<Next, ConnectionError> {
        let mut client = std::mem::replace(&mut self.client, Client::ended());
        let work = tokio::task::spawn_blocking(move || {
            let next = client.receive(&octets);
            (client, next)
        });
        let (client, next) = work
            .await
            .map_err(|error| ConnectionError::Broken(io::Error::other(error)))?;
        self.client = client;
        Ok(next?)
    }

    /// Sends one message. The verdicts are one per recipient whatever happens; the error says why the
    /// connection is of no more use.
    pub(super) async fn send(
        &mut self,
        envelope: &Envelope<'_>,
        content: &[Bytes],
    ) -> (Vec<Verdict>, Option<ConnectionError>) {
        self.transactions += 1;
        let (recipients, limit) = (envelope.recipients.len(), self.timeouts.command.get());
        self.patience.begin(recipients, limit, Instant::now());
        let error = self.try_send(envelope, content).await.err();
        let mut verdicts = self.client.take_verdicts();
        verdicts.resize(envelope.recipients.len(), Verdict::Undecided);
        (verdicts, error)
    }

    async fn try_send(
        &mut self,
        envelope: &Envelope<'_>,
        content: &[Bytes],
    ) -> Result<(), ConnectionError> {
        let mut next = self.client.begin(envelope)?;
        loop {
            next = match next {
                Next::Finished => return Ok(()),
                Next::Read(wait) => self.exchange(wait).await?,
                Next::SendContent => {
                    self.patience.end();
                    match self.write_content(content).await {
                        Ok(()) => self.client.content_sent()?,
                        Err(error) => match self.read(LAST_WORDS).await {
                            Ok(Next::Finished) => return Ok(()),
                            _ => return Err(error),
                        },
                    }
                }
                Next::StartTls | Next::Ready => return Err(Failure::OutOfOrder.into()),
            };
        }
    }

    async fn write_content(&mut self, content: &[Bytes]) -> Result<(), ConnectionError> {
        let pieces = transparency::encode(content);
        let limit = self.timeouts.data.get();
        let octets: usize = pieces.iter().map(Bytes::len).sum();
        let until = Instant::now() + limit + Duration::from_secs(octets as u64 / SLOWEST);
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let batch = rest.len().min(PIECES);
            let soon = until.min(Instant::now() + limit);
            let written = timeout_at(soon, self.stream.write_vectored(&rest[..batch]))
                .await
                .map_err(|_| ConnectionError::Silent(limit))?
                .map_err(ConnectionError::Broken)?;
            if written == 0 {
                return Err(ConnectionError::Closed);
            }
            IoSlice::advance_slices(&mut rest, written);
        }
        timeout(limit, self.stream.flush())
            .await
            .map_err(|_| ConnectionError::Silent(limit))?
            .map_err(ConnectionError::Broken)
    }

    /// Says goodbye, for as long as that may take.
    pub(super) async fn close(mut self) {
        self.client.quit();
        let output = self.client.take_output();
        let goodbye = async {
            self.stream.write_all(&output).await?;
            self.stream.read(&mut self.buffer[..]).await
        };
        // Nothing depends on how it ends.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

/// The name for SNI and for verification (cases T8 to T10 and M16); an address when the host is one
/// or cannot be written as a name, which then sends no SNI.
fn server_name(target: &Target) -> ServerName<'static> {
    let address: SocketAddr = target.remote.address;
    let name = target.identity.as_ref().unwrap_or(&target.remote.host);
    ServerName::try_from(name.trim_end_matches('.').to_owned())
        .unwrap_or_else(|_| ServerName::from(address.ip()))
}

#[cfg(test)]
mod tests;
