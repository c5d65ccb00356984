use super::*;
use crate::delivery::policy::{self, Source};
use crate::delivery::testing::peer::{Answer, Behaviour, Peer, Tls as PeerTls};
use crate::delivery::testing::tls_server;
use crate::delivery::tls::Tls;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_smtp::Address;
use relay_smtp::client::Proof;
use rustls_pki_types::pem::PemObject as _;

/// For the one wait that a test wants to be over.
const SHORT: relay_config::Duration = relay_config::Duration::from_millis(200);

/// Long enough for a machine that does much else.
fn timeouts() -> Timeouts {
    let long = relay_config::Duration::from_secs(15);
    Timeouts {
        connect: long,
        greeting: long,
        tls: long,
        command: long,
        data: long,
        data_reply: long,
    }
}

fn target(peer: &Peer, security: Security) -> Target {
    Target {
        watch: None,
        destination: "mx.test".into(),
        remote: Remote {
            host: "mx.test".into(),
            address: peer.address,
            encryption: None,
            policy: None,
        },
        identity: None,
        candidate: Candidate {
            domain: None,
            name: "mx.test".into(),
            port: peer.port(),
            setting: security,
        },
        policy: policy::plain(security, Source::Setting),
        tls: Tls::new().unwrap().unverified,
        credentials: None,
        name: "relay.example".into(),
        timeouts: timeouts(),
    }
}

/// A client that trusts only this certificate.
fn trusting(pem: &str) -> Arc<ClientConfig> {
    let certificate = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn peer(tls: PeerTls) -> Peer {
    let behaviour = Behaviour {
        tls,
        ..Behaviour::default()
    };
    Peer::start(behaviour).await
}

async fn open(target: &Target) -> Result<Connection, ConnectionError> {
    super::open(target, &Metrics::unread()).await
}

/// Sends one message; the verdict in short.
async fn send(connection: &mut Connection, content: &'static str) -> Vec<Verdict> {
    let recipient = Address::parse("to@to.test").unwrap();
    let envelope = Envelope {
        sender: None,
        recipients: &[&recipient],
        size: content.len() as u64,
        eight_bit: false,
        smtputf8: false,
        ..Envelope::default()
    };
    connection.send(&envelope, &[Bytes::from(content)]).await.0
}

#[tokio::test]
async fn t1_t3_t6_opportunistic_tls_that_does_not_work_is_followed_by_clear_text() {
    for tls in [PeerTls::Closes, PeerTls::Stalls, PeerTls::Talks] {
        let stalls = matches!(tls, PeerTls::Stalls);
        let peer = peer(tls).await;
        let mut target = target(&peer, Security::Opportunistic);
        if stalls {
            target.timeouts.tls = SHORT;
        }
        let mut connection = open(&target).await.unwrap();
        assert_eq!(connection.remote().encryption, None);
        assert_eq!(peer.connections(), 2);
        let verdicts = send(&mut connection, "Subject: x\r\n\r\nx\r\n").await;
        assert!(matches!(verdicts[0], Verdict::Accepted(_)));
        assert!(!peer.lines(1).contains(&"STARTTLS".into()));
    }
}

#[tokio::test]
async fn t2_a_server_without_common_signature_schemes_is_followed_by_clear_text() {
    let (server, _) = tls_server(&["mx.test"]);
    let peer = peer(PeerTls::Yes(server)).await;
    // The server has an ECDSA key, for which this client has no suite.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut target = target(&peer, Security::Opportunistic);
    target.tls = Arc::new(config);
    let connection = open(&target).await.unwrap();
    assert_eq!(connection.remote().encryption, None);
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn t1_t3_t6_required_tls_that_does_not_work_is_an_error() {
    for tls in [
        PeerTls::Closes,
        PeerTls::Stalls,
        PeerTls::Talks,
        PeerTls::No,
    ] {
        for security in [Security::Required, Security::Verified] {
            let peer = peer(tls.clone()).await;
            let mut target = target(&peer, security);
            target.timeouts.tls = SHORT;
            assert!(open(&target).await.is_err());
            assert_eq!(peer.connections(), 1);
        }
    }
}

#[tokio::test]
async fn t4_t9_t10_m16_any_certificate_will_do_and_the_name_is_sent_without_its_dot() {
    for security in [Security::Opportunistic, Security::Required] {
        let (server, _) = tls_server(&["another.test"]);
        let peer = peer(PeerTls::Yes(server)).await;
        let mut target = target(&peer, security);
        target.remote.host = "mx.test.".into();
        let mut connection = open(&target).await.unwrap();
        let encryption = connection.remote().encryption.unwrap();
        assert_eq!(encryption.version, "TLSv1_3");
        assert!(
            encryption.cipher.starts_with("TLS13_"),
            "{}",
            encryption.cipher
        );
        send(&mut connection, "x\r\n").await;
        assert_eq!(peer.server_names(), [Some("mx.test".into())]);
        assert_eq!(peer.encrypted(), [true]);
    }
}

#[tokio::test]
async fn a_verified_certificate_must_be_trusted_and_have_the_name() {
    let (server, pem) = tls_server(&["mx.test"]);
    let peer = peer(PeerTls::Yes(server)).await;
    let mut good = target(&peer, Security::Verified);
    good.tls = trusting(&pem);
    assert!(open(&good).await.is_ok());
    let mut wrong_name = target(&peer, Security::Verified);
    wrong_name.tls = trusting(&pem);
    wrong_name.remote.host = "other.test".into();
    let error = open(&wrong_name).await.err().unwrap();
    assert!(matches!(error, ConnectionError::Tls(_)), "{error}");
    let mut untrusted = target(&peer, Security::Verified);
    untrusted.tls = Tls::new().unwrap().verified;
    assert!(open(&untrusted).await.is_err());
}

#[tokio::test]
async fn t8_a_server_given_by_address_gets_no_name_and_its_address_is_verified() {
    let (server, pem) = tls_server(&["127.0.0.1"]);
    let peer = peer(PeerTls::Implicit(server)).await;
    let mut target = target(&peer, Security::Implicit);
    target.tls = trusting(&pem);
    target.remote.host = "127.0.0.1".into();
    let mut connection = open(&target).await.unwrap();
    send(&mut connection, "x\r\n").await;
    assert_eq!(peer.server_names(), [None]);
    target.remote.host = "127.0.0.2".into();
    assert!(open(&target).await.is_err());
}

#[tokio::test]
async fn t20_no_client_certificate_is_shown() {
    // A server that demands one ends the handshake.
    let (_, pem) = tls_server(&["client.test"]);
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    )
    .build()
    .unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["mx.test".into()]).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let peer = peer(PeerTls::Yes(Arc::new(server))).await;
    let error = open(&target(&peer, Security::Required))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ConnectionError::Tls(_)), "{error}");
    let connection = open(&target(&peer, Security::Opportunistic)).await.unwrap();
    assert_eq!(connection.remote().encryption, None);
}

