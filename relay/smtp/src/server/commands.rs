//! What each command does in each state: RFC 5321 section 4.1.4 and its extensions.

use bytes::BufMut as _;

use crate::command::{Command, CommandError, Mail, Recipient, needs_smtputf8};

use super::transaction::Transaction;
use super::{Answer, Client, Event, LoginPolicy, Refusal, Server, State, answer};

/// Refused recipients of one transaction before 421, as a multiple of the most that it may have.
const MOST_REFUSED: usize = 10;

pub(super) const GREET_FIRST: Answer = Answer::fixed(503, "5.5.1", "say EHLO first");
const NO_MAIL: Answer = Answer::fixed(503, "5.5.1", "give MAIL first");
const AFTER_REFUSED_MAIL: Answer =
    Answer::fixed(503, "5.5.1", "MAIL was refused, so nothing can follow it");

impl Server {
    pub(super) fn read_command(&mut self, line: &[u8], more_follows: bool) -> Option<Event> {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return self.refuse_command(error),
        };
        match command {
            Command::Ehlo(name) => self.greet(name, true),
            Command::Helo(name) => self.greet(name, false),
            Command::Mail(mail) => return self.mail(mail),
            Command::Rcpt(recipient) => return self.recipient(recipient),
            Command::Data => return self.data(),
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
                "EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT",
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

    /// A recipient that is no address is the mail's fault and common; what else cannot be parsed
    /// is the client's.
    fn refuse_command(&mut self, error: CommandError) -> Option<Event> {
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
        if !extended {
            return;
        }
        output.put_slice(b"250-PIPELINING\r\n250-SIZE ");
        output.put_slice(self.settings.message_bytes.to_string().as_bytes());
        output.put_slice(b"\r\n");
        if self.settings.start_tls && !self.tls {
            output.put_slice(b"250-STARTTLS\r\n");
        }
        if self.offers_login() && !self.logged_in {
            let mechanisms = self.mechanisms();
            self.output.put_slice(b"250-AUTH ");
            self.output.put_slice(mechanisms.as_bytes());
            self.output.put_slice(b"\r\n");
        }
        self.output
            .put_slice(b"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n");
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
            let end = self.fault(&answer);
            return end.or(Some(Event::Refused(Refusal::LoginRequired)));
        }
        if mail
            .size
            .is_some_and(|size| size > self.settings.message_bytes)
        {
            Answer::new(552, "5.3.4", self.size_text()).write(&mut self.output);
            return Some(Event::Refused(Refusal::MessageTooLarge));
        }
        self.mail_refused = false;
        let sender = mail.sender.clone();
        self.transaction = Some(Transaction::new(mail));
        self.state = State::Waiting;
        Some(Event::Mail(sender))
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

    fn recipient(&mut self, recipient: Recipient) -> Option<Event> {
        let Some(transaction) = &mut self.transaction else {
            return self.out_of_order();
        };
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
            Recipient::Address(address) => {
                transaction.add(address);
                self.say(250, "2.1.5", "recipient ok");
                return None;
            }
        };
        self.refuse_recipient(&answer, refusal)
    }

    fn data(&mut self) -> Option<Event> {
        let Some(transaction) = &self.transaction else {
            return self.out_of_order();
        };
        if transaction.recipients() == 0 {
            // Not counted as a fault: a client that pipelines cannot know that all were refused.
            self.say(503, "5.5.1", "no recipient was accepted");
            return None;
        }
        self.state = State::Waiting;
        Some(Event::Data {
            size: transaction.size(),
        })
    }

    fn out_of_order(&mut self) -> Option<Event> {
        if self.mail_refused {
            AFTER_REFUSED_MAIL.write(&mut self.output);
            return None;
        }
        let answer = if self.client.is_none() {
            GREET_FIRST
        } else {
            NO_MAIL
        };
        self.fault(&answer)
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
