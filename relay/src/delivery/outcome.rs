//! What a reply or a fault means for a recipient. Pure.
//!
//! Two answers: what is done ([`Kind`]: delivered, tried again, given up), which follows from the
//! reply code, and why ([`Category`]), which also looks at the enhanced code, the stage and the words.
//!
//! The reply code decides, the enhanced code is told on (RFC 5321 section 4.2.1, RFC 3463). A fault
//! of one host is no fault of the message: the next host is tried, and it counts as permanent only
//! when no host leaves hope (case B9).

mod category;
mod text;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;

use relay_queue::Outcome;
use relay_smtp::EnhancedCode;
use relay_smtp::Reply;
use relay_smtp::client::{Failure, Stage, Verdict};

pub(crate) use category::{Category, Said};
pub(in crate::delivery) use text::Text;

/// Delivery time expired, for good.
const LATE: EnhancedCode = EnhancedCode::new(5, 4, 7);

/// A server that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// Name without a trailing dot, or the address in text form.
    pub(super) host: Arc<str>,
    /// What was connected to.
    pub(super) address: SocketAddr,
    /// How the connection was encrypted.
    pub(super) encryption: Option<Encryption>,
    /// How it had to be, and why.
    pub(super) policy: Option<AppliedPolicy>,
}

/// The TLS policy that a server was spoken to under, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AppliedPolicy {
    pub(super) security: &'static str,
    pub(super) source: &'static str,
}

/// Encryption of a connection, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encryption {
    pub(super) version: &'static str,
    pub(super) cipher: &'static str,
}

/// How an attempt ended for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Delivered,
    Deferred,
    Failed,
}

impl Kind {
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Delivered => Outcome::Delivered,
            Self::Deferred => Outcome::Deferred,
            Self::Failed => Outcome::Failed,
        }
    }
}

/// Duties that a server takes on with a message, by offering the extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassedOn {
    /// To report success (RFC 3461 section 5.2.1).
    pub(super) reports: bool,
    /// To keep the time by which the message has to be delivered (RFC 2852).
    pub(super) deadline: bool,
}

/// What became of one recipient in an attempt, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) kind: Kind,
    /// The status for the report (RFC 3463).
    pub(super) status: EnhancedCode,
    /// Who said it; `None` when no server was asked.
    pub(super) remote: Option<Remote>,
    /// What the server said and to what, if it said something.
    pub(super) reply: Option<(Stage, Arc<Reply>)>,
    /// In words of our own, when there is no reply.
    pub(super) text: Text,
    /// Another host may do better.
    pub(super) host_fault: bool,
    /// The server may have taken the message all the same (case B27).
    pub(super) unconfirmed: bool,
    /// Given up for its age.
    pub(super) expired: bool,
    /// What the server that took the message took on with it.
    pub(super) passed_on: PassedOn,
}

impl Fate {
    /// A fate without a server's reply.
    pub(super) fn local(kind: Kind, status: EnhancedCode, text: impl Into<Text>) -> Self {
        Self {
            kind,
            status,
            remote: None,
            reply: None,
            text: text.into(),
            host_fault: false,
            unconfirmed: false,
            expired: false,
            passed_on: PassedOn::default(),
        }
    }

    /// A fault of a host before or between transactions; the next host is tried.
    pub(super) fn host(
        kind: Kind,
        status: EnhancedCode,
        remote: Option<Remote>,
        text: impl Into<Text>,
    ) -> Self {
        Self {
            remote,
            host_fault: true,
            ..Self::local(kind, status, text)
        }
    }

    fn reply(
        kind: Kind,
        status: EnhancedCode,
        remote: &Remote,
        stage: Stage,
        reply: &Arc<Reply>,
    ) -> Self {
        Self {
            remote: Some(remote.clone()),
            reply: Some((stage, reply.clone())),
            ..Self::local(kind, status, "")
        }
    }

    /// Of two faults of hosts, the one that leaves hope; the newer of equals (case B9).
    pub(super) fn or(self, newer: Self) -> Self {
        if self.kind == Kind::Deferred && newer.kind == Kind::Failed && newer.host_fault {
            self
        } else {
            newer
        }
    }

    /// Given up because the message is too old (case B18); what happened last stays readable.
    pub(super) fn expire(mut self) -> Self {
        self.kind = Kind::Failed;
        self.expired = true;
        self.status = EnhancedCode::new(4, 4, 7);
        self
    }

    /// Given up because its sender wanted it back by now (RFC 2852).
    pub(super) fn late(self) -> Self {
        Self {
            status: LATE,
            ..self.expire()
        }
    }

    /// Whether it was given up for that.
    pub(super) fn is_late(&self) -> bool {
        self.expired && self.status == LATE
    }

