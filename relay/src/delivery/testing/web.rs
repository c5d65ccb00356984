//! An authority, certificates by it, and a web server that says what a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::tls::provider;

/// An authority of a test.
#[derive(Clone)]
pub(crate) struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(Arc::new(CertifiedIssuer::self_signed(params, key).unwrap()))
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> rcgen::Certificate {
        params.signed_by(key, &*self.0).unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A TLS server with a certificate for this name, which is valid until this year.
    pub(crate) fn server(&self, name: &str, until: i32) -> Arc<rustls::ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &*self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        Arc::new(config)
    }
}

/// A year that does not come.
pub(crate) const VALID: i32 = 2090;

/// A running web server; ends with the test's runtime.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    posted: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// An answer with a policy.
pub(crate) fn policy(text: &str) -> String {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}")
}

impl Web {
    /// Gives this answer to each request, and never closes first.
    pub(crate) async fn start(tls: Arc<rustls::ServerConfig>, answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::<AtomicUsize>::default();
        let (said, counted) = (answer.clone(), requests.clone());
        let posted = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = posted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, said, counted) = (tls.clone(), said.clone(), counted.clone());
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut stream = TlsAcceptor::from(tls).accept(stream).await?;
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await?);
                    }
                    if request.starts_with(b"POST ") {
                        let mut body = vec![0; content_length(&request)];
                        stream.read_exact(&mut body).await?;
                        kept.lock().push([request, body].concat());
                    } else {
                        let head = b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n";
                        assert!(request.starts_with(head));
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    let text = said.lock().clone();
                    stream.write_all(text.as_bytes()).await?;
                    stream.flush().await?;
                    stream.read_u8().await
                });
            }
        });
        Self {
            address,
            answer,
            requests,
            posted,
        }
    }

    /// What was sent by `POST`, with its header.
    pub(crate) fn posted(&self) -> Vec<Vec<u8>> {
        self.posted.lock().clone()
    }

    /// From now on it gives this answer.
    pub(crate) fn say(&self, answer: String) {
        *self.answer.lock() = answer;
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn content_length(request: &[u8]) -> usize {
    let text = std::str::from_utf8(request).unwrap().to_ascii_lowercase();
    let (_, rest) = text.split_once("content-length: ").unwrap();
    rest.split("\r\n").next().unwrap().parse().unwrap()
}
