//! The clients that applications use, each a program of `tests/clients`, against the real relay.
//!
//! Each sends over STARTTLS and over implicit TLS, logs in, and verifies the relay's certificate:
//! with another authority than the relay's it must not send at all. What arrives is compared with
//! what was given to the client, as an independent parser reads it.

#[path = "clients/tokens.rs"]
mod tokens;

use std::path::{Path, PathBuf};
use std::process::Command;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport as _};
use mail_parser::MessageParser;

use crate::authority::Authority;
use crate::client::Security;
use crate::receiver::{Received, Receiver};
use crate::relay::{PASSWORD, Relay, Setup};

/// The name that clients connect to and verify.
const HOST: &str = "localhost";
const SENDER: &str = "billing@shop.example";
const RECIPIENT: &str = "ada@reader.example";

/// A folder of `tests/clients`, and the mechanisms that it can be told to use.
struct Client {
    name: &'static str,
    mechanisms: &'static [&'static str],
}

const CLIENTS: [Client; 10] = [
    client("smtplib", &[]),
    client("aiosmtplib", &[]),
    client("nodemailer", &["PLAIN", "LOGIN"]),
    client("angus", &["PLAIN", "LOGIN"]),
    client("go", &[]),
    client("curl", &["PLAIN", "LOGIN"]),
    client("swaks", &["PLAIN", "LOGIN"]),
    client("msmtp", &["PLAIN", "LOGIN"]),
    client("mutt", &["PLAIN"]),
    client("s-nail", &["PLAIN", "LOGIN"]),
];

const fn client(name: &'static str, mechanisms: &'static [&'static str]) -> Client {
    Client { name, mechanisms }
}

/// Everything that is hard on a client or on the way: letters outside of ASCII, lines of dots, and a
/// line that is longer than mail allows. No line begins with `From `: Python's `send_message` puts a
/// `>` before it.
fn text() -> String {
    format!(
        "Gr\u{fc}\u{df}e aus dem Lager\n.\n..zwei Punkte\na=b, 100 %\n{}end\n",
        "lang ".repeat(300)
    )
}

/// How a client is to send.
struct Submission<'a> {
    security: Security,
    mechanism: &'a str,
    login: (&'a str, &'a str),
    /// File of the authority to trust.
    authority: &'a str,
    subject: &'a str,
}

/// The relay, where its mail goes, and what the clients need.
struct Stage {
    relay: Relay,
    receiver: Receiver,
    setup: Setup,
    /// An authority that did not sign the relay's certificate.
    stranger: Authority,
    clients: PathBuf,
}

/// User name and password of the credential that [`Setup`] has.
const LOGIN: (&str, &str) = ("billing", PASSWORD);

impl Stage {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a changed configuration.
    fn with(configure: impl FnOnce(&mut serde_json::Value)) -> Self {
        let clients = set_up();
        let receiver = Receiver::start();
        let mut setup = Setup::new(receiver.address);
        configure(&mut setup.config);
        setup.write();
        let leaf = setup.authority.leaf(HOST);
        setup.replace("tls.crt", leaf.certificate.as_bytes());
        setup.replace("tls.key", leaf.key.as_bytes());
        setup.replace("ca.pem", setup.authority.pem().as_bytes());
        setup.replace("text", text().as_bytes());
        let stranger = Authority::new();
        setup.replace("stranger.pem", stranger.pem().as_bytes());
        Self {
            relay: setup.start(),
            receiver,
            setup,
            stranger,
            clients,
        }
    }

    fn port(&self, security: Security) -> u16 {
        match security {
            Security::StartTls => self.relay.submission().port(),
            Security::Implicit => self.relay.submissions().port(),
        }
    }

    /// Runs a client to its end; what it said if it did not succeed.
    fn run(&self, client: &str, submission: &Submission<'_>) -> Result<(), String> {
        let security = match submission.security {
            Security::StartTls => "starttls",
            Security::Implicit => "implicit",
        };
        let output = Command::new("timeout")
            .arg("60")
            .arg(folder().join(client).join("send"))
            .current_dir(self.setup.directory.path())
            .env("CLIENTS", &self.clients)
            .env("LC_ALL", "C.UTF-8")
            .env("SMTP_HOST", HOST)
            .env("SMTP_PORT", self.port(submission.security).to_string())
            .env("SMTP_SECURITY", security)
            .env("SMTP_USERNAME", submission.login.0)
            .env("SMTP_PASSWORD", submission.login.1)
            .env("SMTP_MECHANISM", submission.mechanism)
            .env("SMTP_CA", self.setup.path(submission.authority))
            .env("MAIL_FROM", SENDER)
            .env("MAIL_TO", RECIPIENT)
            .env("MAIL_SUBJECT", submission.subject)
            .env("MAIL_TEXT", self.setup.path("text"))
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&said)
        ))
    }

    /// Sends and compares what arrives.
    fn sends(
        &self,
        client: &str,
        security: Security,
        mechanism: &str,
        login: (&str, &str),
    ) -> Result<(), String> {
        let way = match security {
            Security::StartTls => "upgraded",
            Security::Implicit => "implicit",
        };
        let subject = format!("{client} {way} {mechanism}.");
        self.run(
            client,
            &Submission {
                security,
                mechanism,
                login,
                authority: "ca.pem",
                subject: &subject,
            },
        )?;
        judge(&self.arrived(&subject))
    }

    /// That a client does not send to a server it cannot verify.
    fn refuses(&self, client: &str, security: Security) -> Result<(), String> {
        let unverified = Submission {
            security,
            mechanism: "",
            login: LOGIN,
            authority: "stranger.pem",
            subject: "unverified",
        };
        match self.run(client, &unverified) {
            Ok(()) => Err("sent to a server whose certificate another authority signed".into()),
            Err(_) => Ok(()),
        }
    }

    fn arrived(&self, subject: &str) -> Received {
        let line = format!("Subject: {subject}\n");
        self.receiver
            .wait_for(|message| message.content.contains(&line))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients")
}

