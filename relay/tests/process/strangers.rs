//! Thirty ways in which a stranger tries to relay, against the real binary. Each is refused, and at
//! the end nothing was queued and the owner still sends.
//!
//! The relay is set up as people do: a port for applications with STARTTLS, one that takes passwords
//! in clear text, one for scanners in a network that the stranger is not in, one for a network that
//! the stranger is in but whose clients may use one domain only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::client::{Line, billing, send};
use crate::receiver::Receiver;
use crate::relay::{PASSWORD, Relay, Setup, credential};

/// Where the stranger connects.
#[derive(Clone, Copy, Debug)]
enum Port {
    /// STARTTLS, authentication required.
    Submission,
    /// Passwords in clear text.
    Clear,
    /// Without authentication, for another network.
    Scanners,
    /// Optional authentication, for another network.
    Optional,
    /// Without authentication, for the stranger's network.
    Local,
}

struct Attempt {
    what: &'static str,
    port: Port,
    /// Said after `EHLO`, in order; all but the last may be answered as they like.
    lines: Vec<String>,
    /// How the reply to the last line begins.
    refusal: &'static str,
}

fn attempt(what: &'static str, port: Port, lines: &[&str], refusal: &'static str) -> Attempt {
    Attempt {
        what,
        port,
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        refusal,
    }
}

fn plain(authorisation: &str, username: &str, password: &str) -> String {
    let response = format!("{authorisation}\0{username}\0{password}");
    format!("AUTH PLAIN {}", BASE64.encode(response))
}

fn bearer(token: &str) -> String {
    let message = format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
    format!("AUTH OAUTHBEARER {}", BASE64.encode(message))
}

/// `{"alg":"none"}`, a ServiceAccount, no signature.
fn unsigned() -> String {
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.",
        part(r#"{"alg":"none"}"#),
        part(
            r#"{"iss":"https://cluster.test","aud":"outbox","exp":9999999999,"sub":"system:serviceaccount:shop:billing"}"#
        )
    )
}

const MAIL: &str = "MAIL FROM:<billing@shop.example>";
const TO: &str = "RCPT TO:<ada@reader.example>";
const CONTENT: &str = "From: billing@shop.example\r\n\r\nbuy\r\n.";

/// Where a login is asked for.
fn without_a_login() -> Vec<Attempt> {
    use Port::{Clear, Optional, Submission};
    vec![
        attempt("just sends", Submission, &[MAIL], "530 5.7.0"),
        attempt("just sends in clear", Clear, &[MAIL], "530 5.7.0"),
        attempt("where a login is optional", Optional, &[MAIL], "530 5.7.0"),
        attempt("as a bounce", Submission, &["MAIL FROM:<>"], "530 5.7.0"),
        attempt(
            "as postmaster",
            Submission,
            &["MAIL FROM:<postmaster@shop.example>"],
            "530 5.7.0",
        ),
        attempt(
            "goes on after the refusal",
            Submission,
            &[MAIL, TO],
            "503 5.5.1",
        ),
        attempt("skips MAIL", Submission, &[TO], "503 5.5.1"),
        attempt("skips to the data", Submission, &["DATA"], "503 5.5.1"),
        attempt(
            "says HELO",
            Submission,
            &["HELO shop.example", MAIL],
            "530 5.7.0",
        ),
        attempt(
            "is called like the relay",
            Submission,
            &["EHLO outbox.test", MAIL],
            "530 5.7.0",
        ),
        attempt(
            "claims a login",
            Submission,
            &["MAIL FROM:<billing@shop.example> AUTH=<billing@shop.example>"],
            "5",
        ),
        attempt(
            "sends after a reset",
            Submission,
            &["RSET", MAIL],
            "530 5.7.0",
        ),
        attempt(
            "asks for another way",
            Submission,
            &["ETRN shop.example"],
            "502 5.5.1",
        ),
    ]
}

