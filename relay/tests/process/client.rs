//! An application: lettre, and a bare connection for what lettre does not do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use lettre::transport::smtp::SmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Response;
use lettre::{Message, SmtpTransport, Transport as _};

use crate::authority::Authority;
use crate::relay::{HOSTNAME, PASSWORD, PATIENCE};

/// What lettre should do about TLS.
#[derive(Clone, Copy)]
pub(crate) enum Security {
    StartTls,
    Implicit,
}

pub(crate) fn tls(authority: &Authority) -> TlsParameters {
    TlsParameters::builder(HOSTNAME.into())
        .add_root_certificate(Certificate::from_pem(authority.pem().as_bytes()).unwrap())
        .build()
        .unwrap()
}

pub(crate) fn transport(
    address: SocketAddr,
    security: Security,
    authority: &Authority,
    credentials: Option<(&str, &str)>,
) -> SmtpTransport {
    builder(address, security, authority, credentials).build()
}

pub(crate) fn builder(
    address: SocketAddr,
    security: Security,
    authority: &Authority,
    credentials: Option<(&str, &str)>,
) -> SmtpTransportBuilder {
    let tls = match security {
        Security::StartTls => Tls::Required(tls(authority)),
        Security::Implicit => Tls::Wrapper(tls(authority)),
    };
    let mut builder = SmtpTransport::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(tls)
        .timeout(Some(PATIENCE));
    if let Some((username, password)) = credentials {
        builder = builder.credentials(Credentials::new(username.into(), password.into()));
    }
    builder
}

/// The transport of the application `billing` over STARTTLS.
pub(crate) fn billing(address: SocketAddr, authority: &Authority) -> SmtpTransport {
    let credentials = Some(("billing", PASSWORD));
    transport(address, Security::StartTls, authority, credentials)
}

/// A small message.
pub(crate) fn message(from: &str, to: &str, subject: &str) -> Message {
    Message::builder()
        .from(from.parse().unwrap())
        .to(to.parse().unwrap())
        .subject(subject)
        .body("The invoice is paid.\r\n.\r\nThank you.\r\n".to_owned())
        .unwrap()
}

/// Sends a small message; the reply, or the code of the refusal with its text.
pub(crate) fn send(
    transport: &SmtpTransport,
    from: &str,
    to: &str,
    subject: &str,
) -> Result<Response, (u16, String)> {
    transport
        .send(&message(from, to, subject))
        .map_err(|error| (error.status().map_or(0, u16::from), error.to_string()))
}

/// A connection on which the test types.
pub(crate) struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    /// Connects and reads the greeting.
    pub(crate) fn open(address: SocketAddr) -> (Self, String) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = Self {
            stream: BufReader::new(stream),
        };
        let greeting = line.reply();
        (line, greeting)
    }

    /// Writes a line and reads the reply to it.
    pub(crate) fn say(&mut self, text: &str) -> String {
        self.write(&format!("{text}\r\n"));
        self.reply()
    }

    /// Sends a message that is told from others by its subject, and reads that it was taken.
    pub(crate) fn submit(&mut self, subject: &str) {
        self.write("MAIL FROM:<billing@shop.example>\r\nRCPT TO:<ada@reader.example>\r\nDATA\r\n");
        for code in ["250", "250", "354"] {
            let reply = self.reply();
            assert!(reply.starts_with(code), "{reply}");
        }
        let reply = self.say(&format!(
            "From: billing@shop.example\r\nSubject: {subject}\r\n\r\nx\r\n."
        ));
        assert!(reply.starts_with("250"), "{reply}");
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// One reply, all of its lines; empty when the connection was closed.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.stream.read_line(&mut reply).unwrap() == 0 {
                return reply;
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }
}
