//! Who a client proves to be, by each mechanism, and for how long.

use aws_lc_rs::{digest, hmac, pbkdf2};
use serde_json::{Value, json};

use crate::authentication::token::tests::{AUDIENCE, ISSUER, Mint};

use super::*;

/// Kept open in the tests: listener 4 takes passwords and tokens without TLS.
const CLEAR: usize = 4;

fn seconds() -> u64 {
    crate::context::now().0 / 1000
}

/// An issuer of ServiceAccount tokens, as the operator renders it.
fn issuers(mint: &Mint) -> String {
    let issuer = json!({
        "name": "kubernetes", "issuer": ISSUER, "audiences": [AUDIENCE], "kind": "Kubernetes",
        "jwks": mint.jwks(),
    });
    format!("authentication: {{issuers: [{issuer}]}}")
}

async fn relay(mint: &Mint) -> Relay {
    let relay = Relay::start(&issuers(mint)).await;
    // The ServiceAccount may use the domain as well.
    change(&relay, |snapshot| {
        let domain = snapshot::SendingDomain::for_test(
            "shop.example",
            &["credential:shop/checkout", "sa:shop/checkout"],
        );
        snapshot
            .domains
            .insert("shop.example".into(), Arc::new(domain));
    });
    relay
}

use crate::snapshot;

/// Puts a changed configuration in force, as a reload does.
fn change(relay: &Relay, edit: impl FnOnce(&mut Snapshot)) {
    let empty = relay_config::parse_files(
        Path::new("relay.yaml"),
        &BTreeMap::from([(
            PathBuf::from("relay.yaml"),
            b"version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
              - {name: first, address: '127.0.0.1:2525', tls: None}\n"
                .to_vec(),
        )]),
    );
    let placeholder = Snapshot::build(empty.unwrap(), None).unwrap();
    let old = relay.context.snapshot.swap(Arc::new(placeholder));
    let mut snapshot = Arc::into_inner(old).expect("no session works now");
    edit(&mut snapshot);
    relay.context.snapshot.store(Arc::new(snapshot));
    relay
        .context
        .reloaded
        .send_modify(|generation| *generation += 1);
}

fn token(mint: &Mint, lasts: i64) -> String {
    let expires = i64::try_from(seconds()).unwrap() + lasts;
    mint.token(&json!({"nbf": null, "iat": null, "exp": expires}))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn bearer(&mut self, token: &str) -> String {
        let message = format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
        let line = format!("AUTH OAUTHBEARER {}", BASE64.encode(message));
        self.command(&line).await
    }

    async fn plain(&mut self, username: &str, password: &str) -> String {
        let response = BASE64.encode(format!("\0{username}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}")).await
    }

    /// The challenge of a line, or its reply when there is none.
    async fn say(&mut self, line: &str) -> String {
        let reply = self.command(line).await;
        match reply.trim_end().strip_prefix("334 ") {
            Some(challenge) => String::from_utf8(BASE64.decode(challenge).unwrap()).unwrap(),
            None => reply,
        }
    }

    /// A SCRAM exchange to its last reply.
    async fn scram(
        &mut self,
        mechanism: &str,
        header: &str,
        data: &[u8],
        password: &str,
    ) -> String {
        let mac = |key: &[u8], text: &[u8]| -> [u8; 32] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text).as_ref().try_into().unwrap()
        };
        let bare = "n=checkout,r=fyko+d2lbbFgONRv9qkxdawL";
        let first = BASE64.encode(format!("{header}{bare}"));
        let challenge = self.say(&format!("AUTH {mechanism} {first}")).await;
        let parts: Vec<_> = challenge.split(',').map(|part| &part[2..]).collect();
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            parts[2].parse().unwrap(),
            &BASE64.decode(parts[1]).unwrap(),
            password.as_bytes(),
            &mut salted,
        );
        let client = mac(&salted, b"Client Key");
        let binding = BASE64.encode([header.as_bytes(), data].concat());
        let last = format!("c={binding},r={}", parts[0]);
        let stored = digest::digest(&digest::SHA256, &client);
        let signature = mac(
            stored.as_ref(),
            format!("{bare},{challenge},{last}").as_bytes(),
        );
        let proof: Vec<_> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let last = format!("{last},p={}", BASE64.encode(proof));
        let reply = self.say(&BASE64.encode(last)).await;
        if reply.starts_with("v=") {
            return self.command("").await;
        }
        reply
    }
}

