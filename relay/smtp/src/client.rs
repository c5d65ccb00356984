//! The client's side of a session: RFC 5321, with RFC 2920 (PIPELINING), RFC 1870 (SIZE), RFC 6152
//! (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3207 (STARTTLS), RFC 4954 (AUTH), and those of the parameters
//! of [`crate::options`] that are passed on.
//!
//! The caller owns the socket: it writes what [`Client::take_output`] gives, then does what the last
//! [`Next`] asked for. Octets that were read before a TLS handshake are dropped (case R17). A server
//! that answers 421 ends the session at whatever stage it stands.
//!
//! It knows nothing of addresses, routes and retries, and judges no reply beyond what the protocol
//! needs to go on.

mod capabilities;
mod login;
mod transaction;

use std::net::IpAddr;

use crate::reply::{Reply, ReplyError, ReplyParser};
use crate::server::ChannelBindings;

pub use capabilities::Capabilities;
pub use login::{Credentials, Proof};
pub use transaction::{Envelope, RECIPIENTS, Stage, Verdict};

use login::Login;
use transaction::Transaction;

/// When to use `STARTTLS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Never: the connection is encrypted already, or clear text is wanted.
    Never,
    /// When offered.
    Opportunistic,
    /// Nothing goes without it, and `HELO`, which cannot offer it, is not tried (case R18).
    Required,
}

/// How to behave in a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Own host name for `EHLO`; an IP address is written as an address literal (case R34).
    pub name: String,
    /// Encryption.
    pub starttls: StartTls,
    /// The connection is encrypted from its first octet.
    pub implicit_tls: bool,
    /// For `AUTH`, which is used under TLS only.
    pub credentials: Option<Credentials>,
}

/// What the caller has to do, after it wrote the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read octets and give them to [`Client::receive`]; wait as long as that wait allows.
    Read(Wait),
    /// Do the TLS handshake, then call [`Client::tls_established`].
    StartTls,
    /// The session stands idle: [`Client::begin`] or [`Client::quit`].
    Ready,
    /// Send the content as [`crate::transparency::encode`] writes it, then call
    /// [`Client::content_sent`].
    SendContent,
    /// The transaction is over: [`Client::take_verdicts`].
    Finished,
}

/// What is waited for; RFC 5321 section 4.5.3.2 gives each its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The greeting.
    Greeting,
    /// A reply to a command.
    Command,
    /// The reply to the final dot.
    Content,
}

/// Why a session cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A reply refuses the whole session.
    #[error("{} was answered {reply}", stage.name())]
    Refused {
        /// What it answers.
        stage: Stage,
        /// The reply.
        reply: Reply,
    },
    /// TLS is required and not offered.
    #[error("TLS is required, but the server does not offer STARTTLS")]
    TlsNotOffered,
    /// TLS is required and was refused.
    #[error("TLS is required, but STARTTLS was answered {0}")]
    TlsRefused(Reply),
    /// A password is only sent under TLS.
    #[error("the user name and password are not sent in clear text, and the server offers no TLS")]
    AuthenticationNeedsTls,
    /// No mechanism in common.
    #[error(
        "the server offers no way to log in that fits: with a password SCRAM-SHA-256, PLAIN or \
         LOGIN, with an access token OAUTHBEARER or XOAUTH2"
    )]
    NoMechanism,
    /// The server's side of the login is wrong.
    #[error("the login failed: {0}")]
    Login(&'static str),
    /// Octets that are no reply.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A reply that nothing asked for came first.
    #[error("the server sent a reply that nothing asked for")]
    Unasked,
    /// The caller did what was not asked for.
    #[error("the session is not at the point where this may be done")]
    OutOfOrder,
}

/// Where the session stands.
#[derive(Debug)]
enum State {
    Greeting,
    Hello { fallback: bool },
    StartTls,
    Handshake,
    Login(Login),
    Ready,
    Transaction(Transaction),
    Closed,
}

/// One session with a server.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    parser: ReplyParser,
    output: Vec<u8>,
    state: State,
    encrypted: bool,
    bindings: ChannelBindings,
    capabilities: Capabilities,
    /// The server may hold a transaction that was given up.
    dirty: bool,
    verdicts: Vec<Verdict>,
    replies: u64,
}

