//! Mail that goes to one server, whatever its domain.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::delivery::testing::peer::Tls as PeerTls;
use crate::delivery::testing::tls_server;
use crate::delivery::token::tests::{self as token, Endpoint};

/// A server that takes mail under TLS after a password, which is right while `accepts` says so.
async fn smarthost(tls: Arc<rustls::ServerConfig>, accepts: Arc<AtomicBool>) -> Peer {
    Peer::start(Behaviour {
        offers: "250-AUTH PLAIN\r\n",
        tls: PeerTls::Yes(tls),
        rule: Box::new(move |_, line| {
            let good = accepts.load(Ordering::SeqCst);
            let reply = if good { "235 ok" } else { "535 5.7.8 wrong" };
            line.starts_with("AUTH PLAIN ")
                .then_some(Answer::Say(reply))
        }),
    })
    .await
}

#[tokio::test]
async fn a_smarthost_takes_all_mail_and_a_wrong_password_makes_it_wait() {
    let (tls, pem) = tls_server(&["localhost"]);
    let accepts = Arc::new(AtomicBool::new(true));
    let peer = smarthost(tls, accepts.clone()).await;
    let relay = Relay::start(&configuration(25, None, ""));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
    let load = |hostname: &str| {
        let smarthosts = format!(
            "smarthosts: [{{host: localhost, port: {}, certificateAuthorities: ca.pem, \
             authentication: {{username: user, password: pass}}}}]",
            peer.port()
        );
        let text = configuration(25, None, &smarthosts).replace("relay.example", hostname);
        let file = directory.path().join("relay.yaml");
        std::fs::write(&file, text).unwrap();
        let snapshot = Snapshot::load(&file, None).unwrap();
        relay.context.snapshot.store(Arc::new(snapshot));
    };

    load("relay.example");
    relay
        .finish(None, &["a@one.example", "b@two.example"])
        .await;
    // The queue follows the new configuration: one way for both.
    assert_eq!(peer.encrypted(), [true]);
    assert_eq!(recipients(&peer), [2]);
    let login = "AUTH PLAIN AHVzZXIAcGFzcw==".to_owned();
    assert!(peer.lines(0).contains(&login));

    let logins = &relay.context.egress.logins;
    assert!(logins.status().is_empty());
    accepts.store(false, Ordering::SeqCst);
    load("again.example");
    assert_eq!(relay.defer(SENDER, &["a@one.example"]).await, 1);
    let refused = logins.status();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].smarthost, "localhost");
    assert!(refused[0].error.contains("535"), "{:?}", refused[0]);
    relay.stop().await;
}

#[tokio::test]
async fn mail_put_together_for_a_smarthost_that_is_gone_goes_to_each_domain() {
    let pair = Pair::start(
        TWO_DOMAINS,
        Behaviour::default(),
        Behaviour::default(),
        "smarthosts: [{host: 127.0.0.4, port: 1, tls: None}]",
    )
    .await;
    let without = configuration(pair.first.port(), Some(pair.dns.address), "");
    pair.relay.reconfigure(&without);
    let to = ["a@one.test", "b@two.test", "c@one.test"];
    for _ in 0..2 {
        pair.relay.finish(None, &to).await;
    }
    assert_eq!(recipients(&pair.first), [2, 2]);
    assert_eq!(recipients(&pair.second), [1, 1]);
    pair.relay.stop().await;
}

/// A relay whose mail goes to a server that refuses the null sender.
async fn particular(refusal: &'static str, delivery: &str) -> (Relay, Peer) {
    let peer = Peer::start(rule(move |_, line| {
        let refuse = line.starts_with("MAIL FROM:<>") || line.starts_with("RCPT TO:<gone");
        refuse.then_some(Answer::Say(refusal))
    }))
    .await;
    let host = format!(
        "smarthosts: [{{host: 127.0.0.1, port: {}, tls: None}}]",
        peer.port()
    );
    let relay = Relay::start(&configuration(25, None, &format!("{host}, {delivery}")));
    (relay, peer)
}

