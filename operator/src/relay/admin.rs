//! The operator's way into relay pods: HTTPS with certificates on both sides, under the relay's own
//! authority, to the pod's address. The server's name is a fixed one, since addresses change.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use operator_api::names::{ADMIN_PORT, internal_server_name};
use parking_lot::Mutex;
use relay_config::RelayStatus;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::Authority;

/// The whole exchange with one shard.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longest answer, in octets.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a shard could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No client certificate could be made.
    #[error("no client certificate for the admin port: {0}")]
    Identity(String),
    /// No connection.
    #[error("{address}: {message}")]
    Unreachable {
        /// The pod's address.
        address: IpAddr,
        /// What went wrong.
        message: String,
    },
    /// The answer was no status.
    #[error("{address}: answered {message}")]
    Answer {
        /// The pod's address.
        address: IpAddr,
        /// What it answered.
        message: String,
    },
}

/// TLS settings for each relay, made once per client certificate.
#[derive(Default)]
pub struct AdminClients(Mutex<HashMap<(String, String), Entry>>);

struct Entry {
    authority: Vec<u8>,
    renew_at: Timestamp,
    config: Arc<ClientConfig>,
}

impl AdminClients {
    /// Settings for a relay, `(namespace, name)`.
    pub fn config(
        &self,
        relay: &(String, String),
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Arc<ClientConfig>, AdminError> {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(relay)
            && entry.authority == authority.certificate().as_ref()
            && now < entry.renew_at
        {
            return Ok(Arc::clone(&entry.config));
        }
        let identity = authority
            .operator_identity(now)
            .map_err(|error| AdminError::Identity(error.to_string()))?;
        let failed = |error: rustls::Error| AdminError::Identity(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).map_err(failed)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(failed)?;
        let config = Arc::new(config);
        entries.insert(
            relay.clone(),
            Entry {
                authority: authority.certificate().to_vec(),
                renew_at: identity.renew_at,
                config: Arc::clone(&config),
            },
        );
        Ok(config)
    }

    /// Forgets a relay.
    pub fn forget(&self, relay: &(String, String)) {
        self.0.lock().remove(relay);
    }
}

/// Asks one shard of `relay` for its state.
pub async fn status(
    relay: &str,
    address: IpAddr,
    config: Arc<ClientConfig>,
) -> Result<RelayStatus, AdminError> {
    match tokio::time::timeout(TIMEOUT, ask(relay, address, config)).await {
        Ok(result) => result,
        Err(_) => Err(AdminError::Unreachable {
            address,
            message: format!("no answer within {} s", TIMEOUT.as_secs()),
        }),
    }
}

async fn ask(
    relay: &str,
    address: IpAddr,
    config: Arc<ClientConfig>,
) -> Result<RelayStatus, AdminError> {
    let unreachable = |message: String| AdminError::Unreachable { address, message };
    let port = u16::try_from(ADMIN_PORT).unwrap_or_default();
    let host = internal_server_name(relay);
    let name =
        ServerName::try_from(host.clone()).map_err(|error| unreachable(error.to_string()))?;
    let stream = TcpStream::connect((address, port))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let request = Request::get("/v1/status")
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| unreachable(error.to_string()))?;
    let exchange = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let code = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| unreachable(error.to_string()))?
            .to_bytes();
        read(address, code, &body)
    };
    // The connection ends when the exchange drops its sender; an error of its own shows there too.
    let (result, _) = tokio::join!(exchange, connection);
    result
}

fn read(address: IpAddr, code: StatusCode, body: &[u8]) -> Result<RelayStatus, AdminError> {
    if code != StatusCode::OK {
        return Err(AdminError::Answer {
            address,
            message: code.to_string(),
        });
    }
    serde_json::from_slice(body).map_err(|error| AdminError::Answer {
        address,
        message: format!("no status: {error}"),
    })
}
