//! One suppressed recipient of one sending domain, as it is stored and shown.

use relay_queue::Timestamp;
use relay_smtp::Address;
use serde::{Deserialize, Serialize};

use super::{LONGEST_DETAIL, MOST_ENTRIES, Mark};
use crate::table::Row;

/// Why a recipient is suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Cause {
    /// A server said that it has no such mailbox.
    HardBounce,
    /// The recipient called a message spam.
    Complaint,
    /// An administrator says so.
    Manual,
}

impl Cause {
    /// For logs and labels.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce",
            Self::Complaint => "complaint",
            Self::Manual => "manual",
        }
    }
}

/// Where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Source {
    /// The reply of a server to this relay.
    Reply,
    /// A report by mail to the domain's bounce address.
    Report,
    /// The admin API.
    Api,
}

/// One suppressed recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// The sending domain.
    pub(crate) domain: String,
    /// The recipient; unknown when a complaint did not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Address>,
    /// What the recipient is found by.
    pub(crate) mark: Mark,
    /// Why.
    pub(crate) cause: Cause,
    /// From where.
    pub(crate) source: Source,
    /// What was said, such as the server's reply.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    /// The message that it was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub(crate) since: Timestamp,
    /// Until when, in the same unit; for ever without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
}

impl Entry {
    /// Whether it ends with another one or later.
    pub(super) fn outlasts(&self, other: &Self) -> bool {
        let end = |entry: &Self| entry.expires.unwrap_or(Timestamp(u64::MAX));
        end(self) >= end(other)
    }
}

impl Row for Entry {
    const NAME: &'static str = "suppressions";
    const MOST: usize = MOST_ENTRIES;

    fn domain(&self) -> &str {
        &self.domain
    }

    fn mark(&self) -> Mark {
        self.mark
    }

    fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// On one line.
    fn bounded(mut self) -> Self {
        self.detail = self
            .detail
            .chars()
            .map(|one| if one.is_control() { ' ' } else { one })
            .take(LONGEST_DETAIL)
            .collect();
        self
    }
}
