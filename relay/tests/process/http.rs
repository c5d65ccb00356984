//! Health, readiness, metrics; status over mutual TLS.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

use crate::authority::{Authority, Leaf};
use crate::client::{billing, send};
use crate::receiver::Receiver;
use crate::relay::{PATIENCE, Relay, Setup};

/// Status code and body of a GET in clear text.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).unwrap()
}

/// The same of a process that may have ended.
pub(crate) fn try_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, path)
}

/// The same as a program on this machine asks, which may see more.
pub(crate) fn get_local(address: SocketAddr, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(stream, "localhost", path).unwrap()
}

/// The metrics as soon as they have `line`.
pub(crate) fn metrics_with(relay: &Relay, line: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, metrics) = get(relay.health(), "/metrics");
        assert_eq!(code, 200);
        if metrics.lines().any(|other| other == line) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "{line} not in {metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn exchange(
    stream: impl std::io::Read + std::io::Write,
    path: &str,
) -> std::io::Result<(u16, String)> {
    ask(stream, "relay", path)
}

fn ask(
    mut stream: impl std::io::Read + std::io::Write,
    host: &str,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((
        code.ok_or(std::io::ErrorKind::InvalidData)?,
        body.to_owned(),
    ))
}

/// `GET /v1/status` with a client certificate, or none.
pub(crate) fn status(
    relay: &Relay,
    trusted: &Authority,
    client: Option<&Leaf>,
) -> std::io::Result<Value> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some(leaf) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("admin.test").unwrap();
    let connection =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect(relay.address("admin.address"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (code, body) = exchange(rustls::StreamOwned::new(connection, stream), "/v1/status")?;
    assert_eq!(code, 200);
    Ok(serde_json::from_str(&body)?)
}

/// Adds an admin port whose clients must come from `clients`.
pub(crate) fn add_admin(setup: &mut Setup, clients: &Authority) {
    let leaf = setup.authority.leaf("admin.test");
    setup.replace("admin.crt", leaf.certificate.as_bytes());
    setup.replace("admin.key", leaf.key.as_bytes());
    setup.replace("clients.crt", clients.pem().as_bytes());
    setup.config["admin"] = json!({
        "address": "127.0.0.1:0", "certificate": "admin.crt", "key": "admin.key",
        "clientAuthority": "clients.crt",
    });
    setup.write();
}

#[test]
fn health_readiness_and_metrics_answer() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    assert_eq!(get(relay.health(), "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(relay.health(), "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(relay.health(), "/nothing").0, 404);
    let billing = billing(relay.submission(), &setup.authority);
    send(
        &billing,
        "billing@shop.example",
        "ada@reader.example",
        "counted",
    )
    .unwrap();
    receiver.wait_for(|message| message.content.contains("Subject: counted"));
    // The receiver has the message a moment before the relay has counted and settled it.
    metrics_with(
        &relay,
        "relay_delivery_attempts_total{result=\"delivered\"} 1",
    );
    let metrics = metrics_with(&relay, "relay_queue_messages 0");
    for line in [
        "relay_messages_accepted_total{listener=\"submission\"} 1",
        "relay_authentications_total{mechanism=\"PLAIN\",result=\"ok\"} 1",
        "relay_ready 1",
        "relay_config_error 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(
        metrics.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))),
        "{metrics}"
    );
}

#[test]
fn the_status_is_for_clients_of_the_named_authority_only() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    let (operator, stranger) = (Authority::new(), Authority::new());
    add_admin(&mut setup, &operator);
    let relay = setup.start();
    let authority = &setup.authority;
    let good = status(&relay, authority, Some(&operator.leaf("operator"))).unwrap();
    assert_eq!(good["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(good["accepting"], true);
    assert_eq!(good["queue"], json!({"messages": 0, "oldestSeconds": 0}));
    assert_eq!(good["configHash"].as_str().unwrap().len(), 64);
    assert_eq!(good.get("configError"), None);
    assert!(status(&relay, authority, Some(&stranger.leaf("operator"))).is_err());
    assert!(status(&relay, authority, None).is_err());
}