#[tokio::test]
async fn a_pod_sends_with_its_token_by_every_mechanism() {
    let mint = Mint::new("k1");
    let relay = relay(&mint).await;
    let token = token(&mint, 600);
    let xoauth2 = BASE64.encode(format!("user=x\u{1}auth=Bearer {token}\u{1}\u{1}"));
    for attempt in 0..7 {
        let mut client = relay.greeted(CLEAR).await;
        let reply = match attempt {
            0 => client.bearer(&token).await,
            1 => client.command(&format!("AUTH XOAUTH2 {xoauth2}")).await,
            2 => client.plain("token", &token).await,
            3 => client.plain("", &token).await,
            4 => client.plain("checkout", &token).await,
            5 => client.plain("shop/checkout", &token).await,
            _ => {
                client.command("AUTH LOGIN").await;
                client.command("dG9rZW4=").await;
                client.command(&BASE64.encode(&token)).await
            }
        };
        assert_eq!(reply[..3], *"235", "{attempt} {reply}");
        let reply = client.submit("desk@shop.example", MESSAGE).await;
        assert_eq!(reply[..3], *"250", "{attempt} {reply}");
    }
    for (work, _) in relay.queued() {
        assert_eq!(work.envelope.identity.as_deref(), Some("sa:shop/checkout"));
    }
}

