//! An SMTP session for clients in number: authenticated under TLS, or in clear text for servers that want
//! neither. Written apart from the relay's own protocol code.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A session without an answer for so long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where sessions lead, and who they are.
#[derive(Clone)]
pub struct Server {
    /// The server's port.
    pub address: SocketAddr,
    security: Option<Security>,
}

/// TLS from the first octet, and a login.
#[derive(Clone)]
struct Security {
    name: ServerName<'static>,
    connector: TlsConnector,
    auth: Arc<str>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match &self.security {
            Some(security) => security.name.to_str(),
            None => "clear text".into(),
        };
        write!(formatter, "Server({name} at {})", self.address)
    }
}

/// The argument of AUTH for a user name and a password (RFC 4616).
pub fn plain((username, password): &(String, String)) -> String {
    let login = format!("\0{username}\0{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(login);
    format!("PLAIN {encoded}")
}

/// Why a session did not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection, or it broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// No reply in time.
    #[error("no reply within {} s", PATIENCE.as_secs())]
    Silent,
    /// A reply of another class than expected, first line.
    #[error("{0}")]
    Refused(String),
}

impl SessionError {
    /// Whether the server ended a session in which nothing was under way (RFC 5321 section 3.8): what was
    /// said meanwhile is to be said again in another session.
    pub fn is_goodbye(&self) -> bool {
        matches!(self, Self::Refused(line) if line.starts_with("421"))
    }
}

impl Server {
    /// A server that is spoken to in clear text and without a login.
    pub fn clear(address: SocketAddr) -> Self {
        Self {
            address,
            security: None,
        }
    }

    /// `authority`: the PEM text of who signed the relay's certificate. `auth`: the argument of AUTH, such
    /// as `PLAIN AHVzZXIAcGFzcw==`.
    pub fn new(
        address: SocketAddr,
        name: &str,
        authority: &str,
        auth: &str,
    ) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let security = Security {
            name: ServerName::try_from(name.to_owned()).context("the server's name")?,
            connector: TlsConnector::from(Arc::new(config)),
            auth: auth.into(),
        };
        Ok(Self {
            address,
            security: Some(security),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An authenticated session.
pub struct Session {
    stream: BufStream<Box<dyn Stream>>,
    line: Vec<u8>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Session")
    }
}

impl Session {
    /// Connects, greets and logs in.
    pub async fn open(server: &Server) -> Result<Self, SessionError> {
        let stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &server.security {
            Some(Security {
                name, connector, ..
            }) => Box::new(connector.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        };
        let mut session = Self {
            stream: BufStream::with_capacity(1024, 16 * 1024, stream),
            line: Vec::new(),
        };
        session.expect(b'2').await?;
        session.say(b"EHLO load.example\r\n").await?;
        session.expect(b'2').await?;
        if let Some(Security { auth, .. }) = &server.security {
            session.say(format!("AUTH {auth}\r\n").as_bytes()).await?;
            session.expect(b'2').await?;
        }
        Ok(session)
    }

    /// Sends a message: `MAIL`, one `RCPT` and `BDAT` in one write, and its content. How long the reply to
    /// its last octet took.
    pub async fn send(&mut self, commands: &str, content: &[u8]) -> Result<Duration, SessionError> {
        self.stream.write_all(commands.as_bytes()).await?;
        self.say(content).await?;
        let start = Instant::now();
        for _ in 0..3 {
            self.expect(b'2').await?;
        }
        Ok(start.elapsed())
    }

    /// Sends a message with each command in its own turn, as servers without PIPELINING and CHUNKING want
    /// it. `content` has no line that begins with a dot. How long the reply to the final dot took.
    pub async fn send_in_turns(
        &mut self,
        mail: &str,
        recipient: &str,
        content: &[u8],
    ) -> Result<Duration, SessionError> {
        for (command, class) in [(mail, b'2'), (recipient, b'2'), ("DATA\r\n", b'3')] {
            self.say(command.as_bytes()).await?;
            self.expect(class).await?;
        }
        self.stream.write_all(content).await?;
        self.say(b".\r\n").await?;
        let start = Instant::now();
        self.expect(b'2').await?;
        Ok(start.elapsed())
    }

    /// Ends the session in good form.
    pub async fn quit(mut self) -> Result<(), SessionError> {
        self.say(b"QUIT\r\n").await?;
        self.expect(b'2').await
    }

    async fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await?;
        self.stream.flush().await
    }

    /// Reads one reply, which must be of this class.
    async fn expect(&mut self, class: u8) -> Result<(), SessionError> {
        loop {
            self.line.clear();
            let read = self.stream.read_until(b'\n', &mut self.line);
            let read = tokio::time::timeout(PATIENCE, read)
                .await
                .map_err(|_| SessionError::Silent)??;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if self.line.first() != Some(&class) {
                let line = String::from_utf8_lossy(&self.line);
                return Err(SessionError::Refused(line.trim().to_owned()));
            }
            if self.line.get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}
