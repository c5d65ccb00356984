//! A mail server whose answers a test can choose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;

/// What to do in place of the usual answer.
pub(crate) enum Answer {
    /// This reply.
    Say(&'static str),
    /// This reply, after a pause.
    Later(&'static str, Duration),
    /// These replies at once, then close.
    SayAndClose(&'static str),
    /// Close without a word.
    Close,
    /// Never answer.
    Silence,
    /// These octets again and again, for as long as somebody reads.
    Endless(&'static [u8]),
    /// These octets, one at a time with a pause after each.
    Drip(&'static [u8], Duration),
}

/// What happens at `STARTTLS`.
#[derive(Clone)]
pub(crate) enum Tls {
    /// Not offered.
    No,
    /// Works.
    Yes(Arc<rustls::ServerConfig>),
    /// Replies that follow the 220 in clear text before a good handshake.
    Inject(Arc<rustls::ServerConfig>, &'static str),
    /// TLS from the first octet.
    Implicit(Arc<rustls::ServerConfig>),
    /// Closes after the 220.
    Closes,
    /// Says nothing after the 220.
    Stalls,
    /// Goes on in clear text after the 220.
    Talks,
}

type Rule = dyn Fn(usize, &str) -> Option<Answer> + Send + Sync;

/// How a peer behaves.
pub(crate) struct Behaviour {
    pub(crate) offers: &'static str,
    pub(crate) tls: Tls,
    /// Given the number of the connection, from 0, and a line (`connect` for the greeting, `content`
    /// for the end of the content): what to do, or the usual thing.
    pub(crate) rule: Box<Rule>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            offers: "250-PIPELINING\r\n250-8BITMIME\r\n",
            tls: Tls::No,
            rule: Box::new(|_, _| None),
        }
    }
}

/// A message that a peer took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) mail: String,
    pub(crate) recipients: Vec<String>,
    /// With dots as they came.
    pub(crate) content: String,
}

#[derive(Default)]
struct Seen {
    lines: Vec<(usize, String)>,
    messages: Vec<Taken>,
    /// Names in `ClientHello`, and whether client certificates were shown.
    server_names: Vec<Option<String>>,
    encrypted: Vec<bool>,
}

struct Shared {
    behaviour: Behaviour,
    seen: Mutex<Seen>,
    changed: Notify,
    connections: AtomicUsize,
}

/// A running peer; ends with the test's runtime.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Peer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at("127.0.0.1:0", behaviour).await
    }

    pub(crate) async fn start_at(address: &str, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            behaviour,
            seen: Mutex::default(),
            changed: Notify::new(),
            connections: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = accepting.clone();
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = shared.serve(number, stream).await;
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Lines of one connection.
    pub(crate) fn lines(&self, connection: usize) -> Vec<String> {
        let seen = self.shared.seen.lock();
        let of_it = seen
            .lines
            .iter()
            .filter(|(number, _)| *number == connection);
        of_it.map(|(_, line)| line.clone()).collect()
    }

    pub(crate) fn messages(&self) -> Vec<Taken> {
        self.shared.seen.lock().messages.clone()
    }

    /// Names that clients asked for in their TLS handshakes.
    pub(crate) fn server_names(&self) -> Vec<Option<String>> {
        self.shared.seen.lock().server_names.clone()
    }

    /// For each message, whether it came under TLS.
    pub(crate) fn encrypted(&self) -> Vec<bool> {
        self.shared.seen.lock().encrypted.clone()
    }

    /// Waits for that many messages.
    pub(crate) async fn received(&self, count: usize) -> Vec<Taken> {
        let reached = async {
            loop {
                let changed = self.shared.changed.notified();
                let messages = self.messages();
                if messages.len() >= count {
                    return messages;
                }
                changed.await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, reached).await;
        result.unwrap_or_else(|_| panic!("only {} messages came", self.messages().len()))
    }
}

impl Shared {
    async fn serve(self: &Arc<Self>, number: usize, stream: TcpStream) -> std::io::Result<()> {
        let stream = BufReader::new(stream);
        if let Tls::Implicit(config) = &self.behaviour.tls {
            let stream = self.accept(config.clone(), stream).await?;
            self.session(number, BufReader::new(stream), true, true)
                .await?;
            return Ok(());
        }
        let Some(mut stream) = self.session(number, stream, true, false).await? else {
            return Ok(());
        };
        match self.behaviour.tls.clone() {
            Tls::Yes(config) => {
                stream.write_all(b"220 go ahead\r\n").await?;
                let stream = self.accept(config, stream).await?;
                self.session(number, BufReader::new(stream), false, true)
                    .await?;
            }
            Tls::Inject(config, injected) => {
                let reply = format!("220 go ahead\r\n{injected}");
                stream.write_all(reply.as_bytes()).await?;
                let stream = self.accept(config, stream).await?;
                self.session(number, BufReader::new(stream), false, true)
                    .await?;
            }
            Tls::Stalls => {
                stream.write_all(b"220 go ahead\r\n").await?;
                std::future::pending::<()>().await;
            }
            Tls::Talks => {
                stream
                    .write_all(b"220 go ahead\r\n250 still here\r\n")
                    .await?;
                self.session(number, stream, false, false).await?;
            }
            Tls::Closes => stream.write_all(b"220 go ahead\r\n").await?,
            Tls::No | Tls::Implicit(_) => {}
        }
        Ok(())
    }

    async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        config: Arc<rustls::ServerConfig>,
        stream: S,
    ) -> std::io::Result<tokio_rustls::server::TlsStream<S>> {
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let name = stream.get_ref().1.server_name().map(String::from);
        self.seen.lock().server_names.push(name);
        Ok(stream)
    }

    /// Gives the stream back at `STARTTLS`.
    async fn session<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        number: usize,
        mut stream: BufReader<S>,
        greet: bool,
        encrypted: bool,
    ) -> std::io::Result<Option<BufReader<S>>> {
        if greet
            && !self
                .answer(number, "connect", "220 mx.test ESMTP", &mut stream)
                .await?
        {
            return Ok(None);
        }
        let mut taken: Option<Taken> = None;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let line = line.trim_end().to_owned();
            self.seen.lock().lines.push((number, line.clone()));
            let verb = line
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            if verb == "STARTTLS" {
                return Ok(Some(stream));
            }
            let usual = self.usual(&verb, encrypted, taken.as_ref());
            let said = self.judge(number, &line);
            let good = match &said {
                None => usual.starts_with('2') || usual.starts_with('3'),
                Some(Answer::Say(text) | Answer::Later(text, _)) => {
                    text.starts_with('2') || text.starts_with('3')
                }
                Some(_) => false,
            };
            if good && verb == "MAIL" {
                taken = Some(Taken {
                    mail: line.clone(),
                    recipients: Vec::new(),
                    content: String::new(),
                });
            }
            if good
                && verb == "RCPT"
                && let Some(taken) = &mut taken
            {
                taken.recipients.push(line.clone());
            }
            if !say(said, &usual, &mut stream).await? || verb == "QUIT" {
                return Ok(None);
            }
            if good && verb == "DATA" {
                let content = read_content(&mut stream).await?;
                let said = self.judge(number, "content");
                let good = match &said {
                    None => true,
                    Some(Answer::Say(text) | Answer::SayAndClose(text)) => text.starts_with('2'),
                    Some(_) => false,
                };
                let message = taken.take().map(|one| Taken { content, ..one });
                let message = message.filter(|one| good && !one.recipients.is_empty());
                let known = message.is_some();
                let open = say(said, "250 2.0.0 queued", &mut stream).await?;
                if known {
                    let mut seen = self.seen.lock();
                    seen.messages.extend(message);
                    seen.encrypted.push(encrypted);
                    drop(seen);
                    self.changed.notify_waiters();
                }
                if !open {
                    return Ok(None);
                }
            }
        }
    }