#[tokio::test]
async fn a_token_that_proves_nothing_is_refused_with_what_to_do() {
    let mint = Mint::new("k1");
    let relay = relay(&mint).await;
    let good = json!({"nbf": null, "exp": seconds() + 600});
    let with = |name: &str, value: Value| {
        let mut changes = good.clone();
        changes[name] = value;
        mint.token(&changes)
    };
    for (token, text) in [
        (token(&mint, -61), "has expired"),
        (with("aud", json!("vault")), "another audience"),
        (
            with("iss", json!("https://evil.example")),
            "an issuer that this relay does not know",
        ),
        (with("sub", json!("alice")), "does not say whose it is"),
        (mint.sign(r#"{"alg":"none"}"#, "{}"), "algorithm none"),
        (Mint::new("k2").token(&good), "does not publish"),
        (Mint::new("k1").token(&good), "signature is wrong"),
    ] {
        let mut client = relay.greeted(CLEAR).await;
        let reply = client.plain("token", &token).await;
        assert!(
            reply.starts_with("535 5.7.8") && reply.contains(text),
            "{reply}"
        );
        // By the mechanism for tokens the same, after the challenge that it asks for.
        let challenge = client.bearer(&token).await;
        assert_eq!(challenge, "334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\r\n");
        let reply = client.command("AQ==").await;
        assert!(
            reply.starts_with("535 5.7.8") && reply.contains(text),
            "{reply}"
        );
        assert_eq!(
            client.command("MAIL FROM:<desk@shop.example>").await[..3],
            *"530"
        );
    }
    let mut client = relay.greeted(CLEAR).await;
    let reply = client.plain("billing", &token(&mint, 600)).await;
    assert!(
        reply.contains("the user name is not the token's owner"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_token_that_expires_ends_the_session_at_the_next_mail() {
    let mint = Mint::new("k1");
    let relay = relay(&mint).await;
    let mut client = relay.greeted(CLEAR).await;
    // With the leeway of a minute it lasts two seconds more.
    assert_eq!(client.bearer(&token(&mint, -58)).await[..3], *"235");
    assert_eq!(
        client.command("MAIL FROM:<desk@shop.example>").await[..3],
        *"250"
    );
    let last = loop {
        assert_eq!(client.command("RSET").await[..3], *"250");
        let reply = client.command("MAIL FROM:<desk@shop.example>").await;
        if !reply.starts_with("250") {
            break reply;
        }
        // A session may not say much without a message.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        last.starts_with("421 4.7.0 the token of this session has expired"),
        "{last}"
    );
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn scram_logs_in_bound_to_the_connection_or_not() {
    let relay = Relay::start("").await;
    for (mechanism, header, password, code) in [
        ("SCRAM-SHA-256", "n,,", "otter", "235"),
        ("SCRAM-SHA-256", "n,,", "badger", "535"),
        ("SCRAM-SHA-256", "y,,", "otter", "535"),
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "otter", "235"),
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "badger", "535"),
        (
            "SCRAM-SHA-256-PLUS",
            "p=tls-server-end-point,,",
            "otter",
            "235",
        ),
    ] {
        let mut client = relay.encrypt(relay.tcp(1).await).await.unwrap();
        client.reply().await;
        client.command("EHLO c").await;
        let connection = client.0.get_ref().get_ref().1;
        let exported = connection
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .unwrap();
        let certificate = digest::digest(&digest::SHA256, &relay.certificate);
        let data = match header {
            "p=tls-exporter,," => &exported[..],
            "p=tls-server-end-point,," => certificate.as_ref(),
            _ => &[],
        };
        if header == "y,," {
            let first = BASE64.encode("y,,n=checkout,r=abc");
            let reply = client.command(&format!("AUTH SCRAM-SHA-256 {first}")).await;
            assert_eq!(reply[..3], *code, "{reply}");
            continue;
        }
        let reply = client.scram(mechanism, header, data, password).await;
        assert_eq!(reply[..3], *code, "{mechanism} {header} {password} {reply}");
        if code == "235" {
            let reply = client.submit("desk@shop.example", MESSAGE).await;
            assert_eq!(reply[..3], *"250", "{reply}");
        }
    }
    for (work, _) in relay.queued() {
        let identity = work.envelope.identity.as_deref();
        assert_eq!(identity, Some("credential:shop/checkout"));
    }
}

#[tokio::test]
async fn open_sessions_end_with_what_their_login_rests_on() {
    let mint = Mint::new("k1");
    let relay = relay(&mint).await;
    let mut by_password = relay.greeted(CLEAR).await;
    assert_eq!(by_password.log_in("otter").await[..3], *"235");
    let mut by_token = relay.greeted(CLEAR).await;
    assert_eq!(by_token.bearer(&token(&mint, 600)).await[..3], *"235");
    let mut anonymous = relay.greeted(2).await;
    assert_eq!(anonymous.command("NOOP").await[..3], *"250");

    // A change that concerns neither ends neither.
    change(&relay, |snapshot| {
        snapshot.domains.remove("open.example");
    });
    for client in [&mut by_password, &mut by_token] {
        assert_eq!(client.command("NOOP").await[..3], *"250");
    }
    // The password was rotated out: told at once, although the client says nothing.
    change(&relay, |snapshot| {
        let other = ScramVerifier::derive("badger", b"0123456789abcdef", 4096);
        let credential = snapshot::Credential {
            identity: "credential:shop/checkout".into(),
            verifiers: vec![other],
        };
        snapshot
            .credentials
            .insert("checkout".into(), Arc::new(credential));
    });
    assert_eq!(by_password.reply().await[..9], *"421 4.7.0");
    assert_eq!(by_password.reply().await, "");
    assert_eq!(by_token.command("NOOP").await[..3], *"250");
    // Tokens are no longer believed.
    change(&relay, |snapshot| snapshot.issuers.list.clear());
    assert_eq!(by_token.reply().await[..9], *"421 4.7.0");
    assert_eq!(by_token.reply().await, "");
    assert_eq!(anonymous.command("NOOP").await[..3], *"250");
}

#[tokio::test]
async fn a_login_that_is_revoked_while_a_message_arrives_queues_nothing() {
    let relay = Relay::start("").await;
    let mut client = relay.greeted(CLEAR).await;
    assert_eq!(client.log_in("otter").await[..3], *"235");
    client.command("MAIL FROM:<desk@shop.example>").await;
    client.command("RCPT TO:<bob@dest.example>").await;
    assert_eq!(client.command("DATA").await[..3], *"354");
    change(&relay, |snapshot| snapshot.credentials.clear());
    client.send(format!("{MESSAGE}\r\n.\r\n").as_bytes()).await;
    assert_eq!(client.reply().await[..9], *"421 4.7.0");
    assert_eq!(client.reply().await, "");
    assert!(relay.queued().is_empty());
}

#[tokio::test]
async fn a_warm_login_costs_less_than_a_millisecond() {
    let mint = Mint::new("k1");
    let relay = relay(&mint).await;
    let snapshot = relay.context.snapshot.load_full();
    let authenticator = crate::authentication::Authenticator::new();
    let token = relay_smtp::server::Token::new(token(&mint, 600));
    let check = || authenticator.check_token(&snapshot.issuers, &token, seconds());
    assert!(check().is_ok());
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert!(check().is_ok());
    }
    let each = started.elapsed() / 100;
    assert!(each < Duration::from_millis(1), "{each:?}");
}
