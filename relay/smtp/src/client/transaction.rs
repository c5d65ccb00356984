//! One mail transaction: `MAIL`, `RCPT` for each recipient, `DATA` and the content.
//!
//! Under PIPELINING all commands go in one write, so the server may ask for content although it took
//! no recipient; it then gets a lone dot, and whatever it answers nothing counts as delivered
//! (case B3). Each recipient has a verdict of its own (case B1).

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Capabilities, Wait};
use crate::Address;
use crate::options::{ByMode, MailOptions, RecipientOptions, encode_xtext};
use crate::reply::Reply;

/// Recipients of one transaction at most: what every server must take (RFC 5321 section
/// 4.5.3.1.8), and few enough that one write of all commands never waits for replies to be read
/// (RFC 2920 section 3.1).
pub const RECIPIENTS: usize = 100;

/// What a transaction is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope<'a> {
    /// `None` is the null path.
    pub sender: Option<&'a Address>,
    /// One or more, at most [`RECIPIENTS`].
    pub recipients: &'a [&'a Address],
    /// Octets of the content, before dots are doubled.
    pub size: u64,
    /// The content has octets above 127; `BODY=8BITMIME` is sent where offered.
    pub eight_bit: bool,
    /// Addresses or headers need SMTPUTF8; it is sent where offered.
    pub smtputf8: bool,
    /// What the sender asked for, with times as they are now. Each is passed on where it is
    /// offered; [`MailOptions::hold`] never is.
    pub options: Option<&'a MailOptions>,
    /// The same for each recipient, in their order; as if empty for those that are missing.
    pub recipient_options: &'a [Option<&'a RecipientOptions>],
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The connection itself.
    Greeting,
    /// `EHLO` or `HELO`.
    Hello,
    /// `STARTTLS`.
    StartTls,
    /// `AUTH`.
    Authentication,
    /// `MAIL FROM`.
    Mail,
    /// `RCPT TO`.
    Recipient,
    /// `DATA`.
    Data,
    /// The final dot.
    Content,
}

impl Stage {
    /// In words that follow "in reply to".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "the connection",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Authentication => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::Content => "the end of the message",
        }
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server took responsibility.
    Accepted(Arc<Reply>),
    /// The server refused, for now or for good.
    Refused(Stage, Arc<Reply>),
    /// The connection was lost before the content was sent.
    Undecided,
    /// The connection was lost after the content was sent whole: the server may have the message
    /// (case B27).
    Unconfirmed,
}

/// Whose reply comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Reset,
    Mail,
    Recipient(usize),
    Data,
    /// Nothing: the content is to be sent.
    Sending,
    Content,
    /// The reply to a lone dot.
    LoneDot,
}

/// What a reply led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    SendContent,
    Finished {
        /// The server may still hold the envelope.
        dirty: bool,
        /// The server closes the connection, or cannot be followed any more.
        closed: bool,
    },
}

/// A transaction that runs.
#[derive(Debug)]
pub(super) struct Transaction {
    verdicts: Vec<Option<Verdict>>,
    expect: Expect,
    /// Commands that wait for the reply to the one before; empty under PIPELINING.
    waiting: VecDeque<Vec<u8>>,
    pipelined: bool,
    mail_refused: bool,
}

