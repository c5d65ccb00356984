//! What a reply or a fault means for a recipient. Pure.
//!
//! The reply code decides, the enhanced code is told on (RFC 5321 section 4.2.1, RFC 3463). A fault
//! of one host is no fault of the message: the next host is tried, and it counts as permanent only
//! when no host leaves hope (case B9).

use std::net::SocketAddr;
use std::sync::Arc;

use relay_queue::Outcome;
use relay_smtp::EnhancedCode;
use relay_smtp::Reply;
use relay_smtp::client::{Failure, Stage, Verdict};

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
    pub(super) text: Arc<str>,
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
    pub(super) fn local(kind: Kind, status: EnhancedCode, text: impl Into<Arc<str>>) -> Self {
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
        text: impl Into<Arc<str>>,
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
        Failure::AuthenticationNeedsTls | Failure::NoMechanism => deferred(7, 0),
        Failure::Reply(_) | Failure::Unasked | Failure::OutOfOrder => deferred(5, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        Remote {
            host: "mx.remote.test".into(),
            address: "192.0.2.25:25".parse().unwrap(),
            encryption: None,
        }
    }

    fn reply(text: &str) -> Arc<Reply> {
        let (code, text) = text.split_once(' ').unwrap_or((text, ""));
        let (enhanced, text) =
            EnhancedCode::split(text).map_or((None, text), |(code, text)| (Some(code), text));
        Arc::new(Reply::new(code.parse().unwrap(), enhanced, text))
    }

    #[test]
    fn b1_b4_b6_b10_b13_b16_b19_the_reply_code_decides_per_recipient() {
        use Kind::{Deferred, Delivered, Failed};
        let rows = [
            (Stage::Recipient, "550 5.1.1 no such user", Failed, "5.1.1"),
            (Stage::Recipient, "550 no such user", Failed, "5.1.1"),
            (Stage::Recipient, "450 4.2.0 greylisted", Deferred, "4.2.0"),
            (
                Stage::Recipient,
                "450 4.1.2 domain not found",
                Deferred,
                "4.1.2",
            ),
            (Stage::Recipient, "452 too many", Deferred, "4.5.3"),
            (Stage::Recipient, "552 5.2.2 full", Deferred, "4.2.2"),
            (Stage::Recipient, "552 too many", Deferred, "4.5.3"),
            (Stage::Recipient, "556 no mail", Failed, "5.1.10"),
            (Stage::Recipient, "571 5.7.509 denied", Failed, "5.7.509"),
            (Stage::Content, "550 5.7.1 spam", Failed, "5.7.1"),
            (Stage::Content, "552 too large", Failed, "5.3.4"),
            (Stage::Content, "451 4.3.0 try again", Deferred, "4.3.0"),
            (Stage::Content, "250 what", Deferred, "4.0.0"),
            (Stage::Mail, "450 4.7.1 slow down", Deferred, "4.7.1"),
            (Stage::Mail, "553 no", Failed, "5.0.0"),
            (
                Stage::Mail,
                "530 5.7.0 authenticate first",
                Deferred,
                "4.7.0",
            ),
            (Stage::Data, "554 no", Failed, "5.0.0"),
            (Stage::Authentication, "535 5.7.8 bad", Deferred, "4.7.8"),
        ];
        for (stage, text, kind, status) in rows {
            let fate = of_verdict(&Verdict::Refused(stage, reply(text)), &remote());
            assert_eq!(
                (fate.kind, fate.status.to_string()),
                (kind, status.into()),
                "{text}"
            );
            assert_eq!(fate.diagnostic(), text);
            assert!(!fate.host_fault, "{text}");
        }
        let fate = of_verdict(&Verdict::Accepted(reply("250 2.6.0 queued")), &remote());
        assert_eq!(
            (fate.kind, fate.status.to_string()),
            (Delivered, "2.6.0".into())
        );
    }

    #[test]
    fn b4_only_too_many_recipients_goes_on_at_once() {
        let rows = [
            ("452 4.5.3 too many", true),
            ("452 too many", true),
            ("552 too many", true),
            ("552 5.5.3 too many", true),
            ("452 4.2.2 full", false),
            ("452 4.3.1 no space", false),
            ("450 later", false),
        ];
        for (text, expected) in rows {
            let verdict = Verdict::Refused(Stage::Recipient, reply(text));
            assert_eq!(too_many_recipients(&verdict), expected, "{text}");
        }
        assert!(!too_many_recipients(&Verdict::Refused(
            Stage::Mail,
            reply("452 x")
        )));
    }

    #[test]
    fn b7_b9_b13_a_refused_session_is_a_fault_of_the_host() {
        let rows = [
            ("421 4.7.0 Try again later", Kind::Deferred, "4.7.0"),
            ("554 go away", Kind::Failed, "5.3.2"),
            ("521 no mail", Kind::Failed, "5.3.2"),
        ];
        for (text, kind, status) in rows {
            let failure = Failure::Refused {
                stage: Stage::Greeting,
                reply: (*reply(text)).clone(),
            };
            let fate = of_failure(&failure, &remote());
            assert_eq!((fate.kind, fate.status.to_string()), (kind, status.into()));
            assert!(fate.host_fault);
        }
    }

    #[test]
    fn b9_hope_is_kept_when_another_host_refuses_for_good() {
        let fate = |kind| Fate::host(kind, EnhancedCode::new(4, 4, 1), None, format!("{kind:?}"));
        let (deferred, failed) = (fate(Kind::Deferred), fate(Kind::Failed));
        assert_eq!(deferred.clone().or(failed.clone()), deferred);
        assert_eq!(failed.clone().or(deferred.clone()), deferred);
        assert_eq!(failed.clone().or(failed.clone()), failed);
        let refused = Fate::local(Kind::Failed, EnhancedCode::new(5, 1, 1), "no");
        assert_eq!(deferred.or(refused.clone()), refused);
    }

    #[test]
    fn b27_a_lost_reply_is_flagged_and_not_tried_at_the_next_host() {
        let fate = of_verdict(&Verdict::Unconfirmed, &remote());
        assert!(fate.unconfirmed && !fate.host_fault);
        assert_eq!(fate.kind, Kind::Deferred);
        let fate = of_verdict(&Verdict::Undecided, &remote());
        assert!(!fate.unconfirmed && fate.host_fault);
    }

    #[test]
    fn a_421_in_a_transaction_is_a_fault_of_the_host_unless_the_content_was_sent() {
        for (stage, expected) in [
            (Stage::Mail, true),
            (Stage::Data, true),
            (Stage::Content, false),
        ] {
            let fate = of_verdict(&Verdict::Refused(stage, reply("421 bye")), &remote());
            assert_eq!(fate.host_fault, expected);
        }
    }
}