/// Where networks are trusted, and the stranger's is one of them.
fn from_a_trusted_network() -> Vec<Attempt> {
    use Port::Local;
    vec![
        attempt(
            "as another's domain",
            Local,
            &["MAIL FROM:<ceo@bank.example>"],
            "550 5.7.1",
        ),
        attempt("as a granted one's domain", Local, &[MAIL], "550 5.7.1"),
        attempt(
            "as a subdomain",
            Local,
            &["MAIL FROM:<a@x.news.example>"],
            "550 5.7.1",
        ),
        attempt(
            "with a source route",
            Local,
            &["MAIL FROM:<@news.example:ceo@bank.example>"],
            "5",
        ),
        attempt(
            "with the percent hack",
            Local,
            &["MAIL FROM:<a%news.example@bank.example>"],
            "550 5.7.1",
        ),
        attempt(
            "with an empty envelope and another's From",
            Local,
            &["MAIL FROM:<>", TO, "DATA", CONTENT],
            "550 5.7.1",
        ),
        attempt(
            "with another's From",
            Local,
            &["MAIL FROM:<a@news.example>", TO, "DATA", CONTENT],
            "550 5.7.1",
        ),
        attempt(
            "with two authors",
            Local,
            &[
                "MAIL FROM:<a@news.example>",
                TO,
                "DATA",
                "From: a@news.example, ceo@bank.example\r\n\r\nbuy\r\n.",
            ],
            "550 5.7.1",
        ),
        attempt(
            "with another's Sender",
            Local,
            &[
                "MAIL FROM:<a@news.example>",
                TO,
                "DATA",
                "From: a@news.example\r\nSender: ceo@bank.example\r\n\r\nbuy\r\n.",
            ],
            "550 5.7.1",
        ),
    ]
}

