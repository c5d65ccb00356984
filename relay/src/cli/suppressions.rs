//! `relay suppressions`: the admin API of the relay that runs on this machine, or in this pod.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use clap::{Args, Subcommand};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Where the configuration is in a pod, for `kubectl exec`.
const POD_CONFIG: &str = "/etc/mailrelay/relay.json";
/// One request and its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of an answer: a page of a thousand entries has about one in a hundred of that.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// What to do with the lists.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Print the entries, one a line: domain, recipient, cause, since, until, what was said.
    List {
        #[command(flatten)]
        relay: Running,
        /// Of this sending domain alone.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Suppress a recipient.
    Add {
        #[command(flatten)]
        relay: Running,
        /// Sending domain.
        domain: String,
        /// Recipient.
        address: String,
        /// For how long, such as 720h; for ever without it.
        #[arg(long, value_name = "TIME")]
        expires: Option<relay_config::Duration>,
        /// What to remember with it.
        #[arg(long, default_value = "")]
        detail: String,
    },
    /// Take a recipient off the list.
    Remove {
        #[command(flatten)]
        relay: Running,
        /// Sending domain.
        domain: String,
        /// Recipient, or the mark of an entry without one.
        recipient: String,
    },
}

/// The relay to ask.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// Main configuration file of the running relay, which says where its health port is.
    #[arg(long, value_name = "FILE", default_value = POD_CONFIG)]
    config: PathBuf,
}

/// Does it; the text to print.
pub(super) fn run(action: Action) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        match action {
            Action::List { relay, domain } => list(&relay, domain.as_deref()).await,
            Action::Add {
                relay,
                domain,
                address,
                expires,
                detail,
            } => {
                let seconds = expires.map(|time| time.get().as_secs());
                let new = json!({
                    "domain": domain, "address": address, "detail": detail, "expiresIn": seconds,
                });
                ask(&relay, Method::PUT, "/v1/suppressions", Some(new)).await?;
                Ok(String::new())
            }
            Action::Remove {
                relay,
                domain,
                recipient,
            } => {
                let key = if recipient.contains('@') {
                    "address"
                } else {
                    "mark"
                };
                let path = format!(
                    "/v1/suppressions?domain={}&{key}={}",
                    encode(&domain),
                    encode(&recipient)
                );
                ask(&relay, Method::DELETE, &path, None).await?;
                Ok(String::new())
            }
        }
    })
}

async fn list(relay: &Running, domain: Option<&str>) -> Result<String, String> {
    let domain = domain.map_or_else(String::new, |domain| format!("&domain={}", encode(domain)));
    let mut text = String::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/suppressions?limit=1000{domain}{after}");
        let page = ask(relay, Method::GET, &path, None).await?;
        for entry in page["entries"].as_array().into_iter().flatten() {
            line(entry, &mut text);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => return Ok(text),
        }
    }
}

fn line(entry: &Value, text: &mut String) {
    let word = |name: &str| entry[name].as_str().unwrap_or_default();
    let time = |name: &str| {
        let at = entry[name].as_u64();
        at.map_or_else(
            || "-".into(),
            |at| relay_smtp::options::date_time(at / 1000),
        )
    };
    let recipient = entry["address"].as_str().unwrap_or_else(|| word("mark"));
    // Writing to memory does not fail.
    let _ = writeln!(
        text,
        "{}\t{recipient}\t{}\t{}\t{}\t{}",
        word("domain"),
        word("cause"),
        time("since"),
        time("expires"),
        word("detail")
    );
}

async fn ask(
    relay: &Running,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, String> {
    let address = health_port(relay)?;
    let exchange = exchange(address, method, path, body);
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(result) => result.map_err(|error| format!("the relay at {address}: {error}")),
        Err(_) => Err(format!(
            "the relay at {address} does not answer within {} s",
            TIMEOUT.as_secs()
        )),
    }
}

/// By loopback, since nobody else gets an answer.
fn health_port(relay: &Running) -> Result<SocketAddr, String> {
    let files = relay_config::read(&relay.config).map_err(|error| error.to_string())?;
    let bound = files.config.health.address;
    Ok(match bound {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            (Ipv4Addr::LOCALHOST, bound.port()).into()
        }
        // Dual-stack, or IPv4 where there is no IPv6.
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            let free = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
            if free {
                (Ipv6Addr::LOCALHOST, bound.port()).into()
            } else {
                (Ipv4Addr::LOCALHOST, bound.port()).into()
            }
        }
        other => other,
    })
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(body)?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let code = response.status();
        let body = to_bytes(Body::new(response.into_body()), LONGEST_ANSWER).await?;
        Ok::<_, Box<dyn std::error::Error>>((code, body))
    };
    // The connection ends when the exchange drops its sender; an error of its own shows there too.
    let (answer, _) = tokio::join!(answer, connection);
    let (code, body) = answer?;
    if code == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    if !code.is_success() {
        return Err(String::from_utf8_lossy(&body).trim().to_owned().into());
    }
    Ok(serde_json::from_slice(&body)?)
}

/// For a value in a query.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}