/// Where `tests/prerequisites clients` put what is no Debian package.
fn set_up() -> PathBuf {
    let output = |program: &str, argument: &[&str]| {
        let output = Command::new(folder().join(program))
            .args(argument)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    output("../prerequisites", &["clients"]);
    output("setup", &[]).trim().into()
}

/// Whether a message arrived as it was given to the client.
fn judge(message: &Received) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what} in {}", message.content));
    if message.sender != SENDER || message.recipients != [RECIPIENT] {
        return wrong("another envelope");
    }
    let Some(parsed) = MessageParser::default().parse(&message.content) else {
        return wrong("no header");
    };
    let author = parsed.from().and_then(|from| from.first());
    if author.and_then(|author| author.address()) != Some(SENDER) {
        return wrong("another author");
    }
    let body = parsed
        .body_text(0)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    if body.trim_end() != text().trim_end() {
        return wrong("another text");
    }
    // Go asks for SMTPUTF8 wherever it is offered (RFC 6531 section 4.3).
    let protocols = [" with ESMTPSA id ", " with UTF8SMTPSA id "];
    if !protocols.iter().any(|with| message.content.contains(with)) {
        return wrong("no login under TLS");
    }
    if message.content.lines().any(|line| line.len() > 998) {
        return wrong("a line over 998 octets");
    }
    Ok(())
}

/// Prints a table and fails with what went wrong in it.
fn report(head: &[&str], rows: Vec<(String, Vec<Result<(), String>>)>) {
    let line = |cells: &[&str]| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<28}")).collect();
        eprintln!("{}", cells.concat().trim_end());
    };
    line(head);
    let mut failures = Vec::new();
    for (name, results) in rows {
        let mut cells = vec![name.as_str()];
        for (result, column) in results.iter().zip(&head[1..]) {
            cells.push(if result.is_ok() { "ok" } else { "FAILED" });
            if let Err(cause) = result {
                failures.push(format!("{name}, {column}: {cause}"));
            }
        }
        line(&cells);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_client_sends_over_starttls_and_implicit_tls_and_only_to_a_verified_relay() {
    let stage = Stage::new();
    let mut rows = Vec::new();
    for Client { name, .. } in &CLIENTS {
        rows.push((
            (*name).to_owned(),
            vec![
                stage.sends(name, Security::StartTls, "", LOGIN),
                stage.sends(name, Security::Implicit, "", LOGIN),
                stage.refuses(name, Security::StartTls),
                stage.refuses(name, Security::Implicit),
            ],
        ));
    }
    let head = [
        "client",
        "STARTTLS",
        "implicit TLS",
        "STARTTLS, other CA",
        "implicit, other CA",
    ];
    report(&head, rows);
    let unverified = |message: &Received| message.content.contains("unverified");
    assert!(!stage.receiver.messages().iter().any(unverified));
}

#[test]
fn clients_send_with_each_mechanism_that_they_know() {
    let stage = Stage::new();
    let mut rows = Vec::new();
    for client in &CLIENTS {
        for mechanism in client.mechanisms {
            let result = stage.sends(client.name, Security::StartTls, mechanism, LOGIN);
            rows.push((format!("{} {mechanism}", client.name), vec![result]));
        }
    }
    report(&["client", "STARTTLS"], rows);
}

#[test]
fn lettre_sends_over_starttls_and_implicit_tls_and_only_to_a_verified_relay() {
    let stage = Stage::new();
    let send = |security, authority: &Authority, subject: &str| {
        let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let tls = TlsParameters::builder(HOST.into())
            .add_root_certificate(certificate)
            .build()
            .unwrap();
        let transport = SmtpTransport::builder_dangerous(HOST)
            .port(stage.port(security))
            .tls(match security {
                Security::StartTls => Tls::Required(tls),
                Security::Implicit => Tls::Wrapper(tls),
            })
            .credentials(Credentials::new(LOGIN.0.into(), LOGIN.1.into()))
            .build();
        let message = Message::builder()
            .from(SENDER.parse().unwrap())
            .to(RECIPIENT.parse().unwrap())
            .subject(subject)
            .body(text())
            .unwrap();
        transport.send(&message).map(|_| ())
    };
    for (security, subject) in [
        (Security::StartTls, "upgraded"),
        (Security::Implicit, "implicit"),
    ] {
        send(security, &stage.setup.authority, subject).unwrap();
        assert_eq!(judge(&stage.arrived(subject)), Ok(()));
        assert!(send(security, &stage.stranger, "unverified").is_err());
    }
}