#[tokio::test]
async fn r17_what_came_before_the_handshake_is_no_reply_after_it() {
    let (server, _) = tls_server(&["mx.test"]);
    let injected = "250-INJECTED\r\n250 AUTH PLAIN\r\n";
    let peer = peer(PeerTls::Inject(server, injected)).await;
    // The injected octets are read with the 220 and dropped, or are read by TLS, which then fails;
    // in neither case are they a reply.
    match open(&target(&peer, Security::Required)).await {
        Ok(connection) => assert_eq!(connection.client().capabilities().name, "mx.test"),
        Err(error) => assert!(matches!(error, ConnectionError::Tls(_)), "{error}"),
    }
}

#[tokio::test]
async fn r18_t7_required_tls_neither_falls_back_to_helo_nor_to_clear_text() {
    let peer = Peer::start(Behaviour {
        rule: Box::new(|_, line| line.starts_with("EHLO").then_some(Answer::Say("502 what"))),
        ..Behaviour::default()
    })
    .await;
    let error = open(&target(&peer, Security::Required))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, ConnectionError::Session(Failure::TlsNotOffered)),
        "{error}"
    );
    assert!(!peer.lines(0).iter().any(|line| line.starts_with("HELO")));
    assert!(open(&target(&peer, Security::Opportunistic)).await.is_ok());
}

