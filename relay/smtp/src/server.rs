//! The server's side of a session: RFC 5321, with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME
//! (RFC 6152), CHUNKING and BINARYMIME (RFC 3030), SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC
//! 2034), STARTTLS (RFC 3207), AUTH (RFC 4954, submission of RFC 6409), LIMITS (RFC 9422) and the
//! parameters of [`crate::options`].
//!
//! Received octets go into [`Server::next`]; out come events that the caller answers, and replies
//! that pile up in [`Server::output`] until the caller writes them, so that a pipelined batch is
//! one write. How octets are cut into chunks changes nothing. The machine refuses to know sockets,
//! TLS, clocks, passwords and who may send what.
//!
//! Limits: a command line has [`LONGEST_LINE`] octets, a session [`MOST_FAULTS`] faulty commands
//! and [`MOST_LOGIN_FAILURES`] failed logins, unwritten replies [`FLUSH_AT`] octets; commands,
//! recipients, header and message size are settings.

use bytes::{Buf as _, BufMut as _, BytesMut};

use crate::chunking::Chunks;
use crate::data::DataDecoder;

mod answer;
mod authentication;
mod chunks;
mod commands;
mod content;
mod interface;
mod line;
mod login;
mod transaction;

pub use answer::Answer;
pub use interface::{Event, HoldLimit, LoginPolicy, LoginVerdict, Message, Refusal, Settings};
pub use line::LONGEST_LINE;
pub use login::{
    ChannelBindings, Login, Password, ScramChallenge, ScramFault, ScramKey, ScramLogin, ScramStart,
    Token, TokenLogin,
};

use authentication::Owed;
use chunks::Chunk;
use login::Exchange;
use transaction::Transaction;

/// Faulty commands in a row of messages before 421: a client that cannot speak SMTP, or one that
/// only guesses.
pub const MOST_FAULTS: u32 = 20;
/// Failed logins before 421.
pub const MOST_LOGIN_FAILURES: u32 = 3;
/// Octets of replies before [`Event::Flush`].
pub const FLUSH_AT: usize = 16 * 1024;

/// One session's state.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one session; an enum of their products would hide them"
)]
pub struct Server {
    settings: Settings,
    state: State,
    client: Option<Client>,
    tls: bool,
    logged_in: bool,
    bindings: ChannelBindings,
    owed: Owed,
    transaction: Option<Transaction>,
    /// `MAIL` was refused, so that what a client pipelined after it is no fault of its own.
    mail_refused: bool,
    faults: u32,
    /// The reply to the last faulty command.
    fault: Option<Answer>,
    /// Since the last message.
    commands: u32,
    login_failures: u32,
    quit: bool,
    /// Octets of chunks that were read and thrown away.
    wasted: u64,
    lines: u64,
    content: u64,
    output: BytesMut,
}

#[derive(Debug)]
struct Client {
    name: String,
    extended: bool,
}

enum State {
    /// Ready for a command line.
    Command,
    /// Ready for the next line of an `AUTH` exchange.
    Login(Exchange),
    /// Ready for message data; `Some` when the message will be refused whatever it holds.
    Data(DataDecoder, Option<Answer>),
    /// Ready for the octets of a chunk.
    Chunk(Chunk),
    /// The caller owes an answer before the octets of a first chunk are read.
    FirstChunk(Chunk),
    /// The caller owes an answer.
    Waiting,
    Closed,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // By name alone: an exchange holds a user name and data a message.
        formatter.write_str(match self {
            Self::Command => "Command",
            Self::Login(_) => "Login",
            Self::Data(..) => "Data",
            Self::Chunk(_) => "Chunk",
            Self::FirstChunk(_) => "FirstChunk",
            Self::Waiting => "Waiting",
            Self::Closed => "Closed",
        })
    }
}

impl Server {
    /// A session that starts: the greeting is in the output.
    pub fn new(settings: Settings) -> Self {
        let mut output = BytesMut::with_capacity(512);
        output.put_slice(b"220 ");
        answer::put_text(&settings.hostname, &mut output);
        output.put_slice(b" ESMTP ");
        answer::put_text(&settings.banner, &mut output);
        output.put_slice(b"\r\n");
        Self {
            tls: settings.implicit_tls,
            settings,
            state: State::Command,
            client: None,
            logged_in: false,
            bindings: ChannelBindings::default(),
            owed: Owed::Nothing,
            transaction: None,
            mail_refused: false,
            faults: 0,
            fault: None,
            commands: 0,
            login_failures: 0,
            quit: false,
            wasted: 0,
            lines: 0,
            content: 0,
            output,
        }
    }

