//! What each command does in each state: RFC 5321 section 4.1.4 and its extensions.

use bytes::BufMut as _;

use crate::address::Address;
use crate::command::{Command, CommandError, Mail, Recipient, needs_smtputf8};
use crate::options::{Hold, RecipientOptions, date_time};

use super::transaction::Transaction;
use super::{Answer, Client, Event, LoginPolicy, Refusal, Server, State, answer};

/// Refused recipients of one transaction before 421, as a multiple of the most that it may have.
const MOST_REFUSED: usize = 10;

/// Octets that `ORCPT` may take for each recipient that a message may have, on average.
const ORIGINAL_OCTETS: usize = 64;
/// Octets below which a chunk is worth no more than a command.
const SMALL_CHUNK: u64 = 512;

pub(super) const GREET_FIRST: Answer = Answer::fixed(503, "5.5.1", "say EHLO first");
pub(super) const NO_RECIPIENT: Answer = Answer::fixed(503, "5.5.1", "no recipient was accepted");
const NO_MAIL: Answer = Answer::fixed(503, "5.5.1", "give MAIL first");
const AFTER_REFUSED_MAIL: Answer = Answer::fixed(
    503,
    "5.5.1",
    "the transaction was refused, so nothing can follow; give MAIL or RSET",
);

impl Server {
    pub(super) fn read_command(&mut self, line: &[u8], more_follows: bool) -> Option<Event> {
        let command = match Command::parse(line, self.settings.syntax) {
            Ok(command) => command,
            Err(error) => return self.refuse_command(line, error),
        };
        if self.has_said_too_much(&command) {
            return Some(self.break_off(
                Refusal::TooManyCommands,
                &Answer::fixed(
                    421,
                    "4.7.0",
                    "too many commands without a message; connect again to go on",
                ),
            ));
        }
        match command {
            Command::Ehlo(name) => self.greet(name, true),
            Command::Helo(name) => self.greet(name, false),
            Command::Mail(mail) => return self.mail(mail),
            Command::Rcpt(recipient, options) => return self.recipient(recipient, options),
            Command::Data => return self.data(),
            Command::Bdat { size, last } => return self.chunk(size, last),
            Command::Auth { mechanism, initial } => return self.auth(mechanism, initial),
            Command::StartTls => return self.start_tls(more_follows),
            Command::Rset => {
                self.transaction = None;
                self.mail_refused = false;
                self.say(250, "2.0.0", "ok");
            }
            Command::Noop => self.say(250, "2.0.0", "ok"),
            Command::Quit => {
                self.quit = true;
                self.end(&Answer::fixed(221, "2.0.0", "goodbye"));
            }
            Command::Vrfy => self.say(
                252,
                "2.5.0",
                "no mailbox can be verified here; send and see",
            ),
            Command::Help => self.say(
                214,
                "2.0.0",
                "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT",
            ),
            Command::NotImplemented(_) => {
                return self.fault(&Answer::fixed(502, "5.5.1", "this command is not offered"));
            }
            Command::Foreign => {
                return Some(self.break_off(
                    Refusal::LineFraming,
                    &Answer::fixed(421, "4.7.0", "this is an SMTP server, not a web server"),
                ));
            }
        }
        None
    }

    /// Counts commands, so that nobody keeps a session busy for nothing. Recipients and chunks have
    /// limits of their own.
    fn has_said_too_much(&mut self, command: &Command<'_>) -> bool {
        let counts = match command {
            Command::Rcpt(..) | Command::Quit => false,
            Command::Bdat { size, .. } => *size < SMALL_CHUNK,
            _ => true,
        };
        self.commands += u32::from(counts);
        self.commands > self.settings.commands
    }