#[tokio::test]
async fn r39_the_password_goes_under_tls_and_after_its_challenge() {
    let (server, _) = tls_server(&["mx.test"]);
    let peer = Peer::start(Behaviour {
        offers: "250-AUTH LOGIN\r\n",
        tls: PeerTls::Yes(server),
        rule: Box::new(|_, line| {
            let answer = match line {
                "AUTH LOGIN" => "334 VXNlcm5hbWU6",
                "dXNlcg==" => "334 UGFzc3dvcmQ6",
                "cGFzcw==" => "235 2.7.0 ok",
                _ => return None,
            };
            Some(Answer::Say(answer))
        }),
    })
    .await;
    let mut target = target(&peer, Security::Required);
    target.credentials = Some(Credentials {
        username: "user".into(),
        proof: Proof::Password {
            password: "pass".into(),
            nonce: "nonce".into(),
        },
    });
    open(&target).await.unwrap();
    assert_eq!(
        peer.lines(0),
        [
            "EHLO relay.example",
            "STARTTLS",
            "EHLO relay.example",
            "AUTH LOGIN",
            "dXNlcg==",
            "cGFzcw=="
        ]
    );
}

#[tokio::test]
async fn d1_d3_d4_d5_the_server_reads_the_content_that_was_sent() {
    let peer = peer(PeerTls::No).await;
    let mut connection = open(&target(&peer, Security::Clear)).await.unwrap();
    send(&mut connection, ".a\r\n.\r\n..\r\nhello\r\n.\r\nworld\r\n").await;
    send(&mut connection, "second\r\n").await;
    let messages = peer.received(2).await;
    assert_eq!(
        messages[0].content,
        "..a\r\n..\r\n...\r\nhello\r\n..\r\nworld\r\n"
    );
    assert_eq!(messages[1].content, "second\r\n");
}

#[tokio::test]
async fn large_content_in_many_pieces_arrives_whole() {
    for tls in [PeerTls::No, PeerTls::Yes(tls_server(&["mx.test"]).0)] {
        let peer = peer(tls).await;
        let mut connection = open(&target(&peer, Security::Opportunistic)).await.unwrap();
        let line = format!("{}\r\n", "x".repeat(70));
        let pieces: Vec<Bytes> = (0..1000).map(|_| Bytes::from(line.repeat(50))).collect();
        let recipient = Address::parse("to@to.test").unwrap();
        let envelope = Envelope {
            sender: None,
            recipients: &[&recipient],
            size: 0,
            eight_bit: false,
            smtputf8: false,
            ..Envelope::default()
        };
        let (verdicts, error) = connection.send(&envelope, &pieces).await;
        assert!(error.is_none() && matches!(verdicts[0], Verdict::Accepted(_)));
        assert_eq!(peer.received(1).await[0].content.len(), 72 * 50 * 1000);
    }
}

#[tokio::test]
async fn silence_and_closed_ports_are_errors_in_time() {
    let peer = Peer::start(Behaviour {
        rule: Box::new(|_, line| (line == "connect").then_some(Answer::Silence)),
        ..Behaviour::default()
    })
    .await;
    let mut silent = target(&peer, Security::Clear);
    silent.timeouts.greeting = SHORT;
    let error = open(&silent).await.err().unwrap();
    assert_eq!(error.to_string(), "the server was silent for 200ms");

    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut closed = target(&peer, Security::Clear);
    closed.remote.address = socket.local_addr().unwrap();
    drop(socket);
    let error = open(&closed).await.err().unwrap();
    assert!(matches!(error, ConnectionError::Connect(_)), "{error}");
}

#[test]
fn b27_the_reply_to_the_content_has_ten_minutes_by_default() {
    let default = relay_config::Timeouts::default();
    assert!(default.data_reply.get() >= Duration::from_mins(10));
}

#[tokio::test]
async fn b27_a_lost_reply_to_the_content_is_unconfirmed() {
    for answer in [close as fn() -> Answer, silence] {
        let peer = Peer::start(Behaviour {
            rule: Box::new(move |_, line| (line == "content").then(answer)),
            ..Behaviour::default()
        })
        .await;
        let mut target = target(&peer, Security::Clear);
        target.timeouts.data_reply = SHORT;
        let mut connection = open(&target).await.unwrap();
        let verdicts = send(&mut connection, "x\r\n").await;
        assert_eq!(verdicts, [Verdict::Unconfirmed]);
        assert!(!connection.is_ready());
    }
}

