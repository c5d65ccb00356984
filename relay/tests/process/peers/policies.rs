//! The web server of all MTA-STS policies (RFC 8461), over HTTPS with a certificate for each name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificates::Shown;

/// What the policy host of a domain says.
pub(super) struct Policy {
    /// The certificate of `mta-sts.<domain>`.
    pub(super) shown: Shown,
    /// Head and body of the answer.
    pub(super) answer: String,
}

impl Policy {
    /// A policy in a mode, for hosts that match `mx`.
    pub(super) fn new(shown: Shown, mode: &str, mx: &str) -> Self {
        let text = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n");
        let length = text.len();
        Self {
            shown,
            answer: format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{text}"
            ),
        }
    }
}

/// By the name that is asked for, whatever is in them.
#[derive(Debug, Default)]
struct Certificates(HashMap<String, Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(hello.server_name()?).cloned()
    }
}

/// Serves `policies`, by domain, at port 443 until the runtime ends.
pub(super) async fn serve(address: Ipv4Addr, policies: Vec<(String, Policy)>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut certificates = Certificates::default();
    let mut answers = Vec::new();
    for (domain, policy) in policies {
        let name = format!("mta-sts.{domain}");
        let chain = CertificateDer::pem_slice_iter(policy.shown.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(policy.shown.key.as_bytes()).unwrap();
        let key = CertifiedKey::from_der(chain, key, &provider).unwrap();
        certificates.0.insert(name.clone(), Arc::new(key));
        answers.push((name, policy.answer));
    }
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let answers = Arc::new(answers);
    let listener = TcpListener::bind((address, 443)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(acceptor.clone(), stream, answers.clone()));
        }
    });
}

async fn answer(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    answers: Arc<Vec<(String, String)>>,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request).to_lowercase();
    let asked = |name: &str| {
        request.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n")
            && request.contains(&format!("\r\nhost: {name}\r\n"))
    };
    let found = answers.iter().find(|(name, _)| asked(name));
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let text = found.map_or(missing, |(_, text)| text);
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