fn with_a_false_login() -> Vec<Attempt> {
    use Port::{Clear, Scanners, Submission};
    let mut attempts = vec![
        attempt("connects to the scanners' port", Scanners, &[], ""),
        attempt(
            "a password before TLS",
            Submission,
            &[&plain("", "billing", PASSWORD)],
            "538 5.7.11",
        ),
        attempt(
            "a wrong password",
            Clear,
            &[&plain("", "billing", "letmein"), MAIL],
            "530 5.7.0",
        ),
        attempt(
            "no password",
            Clear,
            &[&plain("", "billing", ""), MAIL],
            "530 5.7.0",
        ),
        attempt(
            "another's name",
            Clear,
            &[&plain("boss", "billing", PASSWORD), MAIL],
            "530 5.7.0",
        ),
        attempt(
            "an unknown mechanism",
            Clear,
            &["AUTH ANONYMOUS eA==", MAIL],
            "530 5.7.0",
        ),
        attempt(
            "breaks a login off",
            Clear,
            &["AUTH LOGIN", "YmlsbGluZw==", "*", MAIL],
            "530 5.7.0",
        ),
        attempt(
            "an unsigned token",
            Clear,
            &[&bearer(&unsigned()), "AQ==", MAIL],
            "530 5.7.0",
        ),
        attempt(
            "an unsigned token as a password",
            Clear,
            &[&plain("", "token", &unsigned()), MAIL],
            "530 5.7.0",
        ),
    ];
    // A challenge of SCRAM for somebody who exists, answered without knowing the password.
    attempts.push(attempt(
        "a challenge without its answer",
        Clear,
        &[
            &format!("AUTH SCRAM-SHA-256 {}", BASE64.encode("n,,n=billing,r=abc")),
            &BASE64.encode("c=biws,r=abc,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            MAIL,
        ],
        "530 5.7.0",
    ));
    attempts
}

fn setup(receiver: &Receiver) -> Setup {
    let mut setup = Setup::new(receiver.address);
    let listener = |name: &str, tls: &str, more: serde_json::Value| {
        let mut listener = json!({"name": name, "address": "127.0.0.1:0", "tls": tls});
        if let (Some(listener), Some(more)) = (listener.as_object_mut(), more.as_object()) {
            listener.extend(more.clone());
        }
        listener
    };
    let elsewhere = json!(["192.0.2.0/24"]);
    setup.config["listeners"] = json!([
        listener("submission", "StartTls", json!({})),
        listener("clear", "None", json!({"cleartextAuthentication": true})),
        listener(
            "scanners",
            "None",
            json!({"authentication": "None", "clients": elsewhere})
        ),
        listener(
            "optional",
            "StartTls",
            json!({"authentication": "Optional", "clients": elsewhere})
        ),
        listener(
            "local",
            "None",
            json!({"authentication": "None", "clients": ["127.0.0.0/8"]})
        ),
    ]);
    setup.config["domains"] = json!([
        {"name": "shop.example", "senders": ["credential:shop/billing"]},
        {"name": "news.example", "senders": ["*"]},
        {"name": "bank.example", "senders": ["credential:bank/*", "sa:bank/*"]},
    ]);
    setup.config["credentials"] = json!([credential("billing", PASSWORD)]);
    // The key of RFC 8037 appendix A: nobody here signs with it.
    setup.config["authentication"] = json!({"issuers": [{
        "name": "kubernetes", "issuer": "https://cluster.test", "audiences": ["outbox"],
        "kind": "Kubernetes",
        "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a",
                           "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
    }]});
    setup.write();
    setup
}

fn try_it(relay: &Relay, attempt: &Attempt) {
    let number = match attempt.port {
        Port::Submission => 0,
        Port::Clear => 1,
        Port::Scanners => 2,
        Port::Optional => 3,
        Port::Local => 4,
    };
    let address = relay.address(&format!("listeners[{number}].address"));
    let (mut line, greeting) = Line::open(address);
    if matches!(attempt.port, Port::Scanners) {
        assert!(!greeting.starts_with('2'), "{}: {greeting}", attempt.what);
        return;
    }
    line.say("EHLO stranger.test");
    let mut reply = String::new();
    for text in &attempt.lines {
        reply = line.say(text);
    }
    assert!(
        reply.starts_with(attempt.refusal),
        "{} at {:?}: {reply}",
        attempt.what,
        attempt.port
    );
    // Whatever was left open does not let the next command through.
    let reply = line.say("DATA");
    assert!(!reply.starts_with("354"), "{}: {reply}", attempt.what);
}

#[test]
fn a_stranger_relays_in_none_of_thirty_ways() {
    let receiver = Receiver::start();
    let setup = setup(&receiver);
    let relay = setup.start();
    let attempts: Vec<_> = without_a_login()
        .into_iter()
        .chain(from_a_trusted_network())
        .chain(with_a_false_login())
        .collect();
    assert!(attempts.len() >= 30, "{}", attempts.len());
    std::thread::scope(|scope| {
        for attempt in &attempts {
            scope.spawn(|| try_it(&relay, attempt));
        }
    });
    let metrics = crate::http::get(relay.health(), "/metrics").1;
    assert!(metrics.contains("relay_queue_messages 0"), "{metrics}");
    assert!(
        !metrics.contains("relay_messages_accepted_total{"),
        "{metrics}"
    );
    let log = relay.log_text();
    assert!(!log.contains(PASSWORD) && !log.contains("letmein"), "{log}");
    // The owner is not kept out.
    let owner = billing(relay.submission(), &setup.authority);
    let reply = send(&owner, "billing@shop.example", "ada@reader.example", "mine");
    assert_eq!(u16::from(reply.unwrap().code()), 250);
    receiver.wait_for(|message| message.content.contains("mine"));
}

/// What ends an open session: not the next message, but the moment in which the change is in force.
#[test]
fn a_removed_credential_ends_its_open_sessions_within_ten_seconds() {
    let receiver = Receiver::start();
    let mut setup = setup(&receiver);
    let relay = setup.start();
    let (mut line, _) = Line::open(relay.address("listeners[1].address"));
    line.say("EHLO app.test");
    let reply = line.say(&plain("", "billing", PASSWORD));
    assert!(reply.starts_with("235"), "{reply}");
    let started = std::time::Instant::now();
    setup.config["credentials"] = json!([credential("billing", "green-heron-7")]);
    setup.write();
    // Nothing is said; the relay speaks first.
    let reply = line.reply();
    let took = started.elapsed();
    assert!(reply.starts_with("421 4.7.0"), "{reply}");
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    assert_eq!(line.reply(), "");
}
