//! What a client asks for beyond delivery, and passes on from server to server: delivery status
//! notifications (DSN, RFC 3461 and RFC 6533), DELIVERBY (RFC 2852), FUTURERELEASE (RFC 4865),
//! MT-PRIORITY (RFC 6710) and REQUIRETLS (RFC 8689).
//!
//! Values are kept decoded; [`Display`](std::fmt::Display) writes each as its parameter's value.
//! What a value means in time is for who has a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

mod date_time;
mod parse;
mod text;

pub use text::{decode_unicode, decode_xtext, encode_unicode, encode_xtext};

pub(crate) use parse::{mail, recipient};

/// Characters of `ENVID` (RFC 3461 section 4.4).
pub const LONGEST_ENVELOPE_ID: usize = 100;
/// Characters of `ORCPT` (RFC 3461 section 4.2).
pub const LONGEST_ORIGINAL: usize = 500;

/// Parameters of `MAIL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailOptions {
    /// `RET`: how much of the message a report of failure gives back.
    pub give_back: Option<GiveBack>,
    /// `ENVID`: the sender's own name for the message, printable ASCII.
    pub envelope_id: Option<String>,
    /// `BY`: when the message has to be delivered.
    pub deliver_by: Option<DeliverBy>,
    /// `HOLDFOR` or `HOLDUNTIL`: when to send it.
    pub hold: Option<Hold>,
    /// `MT-PRIORITY`: -9 to 9; 0 when it is not given.
    pub priority: i8,
    /// `REQUIRETLS`: better not delivered than without verified TLS.
    pub require_tls: bool,
}

/// Parameters of `RCPT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecipientOptions {
    /// `NOTIFY`: what the sender wants to be told of; failures when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// `ORCPT`: whom the sender wrote to before anybody rewrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
}

impl RecipientOptions {
    /// Whether the sender is told when delivery fails.
    pub fn reports_failure(&self) -> bool {
        self.notify.is_none_or(|notify| notify.failure)
    }

    /// Whether the sender is told when delivery takes long.
    pub fn reports_delay(&self) -> bool {
        self.notify.is_none_or(|notify| notify.delay)
    }

    /// Whether the sender wants to be told of nothing.
    pub fn never(&self) -> bool {
        self.notify == Some(Notify::default())
    }

    /// Whether the sender is told when delivery succeeds.
    pub fn reports_success(&self) -> bool {
        self.notify.is_some_and(|notify| notify.success)
    }
}

/// `RET` (RFC 3461 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GiveBack {
    /// `FULL`: the whole message.
    Full,
    /// `HDRS`: its headers.
    Headers,
}

impl fmt::Display for GiveBack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// `NOTIFY` (RFC 3461 section 4.1); all false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notify {
    /// `SUCCESS`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub success: bool,
    /// `FAILURE`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failure: bool,
    /// `DELAY`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delay: bool,
}

impl fmt::Display for Notify {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let mut first = true;
        for (_, word) in words.iter().filter(|(wanted, _)| *wanted) {
            if !std::mem::take(&mut first) {
                formatter.write_str(",")?;
            }
            formatter.write_str(word)?;
        }
        if first {
            formatter.write_str("NEVER")?;
        }
        Ok(())
    }
}

/// `ORCPT` (RFC 3461 section 4.2, RFC 6533 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalRecipient {
    /// Type of the address, such as `rfc822` or `utf-8`.
    pub kind: String,
    /// The address, decoded; without control characters.
    pub address: String,
}

impl OriginalRecipient {
    fn is_unicode(&self) -> bool {
        self.kind.eq_ignore_ascii_case("utf-8")
    }

    /// As it stands in a report (RFC 3464 section 2.3.1): one line of ASCII.
    pub fn to_field(&self) -> String {
        if self.is_unicode() {
            format!("{}; {}", self.kind, encode_unicode(&self.address))
        } else {
            format!("{}; {}", self.kind, self.address)
        }
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = if self.is_unicode() {
            encode_unicode(&self.address)
        } else {
            encode_xtext(&self.address)
        };
        write!(formatter, "{};{address}", self.kind)
    }
}

/// `BY` (RFC 2852 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds from now; up to nine digits, and not above zero only with [`ByMode::Notify`].
    pub seconds: i64,
    /// What happens when the time is over.
    pub mode: ByMode,
    /// A report is wanted from each server that takes the message on.
    pub trace: bool,
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ByMode::Notify => 'N',
            ByMode::Return => 'R',
        };
        let trace = if self.trace { "T" } else { "" };
        write!(formatter, "{};{mode}{trace}", self.seconds)
    }
}

/// What happens to a message that was not delivered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByMode {
    /// `N`: the sender is told, and delivery goes on.
    Notify,
    /// `R`: it is given up and returned.
    Return,
}

/// When a message is released (RFC 4865 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `HOLDFOR`: seconds from now.
    For(u64),
    /// `HOLDUNTIL`: seconds since the Unix epoch.
    Until(u64),
}

impl Hold {
    /// Seconds since the Unix epoch at which the message is released, when it is `now`.
    pub fn release(self, now: u64) -> u64 {
        match self {
            Self::For(seconds) => now.saturating_add(seconds),
            Self::Until(time) => time,
        }
    }
}

/// `seconds` since the Unix epoch as a date and time of RFC 3339 in UTC.
pub fn date_time(seconds: u64) -> String {
    date_time::write(seconds)
}

#[cfg(test)]
mod tests;