    /// Replies to write; the caller clears what it has written.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Reads from `input` until something happens. `None`: more input is needed, or an answer is
    /// owed.
    pub fn next(&mut self, input: &mut BytesMut) -> Option<Event> {
        loop {
            if matches!(self.state, State::Closed) {
                input.clear();
                return Some(Event::Close);
            }
            if self.output.len() >= FLUSH_AT {
                return Some(Event::Flush);
            }
            if input.is_empty() && !self.chunk_is_over() {
                return None;
            }
            let event = match self.state {
                State::Waiting | State::FirstChunk(_) | State::Closed => return None,
                State::Data(..) => self.read_data(input),
                State::Chunk(_) => self.read_chunk(input),
                State::Command | State::Login(_) => match line::first(input) {
                    line::Line::Part => return None,
                    line::Line::Whole(length) => {
                        let end = length + 2;
                        let event = self.read_line(&input[..length], input.len() > end);
                        input.advance(end);
                        event
                    }
                    line::Line::TooLong => Some(self.break_off(
                        Refusal::LineFraming,
                        &Answer::fixed(500, "5.5.2", "the line is too long; closing"),
                    )),
                    line::Line::BareLineFeed => Some(self.break_off(
                        Refusal::LineFraming,
                        &Answer::fixed(
                            500,
                            "5.5.2",
                            "the line ends in LF alone; SMTP lines end in CRLF; closing",
                        ),
                    )),
                },
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Whether the session may be closed without harm: no transaction, no exchange, no answer owed.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Command) && self.transaction.is_none()
    }

    /// The reply to the last faulty command, for the log.
    pub fn last_fault(&self) -> Option<&Answer> {
        self.fault.as_ref()
    }

    /// Whether it was the client who ended the session, and so expects nothing more.
    pub fn has_quit(&self) -> bool {
        self.quit
    }

    /// Octets of a message in memory.
    pub fn receiving(&self) -> usize {
        match (&self.state, &self.transaction) {
            (State::Data(decoder, _), _) => decoder.kept(),
            (_, Some(transaction)) => transaction.chunks.as_ref().map_or(0, Chunks::kept),
            _ => 0,
        }
    }

    /// Whether content of a message is being received.
    pub fn is_in_content(&self) -> bool {
        matches!(self.state, State::Data(..) | State::Chunk(_))
    }

    /// Octets of content that were read since the session began.
    pub fn content_octets(&self) -> u64 {
        self.content
    }

    /// Lines that were read since the session began, those of content not counted.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// What the client calls itself; any visible text.
    pub fn client_name(&self) -> &str {
        self.client.as_ref().map_or("", |client| &client.name)
    }

    /// Whether the session is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The `with` word of a trace header: RFC 3848, RFC 6531 section 4.3.
    pub fn protocol(&self, smtputf8: bool) -> &'static str {
        let extended = self.client.as_ref().is_some_and(|client| client.extended);
        match (smtputf8, self.tls, self.logged_in) {
            (false, _, _) if !extended => "SMTP",
            (false, false, false) => "ESMTP",
            (false, false, true) => "ESMTPA",
            (false, true, false) => "ESMTPS",
            (false, true, true) => "ESMTPSA",
            (true, false, false) => "UTF8SMTP",
            (true, false, true) => "UTF8SMTPA",
            (true, true, false) => "UTF8SMTPS",
            (true, true, true) => "UTF8SMTPSA",
        }
    }

    /// Answers [`Event::Mail`]: opens the transaction or says why not.
    pub fn answer_mail(&mut self, verdict: Result<(), Answer>) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        self.state = State::Command;
        match verdict {
            Ok(()) => self.say(250, "2.1.0", "sender ok"),
            Err(answer) => {
                self.transaction = None;
                self.mail_refused = true;
                answer.write(&mut self.output);
            }
        }
    }

    /// Answers [`Event::Message`].
    pub fn answer_message(&mut self, answer: &Answer) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        self.state = State::Command;
        if answer.is_positive() {
            self.faults = 0;
            self.commands = 0;
        }
        answer.write(&mut self.output);
    }

    /// After the handshake: the session starts anew (RFC 3207 section 4.2).
    pub fn tls_started(&mut self) {
        if matches!(self.state, State::Waiting) {
            self.state = State::Command;
            self.tls = true;
            self.client = None;
            self.logged_in = false;
            self.transaction = None;
            self.mail_refused = false;
        }
    }

    /// Ends the session with a reply of the caller's, such as 421 at shutdown.
    pub fn end(&mut self, answer: &Answer) {
        if !matches!(self.state, State::Closed) {
            answer.write(&mut self.output);
            self.state = State::Closed;
        }
    }

    fn read_line(&mut self, line: &[u8], more_follows: bool) -> Option<Event> {
        self.lines += 1;
        match std::mem::replace(&mut self.state, State::Command) {
            State::Login(exchange) => self.login_step(login::resume(exchange, line)),
            _ => self.read_command(line, more_follows),
        }
    }

    /// Replies to a faulty command, and ends a session that has too many.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "it ends a reader of commands, which not always has an event"
    )]
    fn fault(&mut self, answer: &Answer) -> Option<Event> {
        answer.write(&mut self.output);
        self.faults += 1;
        if self.faults < MOST_FAULTS {
            self.fault = Some(answer.clone());
            return Some(Event::Refused(Refusal::Command));
        }
        Some(self.break_off(
            Refusal::TooManyFaults,
            &Answer::fixed(421, "4.7.0", "too many faulty commands; closing"),
        ))
    }

    fn break_off(&mut self, refusal: Refusal, answer: &Answer) -> Event {
        self.end(answer);
        Event::Refused(refusal)
    }

    fn say(&mut self, code: u16, enhanced: &'static str, text: &'static str) {
        Answer::fixed(code, enhanced, text).write(&mut self.output);
    }

    fn size_text(&self) -> String {
        format!(
            "the message is larger than the {} octets that this relay takes",
            self.settings.message_bytes
        )
    }
}

#[cfg(test)]
mod tests;