#[tokio::test]
async fn b23_a_smarthost_that_refuses_the_null_sender_gets_the_address_in_its_place() {
    let settings = "reports: {returnPath: postmaster@from.example}";
    let (relay, peer) = particular("501 5.1.7 Invalid MAIL FROM address provided", settings).await;
    relay.finish(SENDER, &["gone@to.example"]).await;
    let report = peer.received(1).await.remove(0);
    assert_eq!(report.mail, "MAIL FROM:<postmaster@from.example>");
    assert_eq!(report.recipients, ["RCPT TO:<shop@[127.0.0.1]>"]);
    assert!(report.content.contains("Action: failed\r\n"));
    // A report that fails is still a report: nobody is told.
    relay.finish(None, &["gone@to.example"]).await;
    assert_eq!(peer.messages().len(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn b23_without_such_an_address_a_refused_report_is_dropped_and_one_put_off_expires() {
    let (relay, peer) = particular("550 5.1.7 no", "").await;
    relay.finish(SENDER, &["gone@to.example"]).await;
    assert!(peer.messages().is_empty());
    relay.stop().await;

    let retry = "retry: {initial: 20ms, maximum: 20ms, expireAfter: 300ms}";
    let (relay, peer) = particular("450 4.1.7 not now", retry).await;
    relay.finish(None, &["to@to.example"]).await;
    let tries = |peer: &Peer| {
        let lines = (0..peer.connections()).flat_map(|number| peer.lines(number));
        lines
            .filter(|line| line.starts_with("MAIL FROM:<>"))
            .count()
    };
    assert!((2..20).contains(&tries(&peer)), "{}", tries(&peer));
    relay.stop().await;
}

#[tokio::test]
async fn b23_mail_exchangers_get_the_null_sender_whatever_is_set_for_smarthosts() {
    let settings = "reports: {returnPath: postmaster@from.example}";
    let (relay, peer) = relay_and_peer(says("RCPT TO:<gone", "550 5.1.1 no"), settings).await;
    relay.finish(SENDER, &["gone@[127.0.0.1]"]).await;
    assert_eq!(peer.received(1).await[0].mail, "MAIL FROM:<>");
    relay.stop().await;
}

const NEXT: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
    {\"access_token\":\"tok2\",\"expires_in\":3600}";
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n\
    {\"error\":\"invalid_grant\",\"error_description\":\"expired\"}";

/// A relay whose smarthost takes the access token `accepted` names, which `endpoint` gives out.
async fn relay_with_tokens(endpoint: &Endpoint, accepted: Arc<AtomicUsize>) -> (Relay, Peer) {
    let (tls, pem) = tls_server(&["localhost"]);
    let peer = Peer::start(Behaviour {
        offers: "250-AUTH PLAIN XOAUTH2\r\n",
        tls: PeerTls::Yes(tls),
        rule: Box::new(move |_, line| {
            let number = accepted.load(Ordering::SeqCst);
            let good = format!("user=agent\u{1}auth=Bearer tok{number}\u{1}\u{1}");
            let good = format!("AUTH XOAUTH2 {}", STANDARD.encode(good));
            match line {
                _ if line == good => Some(Answer::Say("235 2.7.0 ok")),
                // RFC 7628 section 3.2.3: why, and then the refusal.
                _ if line.starts_with("AUTH ") => Some(Answer::Say("334 eyJzdGF0dXMiOiI0MDEifQ==")),
                "" => Some(Answer::Say("535 5.7.8 not accepted")),
                _ => None,
            }
        }),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
    std::fs::write(directory.path().join("tokens.pem"), &endpoint.pem).unwrap();
    let smarthosts = format!(
        "messagesPerConnection: 1, smarthosts: [{{host: localhost, port: {}, \
         certificateAuthorities: ca.pem, authentication: {{username: agent, oauth2: {{\
         tokenUrl: '{}', clientId: c, refreshToken: r1, scope: mail, \
         certificateAuthorities: tokens.pem}}}}}}]",
        peer.port(),
        endpoint.url
    );
    let file = directory.path().join("relay.yaml");
    std::fs::write(&file, configuration(25, None, &smarthosts)).unwrap();
    let relay = Relay::start(&configuration(25, None, ""));
    let snapshot = Snapshot::load(&file, None).unwrap();
    relay.context.snapshot.store(Arc::new(snapshot));
    (relay, peer)
}

#[tokio::test]
async fn an_access_token_is_kept_and_one_that_the_server_refuses_is_replaced_once() {
    let endpoint = token::endpoint(&[token::GOOD, NEXT]).await;
    let accepted = Arc::new(AtomicUsize::new(1));
    let (relay, peer) = relay_with_tokens(&endpoint, accepted.clone()).await;
    for _ in 0..2 {
        relay.finish(None, &["a@one.example"]).await;
    }
    assert_eq!(endpoint.count.load(Ordering::SeqCst), 1);
    let status = || {
        let config = relay.context.snapshot.load_full();
        relay.context.egress.tokens.status(&config.config).remove(0)
    };
    assert_eq!(status().smarthost, "localhost");
    assert!(status().expires_at.unwrap() > now().0 / 1000 + 3000);

    accepted.store(2, Ordering::SeqCst);
    relay.context.egress.tokens.age();
    let before = peer.connections();
    relay.finish(None, &["a@one.example"]).await;
    assert_eq!(peer.messages().len(), 3);
    assert_eq!(peer.connections(), before + 2);
    assert_eq!(endpoint.count.load(Ordering::SeqCst), 2);

    // The newest one is refused too: it waits, and the endpoint is left alone.
    accepted.store(3, Ordering::SeqCst);
    assert_eq!(relay.defer(None, &["a@one.example"]).await, 1);
    assert_eq!(endpoint.count.load(Ordering::SeqCst), 2);
    relay.stop().await;
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_makes_mail_wait_and_shows_in_the_status() {
    let endpoint = token::endpoint(&[REFUSED]).await;
    let (relay, peer) = relay_with_tokens(&endpoint, Arc::default()).await;
    assert_eq!(relay.defer(SENDER, &["a@one.example"]).await, 1);
    assert_eq!(peer.connections(), 0);
    let config = relay.context.snapshot.load_full();
    let status = relay.context.egress.tokens.status(&config.config).remove(0);
    assert_eq!(
        status.error.as_deref(),
        Some("the token endpoint refuses: invalid_grant (expired)")
    );
    relay.stop().await;
}

#[tokio::test]
async fn tokens_and_their_secrets_are_forgotten_with_the_settings() {
    let endpoint = token::endpoint(&[token::GOOD]).await;
    let (relay, _) = relay_with_tokens(&endpoint, Arc::new(AtomicUsize::new(1))).await;
    relay.finish(None, &["a@one.example"]).await;
    assert_eq!(relay.context.egress.tokens.count(), 1);
    relay.reconfigure(&configuration(25, None, ""));
    // Mail makes the engine look at the configuration.
    relay.submit(None, &["a@nowhere.invalid"], TEXT).await;
    relay.queued(0).await;
    assert_eq!(relay.context.egress.tokens.count(), 0);
    relay.stop().await;
}

/// Whether mail arrives at a server that SRV records of `mail.test` name, and which name it was asked for.
async fn by_srv(tls: &str, target: &str, certificate: &str) -> Option<Option<String>> {
    let (server, pem) = tls_server(&[certificate]);
    let (service, server) = match tls {
        "Implicit" => ("_submissions._tcp.mail.test", PeerTls::Implicit(server)),
        _ => ("_submission._tcp.mail.test", PeerTls::Yes(server)),
    };
    let behaviour = Behaviour {
        tls: server,
        ..Behaviour::default()
    };
    let peer = Peer::start(behaviour).await;
    let record = format!("0 1 {} {target}", peer.port());
    let dns = Dns::start(&[(service, "SRV", &record), (target, "A", "127.0.0.1")]).await;
    let smarthosts = format!(
        "smarthosts: [{{host: mail.test, port: 1, lookup: Srv, tls: {tls}, \
         certificateAuthorities: ca.pem}}]"
    );
    let text = configuration(25, Some(dns.address), &smarthosts);
    let relay = Relay::start_with(&text, &[("ca.pem", &pem)]);
    let attempts = relay.context.queue.counters().settled;
    relay.submit(None, &["a@one.example"], TEXT).await;
    relay.attempted(attempts + 1).await;
    assert_eq!(peer.connections(), 1, "{tls} {target} {certificate}");
    let arrived = peer.messages().len() == 1;
    assert_eq!(relay.context.queue.status().0, u64::from(!arrived));
    relay.stop().await;
    arrived.then(|| peer.server_names().remove(0))
}

#[tokio::test]
async fn a_server_that_srv_records_name_proves_its_name_or_that_of_the_domain_if_it_lies_elsewhere()
{
    let rows = [
        ("in.mail.test", "in.mail.test", Some("in.mail.test")),
        ("in.mail.test", "mail.test", None),
        ("in.other.test", "mail.test", Some("mail.test")),
        ("in.other.test", "in.other.test", None),
    ];
    for tls in ["StartTls", "Implicit"] {
        for (target, certificate, name) in rows {
            let found = by_srv(tls, target, certificate).await;
            let expected = name.map(|name| Some(name.to_owned()));
            assert_eq!(found, expected, "{tls} {target} {certificate}");
        }
    }
}