fn close() -> Answer {
    Answer::Close
}

fn silence() -> Answer {
    Answer::Silence
}

#[tokio::test]
async fn octets_of_a_part_of_a_reply_do_not_prolong_the_wait_for_the_whole() {
    let behaviour = Behaviour {
        rule: Box::new(|_, line| {
            let octets: &[u8] = &[b'x'; 600];
            let pause = Duration::from_millis(50);
            line.starts_with("EHLO")
                .then_some(Answer::Drip(octets, pause))
        }),
        ..Behaviour::default()
    };
    let peer = Peer::start(behaviour).await;
    let mut target = target(&peer, Security::Clear);
    target.timeouts.command = SHORT;
    let begun = Instant::now();
    let error = open(&target).await.err().unwrap();
    assert!(matches!(error, ConnectionError::Silent(_)), "{error}");
    // All of it would take half a minute.
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_server_that_gives_each_reply_at_the_last_moment_does_not_have_the_time_of_all() {
    for offers in ["250-PIPELINING\r\n", ""] {
        let behaviour = Behaviour {
            offers,
            rule: Box::new(|_, line| {
                // Half of the time for one reply; all of them would take half a minute.
                let pause = Duration::from_millis(300);
                let dribbles = line.starts_with("RCPT");
                dribbles.then_some(Answer::Later("250 2.1.5 ok", pause))
            }),
            ..Behaviour::default()
        };
        let peer = Peer::start(behaviour).await;
        let mut target = target(&peer, Security::Clear);
        target.timeouts.command = relay_config::Duration::from_millis(600);
        let mut connection = open(&target).await.unwrap();
        let recipient = Address::parse("to@to.test").unwrap();
        let envelope = Envelope {
            recipients: &[&recipient; 100],
            ..Envelope::default()
        };
        let begun = Instant::now();
        let (verdicts, error) = connection.send(&envelope, &[Bytes::from("x\r\n")]).await;
        // 600 ms for the first, and a twentieth for each of 103 more.
        let error = error.unwrap();
        assert!(
            matches!(error, ConnectionError::Slow(whole) if whole == Duration::from_millis(3690)),
            "{error}"
        );
        assert_eq!(verdicts, vec![Verdict::Undecided; 100]);
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert!(peer.messages().is_empty());
    }
}

/// How long the runtime of a test stands still at most while `what` goes on, which is done when it ends.
async fn standstill(what: impl Future<Output = ()>) -> Duration {
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    let mut what = std::pin::pin!(what);
    loop {
        tokio::select! {
            biased;
            () = &mut what => return longest.max(last.elapsed()),
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
    }
}

#[tokio::test]
async fn a_login_that_costs_much_holds_up_no_other_session() {
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    let (server, _) = tls_server(&["mx.test"]);
    let peer = Peer::start(Behaviour {
        offers: "250-AUTH SCRAM-SHA-256\r\n",
        tls: PeerTls::Yes(server),
        rule: Box::new(|_, line| {
            let first = line.strip_prefix("AUTH SCRAM-SHA-256 ")?;
            let first = String::from_utf8(STANDARD.decode(first).unwrap()).unwrap();
            let (_, nonce) = first.split_once(",r=").unwrap();
            let answer = STANDARD.encode(format!("r={nonce}more,s={SALT},i=1000000"));
            Some(Answer::Say(Box::leak(
                format!("334 {answer}").into_boxed_str(),
            )))
        }),
    })
    .await;
    let mut target = target(&peer, Security::Required);
    target.credentials = Some(Credentials {
        username: "user".into(),
        proof: Proof::Password {
            password: "pass".into(),
            nonce: "nonce".into(),
        },
    });
    let begun = Instant::now();
    let longest = standstill(async {
        // The server does not know the password.
        let error = open(&target).await.err().unwrap();
        assert!(matches!(error, ConnectionError::Session(_)), "{error}");
    })
    .await;
    let whole = begun.elapsed();
    assert_eq!(peer.lines(0).len(), 5, "{:?}", peer.lines(0));
    assert!(longest < whole / 2, "{longest:?} of {whole:?}");
}