    fn usual(&self, verb: &str, encrypted: bool, taken: Option<&Taken>) -> String {
        match verb {
            "EHLO" => {
                let starttls = match self.behaviour.tls {
                    Tls::No | Tls::Implicit(_) => "",
                    _ if encrypted => "",
                    _ => "250-STARTTLS\r\n",
                };
                format!("250-mx.test\r\n{starttls}{}250 HELP", self.behaviour.offers)
            }
            "DATA" if taken.is_none_or(|one| one.recipients.is_empty()) => {
                "554 5.5.1 no valid recipients".into()
            }
            "DATA" => "354 go ahead".into(),
            "QUIT" => "221 bye".into(),
            _ => "250 2.0.0 ok".into(),
        }
    }

    fn judge(&self, number: usize, line: &str) -> Option<Answer> {
        (self.behaviour.rule)(number, line)
    }

    async fn answer<S: AsyncWrite + Unpin>(
        &self,
        number: usize,
        line: &str,
        usual: &str,
        stream: &mut S,
    ) -> std::io::Result<bool> {
        say(self.judge(number, line), usual, stream).await
    }
}

/// Whether the session goes on.
async fn say<S: AsyncWrite + Unpin>(
    answer: Option<Answer>,
    usual: &str,
    stream: &mut S,
) -> std::io::Result<bool> {
    let (text, go_on) = match answer {
        None => (usual, true),
        Some(Answer::Say(text)) => (text, true),
        Some(Answer::Later(text, pause)) => {
            tokio::time::sleep(pause).await;
            (text, true)
        }
        Some(Answer::SayAndClose(text)) => (text, false),
        Some(Answer::Close) => return Ok(false),
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Endless(octets)) => loop {
            stream.write_all(octets).await?;
        },
        Some(Answer::Drip(octets, pause)) => {
            for octet in octets {
                stream.write_all(&[*octet]).await?;
                stream.flush().await?;
                tokio::time::sleep(pause).await;
            }
            return Ok(true);
        }
    };
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    stream.flush().await?;
    Ok(go_on)
}

async fn read_content<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut content = Vec::new();
    loop {
        let start = content.len();
        if stream.read_until(b'\n', &mut content).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line_start = start == 0 || content[..start].ends_with(b"\r\n");
        if line_start && &content[start..] == b".\r\n" {
            content.truncate(start);
            return Ok(String::from_utf8_lossy(&content).into_owned());
        }
    }
}
