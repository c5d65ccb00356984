//! `AUTH` within a session (RFC 4954): what is offered, how an exchange goes on, how it ends.

use std::fmt;

use bytes::BufMut as _;

use super::login::mechanism::{Circumstances, Mechanism};
use super::login::{self, ChannelBindings, Exchange, ScramChallenge, Step, bearer};
use super::{
    Answer, Event, LoginPolicy, LoginVerdict, MOST_LOGIN_FAILURES, Refusal, Server, State,
};

use super::commands::GREET_FIRST;

/// What the caller's verdict is about.
#[derive(Clone)]
pub(super) enum Owed {
    /// Nothing of a login's.
    Nothing,
    /// A verdict on a password or the end of a SCRAM exchange.
    Verdict,
    /// A verdict on a token that came by this mechanism.
    TokenVerdict(&'static str),
    /// The keys for this exchange.
    Keys(Box<login::scram::Scram>),
}

impl fmt::Debug for Owed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By name alone: an exchange holds a user name.
        formatter.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Verdict => "Verdict",
            Self::TokenVerdict(_) => "TokenVerdict",
            Self::Keys(_) => "Keys",
        })
    }
}

impl Server {
    /// What the connection can be bound to, once it is encrypted: after [`Server::tls_started`], or
    /// before the first command when it is from its start. It lets `SCRAM-SHA-256-PLUS` be offered.
    pub fn bind_channel(&mut self, bindings: ChannelBindings) {
        self.bindings = bindings;
    }

    /// Answers [`Event::Login`], [`Event::Token`] and [`Event::ScramDone`].
    pub fn answer_login(&mut self, verdict: LoginVerdict) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        self.state = State::Command;
        let owed = std::mem::replace(&mut self.owed, Owed::Nothing);
        let answer = match verdict {
            LoginVerdict::Granted => {
                self.logged_in = true;
                self.login_failures = 0;
                self.say(235, "2.7.0", "authentication succeeded");
                return;
            }
            LoginVerdict::Unavailable => {
                self.say(
                    454,
                    "4.7.0",
                    "the login cannot be checked now; try again later",
                );
                return;
            }
            LoginVerdict::Refused(answer) => answer,
            LoginVerdict::Denied => {
                Answer::fixed(535, "5.7.8", "the user name or the password is wrong")
            }
        };
        match owed {
            Owed::TokenVerdict(mechanism) => {
                let step =
                    Step::Challenge(bearer::refusal(mechanism), Exchange::BearerRefused(answer));
                self.login_step(step);
            }
            _ => {
                self.login_failed(&answer);
            }
        }
    }

    /// Answers [`Event::Scram`].
    pub fn answer_scram(&mut self, challenge: ScramChallenge) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        if let Owed::Keys(scram) = std::mem::replace(&mut self.owed, Owed::Nothing) {
            self.state = State::Command;
            self.login_step(scram.challenge(challenge));
        }
    }

    pub(super) fn circumstances(&self) -> Circumstances {
        Circumstances {
            logins: self.settings.login != LoginPolicy::None,
            confidential: self.tls || self.settings.login_without_tls,
            can_encrypt: self.settings.start_tls && !self.tls,
            channel_binding: self.tls && self.bindings.is_offered(),
            tokens: self.settings.tokens,
        }
    }

    /// The mechanisms that the client can use now, separated by spaces.
    pub(super) fn mechanisms(&self) -> String {
        let now = self.circumstances();
        let names: Vec<_> = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| mechanism.is_offered(now))
            .map(Mechanism::name)
            .collect();
        names.join(" ")
    }

    pub(super) fn offers_login(&self) -> bool {
        let now = self.circumstances();
        Mechanism::ALL
            .into_iter()
            .any(|mechanism| mechanism.is_offered(now))
    }

    pub(super) fn auth(&mut self, name: &str, initial: Option<&str>) -> Option<Event> {
        if self.client.is_none() {
            return self.fault(&GREET_FIRST);
        }
        if self.logged_in {
            return self.fault(&Answer::fixed(503, "5.5.1", "already authenticated"));
        }
        if self.transaction.is_some() {
            return self.fault(&Answer::fixed(
                503,
                "5.5.1",
                "AUTH cannot come within a transaction; give RSET first",
            ));
        }
        if self.settings.login == LoginPolicy::None {
            return self.fault(&Answer::fixed(
                503,
                "5.5.1",
                "AUTH is not offered on this port",
            ));
        }
        let now = self.circumstances();
        match Mechanism::named(name) {
            Some(mechanism) if mechanism.is_offered(now) => {
                let offered = Mechanism::ScramSha256Plus.is_offered(now);
                let step = login::start(mechanism, initial, &self.bindings, offered);
                self.login_step(step)
            }
            _ if !now.confidential => self.fault(&Answer::fixed(
                538,
                "5.7.11",
                "a password or token needs an encrypted connection; use STARTTLS or a port with TLS first",
            )),
            _ => {
                let offered = self.mechanisms();
                self.fault(&Answer::new(
                    504,
                    "5.5.4",
                    format!("this mechanism is not offered; use one of {offered}"),
                ))
            }
        }
    }

    pub(super) fn login_step(&mut self, step: Step) -> Option<Event> {
        let (owed, event) = match step {
            Step::Challenge(challenge, exchange) => {
                self.state = State::Login(exchange);
                self.output.put_slice(b"334 ");
                self.output.put_slice(challenge.as_bytes());
                self.output.put_slice(b"\r\n");
                return None;
            }
            Step::Failed(answer) if answer.code() == 535 => return self.login_failed(&answer),
            Step::Failed(answer) => return self.fault(&answer),
            Step::Done(login) => (Owed::Verdict, Event::Login(login)),
            Step::Token(login) => (Owed::TokenVerdict(login.mechanism), Event::Token(login)),
            Step::Scram(start, scram) => (Owed::Keys(Box::new(scram)), Event::Scram(start)),
            Step::ScramDone(login) => (Owed::Verdict, Event::ScramDone(login)),
        };
        self.state = State::Waiting;
        self.owed = owed;
        Some(event)
    }

    pub(super) fn login_failed(&mut self, answer: &Answer) -> Option<Event> {
        self.login_failures += 1;
        if self.login_failures < MOST_LOGIN_FAILURES {
            answer.write(&mut self.output);
            return None;
        }
        Some(self.break_off(
            Refusal::TooManyLogins,
            &Answer::fixed(421, "4.7.0", "too many failed logins; closing"),
        ))
    }
}