    /// Why it ended so; for a message that was given up for its age, what the last attempt met with.
    pub(super) fn category(&self) -> Category {
        let Some((stage, reply)) = &self.reply else {
            return category::of_fault(self.kind, self.expired, self.status);
        };
        if self.kind == Kind::Delivered {
            return Category::Delivered;
        }
        Category::of(&Said {
            permanent: self.kind == Kind::Failed && !self.expired,
            stage: Some(*stage),
            status: reply.enhanced(),
            words: reply.raw_text(),
        })
    }

    /// Whether a server said that it has no such mailbox, and of this recipient alone: what it says
    /// at the end of a message for several counts for none of them.
    pub(super) fn is_hard_bounce(&self, alone: bool) -> bool {
        self.category() == Category::Bounced
            && !self.expired
            && self
                .reply
                .as_ref()
                .is_some_and(|(stage, _)| alone || *stage == Stage::Recipient)
    }

    /// The reply with its code, or our own words.
    pub(super) fn diagnostic(&self) -> String {
        match &self.reply {
            Some((_, reply)) => reply.to_string(),
            None => self.text.to_string(),
        }
    }
}

/// What became of a recipient in a transaction with `remote`.
pub(super) fn of_verdict(verdict: &Verdict, remote: &Remote) -> Fate {
    match verdict {
        Verdict::Accepted(reply) => {
            let status = reply.enhanced().unwrap_or(EnhancedCode::new(2, 0, 0));
            Fate::reply(Kind::Delivered, status, remote, Stage::Content, reply)
        }
        Verdict::Refused(stage, reply) => refused(*stage, reply, remote),
        Verdict::Undecided => Fate::host(
            Kind::Deferred,
            EnhancedCode::new(4, 4, 2),
            Some(remote.clone()),
            "the connection was lost before the message was sent",
        ),
        Verdict::Unconfirmed => Fate {
            unconfirmed: true,
            remote: Some(remote.clone()),
            ..Fate::local(
                Kind::Deferred,
                EnhancedCode::new(4, 4, 2),
                "the connection was lost before the server confirmed the message; \
                 it may arrive twice",
            )
        },
    }
}

fn refused(stage: Stage, reply: &Arc<Reply>, remote: &Remote) -> Fate {
    let kind = match (stage, reply.code()) {
        // RFC 5321 section 4.5.3.1.10: servers of old say 552 for too many recipients (case B4).
        (Stage::Recipient, 552)
        // About the session, not about the message: our credentials or our TLS are at fault.
        | (Stage::Authentication | Stage::StartTls, _)
        | (Stage::Mail, 530) => Kind::Deferred,
        (_, 500..=599) => Kind::Failed,
        _ => Kind::Deferred,
    };
    let fate = Fate::reply(kind, status(kind, stage, reply), remote, stage, reply);
    Fate {
        // A server that ends the session has judged neither message nor recipient.
        host_fault: reply.code() == 421 && stage != Stage::Content,
        ..fate
    }
}

/// The server's enhanced code, in the class that we act upon; else a code for the stage.
fn status(kind: Kind, stage: Stage, reply: &Reply) -> EnhancedCode {
    let class = if kind == Kind::Failed { 5 } else { 4 };
    if let Some(enhanced) = reply.enhanced() {
        return EnhancedCode { class, ..enhanced };
    }
    let (subject, detail) = match (stage, reply.code()) {
        (Stage::Greeting, _) => (3, 2),
        (Stage::Authentication | Stage::StartTls, _) | (Stage::Mail, 530) => (7, 0),
        (Stage::Recipient, 552 | 452) => (5, 3),
        (_, 552) => (3, 4),
        (Stage::Recipient, 550 | 551 | 553) => (1, 1),
        (_, 556) => (1, 10),
        _ => (0, 0),
    };
    EnhancedCode::new(class, subject, detail)
}

/// Whether the server only had enough recipients for one transaction: the rest may follow at once
/// (case B4).
pub(super) fn too_many_recipients(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Refused(Stage::Recipient, reply) if matches!(reply.code(), 452 | 552) => reply
            .enhanced()
            .is_none_or(|enhanced| (enhanced.subject, enhanced.detail) == (5, 3)),
        _ => false,
    }
}

/// What a session that could not begin means: a fault of this host.
pub(super) fn of_failure(failure: &Failure, remote: &Remote) -> Fate {
    let deferred = |subject, detail| {
        let status = EnhancedCode::new(4, subject, detail);
        let text = failure.to_string();
        Fate::host(Kind::Deferred, status, Some(remote.clone()), text)
    };
    match failure {
        Failure::Refused { stage, reply } => Fate {
            host_fault: true,
            ..refused(*stage, &Arc::new(reply.clone()), remote)
        },
        Failure::TlsNotOffered | Failure::TlsRefused(_) => deferred(7, 5),
        Failure::AuthenticationNeedsTls | Failure::NoMechanism | Failure::Login(_) => {
            deferred(7, 0)
        }
        Failure::Reply(_) | Failure::Unasked | Failure::OutOfOrder => deferred(5, 0),
    }
}

#[cfg(test)]
mod tests;
