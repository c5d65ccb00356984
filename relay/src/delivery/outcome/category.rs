//! Why a recipient was delivered or not, in a word for logs, metrics and the suppression list.
//!
//! A mailbox is only ever suppressed for [`Category::Bounced`]. So the order of the rules matters:
//! whatever the codes say, words that speak of the sender's reputation win, because receivers answer
//! 5.1.1 and 5.2.1 to senders whom they merely distrust. In doubt it is not a bounce.

use relay_smtp::EnhancedCode;
use relay_smtp::client::Stage;

use super::Kind;
use super::words::{self, Words};

/// Why it ended so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Category {
    /// The next server took responsibility.
    Delivered,
    /// It may pass: greylisting, a busy server, a name server that does not answer.
    Deferred,
    /// The mailbox or its domain does not exist or takes no mail.
    Bounced,
    /// Refused for good for another reason, such as the message's size or form.
    Rejected,
    /// The receiver distrusts the relay's address, the sending domain or the content.
    Blocked,
    /// The mailbox is full.
    Quota,
    /// A rule of the receiver: authentication of the sender, encryption, who may relay, malware.
    Policy,
}

impl Category {
    /// All, in the order of the label's documentation.
    pub(crate) const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Deferred,
        Self::Bounced,
        Self::Rejected,
        Self::Blocked,
        Self::Quota,
        Self::Policy,
    ];

    /// For log lines and labels.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Rejected => "rejected",
            Self::Blocked => "blocked",
            Self::Quota => "quota",
            Self::Policy => "policy",
        }
    }

    /// Judges a refusal.
    pub(crate) fn of(said: &Said<'_>) -> Self {
        let words = Words::of(said.words);
        let code = said.status.map(|status| (status.subject, status.detail));
        if words.any(words::REPUTATION) || code.is_some_and(is_reputation) {
            return Self::Blocked;
        }
        if code == Some((2, 2)) || words.any(words::QUOTA) {
            return Self::Quota;
        }
        if said.permanent && said.is_about_recipients() && is_gone(code, &words) {
            return Self::Bounced;
        }
        let policy = words.any(words::POLICY);
        match (said.permanent, code) {
            (_, _) if policy => Self::Policy,
            // Greylisting has subject 7 as often as not, so for a while it means nothing.
            (true, Some((7, _))) => Self::Policy,
            (true, _) => Self::Rejected,
            (false, _) => Self::Deferred,
        }
    }
}

/// A refusal as a server gave it, or as it stands in a report of another server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    /// For good.
    pub(crate) permanent: bool,
    /// What it answers; `None` in a report, which is about its recipient.
    pub(crate) stage: Option<Stage>,
    /// The enhanced code, as it was said.
    pub(crate) status: Option<EnhancedCode>,
    /// The text, without codes; lines may be separated by line feeds.
    pub(crate) words: &'a str,
}

impl Said<'_> {
    /// The codes of subject 1 mean the sender's address in a reply to `MAIL`.
    fn is_about_recipients(&self) -> bool {
        matches!(
            self.stage,
            None | Some(Stage::Recipient | Stage::Content | Stage::Data)
        )
    }
}

/// A fault without a reply.
pub(super) fn of_fault(kind: Kind, expired: bool, status: EnhancedCode) -> Category {
    match (kind, status.subject) {
        (Kind::Delivered, _) => Category::Delivered,
        (_, 7) => Category::Policy,
        (Kind::Failed, 1) if !expired => Category::Bounced,
        (Kind::Failed, _) if !expired => Category::Rejected,
        _ => Category::Deferred,
    }
}

/// Codes that receivers give for reputation alone: those of Microsoft for banned and throttled
/// addresses and senders, and Gmail's for rates of unwanted mail.
fn is_reputation(code: (u16, u16)) -> bool {
    matches!(
        code,
        (7, 28 | 501..=503 | 508 | 511 | 606..=652 | 703..=708)
    )
}

/// Whether there is no such mailbox.
fn is_gone(code: Option<(u16, u16)>, words: &Words) -> bool {
    if words.any(words::SENDER) && !words.any(words::RECIPIENT) {
        return false;
    }
    match code {
        // RFC 3463 sections 3.2 and 3.3, RFC 7505 section 4.1.
        Some((1, 1..=3 | 6 | 10) | (2, 1)) => true,
        // Another subject was chosen with care, but for those that mean nothing in particular.
        Some((0..=2 | 4 | 5, _)) | None => words.any(words::NO_MAILBOX),
        // Directory-based refusals of some hosts come as 5.7.1.
        Some((7, 0 | 1)) => words.any(words::NO_MAILBOX) && !words.any(words::POLICY),
        Some(_) => false,
    }
}