impl Transaction {
    /// Writes the first command, or all of them.
    pub(super) fn start(
        envelope: &Envelope<'_>,
        capabilities: &Capabilities,
        reset: bool,
        output: &mut Vec<u8>,
    ) -> Self {
        let pipelined = capabilities.pipelining;
        let mut transaction = Self {
            verdicts: vec![None; envelope.recipients.len()],
            expect: if reset { Expect::Reset } else { Expect::Mail },
            waiting: VecDeque::new(),
            pipelined,
            mail_refused: false,
        };
        if reset {
            transaction.command(&[b"RSET\r\n"], output);
        }
        transaction.command(&[&mail_command(envelope, capabilities)], output);
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            let address = recipient.as_str().as_bytes();
            let options = envelope.recipient_options.get(index).copied().flatten();
            let parameters = options
                .filter(|_| capabilities.dsn)
                .map_or_else(String::new, recipient_parameters);
            transaction.command(
                &[b"RCPT TO:<", address, b">", parameters.as_bytes(), b"\r\n"],
                output,
            );
        }
        transaction.command(&[b"DATA\r\n"], output);
        if !pipelined {
            transaction.send_next(output);
        }
        transaction
    }

    fn command(&mut self, parts: &[&[u8]], output: &mut Vec<u8>) {
        if self.pipelined {
            for part in parts {
                output.extend_from_slice(part);
            }
        } else {
            self.waiting.push_back(parts.concat());
        }
    }

    fn send_next(&mut self, output: &mut Vec<u8>) {
        if let Some(command) = self.waiting.pop_front() {
            output.extend_from_slice(&command);
        }
    }

    /// What the transaction waits for.
    pub(super) const fn wait(&self) -> Wait {
        match self.expect {
            Expect::Content => Wait::Content,
            _ => Wait::Command,
        }
    }

    /// Takes one reply.
    pub(super) fn reply(&mut self, reply: Reply, output: &mut Vec<u8>) -> Step {
        let reply = Arc::new(reply);
        if reply.code() == 421 && self.expect != Expect::LoneDot {
            return self.closed_by(&reply);
        }
        match self.expect {
            Expect::Reset => self.after_reset(&reply, output),
            Expect::Mail => self.after_mail(&reply, output),
            Expect::Recipient(index) => self.after_recipient(index, &reply, output),
            Expect::Data => self.after_data(&reply, output),
            // It answers before it has the content: it cannot be followed.
            Expect::Sending => self.closed_by(&reply),
            Expect::Content => self.after_content(&reply),
            Expect::LoneDot => Step::Finished {
                dirty: true,
                closed: reply.is_closing(),
            },
        }
    }

    fn after_reset(&mut self, reply: &Arc<Reply>, output: &mut Vec<u8>) -> Step {
        if !reply.is_positive() {
            return self.closed_by(reply);
        }
        self.expect = Expect::Mail;
        self.send_next(output);
        Step::More
    }

    fn after_mail(&mut self, reply: &Arc<Reply>, output: &mut Vec<u8>) -> Step {
        if !reply.is_positive() {
            self.mail_refused = true;
            self.refuse_undecided(Stage::Mail, reply);
            if !self.pipelined {
                return Step::Finished {
                    dirty: false,
                    closed: reply.is_closing(),
                };
            }
        }
        self.expect = Expect::Recipient(0);
        self.send_next(output);
        Step::More
    }

    fn after_recipient(&mut self, index: usize, reply: &Arc<Reply>, output: &mut Vec<u8>) -> Step {
        if !reply.is_positive()
            && !self.mail_refused
            && let Some(verdict) = self.verdicts.get_mut(index)
        {
            *verdict = Some(Verdict::Refused(Stage::Recipient, reply.clone()));
        }
        let following = index + 1;
        if following < self.verdicts.len() {
            self.expect = Expect::Recipient(following);
        } else if self.pipelined || self.any_taken() {
            self.expect = Expect::Data;
        } else {
            return Step::Finished {
                dirty: true,
                closed: false,
            };
        }
        self.send_next(output);
        Step::More
    }

    fn after_data(&mut self, reply: &Arc<Reply>, output: &mut Vec<u8>) -> Step {
        let taken = self.any_taken();
        if reply.code() == 354 {
            if taken {
                self.expect = Expect::Sending;
                return Step::SendContent;
            }
            output.extend_from_slice(b".\r\n");
            self.expect = Expect::LoneDot;
            return Step::More;
        }
        // A positive reply is no answer to DATA: the two sides are out of step.
        let closed = reply.is_closing() || !matches!(reply.code() / 100, 4 | 5);
        self.refuse_undecided(Stage::Data, reply);
        Step::Finished {
            dirty: true,
            closed,
        }
    }

    fn after_content(&mut self, reply: &Arc<Reply>) -> Step {
        let verdict = if reply.is_positive() {
            Verdict::Accepted(reply.clone())
        } else {
            Verdict::Refused(Stage::Content, reply.clone())
        };
        for open in self.verdicts.iter_mut().filter(|one| one.is_none()) {
            *open = Some(verdict.clone());
        }
        Step::Finished {
            dirty: false,
            closed: reply.is_closing() || reply.code() / 100 == 3,
        }
    }

    /// The server ends the session: recipients that it took before have gone with it.
    fn closed_by(&mut self, reply: &Arc<Reply>) -> Step {
        let stage = match self.expect {
            Expect::Reset | Expect::Mail => Stage::Mail,
            Expect::Recipient(_) => Stage::Recipient,
            Expect::Data => Stage::Data,
            Expect::Sending | Expect::Content | Expect::LoneDot => Stage::Content,
        };
        self.refuse_undecided(stage, reply);
        Step::Finished {
            dirty: false,
            closed: true,
        }
    }

    fn refuse_undecided(&mut self, stage: Stage, reply: &Arc<Reply>) {
        for open in self.verdicts.iter_mut().filter(|one| one.is_none()) {
            *open = Some(Verdict::Refused(stage, reply.clone()));
        }
    }

    fn any_taken(&self) -> bool {
        self.verdicts.iter().any(Option::is_none)
    }

    /// The content was sent; whether that was due.
    pub(super) fn content_sent(&mut self) -> bool {
        let due = self.expect == Expect::Sending;
        if due {
            self.expect = Expect::Content;
        }
        due
    }

    pub(super) const fn awaits_content_reply(&self) -> bool {
        matches!(self.expect, Expect::Content)
    }

    /// One verdict for each recipient; those that are open were lost with the connection.
    pub(super) fn verdicts(self) -> Vec<Verdict> {
        let lost = if self.expect == Expect::Content {
            Verdict::Unconfirmed
        } else {
            Verdict::Undecided
        };
        self.verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or_else(|| lost.clone()))
            .collect()
    }
}

