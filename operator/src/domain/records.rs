//! The DNS records that a domain's owner publishes, and what DNS shows of them.
//!
//! Pure: answers go in, states come out. A lookup that failed says nothing, so a record keeps the
//! state that was last seen; an outage of DNS never turns a good domain bad.

use operator_api::conditions::{DNS_VERIFIED, reason};
use operator_api::{DnsRecord, DnsRecordPurpose, DnsRecordRequirement, DnsRecordState};
use relay_config::DkimAlgorithm;

use super::dns::Spread;
use super::keys::SigningKey;
use super::zone;
use crate::conditions::Verdict;

/// Characters of a foreign answer that are shown at most.
const SHOWN: usize = 600;

/// Types of records that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of an address.
    Ptr,
    /// Text.
    Txt,
}

impl Kind {
    /// As zone files have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ptr => "PTR",
            Self::Txt => "TXT",
        }
    }
}

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Full name in lower case, without a trailing dot.
    pub name: String,
    /// Type of the records.
    pub kind: Kind,
}

impl Question {
    /// A question about `name`, which may have a trailing dot.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
            kind,
        }
    }
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedRecord {
    pub(super) question: Question,
    pub(super) value: String,
    pub(super) purpose: DnsRecordPurpose,
    pub(super) requirement: DnsRecordRequirement,
}

/// What was found of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) state: DnsRecordState,
    /// What is wrong, and the remedy; what to know of a record that is right.
    pub(super) message: Option<String>,
    /// The value to publish, where it depends on what stands there; empty when there is none.
    pub(super) value: Option<String>,
}

impl Finding {
    pub(super) fn verified() -> Self {
        Self {
            state: DnsRecordState::Verified,
            message: None,
            value: None,
        }
    }

    pub(super) fn fault(state: DnsRecordState, message: impl Into<String>) -> Self {
        Self {
            state,
            message: Some(message.into()),
            value: None,
        }
    }

    pub(super) fn missing() -> Self {
        Self::fault(
            DnsRecordState::Missing,
            "is missing; publish the value in status.dnsRecords",
        )
    }

    /// Right as it stands; `existing` is shown, unless it cannot be or is another domain's.
    pub(super) fn satisfied(existing: Option<&str>) -> Self {
        Self::verified().publishing(existing.unwrap_or_default())
    }

    /// There is no value that is sure to be better than what stands there.
    #[must_use]
    pub(super) fn publishing_nothing(self) -> Self {
        self.publishing("")
    }

    #[must_use]
    pub(super) fn publishing(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }
}

/// What DNS said of the records of a type at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There are these: texts with their strings joined, `10 mx.example.com` for an MX.
    Records(Vec<String>),
    /// There are none, for certain.
    None,
    /// It is not known.
    Failed(String),
}

