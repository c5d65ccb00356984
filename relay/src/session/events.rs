//! What a session does with each event of the state machine.

use std::time::Duration;

use relay_smtp::Address;
use relay_smtp::server::{Answer, Event, Login, LoginVerdict, Message, Refusal};

use crate::authentication::Verdict;
use crate::intake::{self, Origin};
use crate::policy::{self, Denial};

use super::{Identified, NO_MEMORY, Session};

/// A failed login costs a guesser this long.
const FAILED_LOGIN_PAUSE: Duration = Duration::from_secs(1);
/// Octets set aside for a message when its data begins; the rest as it arrives, since an announced
/// size costs the client nothing.
const FIRST_ROOM: u64 = 64 * 1024;

/// What the driver does next; it writes the output first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read more.
    Read,
    /// Go on working.
    Flushed,
    StartTls,
    Close,
}

const TOO_MANY_SESSIONS: Answer = Answer::fixed(
    421,
    "4.7.0",
    "too many sessions are authenticated as you; close some, or reuse them",
);
const CREDENTIAL_GONE: Answer = Answer::fixed(
    530,
    "5.7.0",
    "the credential of this session is no longer valid; connect and authenticate again",
);

impl Session {
    /// Works through the input until the driver has something to do.
    pub(super) async fn work(&mut self) -> Step {
        while let Some(event) = self.server.next(&mut self.input) {
            match event {
                Event::Flush => return Step::Flushed,
                Event::StartTls => return Step::StartTls,
                Event::Close => return Step::Close,
                Event::Login(login) => self.log_in(login).await,
                Event::Mail(sender) => {
                    let verdict = self.judge_sender(sender.as_ref());
                    self.server.answer_mail(verdict);
                }
                Event::Data { size } => {
                    let verdict = self.make_room(size);
                    self.server.answer_data(verdict);
                }
                Event::Message(message) => self.take(message).await,
                Event::Refused(refusal) => self.note(refusal),
            }
        }
        if !self.share.resize(self.server.receiving()) {
            self.inbound.context.metrics.refused("receiving_bytes");
            tracing::warn!("limits.receivingBytes is used up; a message was refused");
            self.server.refuse_data(NO_MEMORY);
        }
        Step::Read
    }

    async fn log_in(&mut self, login: Login) {
        let context = &self.inbound.context;
        let snapshot = context.snapshot.load_full();
        let verdict = self
            .inbound
            .authenticator
            .check(&snapshot.credentials, &login)
            .await;
        match verdict {
            Verdict::Granted(identity) => {
                context.metrics.authentication(login.mechanism, "ok");
                tracing::debug!(identity, mechanism = login.mechanism, "authenticated");
                self.admit(login.username, identity);
            }
            Verdict::Denied => {
                context.metrics.authentication(login.mechanism, "denied");
                tracing::info!(
                    username = login.username,
                    mechanism = login.mechanism,
                    listener = self.listener.name,
                    peer = %self.peer,
                    "authentication refused"
                );
                tokio::time::sleep(FAILED_LOGIN_PAUSE).await;
                self.server.answer_login(LoginVerdict::Denied);
            }
            Verdict::Unavailable => {
                context
                    .metrics
                    .authentication(login.mechanism, "unavailable");
                tracing::warn!(peer = %self.peer, "a password could not be checked in time");
                self.server.answer_login(LoginVerdict::Unavailable);
            }
        }
    }

    /// Makes the session one of the identity's, unless it has too many.
    fn admit(&mut self, username: String, identity: String) {
        let most = self.limits.connections_per_identity;
        let Some(claim) = self.inbound.identities.claim(identity.clone(), most) else {
            self.inbound.context.metrics.refused("identity_sessions");
            tracing::info!(
                identity,
                most,
                listener = self.listener.name,
                peer = %self.peer,
                "the identity has too many sessions"
            );
            return self.server.end(&TOO_MANY_SESSIONS);
        };
        self.login = Some(Identified {
            username,
            identity,
            _claim: claim,
        });
        self.server.answer_login(LoginVerdict::Granted);
    }

    /// Early word on `MAIL`, before a large message has been sent for nothing.
    fn judge_sender(&self, sender: Option<&Address>) -> Result<(), Answer> {
        let snapshot = self.inbound.context.snapshot.load();
        let still_valid = self.login.as_ref().is_none_or(|login| {
            snapshot
                .credentials
                .get(&login.username)
                .is_some_and(|credential| credential.identity == login.identity)
        });
        let verdict = if still_valid {
            policy::decide_sender(&snapshot.domains, self.identity(), sender)
        } else {
            Err(Denial {
                reason: "credential_gone",
                answer: CREDENTIAL_GONE,
            })
        };
        verdict.map_err(|denial| {
            self.inbound.context.metrics.refused(denial.reason);
            tracing::info!(
                reason = denial.reason,
                reply = %denial.answer,
                listener = self.listener.name,
                identity = self.identity().unwrap_or_default(),
                sender = sender.map_or("", Address::as_str),
                peer = %self.peer,
                "sender refused"
            );
            denial.answer
        })
    }

    fn make_room(&self, size: Option<u64>) -> Result<usize, Answer> {
        let announced = size.unwrap_or_default();
        if !self.share.would_fit(announced.max(1)) {
            self.inbound.context.metrics.refused("receiving_bytes");
            tracing::warn!("limits.receivingBytes is used up; a message was put off");
            return Err(NO_MEMORY);
        }
        Ok(usize::try_from(announced.min(FIRST_ROOM)).unwrap_or_default())
    }

    async fn take(&mut self, message: Message) {
        let origin = Origin {
            listener: self.listener.name.clone(),
            peer: self.peer,
            client_name: self.server.client_name().to_owned(),
            protocol: self.server.protocol(message.smtputf8),
            identity: self.identity().map(str::to_owned),
            tls: self.tls.clone(),
        };
        let answer = intake::accept(&self.inbound.context, &origin, message).await;
        if answer == intake::CLOSED {
            self.server.end(&answer);
        } else {
            self.server.answer_message(&answer);
        }
    }

    fn note(&self, refusal: Refusal) {
        self.inbound.context.metrics.refused(refusal.name());
        tracing::info!(
            reason = refusal.name(),
            listener = self.listener.name,
            identity = self.identity().unwrap_or_default(),
            peer = %self.peer,
            "refused"
        );
    }

    fn identity(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.identity.as_str())
    }
}
