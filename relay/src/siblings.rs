//! Shard to shard: which shard this process is, and requests to the admin ports of the others.
//!
//! HTTP over mutual TLS under the relay's own authority. All shards have one certificate, so it proves
//! that the other side is a shard of this relay and not which one: a request names the shard that it
//! is meant for ([`SHARD_HEADER`]), and who is another one refuses it. A name in DNS may be older than
//! the pod behind its address.
//!
//! Names are resolved by the system, with its search list, so that nobody has to know the cluster's
//! domain. Everything is bounded: [`CONNECT`] for a connection, the caller's time for an exchange,
//! and the octets of an answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use relay_config::{Config, SHARD_VARIABLE};
use rustls_pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::context::Context;

/// Header that names the shard which a request is meant for.
pub(crate) const SHARD_HEADER: &str = "mailrelay-shard";
/// For the name, the connection and the handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// For one small exchange, the connection included.
const ASK: Duration = Duration::from_secs(10);
/// Octets of the answer to a small request.
const LONGEST_ANSWER: usize = 1 << 20;
/// Octets of an explanation that is passed on.
const LONGEST_EXPLANATION: usize = 512;

/// Why a shard did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiblingError {
    /// There is no such shard, any more or at all.
    #[error("siblings.hosts: there is no shard {0}")]
    NoSuchShard(u32),
    /// The configuration says nothing of shards, or has no certificate for them.
    #[error("siblings: is not set, so that shard {0} cannot be asked")]
    Alone(u32),
    /// No connection, or it broke: nobody knows whether the other side did what was asked.
    #[error("shard {shard} ({host}) cannot be reached: {fault}")]
    Unreachable {
        shard: u32,
        host: String,
        fault: String,
    },
    /// It answered and did not do it.
    #[error("shard {shard} answered {code}: {text}")]
    Refused {
        shard: u32,
        code: StatusCode,
        text: String,
    },
    /// It answered something that cannot be read.
    #[error("shard {shard} answered what is no answer: {fault}")]
    Answer { shard: u32, fault: String },
}

/// What a shard says of itself (`POST /v1/siblings/state`, with `{}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SiblingState {
    /// Its number.
    pub(crate) shard: u32,
    /// It is to go, and takes over nothing.
    pub(crate) leaving: bool,
    /// It takes new messages.
    pub(crate) accepting: bool,
}

/// Which of the relay's shards a process is, and which of them stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number, from 0.
    pub(crate) number: u32,
    /// Numbers of the shards that stay, ascending; its own for a relay that runs alone.
    pub(crate) staying: Vec<u32>,
}

impl Place {
    /// Whether it is to go, and others may take its mail.
    pub(crate) fn is_leaving(&self) -> bool {
        !self.staying.contains(&self.number)
    }

    /// The shard that does what one of them has to do for all: the first of those that stay, and each
    /// for itself when all go.
    pub(crate) fn first(&self) -> u32 {
        self.staying.first().copied().unwrap_or(self.number)
    }

    /// Whether it is [`Self::first`].
    pub(crate) fn is_first(&self) -> bool {
        self.first() == self.number
    }
}

impl Context {
    /// Which shard this is, by the configuration in force.
    pub(crate) fn place(&self) -> Place {
        let siblings = &self.snapshot.load().config.siblings;
        let staying = siblings.as_ref().map(|all| all.staying().collect());
        Place {
            number: self.shard,
            staying: staying.unwrap_or_else(|| vec![self.shard]),
        }
    }
}

/// The number of this shard; `variable` is the value of [`SHARD_VARIABLE`]. A number beyond
/// `siblings.hosts` is no fault: the files may be older than the shard.
pub(crate) fn own_number(config: &Config, variable: Option<&str>) -> Result<u32, String> {
    match (variable, &config.siblings) {
        // A relay that runs alone is shard 0, whatever else the environment is used for.
        (_, None) => Ok(0),
        (Some(text), Some(_)) => text.parse().map_err(|_| {
            format!("{SHARD_VARIABLE}: {text:?} is not a number; give the shard's, from 0")
        }),
        (None, Some(_)) => Err(format!(
            "{SHARD_VARIABLE}: is not set; with siblings give the number of this shard in their list, \
             from 0, or leave siblings out"
        )),
    }
}

