//! What a session does with each event of the state machine.

use relay_config::ListenerRole;
use relay_smtp::Address;
use relay_smtp::server::{Answer, Event, Message, Refusal};

use crate::context::now;
use crate::intake::{self, Origin};
use crate::policy;
use crate::returns;
use crate::suppression;

use super::{Identified, NO_MEMORY, Session};

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

impl Session {
    /// Works through the input until the driver has something to do.
    pub(super) async fn work(&mut self) -> Step {
        while let Some(event) = self.server.next(&mut self.input) {
            match event {
                Event::Flush => return Step::Flushed,
                Event::StartTls => return Step::StartTls,
                Event::Close => return Step::Close,
                Event::Login(login) => self.log_in(login).await,
                Event::Token(login) => {
                    self.log_in_by_token(login.mechanism, &login.username, &login.token)
                        .await;
                }
                Event::Scram(start) => self.challenge(&start),
                Event::ScramDone(login) => self.log_in_by_scram(login).await,
                Event::Mail(sender) => {
                    if !self.end_if_lapsed() {
                        let verdict = self.judge_sender(sender.as_ref());
                        self.server.answer_mail(verdict);
                    }
                }
                Event::Recipient { sender, recipient } => {
                    let verdict = self.judge_recipient(sender.as_ref(), &recipient);
                    self.server.answer_recipient(verdict);
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
            tracing::warn!(session = %self.id, "limits.receivingBytes is used up; a message was refused");
            self.server.refuse_data(NO_MEMORY);
        }
        Step::Read
    }

    /// Early word on `MAIL`, before a large message has been sent for nothing.
    fn judge_sender(&self, sender: Option<&Address>) -> Result<(), Answer> {
        // Whoever brings a report: it is the recipient that says whether it is one of ours.
        if self.listener.role == ListenerRole::Bounces {
            return Ok(());
        }
        let snapshot = self.inbound.context.snapshot.load();
        let verdict = policy::decide_sender(&snapshot.domains, self.identity(), sender);
        verdict.map_err(|denial| {
            self.inbound.context.metrics.refused(denial.reason);
            tracing::info!(
                reason = denial.reason,
                reply = %denial.answer,
                session = %self.id,
                listener = self.listener.name,
                identity = self.identity().unwrap_or_default(),
                sender = sender.map_or("", Address::as_str),
                peer = %self.peer,
                "sender refused"
            );
            denial.answer
        })
    }

    /// A recipient that the sender's domain has on its suppression list is refused here, where the
    /// client hears it and sends to the others; on a listener for reports all but return paths of ours.
    fn judge_recipient(&self, sender: Option<&Address>, recipient: &Address) -> Result<(), Answer> {
        let denial = if self.listener.role == ListenerRole::Bounces {
            let snapshot = self.inbound.context.snapshot.load();
            returns::judge(&snapshot, recipient, now())
        } else {
            let list = &self.inbound.context.suppressions;
            sender.and_then(|sender| suppression::judge(list, sender.domain(), recipient, now()))
        };
        denial.map_or(Ok(()), |denial| {
            self.inbound.context.metrics.refused(denial.reason);
            tracing::info!(
                reason = denial.reason,
                reply = %denial.answer,
                session = %self.id,
                listener = self.listener.name,
                identity = self.identity().unwrap_or_default(),
                sender = sender.map_or("", Address::as_str),
                recipient = %recipient,
                peer = %self.peer,
                "recipient refused"
            );
            Err(denial.answer)
        })
    }

    fn make_room(&self, size: Option<u64>) -> Result<usize, Answer> {
        let announced = size.unwrap_or_default();
        if !self.share.would_fit(announced.max(1)) {
            self.inbound.context.metrics.refused("receiving_bytes");
            tracing::warn!(session = %self.id, "limits.receivingBytes is used up; a message was put off");
            return Err(NO_MEMORY);
        }
        Ok(usize::try_from(announced.min(FIRST_ROOM)).unwrap_or_default())
    }

    async fn take(&mut self, message: Message) {
        // The data may have taken its time.
        if self.end_if_revoked() {
            return;
        }
        let origin = Origin {
            session: self.id,
            listener: self.listener.name.clone(),
            peer: self.peer,
            client_name: self.server.client_name().to_owned(),
            protocol: self.server.protocol(message.smtputf8),
            identity: self.identity().map(str::to_owned),
            tls: self.tls.clone(),
        };
        let context = &self.inbound.context;
        let answer = match self.listener.role {
            ListenerRole::Submission => intake::accept(context, &origin, message).await,
            ListenerRole::Bounces => returns::accept(context, &origin, message).await,
        };
        if answer == intake::CLOSED {
            self.server.end(&answer);
        } else {
            self.server.answer_message(&answer);
        }
    }

    fn note(&self, refusal: Refusal) {
        self.inbound.context.metrics.refused(refusal.name());
        let fault = self.server.last_fault();
        let reply = fault.filter(|_| refusal == Refusal::Command);
        tracing::info!(
            reason = refusal.name(),
            reply = reply.map(tracing::field::display),
            session = %self.id,
            listener = self.listener.name,
            identity = self.identity().unwrap_or_default(),
            peer = %self.peer,
            "refused"
        );
    }

    pub(super) fn identity(&self) -> Option<&str> {
        self.login.as_ref().map(Identified::name)
    }
}