    /// A recipient that is no address is the mail's fault and common; what else cannot be parsed
    /// is the client's.
    fn refuse_command(&mut self, line: &[u8], error: CommandError) -> Option<Event> {
        let verb = line.trim_ascii_start().first_chunk::<4>();
        if verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT")) {
            // Where the next command stands nobody can tell, and content must not be run as one.
            let text = format!("{}; closing", error.text);
            let answer = Answer::new(error.code, error.enhanced, text);
            return Some(self.break_off(Refusal::LineFraming, &answer));
        }
        let is_recipient = error.enhanced == "5.1.3";
        let answer = Answer::from(error);
        if is_recipient && self.transaction.is_some() {
            return self.refuse_recipient(&answer, Refusal::Recipient);
        }
        self.fault(&answer)
    }

    /// Refuses one recipient of a transaction. The caller is told once per transaction, so that
    /// nobody fills its log with a list of nonsense, and a list without end ends the session.
    fn refuse_recipient(&mut self, answer: &Answer, refusal: Refusal) -> Option<Event> {
        answer.write(&mut self.output);
        let most = self.settings.recipients.saturating_mul(MOST_REFUSED);
        match self.transaction.as_mut()?.refuse() {
            1 => Some(Event::Refused(refusal)),
            refused if refused > most => Some(self.break_off(
                Refusal::TooManyFaults,
                &Answer::fixed(421, "4.7.0", "too many refused recipients; closing"),
            )),
            _ => None,
        }
    }

    fn greet(&mut self, name: &str, extended: bool) {
        self.transaction = None;
        self.mail_refused = false;
        self.client = Some(Client {
            name: name.into(),
            extended,
        });
        let output = &mut self.output;
        output.put_slice(if extended { b"250-" } else { b"250 " });
        answer::put_text(&self.settings.hostname, output);
        output.put_slice(b"\r\n");
        if extended {
            self.offer();
        }
    }

    /// The lines of the reply to `EHLO` after the first.
    fn offer(&mut self) {
        let login = (self.offers_login() && !self.logged_in).then(|| self.mechanisms());
        let settings = &self.settings;
        let output = &mut self.output;
        let mut line = |text: &str| {
            output.put_slice(b"250-");
            output.put_slice(text.as_bytes());
            output.put_slice(b"\r\n");
        };
        line("PIPELINING");
        line(&format!("SIZE {}", settings.message_bytes));
        if settings.start_tls && !self.tls {
            line("STARTTLS");
        }
        if let Some(mechanisms) = &login {
            line(&format!("AUTH {mechanisms}"));
        }
        line("ENHANCEDSTATUSCODES");
        line("8BITMIME");
        line("CHUNKING");
        if settings.binary_mime {
            line("BINARYMIME");
        }
        line("DSN");
        line("DELIVERBY");
        line("MT-PRIORITY");
        if let Some(hold) = settings.hold {
            let until = date_time(hold.until);
            line(&format!("FUTURERELEASE {} {until}", hold.seconds));
        }
        // RFC 8689 section 2: nobody can ask for it in clear text.
        if self.tls {
            line("REQUIRETLS");
        }
        line(&format!("LIMITS RCPTMAX={}", settings.recipients));
        output.put_slice(b"250 SMTPUTF8\r\n");
    }

    fn mail(&mut self, mail: Mail) -> Option<Event> {
        if self.client.is_none() {
            return self.fault(&GREET_FIRST);
        }
        if self.transaction.is_some() {
            return self.fault(&Answer::fixed(
                503,
                "5.5.1",
                "a transaction is open; end it with DATA or RSET first",
            ));
        }
        self.mail_refused = true;
        if self.settings.login == LoginPolicy::Required && !self.logged_in {
            let answer = Answer::fixed(530, "5.7.0", self.how_to_log_in());
            return match self.fault(&answer) {
                Some(Event::Refused(Refusal::Command)) => {
                    Some(Event::Refused(Refusal::LoginRequired))
                }
                end => end,
            };
        }
        if mail
            .size
            .is_some_and(|size| size > self.settings.message_bytes)
        {
            Answer::new(552, "5.3.4", self.size_text()).write(&mut self.output);
            return Some(Event::Refused(Refusal::MessageTooLarge));
        }
        if let Some(answer) = self.not_offered(&mail) {
            answer.write(&mut self.output);
            return None;
        }
        self.mail_refused = false;
        let sender = mail.sender.clone();
        self.transaction = Some(Transaction::new(mail));
        self.state = State::Waiting;
        Some(Event::Mail(sender))
    }

    /// Why a well-formed `MAIL` asks for too much.
    fn not_offered(&self, mail: &Mail) -> Option<Answer> {
        if mail.binary && !self.settings.binary_mime {
            return Some(Answer::fixed(
                555,
                "5.5.4",
                "BODY=BINARYMIME is not offered here; encode the message, or use 8BITMIME",
            ));
        }
        if mail.options.require_tls && !self.tls {
            return Some(Answer::fixed(
                530,
                "5.7.10",
                "REQUIRETLS needs an encrypted connection; use STARTTLS or a port with TLS first",
            ));
        }
        match (mail.options.hold, self.settings.hold) {
            (Some(_), None) => Some(Answer::fixed(
                555,
                "5.5.4",
                "HOLDFOR and HOLDUNTIL are not offered here; send the message when it is due",
            )),
            (Some(Hold::For(seconds)), Some(limit)) if seconds > limit.seconds => {
                Some(Answer::new(
                    501,
                    "5.5.4",
                    format!("HOLDFOR is at most {} seconds here", limit.seconds),
                ))
            }
            (Some(Hold::Until(time)), Some(limit)) if time > limit.until => Some(Answer::new(
                501,
                "5.5.4",
                format!("HOLDUNTIL is at most {} here", date_time(limit.until)),
            )),
            (None, _) | (Some(_), Some(_)) => None,
        }
    }

    fn how_to_log_in(&self) -> &'static str {
        if self.circumstances().confidential {
            "authentication is required; use AUTH"
        } else if self.offers_login() {
            "authentication is required; use AUTH SCRAM-SHA-256, or use a port with TLS"
        } else if self.settings.start_tls {
            "authentication is required; use STARTTLS, then AUTH"
        } else {
            "authentication is required and not offered without TLS; use a port with TLS"
        }
    }

    fn recipient(&mut self, recipient: Recipient, options: RecipientOptions) -> Option<Event> {
        let Some(transaction) = &mut self.transaction else {
            return self.out_of_order();
        };
        if transaction.chunks.is_some() {
            return self.fault(&Answer::fixed(
                503,
                "5.5.1",
                "RCPT cannot come after BDAT; end the message with BDAT LAST or give RSET",
            ));
        }
        let (answer, refusal) = match recipient {
            Recipient::Postmaster => (
                Answer::fixed(
                    550,
                    "5.1.3",
                    "this relay has no mailboxes; write postmaster@domain",
                ),
                Refusal::Recipient,
            ),
            Recipient::Address(address) if address.is_utf8() && !transaction.smtputf8() => {
                (needs_smtputf8().into(), Refusal::Recipient)
            }
            // Case R45: 452 tells the client to send these now and the rest in another message.
            Recipient::Address(_) if transaction.recipients() >= self.settings.recipients => (
                Answer::fixed(
                    452,
                    "4.5.3",
                    "too many recipients; send the rest in another message",
                ),
                Refusal::TooManyRecipients,
            ),
            Recipient::Address(address) if self.settings.judge_recipients => {
                let sender = transaction.sender().cloned();
                transaction.judged = Some((address.clone(), options));
                self.state = State::Waiting;
                return Some(Event::Recipient {
                    sender,
                    recipient: address,
                });
            }
            Recipient::Address(address) => return self.add_recipient(address, options),
        };
        self.refuse_recipient(&answer, refusal)
    }

    fn add_recipient(&mut self, address: Address, options: RecipientOptions) -> Option<Event> {
        let most = self.settings.recipients.saturating_mul(ORIGINAL_OCTETS);
        if self.transaction.as_mut()?.add(address, options, most) {
            self.say(250, "2.1.5", "recipient ok");
            return None;
        }
        let answer = Answer::fixed(
            452,
            "4.5.3",
            "the ORCPT parameters are too long together; send the rest in another message",
        );
        self.refuse_recipient(&answer, Refusal::TooManyRecipients)
    }

    /// Answers [`Event::Recipient`]: the recipient is one of the transaction's, or why not. What the
    /// caller refused it knows, so there is no event; too many refusals end the session.
    pub fn answer_recipient(&mut self, verdict: Result<(), Answer>) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        let judged = self.transaction.as_mut().and_then(|one| one.judged.take());
        let Some((address, options)) = judged else {
            return;
        };
        self.state = State::Command;
        let _ = match verdict {
            Ok(()) => self.add_recipient(address, options),
            Err(answer) => self.refuse_recipient(&answer, Refusal::Recipient),
        };
    }

    fn data(&mut self) -> Option<Event> {
        let Some(transaction) = &self.transaction else {
            return self.out_of_order();
        };
        if transaction.recipients() == 0 {
            // Not counted as a fault: a client that pipelines cannot know that all were refused.
            NO_RECIPIENT.write(&mut self.output);
            return None;
        }
        if transaction.chunks.is_some() || transaction.binary() {
            let text = if transaction.binary() {
                "a message with BODY=BINARYMIME has to come by BDAT"
            } else {
                "DATA cannot come after BDAT; go on with BDAT or give RSET"
            };
            return self.fault(&Answer::fixed(503, "5.5.1", text));
        }
        self.state = State::Waiting;
        Some(Event::Data {
            size: transaction.size(),
        })
    }

    fn out_of_order(&mut self) -> Option<Event> {
        let (answer, is_fault) = self.why_out_of_order();
        if is_fault {
            return self.fault(&answer);
        }
        answer.write(&mut self.output);
        None
    }

    /// What a command that needs a transaction is told, and whether that is held against the
    /// client.
    pub(super) fn why_out_of_order(&self) -> (Answer, bool) {
        if self.mail_refused {
            (AFTER_REFUSED_MAIL, false)
        } else if self.client.is_none() {
            (GREET_FIRST, true)
        } else {
            (NO_MAIL, true)
        }
    }

    fn start_tls(&mut self, more_follows: bool) -> Option<Event> {
        if self.tls {
            return self.fault(&Answer::fixed(503, "5.5.1", "TLS is active already"));
        }
        if !self.settings.start_tls {
            return self.fault(&Answer::fixed(
                502,
                "5.5.1",
                "STARTTLS is not offered on this port",
            ));
        }
        // Case R15: what came along in clear text could have been put there by anybody, and must
        // not be run as if it had come through TLS.
        if more_follows {
            return Some(self.break_off(
                Refusal::LineFraming,
                &Answer::fixed(
                    554,
                    "5.5.1",
                    "nothing may follow STARTTLS before its reply; closing",
                ),
            ));
        }
        self.state = State::Waiting;
        self.transaction = None;
        self.say(220, "2.0.0", "ready to start TLS");
        Some(Event::StartTls)
    }
}