/// Sends one small request to a shard and reads its answer, both JSON.
pub(crate) async fn ask<Question: Serialize + Sync, Answer: DeserializeOwned>(
    context: &Context,
    shard: u32,
    path: &str,
    question: &Question,
) -> Result<Answer, SiblingError> {
    let body = serde_json::to_vec(question).map_err(|error| SiblingError::Answer {
        shard,
        fault: format!("the question cannot be written: {error}"),
    })?;
    let mut channel = Channel::open(context, shard).await?;
    let answer = channel
        .post(path, vec![body.into()], ASK, LONGEST_ANSWER)
        .await?;
    serde_json::from_slice(&answer).map_err(|error| SiblingError::Answer {
        shard,
        fault: error.to_string(),
    })
}

/// A connection to a shard, for one exchange after the other.
pub(crate) struct Channel {
    shard: u32,
    host: String,
    sender: SendRequest<Pieces>,
    /// Moves the octets; ends with the channel.
    _driver: AbortOnDropHandle<()>,
}

impl Channel {
    /// Connects with the certificate and the authority of the configuration in force.
    pub(crate) async fn open(context: &Context, shard: u32) -> Result<Self, SiblingError> {
        let snapshot = context.snapshot.load_full();
        let siblings = snapshot.config.siblings.as_ref();
        let (Some(siblings), Some(tls)) = (siblings, &snapshot.sibling_tls) else {
            return Err(SiblingError::Alone(shard));
        };
        let host = siblings
            .host(shard)
            .ok_or(SiblingError::NoSuchShard(shard))?;
        let unreachable = |fault: String| SiblingError::Unreachable {
            shard,
            host: host.to_owned(),
            fault,
        };
        let connected = connect(host, siblings.port, &siblings.server_name, tls);
        let (sender, driver) = tokio::time::timeout(CONNECT, connected)
            .await
            .map_err(|_| unreachable(format!("no connection within {} s", CONNECT.as_secs())))?
            .map_err(unreachable)?;
        Ok(Self {
            shard,
            host: host.to_owned(),
            sender,
            _driver: driver,
        })
    }

    /// Sends a request of any size, which is not copied, and reads at most `longest` octets of answer.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: Vec<Bytes>,
        wait: Duration,
        longest: usize,
    ) -> Result<Bytes, SiblingError> {
        let exchange = exchange(
            &mut self.sender,
            self.shard,
            &self.host,
            path,
            body,
            longest,
        );
        let unreachable = |fault: String| SiblingError::Unreachable {
            shard: self.shard,
            host: self.host.clone(),
            fault,
        };
        let (code, answer) = tokio::time::timeout(wait, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", wait.as_secs())))?
            .map_err(unreachable)?;
        if code == StatusCode::OK {
            return Ok(answer);
        }
        let text = String::from_utf8_lossy(&answer);
        let text = text.trim().chars().take(LONGEST_EXPLANATION).collect();
        Err(SiblingError::Refused {
            shard: self.shard,
            code,
            text,
        })
    }
}

async fn connect(
    host: &str,
    port: u16,
    server_name: &str,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<(SendRequest<Pieces>, AbortOnDropHandle<()>), String> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(|error| error.to_string())?;
    // The system's resolver; all addresses of the name are tried.
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| error.to_string())?;
    // A batch and its answer must not wait for each other's acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(async move {
        // Its errors show in the exchange, too.
        let _ = connection.await;
    });
    Ok((sender, AbortOnDropHandle::new(driver)))
}

async fn exchange(
    sender: &mut SendRequest<Pieces>,
    shard: u32,
    host: &str,
    path: &str,
    body: Vec<Bytes>,
    longest: usize,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::post(path)
        .header("host", host)
        .header("content-type", "application/json")
        .header(SHARD_HEADER, shard)
        .body(Pieces(body.into()))
        .map_err(|error| error.to_string())?;
    sender.ready().await.map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let code = response.status();
    let answer = Limited::new(response.into_body(), longest)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok((code, answer.to_bytes()))
}

/// A body in pieces, sent as they are.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