/// Name of the record of a key.
pub(super) fn name(selector: &str, domain: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// Text of the record of a key (RFC 6376 section 3.6.1).
pub(super) fn value(key: &SigningKey) -> String {
    let kind = match key.algorithm {
        DkimAlgorithm::RsaSha256 => "rsa",
        DkimAlgorithm::Ed25519Sha256 => "ed25519",
    };
    format!("v=DKIM1; k={kind}; p={}", key.public)
}

/// Text of the record that revokes a key (RFC 6376 section 3.6.1: `p=` is empty). The kind is left out:
/// whatever the key was, it is no more.
const REVOKED: &str = "v=DKIM1; p=";

impl WantedRecord {
    /// The record of a key.
    pub(super) fn dkim(selector: &str, domain: &str, key: &SigningKey) -> Self {
        Self::of_selector(selector, domain, value(key))
    }

    /// The record in place of that of a key that others may have.
    pub(super) fn revoked(selector: &str, domain: &str) -> Self {
        Self::of_selector(selector, domain, REVOKED.to_owned())
    }

    fn of_selector(selector: &str, domain: &str, value: String) -> Self {
        Self {
            question: Question {
                name: name(selector, domain),
                kind: Kind::Txt,
            },
            value,
            purpose: DnsRecordPurpose::Dkim,
            requirement: DnsRecordRequirement::Required,
        }
    }
}

/// The record as the status shows it. `finding` is absent when nobody could tell, and then what was seen last
/// stands; `answer` is what DNS has at the name.
pub(super) fn record(
    wanted: WantedRecord,
    finding: Option<Finding>,
    answer: Option<&Answer>,
    previous: Option<&DnsRecord>,
) -> DnsRecord {
    let WantedRecord {
        question: Question { name, kind },
        value,
        purpose,
        requirement,
    } = wanted;
    // The values of others depend on what stands there.
    let is_fixed = matches!(
        purpose,
        DnsRecordPurpose::Dkim | DnsRecordPurpose::ReturnPathMx | DnsRecordPurpose::DmarcReports
    );
    let is_merged = matches!(purpose, DnsRecordPurpose::Spf | DnsRecordPurpose::Dmarc);
    let previous = previous.filter(|previous| {
        (&previous.name, previous.purpose) == (&name, purpose)
            && (!is_fixed || previous.value == value)
    });
    let (state, message, observed, value) = match (finding, previous) {
        (Some(finding), _) => {
            let differs = [DnsRecordState::Mismatch, DnsRecordState::Conflict];
            let observed = match answer {
                Some(Answer::Records(texts)) if differs.contains(&finding.state) => {
                    Some(shown(texts))
                }
                _ => None,
            };
            let value = finding.value.unwrap_or(value);
            (finding.state, finding.message, observed, value)
        }
        (
            None,
            Some(DnsRecord {
                state,
                message,
                observed,
                value,
                ..
            }),
        ) => (*state, message.clone(), observed.clone(), value.clone()),
        // What stands there might be better than a record that knows nothing of it.
        (None, None) if is_merged => (DnsRecordState::Unknown, None, None, String::new()),
        (None, None) => (DnsRecordState::Unknown, None, None, value),
    };
    let (split_value, zone) = if value.is_empty() {
        (Vec::new(), String::new())
    } else {
        (zone::split(&value), zone::line(&name, kind.name(), &value))
    };
    DnsRecord {
        r#type: kind.name().to_owned(),
        split_value,
        zone,
        name,
        value,
        purpose,
        requirement,
        state,
        observed,
        message,
    }
}

/// `DnsVerified` over the records that are in use: required ones decide, others are told of once these are
/// in order. `failure` is what the lookup said that failed for a record.
pub(super) fn verdict<'a>(
    records: &[DnsRecord],
    failure: impl FnOnce(&DnsRecord) -> Option<&'a str>,
) -> Verdict {
    let of = |states: &'static [DnsRecordState]| {
        let required = records
            .iter()
            .filter(|record| record.requirement == DnsRecordRequirement::Required);
        required.filter(move |record| states.contains(&record.state))
    };
    if !records
        .iter()
        .any(|record| record.purpose == DnsRecordPurpose::Dkim)
    {
        let message = "there are no keys yet whose records could be looked up";
        return Verdict::unknown(DNS_VERIFIED, reason::KEYS_PENDING, message);
    }
    if let Some(record) = of(&[DnsRecordState::Conflict]).next() {
        return Verdict::no(DNS_VERIFIED, reason::RECORDS_CONFLICT, told(record));
    }
    if let Some(record) = of(&[DnsRecordState::Mismatch]).next() {
        return Verdict::no(DNS_VERIFIED, reason::RECORDS_MISMATCH, told(record));
    }
    let missing: Vec<String> = of(&[DnsRecordState::Missing]).map(title).collect();
    if !missing.is_empty() {
        let message = format!(
            "publish {} with the values in status.dnsRecords",
            missing.join(" and ")
        );
        return Verdict::no(DNS_VERIFIED, reason::RECORDS_MISSING, message);
    }
    if let Some(record) = of(&[DnsRecordState::Unknown]).next() {
        let cause = failure(record).unwrap_or("nobody has looked yet");
        let message = format!("{} cannot be looked up: {cause}", title(record));
        return Verdict::unknown(DNS_VERIFIED, reason::LOOKUP_FAILED, message);
    }
    let lacks = |record: &&DnsRecord| {
        record.requirement != DnsRecordRequirement::Required
            && !matches!(
                record.state,
                DnsRecordState::Verified | DnsRecordState::Unknown
            )
    };
    let message = match records.iter().find(lacks) {
        Some(record) => format!(
            "all required records are published; {}: {}",
            match record.requirement {
                DnsRecordRequirement::Optional => "optional",
                _ => "recommended",
            },
            told(record)
        ),
        None => "all records are published".to_owned(),
    };
    Verdict::yes(DNS_VERIFIED, reason::RECORDS_VERIFIED, message)
}

/// The record, and what is wrong with it.
fn told(record: &DnsRecord) -> String {
    let message = record.message.as_deref();
    let message = message.unwrap_or("has another value; publish the value in status.dnsRecords");
    format!("{} {message}", title(record))
}

/// Type and name.
fn title(record: &DnsRecord) -> String {
    format!("{} {}", record.r#type, record.name)
}

/// `DnsVerified` while keys wait to take over, and all others are in order.
pub(super) fn waiting<'a>(
    records: &[DnsRecord],
    spread: impl IntoIterator<Item = &'a Spread>,
) -> Verdict {
    let unpublished: Vec<&str> = records
        .iter()
        .filter(|record| record.state != DnsRecordState::Verified)
        .map(|record| record.name.as_str())
        .collect();
    let not_at = spread.into_iter().find_map(|spread| match spread {
        Spread::NotAt(server) => Some(server),
        Spread::Everywhere(_) | Spread::Unknown => None,
    });
    let message = match (unpublished.is_empty(), not_at) {
        (false, _) => format!(
            "publish TXT {} with the values in status.dnsRecords for the next keys to take over",
            unpublished.join(" and ")
        ),
        (true, Some(server)) => {
            format!("the next keys take over once name server {server} shows their records, too")
        }
        (true, None) => {
            "the next keys take over once their records have been published for a full time \
                         to live"
                .to_owned()
        }
    };
    Verdict::yes(DNS_VERIFIED, reason::ROTATION_PENDING, message)
}

/// Foreign text for the status: one line per record, control characters replaced, cut to a length.
fn shown(texts: &[String]) -> String {
    let clean = |text: &String| -> String {
        text.chars()
            .map(|character| {
                if character.is_control() {
                    '\u{fffd}'
                } else {
                    character
                }
            })
            .collect()
    };
    let mut sorted: Vec<String> = texts.iter().map(clean).collect();
    // Resolvers rotate the records of a name; the status must not change with them.
    sorted.sort();
    let joined = sorted.join("\n");
    if joined.chars().count() <= SHOWN {
        return joined;
    }
    joined.chars().take(SHOWN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
