//! What passes between the state machine and its caller.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::address::Address;
use crate::command::Syntax;
use crate::options::{MailOptions, RecipientOptions};

use super::answer::Answer;
use super::login::{Login, ScramLogin, ScramStart, TokenLogin};

/// Whether clients log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginPolicy {
    /// `MAIL` is refused with 530 before a login.
    Required,
    /// `AUTH` is offered; what an anonymous client may do is for the caller to say.
    Optional,
    /// `AUTH` is not offered.
    None,
}

/// What a session offers.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent settings; an enum of two for each would say no more"
)]
#[derive(Clone, Debug)]
pub struct Settings {
    /// Own name in `EHLO`'s reply and the greeting.
    pub hostname: String,
    /// What the greeting says after the name and `ESMTP`.
    pub banner: String,
    /// Largest message in octets.
    pub message_bytes: u64,
    /// Most recipients of a message.
    pub recipients: usize,
    /// Offer `STARTTLS`.
    pub start_tls: bool,
    /// The connection is encrypted from its start.
    pub implicit_tls: bool,
    /// Whether clients log in.
    pub login: LoginPolicy,
    /// Offer `AUTH` with passwords and tokens without TLS.
    pub login_without_tls: bool,
    /// Offer the mechanisms for tokens.
    pub tokens: bool,
    /// Offer `BINARYMIME` (RFC 3030 section 3): the caller can make any octets deliverable.
    pub binary_mime: bool,
    /// Ask the caller about each recipient ([`Event::Recipient`]); otherwise every address will do.
    pub judge_recipients: bool,
    /// How `MAIL` and `RCPT` are read.
    pub syntax: Syntax,
    /// Offer `FUTURERELEASE` (RFC 4865), for at most so long.
    pub hold: Option<HoldLimit>,
    /// Largest header of a message in octets.
    pub header_bytes: u64,
    /// Most commands from one accepted message to the next, those not counted that name recipients
    /// or bring content.
    pub commands: u32,
}

/// No name, no offers beyond those that cost nothing, and limits as in the relay's configuration.
impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            banner: String::new(),
            message_bytes: 25 * 1024 * 1024,
            recipients: 1000,
            start_tls: false,
            implicit_tls: false,
            login: LoginPolicy::None,
            login_without_tls: false,
            tokens: false,
            binary_mime: false,
            judge_recipients: false,
            syntax: Syntax::Lenient,
            hold: None,
            header_bytes: 512 * 1024,
            commands: 1000,
        }
    }
}

/// How far ahead a message may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimit {
    /// `HOLDFOR` in seconds at most.
    pub seconds: u64,
    /// `HOLDUNTIL` in seconds since the Unix epoch at most, for the whole session.
    pub until: u64,
}

/// What the caller is told, and what it owes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Many replies wait: write [`Server::output`](super::Server::output) and clear it, then go on.
    Flush,
    /// Check a password; owes [`Server::answer_login`](super::Server::answer_login).
    Login(Login),
    /// Check a token; owes [`Server::answer_login`](super::Server::answer_login).
    Token(TokenLogin),
    /// Look the keys of a user name up, or make some up; owes
    /// [`Server::answer_scram`](super::Server::answer_scram).
    Scram(ScramStart),
    /// A SCRAM exchange came to its end; owes [`Server::answer_login`](super::Server::answer_login).
    ScramDone(ScramLogin),
    /// `MAIL` with this sender is well-formed; owes [`Server::answer_mail`](super::Server::answer_mail).
    Mail(Option<Address>),
    /// `RCPT` is well-formed and within the limits; owes
    /// [`Server::answer_recipient`](super::Server::answer_recipient). Only with
    /// [`Settings::judge_recipients`].
    Recipient {
        /// Of the transaction.
        sender: Option<Address>,
        /// To be judged.
        recipient: Address,
    },
    /// Somebody wants to send data, by `DATA` or a first `BDAT`, of so many octets if announced; owes [`Server::answer_data`](super::Server::answer_data).
    Data {
        /// `SIZE=` or the first chunk's size, at most the limit.
        size: Option<u64>,
    },
    /// A message is complete; owes [`Server::answer_message`](super::Server::answer_message).
    Message(Message),
    /// Write the output, shake hands, and call [`Server::tls_started`](super::Server::tls_started). Octets received before the
    /// handshake must not be given to [`Server::next`](super::Server::next) again; there are none in the buffer.
    StartTls,
    /// Something was refused by a rule or limit of the machine; the reply is in the output.
    Refused(Refusal),
    /// Write the output and close the connection.
    Close,
}

/// What the machine refuses on its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A command that is unknown, malformed or out of order; [`Server::last_fault`](super::Server::last_fault)
    /// has the reply.
    Command,
    /// `MAIL` before a login.
    LoginRequired,
    /// `SIZE=` or the data is over the limit.
    MessageTooLarge,
    /// The header is over the limit.
    HeaderTooLarge,
    /// More recipients than the limit.
    TooManyRecipients,
    /// A recipient that cannot be one here.
    Recipient,
    /// Bare CR or LF in the data.
    BareLineEnd,
    /// A command line that is too long or not ended by CRLF, a chunk of unknown size, or commands
    /// sent along with `STARTTLS`; the session ends.
    LineFraming,
    /// Too many faulty commands; the session ends.
    TooManyFaults,
    /// Too many commands without a message; the session ends.
    TooManyCommands,
    /// Too many failed logins; the session ends.
    TooManyLogins,
}

impl Refusal {
    /// Name for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::LoginRequired => "login_required",
            Self::MessageTooLarge => "message_too_large",
            Self::HeaderTooLarge => "header_too_large",
            Self::TooManyRecipients => "too_many_recipients",
            Self::Recipient => "recipient",
            Self::BareLineEnd => "bare_line_end",
            Self::LineFraming => "line_framing",
            Self::TooManyFaults => "too_many_faults",
            Self::TooManyCommands => "too_many_commands",
            Self::TooManyLogins => "too_many_logins",
        }
    }
}

/// A message as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Reverse path.
    pub sender: Option<Address>,
    /// Forward paths in order, each once; never empty.
    pub recipients: Vec<Address>,
    /// `BODY=8BITMIME` was given.
    pub eight_bit: bool,
    /// `BODY=BINARYMIME` was given: the content is octets of any kind, and its lines may end in
    /// any way or not at all.
    pub binary: bool,
    /// `SMTPUTF8` was given.
    pub smtputf8: bool,
    /// Content; dots are not stuffed, and unless it is `binary` lines end in CRLF, the last too.
    pub content: Bytes,
    /// Octets of its longest line.
    pub longest_line: usize,
    /// Parameters of `MAIL` beyond the content's form.
    pub options: MailOptions,
    /// Parameters of `RCPT`, by index into `recipients`, for those that had any.
    pub recipient_options: BTreeMap<u32, RecipientOptions>,
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginVerdict {
    /// The client is who it says.
    Granted,
    /// It is not, or nobody is called that.
    Denied,
    /// It is not, for a reason that may be told; the reply has code 535.
    Refused(Answer),
    /// It could not be checked now.
    Unavailable,
}