/// `MAIL FROM` with the parameters that are offered and needed (cases L7, L8, L12).
fn mail_command(envelope: &Envelope<'_>, capabilities: &Capabilities) -> Vec<u8> {
    use std::io::Write as _;
    let mut command = Vec::with_capacity(96);
    command.extend_from_slice(b"MAIL FROM:<");
    if let Some(sender) = envelope.sender {
        command.extend_from_slice(sender.as_str().as_bytes());
    }
    command.push(b'>');
    if capabilities.size.is_some() {
        // Writing to memory does not fail.
        let _ = write!(command, " SIZE={}", envelope.size);
    }
    if envelope.eight_bit && capabilities.eight_bit_mime {
        command.extend_from_slice(b" BODY=8BITMIME");
    }
    if envelope.smtputf8 && capabilities.smtputf8 {
        command.extend_from_slice(b" SMTPUTF8");
    }
    if let Some(options) = envelope.options {
        command.extend_from_slice(mail_parameters(options, capabilities).as_bytes());
    }
    command.extend_from_slice(b"\r\n");
    command
}

/// What the sender asked for and the server offers, each with a space before it.
fn mail_parameters(options: &MailOptions, capabilities: &Capabilities) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to memory does not fail.
    if capabilities.dsn {
        if let Some(give_back) = options.give_back {
            let _ = write!(text, " RET={give_back}");
        }
        if let Some(id) = &options.envelope_id {
            let _ = write!(text, " ENVID={}", encode_xtext(id));
        }
    }
    // RFC 2852 section 4.1.1: a server would refuse a time that is shorter than its least.
    if let (Some(by), Some(least)) = (options.deliver_by, capabilities.deliver_by)
        && (by.mode == ByMode::Notify || by.seconds.unsigned_abs() >= least)
    {
        let _ = write!(text, " BY={by}");
    }
    if options.priority != 0 && capabilities.mt_priority {
        let _ = write!(text, " MT-PRIORITY={}", options.priority);
    }
    if options.require_tls && capabilities.require_tls {
        text.push_str(" REQUIRETLS");
    }
    text
}

fn recipient_parameters(options: &RecipientOptions) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if let Some(notify) = options.notify {
        let _ = write!(text, " NOTIFY={notify}");
    }
    if let Some(original) = &options.original {
        let _ = write!(text, " ORCPT={original}");
    }
    text
}
