use super::*;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_564_800 + second).unwrap()
}

fn found(issuer: &str) -> Discovered {
    Discovered {
        issuer: issuer.into(),
        jwks: json!({}),
    }
}

#[test]
fn what_was_known_stays_while_an_issuer_fails() {
    let keys = IssuerKeys::default();
    let url = "https://id.example";
    assert!(keys.fresh(url, FRESH, at(0)).is_none());
    keys.learn(url, Ok(found("one")), at(0));
    let known = keys.fresh(url, FRESH, at(299)).unwrap();
    assert_eq!((known.discovered, known.fault), (Some(found("one")), None));
    assert!(keys.fresh(url, FRESH, at(300)).is_none(), "is due");
    let known = keys.learn(url, Err("refused".into()), at(300));
    assert_eq!(known.discovered, Some(found("one")));
    assert_eq!(known.fault.as_deref(), Some("refused"));
    assert!(
        keys.fresh(url, FRESH, at(329)).is_some(),
        "not asked at once"
    );
    assert!(keys.fresh(url, FRESH, at(330)).is_none());
    let known = keys.learn(url, Ok(found("two")), at(330));
    assert_eq!((known.discovered, known.fault), (Some(found("two")), None));
    // Another issuer is not concerned.
    assert!(keys.fresh(CLUSTER, FRESH, at(330)).is_none());
}

#[test]
fn an_answer_that_is_no_document_is_a_fault() {
    assert_eq!(read(StatusCode::OK, b"{}"), Ok(json!({})));
    for (code, body, text) in [
        (StatusCode::FOUND, "{}", "redirects are not followed"),
        (StatusCode::NOT_FOUND, "{}", "404"),
        (StatusCode::OK, "<html>", "no JSON"),
    ] {
        let fault = read(code, body.as_bytes()).unwrap_err();
        assert!(fault.contains(text), "{fault}");
    }
    let fault = usable("https://id.example".into(), json!({"keys": []})).unwrap_err();
    assert!(fault.contains("https://id.example"), "{fault}");
}

#[tokio::test]
async fn only_https_is_fetched() {
    for url in ["http://id.example/x", "ftp://id.example", "id.example", ""] {
        let web = IssuerKeys::default().web;
        assert!(fetch(url, &web).await.is_err(), "{url}");
    }
}

/// An issuer at loopback over HTTPS: what it answers to each path, `ORIGIN` standing for its URL.
struct Server {
    origin: String,
    roots: RootCertStore,
}

impl Server {
    async fn start(answers: &'static [(&'static str, &'static str)]) -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = rcgen::CertifiedIssuer::self_signed(ca, ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = format!("https://localhost:{port}");
        let own = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust us breaks off here.
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(answer(stream, answers, own.clone()));
                }
            }
        });
        Self { origin, roots }
    }

    /// Keys as an operator that trusts this server finds them, or why not.
    async fn found(&self) -> Result<Discovered, String> {
        let keys = IssuerKeys::trusting(self.roots.clone());
        let known = keys.at(&self.origin, at(0)).await;
        known.discovered.ok_or(known.fault.unwrap_or_default())
    }
}

async fn answer(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    answers: &[(&str, &str)],
    origin: String,
) -> std::io::Result<()> {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::io::BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let found = answers.iter().find(|(known, _)| *known == path);
    let text = match found {
        Some((_, "FLOOD")) => {
            let head = "HTTP/1.1 200 OK\r\n\r\n";
            format!("{head}\"{}", "x".repeat(2 * LONGEST))
        }
        Some((_, answer)) if answer.starts_with("HTTP/") => answer.replace("ORIGIN", &origin),
        Some((_, answer)) => {
            let body = answer.replace("ORIGIN", &origin);
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
        }
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

const DOCUMENT: &str = r#"{"issuer": "ORIGIN", "jwks_uri": "ORIGIN/keys"}"#;
/// RFC 8037 appendix A.2, with a name.
const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "alg": "EdDSA",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[tokio::test]
async fn keys_are_fetched_from_an_issuer_that_proves_its_name() {
    let server = Server::start(&[(DISCOVERY, DOCUMENT), ("/keys", KEYS)]).await;
    let found = server.found().await.unwrap();
    assert_eq!(found.issuer, server.origin);
    assert_eq!(found.jwks["keys"][0]["kid"], "a");

    let stranger = Server::start(&[]).await;
    let keys = IssuerKeys::trusting(stranger.roots);
    let known = keys.at(&server.origin, at(0)).await;
    assert!(known.discovered.is_none());
    let fault = known.fault.unwrap();
    assert!(fault.contains("certificate"), "{fault}");
}

#[tokio::test]
async fn hostile_answers_of_an_issuer_cost_little_and_are_named() {
    const FOREIGN: &str = r#"{"issuer": "https://other.example", "jwks_uri": "ORIGIN/keys"}"#;
    const CLEAR: &str = r#"{"issuer": "ORIGIN", "jwks_uri": "http://127.0.0.1/keys"}"#;
    const MOVED: &str = "HTTP/1.1 302 Found\r\nLocation: ORIGIN/else\r\nContent-Length: 0\r\n\r\n";
    for (answers, text) in [
        (
            &[(DISCOVERY, FOREIGN), ("/keys", KEYS)][..],
            "other.example",
        ),
        (&[(DISCOVERY, CLEAR)], "is no https:// URL"),
        (
            &[(DISCOVERY, MOVED), ("/else", DOCUMENT)],
            "redirects are not followed",
        ),
        (&[(DISCOVERY, DOCUMENT), ("/keys", "FLOOD")], "limit"),
        (
            &[(DISCOVERY, DOCUMENT), ("/keys", "{\"keys\": []}")],
            "key set",
        ),
        (&[(DISCOVERY, DOCUMENT)], "404"),
        (&[(DISCOVERY, "<html>")], "no JSON"),
        (&[(DISCOVERY, "HTTP/9")], "localhost"),
    ] {
        let server = Server::start(answers).await;
        let fault = server.found().await.unwrap_err();
        assert!(fault.contains(text), "{text:?} is not in {fault:?}");
    }
}
