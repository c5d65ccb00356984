//! Keys of token issuers: those of the cluster's ServiceAccounts, read from the API server, and
//! those of other issuers, fetched over HTTPS. Relay pods ask nobody; they get what is found here.
//!
//! Bounds: one exchange takes [`TIMEOUT`] and [`LONGEST`] octets, follows no redirect and trusts
//! the public certificate authorities. What was found holds for [`FRESH`]; a failure is tried again
//! after [`RETRY`], and what was known before stays in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::Client;
use parking_lot::Mutex;
use relay_config::KeySet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One exchange with an issuer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of a document.
const LONGEST: usize = 64 * 1024;
/// How long keys are not asked for again. New ones are published before they are used, at the
/// latest when tokens of the old ones run out.
const FRESH: Duration = Duration::from_mins(5);
/// The same for the cluster's own, which cost one small request to the API server.
const FRESH_CLUSTER: Duration = Duration::from_mins(1);
/// How long a failure is not tried again.
const RETRY: Duration = Duration::from_secs(30);

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// What was found of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The `iss` claim of its tokens.
    pub issuer: String,
    /// Its JSON Web Key Set; usable.
    pub jwks: Value,
}

/// What is known of an issuer, and why it may be out of date.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last that was found.
    pub discovered: Option<Discovered>,
    /// Why the last look found nothing.
    pub fault: Option<String>,
}

/// What is known of all issuers.
pub struct IssuerKeys {
    /// By URL; [`CLUSTER`] is this cluster's own.
    known: Mutex<BTreeMap<String, (Known, Timestamp)>>,
    web: TlsConnector,
}

impl Default for IssuerKeys {
    fn default() -> Self {
        Self::trusting(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        })
    }
}

/// No URL is empty.
const CLUSTER: &str = "";

/// OpenID Connect Discovery 1.0 section 3; only what is used.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    fn trusting(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots);
        Self {
            known: Mutex::default(),
            web: TlsConnector::from(Arc::new(config.with_no_client_auth())),
        }
    }

    /// The cluster's own issuer.
    pub async fn cluster(&self, client: &Client, now: Timestamp) -> Known {
        if let Some(known) = self.fresh(CLUSTER, FRESH_CLUSTER, now) {
            return known;
        }
        let found = ask_cluster(client).await;
        self.learn(CLUSTER, found, now)
    }

    /// The issuer at a URL.
    pub async fn at(&self, url: &str, now: Timestamp) -> Known {
        if let Some(known) = self.fresh(url, FRESH, now) {
            return known;
        }
        let found = match tokio::time::timeout(TIMEOUT, ask(url, &self.web)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        };
        self.learn(url, found, now)
    }

    fn fresh(&self, key: &str, fresh: Duration, now: Timestamp) -> Option<Known> {
        let entries = self.known.lock();
        let (known, looked) = entries.get(key)?;
        let patience = if known.fault.is_none() { fresh } else { RETRY };
        let age = now.duration_since(*looked);
        (age.as_secs() < i64::try_from(patience.as_secs()).unwrap_or(i64::MAX))
            .then(|| known.clone())
    }

    fn learn(&self, key: &str, found: Result<Discovered, String>, now: Timestamp) -> Known {
        let mut entries = self.known.lock();
        let (known, looked) = entries.entry(key.to_owned()).or_default();
        *looked = now;
        match found {
            Ok(discovered) => {
                known.discovered = Some(discovered);
                known.fault = None;
            }
            Err(fault) => known.fault = Some(fault),
        }
        known.clone()
    }
}

/// The API server's own discovery: `system:service-account-issuer-discovery`.
async fn ask_cluster(client: &Client) -> Result<Discovered, String> {
    let get = async |path: &str| -> Result<Value, String> {
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        client
            .request(request)
            .await
            .map_err(|error| format!("GET {path}: {error}"))
    };
    let discovery = Discovery::deserialize(get(DISCOVERY).await?)
        .map_err(|error| format!("{DISCOVERY}: {error}"))?;
    // Not `jwks_uri`, which may be an address for clients outside.
    let jwks = get("/openid/v1/jwks").await?;
    usable(discovery.issuer, jwks)
}

async fn ask(issuer: &str, web: &TlsConnector) -> Result<Discovered, String> {
    let url = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
    let discovery = Discovery::deserialize(fetch(&url, web).await?)
        .map_err(|error| format!("{url}: {error}"))?;
    if discovery.issuer != issuer {
        return Err(format!(
            "{url} names the issuer {:?}; write exactly that in issuerUrl",
            discovery.issuer
        ));
    }
    let jwks = fetch(&discovery.jwks_uri, web).await?;
    usable(discovery.issuer, jwks)
}

/// What a relay can use, and nothing else gets there.
fn usable(issuer: String, jwks: Value) -> Result<Discovered, String> {
    match KeySet::from_value(&jwks) {
        Ok(_) => Ok(Discovered { issuer, jwks }),
        Err(error) => Err(format!("the key set of {issuer} {error}")),
    }
}

/// One JSON document over HTTPS.
async fn fetch(url: &str, web: &TlsConnector) -> Result<Value, String> {
    let failed = |what: &dyn std::fmt::Display| format!("{url}: {what}");
    let uri: Uri = url.parse().map_err(|error| failed(&error))?;
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(failed(&"is no https:// URL"));
    };
    let name = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((name.as_str(), port))
        .await
        .map_err(|error| failed(&error))?;
    let name = ServerName::try_from(name).map_err(|error| failed(&error))?;
    let stream = web
        .connect(name, stream)
        .await
        .map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::get(path)
        .header("host", authority)
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let exchange = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let code = response.status();
        let body = Limited::new(response.into_body(), LONGEST)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        read(code, &body.to_bytes())
    };
    // The connection ends when the exchange drops its sender; an error of its own shows there too.
    let (result, _) = tokio::join!(exchange, connection);
    result.map_err(|error| failed(&error))
}

fn read(code: StatusCode, body: &[u8]) -> Result<Value, String> {
    if code.is_redirection() {
        return Err(format!("answered {code}; redirects are not followed"));
    }
    if code != StatusCode::OK {
        return Err(format!("answered {code}"));
    }
    serde_json::from_slice(body).map_err(|error| format!("answered no JSON: {error}"))
}

#[cfg(test)]
mod tests;