impl Client {
    /// A session on a fresh connection.
    pub fn new(settings: Settings) -> Self {
        Self {
            encrypted: settings.implicit_tls,
            settings,
            parser: ReplyParser::default(),
            output: Vec::new(),
            state: State::Greeting,
            bindings: ChannelBindings::default(),
            capabilities: Capabilities::default(),
            dirty: false,
            verdicts: Vec::new(),
            replies: 0,
        }
    }

    /// What has to be written, once.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What the server offered in its last `EHLO` reply.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether the session is under TLS.
    pub const fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whole replies so far: a wait for one is not over when a part of it came.
    pub const fn replies(&self) -> u64 {
        self.replies
    }

    /// Whether another transaction may begin.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready) && self.parser.is_empty()
    }

    /// What to do first, and what to do after a read brought no octets that matter.
    pub fn next(&self) -> Next {
        match &self.state {
            State::Greeting => Next::Read(Wait::Greeting),
            State::Handshake => Next::StartTls,
            State::Ready => Next::Ready,
            State::Transaction(transaction) => Next::Read(transaction.wait()),
            State::Hello { .. } | State::StartTls | State::Login(_) | State::Closed => {
                Next::Read(Wait::Command)
            }
        }
    }

    /// A session that is over.
    pub fn ended() -> Self {
        let mut client = Self::new(Settings {
            name: String::new(),
            starttls: StartTls::Never,
            implicit_tls: false,
            credentials: None,
        });
        client.state = State::Closed;
        client
    }

    /// Whether what [`Self::receive`] does next may be up to a second of work: to derive a key from a
    /// password as often as the server wants it (SCRAM).
    pub fn is_costly(&self) -> bool {
        matches!(&self.state, State::Login(login) if login.is_costly())
    }

    /// Takes octets that were read.
    pub fn receive(&mut self, octets: &[u8]) -> Result<Next, Failure> {
        self.parser.feed(octets);
        while let Some(reply) = self.parser.next_reply()? {
            self.replies += 1;
            if let Some(next) = self.reply(reply)? {
                return Ok(next);
            }
        }
        Ok(self.next())
    }

    fn reply(&mut self, reply: Reply) -> Result<Option<Next>, Failure> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Greeting => self.greeting(reply),
            State::Hello { fallback } => self.hello(fallback, reply),
            State::StartTls => self.starttls(reply),
            State::Handshake | State::Ready | State::Closed => Err(Failure::Unasked),
            State::Login(mut login) => {
                if login.reply(reply, &mut self.output)? {
                    Ok(Some(self.ready()))
                } else {
                    self.state = State::Login(login);
                    Ok(None)
                }
            }
            State::Transaction(transaction) => Ok(self.transaction(transaction, reply)),
        }
    }

    fn greeting(&mut self, reply: Reply) -> Result<Option<Next>, Failure> {
        if !reply.is_positive() {
            let stage = Stage::Greeting;
            return Err(Failure::Refused { stage, reply });
        }
        self.say_hello("EHLO");
        Ok(None)
    }

    fn say_hello(&mut self, verb: &str) {
        let name = match self.settings.name.parse() {
            Ok(IpAddr::V4(address)) => format!("[{address}]"),
            Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
            Err(_) => self.settings.name.clone(),
        };
        self.output
            .extend_from_slice(format!("{verb} {name}\r\n").as_bytes());
        self.state = State::Hello {
            fallback: verb == "HELO",
        };
    }

    fn hello(&mut self, fallback: bool, reply: Reply) -> Result<Option<Next>, Failure> {
        if !reply.is_positive() {
            if fallback || !reply.is_permanent() || reply.is_closing() {
                let stage = Stage::Hello;
                return Err(Failure::Refused { stage, reply });
            }
            if self.settings.starttls == StartTls::Required && !self.encrypted {
                return Err(Failure::TlsNotOffered);
            }
            self.say_hello("HELO");
            return Ok(None);
        }
        self.capabilities = if fallback {
            Capabilities::of_helo(&reply)
        } else {
            Capabilities::of_ehlo(&reply)
        };
        if !self.encrypted && self.settings.starttls != StartTls::Never {
            if self.capabilities.starttls {
                self.output.extend_from_slice(b"STARTTLS\r\n");
                self.state = State::StartTls;
                return Ok(None);
            }
            if self.settings.starttls == StartTls::Required {
                return Err(Failure::TlsNotOffered);
            }
        }
        self.log_in()
    }

    fn starttls(&mut self, reply: Reply) -> Result<Option<Next>, Failure> {
        if reply.code() == 220 {
            self.parser.clear();
            self.state = State::Handshake;
            return Ok(Some(Next::StartTls));
        }
        if self.settings.starttls == StartTls::Required {
            return Err(Failure::TlsRefused(reply));
        }
        if reply.is_closing() {
            let stage = Stage::StartTls;
            return Err(Failure::Refused { stage, reply });
        }
        // The server stays where it was, so what it offered still holds.
        self.log_in()
    }

    /// The handshake is done; what was offered before it no longer counts.
    pub fn tls_established(&mut self) -> Result<Next, Failure> {
        if !matches!(self.state, State::Handshake) {
            return Err(Failure::OutOfOrder);
        }
        self.parser.clear();
        self.encrypted = true;
        self.capabilities = Capabilities::default();
        self.say_hello("EHLO");
        Ok(self.next())
    }

    /// What the TLS connection below the session can be told apart by. Without it the login is not
    /// bound to the connection.
    pub fn bind_channel(&mut self, bindings: ChannelBindings) {
        self.bindings = bindings;
    }

    fn log_in(&mut self) -> Result<Option<Next>, Failure> {
        let Some(credentials) = &self.settings.credentials else {
            return Ok(Some(self.ready()));
        };
        if !self.encrypted {
            return Err(Failure::AuthenticationNeedsTls);
        }
        let (offers, bindings) = (&self.capabilities, &self.bindings);
        let login = Login::start(credentials, offers, bindings, &mut self.output)
            .ok_or(Failure::NoMechanism)?;
        self.state = State::Login(login);
        Ok(None)
    }

    fn ready(&mut self) -> Next {
        self.state = State::Ready;
        Next::Ready
    }

    /// Begins a transaction. Fails with [`Failure::Unasked`] when replies lie there that belong to
    /// nothing: the two sides would be out of step.
    pub fn begin(&mut self, envelope: &Envelope<'_>) -> Result<Next, Failure> {
        if !matches!(self.state, State::Ready) || envelope.recipients.is_empty() {
            return Err(Failure::OutOfOrder);
        }
        if !self.parser.is_empty() {
            self.state = State::Closed;
            return Err(Failure::Unasked);
        }
        let transaction = Transaction::start(
            envelope,
            &self.capabilities,
            std::mem::take(&mut self.dirty),
            &mut self.output,
        );
        let next = Next::Read(transaction.wait());
        self.verdicts.clear();
        self.state = State::Transaction(transaction);
        Ok(next)
    }

    fn transaction(&mut self, mut transaction: Transaction, reply: Reply) -> Option<Next> {
        let step = transaction.reply(reply, &mut self.output);
        match step {
            transaction::Step::More => {
                self.state = State::Transaction(transaction);
                None
            }
            transaction::Step::SendContent => {
                self.state = State::Transaction(transaction);
                Some(Next::SendContent)
            }
            transaction::Step::Finished { dirty, closed } => {
                self.dirty = dirty;
                self.verdicts = transaction.verdicts();
                self.state = if closed { State::Closed } else { State::Ready };
                Some(Next::Finished)
            }
        }
    }

    /// The content was written whole.
    pub fn content_sent(&mut self) -> Result<Next, Failure> {
        if let State::Transaction(transaction) = &mut self.state
            && transaction.content_sent()
        {
            return Ok(Next::Read(Wait::Content));
        }
        Err(Failure::OutOfOrder)
    }

    /// What became of each recipient, in their order: after [`Next::Finished`], or after the
    /// connection was lost in a transaction. Ends the session in the second case.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        if matches!(self.state, State::Transaction(_))
            && let State::Transaction(transaction) =
                std::mem::replace(&mut self.state, State::Closed)
        {
            return transaction.verdicts();
        }
        std::mem::take(&mut self.verdicts)
    }

    /// Whether the server has seen the end of the content: a loss from here on may make a
    /// duplicate (case B27).
    pub const fn awaits_content_reply(&self) -> bool {
        matches!(&self.state, State::Transaction(transaction) if transaction.awaits_content_reply())
    }

    /// Says goodbye; the reply does not matter.
    pub fn quit(&mut self) {
        self.output.extend_from_slice(b"QUIT\r\n");
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod tests;
