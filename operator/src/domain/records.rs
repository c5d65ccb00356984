//! The DNS records that a domain's owner publishes, and what DNS shows of them.
//!
//! Pure: answers go in, states come out. A lookup that failed says nothing, so a record keeps the
//! state that was last seen; an outage of DNS never turns a good domain bad.

use operator_api::conditions::{DNS_VERIFIED, reason};
use operator_api::{DnsRecord, DnsRecordPurpose, DnsRecordState};
use relay_config::DkimAlgorithm;

use super::bounces;
use super::dns::Spread;
use super::keys::SigningKey;
use super::tags;
use crate::conditions::Verdict;

/// Octets of one string in a TXT record (RFC 1035 section 3.3.14).
const STRING: usize = 255;
/// Characters of a foreign answer that are shown at most.
const SHOWN: usize = 600;

/// Types of records that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Mail exchangers.
    Mx,
    /// Text.
    Txt,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Mx => "MX",
            Self::Txt => "TXT",
        }
    }
}

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Full name without a trailing dot.
    pub name: String,
    /// Type of the records.
    pub kind: Kind,
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedRecord {
    pub(super) question: Question,
    pub(super) value: String,
    pub(super) purpose: DnsRecordPurpose,
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
        }
    }
}

/// The record as the status shows it. `answer` is absent when nobody looked; `previous` is the record as the
/// status has it.
pub(super) fn record(
    wanted: WantedRecord,
    answer: Option<&Answer>,
    previous: Option<&DnsRecord>,
) -> DnsRecord {
    let WantedRecord {
        question: Question { name, kind },
        value,
        purpose,
    } = wanted;
    let (state, observed) = match answer {
        Some(Answer::None) => (DnsRecordState::Missing, None),
        Some(Answer::Records(texts)) => match compare(purpose, texts, &value) {
            Ok(()) => (DnsRecordState::Verified, None),
            Err(_) => (DnsRecordState::Mismatch, Some(shown(texts))),
        },
        Some(Answer::Failed(_)) | None => previous
            .filter(|previous| {
                (&previous.name, previous.purpose, &previous.value) == (&name, purpose, &value)
            })
            .map(|previous| (previous.state, previous.observed.clone()))
            .unwrap_or_default(),
    };
    DnsRecord {
        name,
        r#type: kind.name().to_owned(),
        split_value: split(&value),
        value,
        purpose,
        state,
        observed,
    }
}

/// Whether `answer` shows the record.
pub(super) fn is_verified(answer: &Answer, wanted: &WantedRecord) -> bool {
    let is_right = |texts| compare(wanted.purpose, texts, &wanted.value).is_ok();
    matches!(answer, Answer::Records(texts) if is_right(texts))
}

/// `DnsVerified` over the records that are needed: of keys that sign or will, and of the bounce domain.
/// `failure` is what the last failed
/// lookup said.
pub(super) fn verdict(records: &[DnsRecord], failure: Option<&str>) -> Verdict {
    let of = |state| {
        let of_state = move |record: &&DnsRecord| record.state == state;
        records.iter().filter(of_state)
    };
    if !records
        .iter()
        .any(|record| record.purpose == DnsRecordPurpose::Dkim)
    {
        let message = "there are no keys yet whose records could be looked up";
        return Verdict::unknown(DNS_VERIFIED, reason::KEYS_PENDING, message);
    }
    if let Some(record) = of(DnsRecordState::Mismatch).next() {
        let message = mismatch(record);
        return Verdict::no(DNS_VERIFIED, reason::RECORDS_MISMATCH, message);
    }
    let missing: Vec<String> = of(DnsRecordState::Missing).map(title).collect();
    if !missing.is_empty() {
        let message = format!(
            "publish {} with the values in status.dnsRecords",
            missing.join(" and ")
        );
        return Verdict::no(DNS_VERIFIED, reason::RECORDS_MISSING, message);
    }
    if let Some(record) = of(DnsRecordState::Unknown).next() {
        let cause = failure.unwrap_or("nobody has looked yet");
        let message = format!("{} cannot be looked up: {cause}", title(record));
        return Verdict::unknown(DNS_VERIFIED, reason::LOOKUP_FAILED, message);
    }
    let message = "all records are published";
    Verdict::yes(DNS_VERIFIED, reason::RECORDS_VERIFIED, message)
}

/// Type and name.
fn title(record: &DnsRecord) -> String {
    format!("{} {}", record.r#type, record.name)
}

/// Whether the records at a name do what `expected` is for.
fn compare(
    purpose: DnsRecordPurpose,
    texts: &[String],
    expected: &str,
) -> Result<(), &'static str> {
    match purpose {
        DnsRecordPurpose::Dkim => compare_dkim(texts, expected),
        DnsRecordPurpose::ReturnPathMx => bounces::compare_mx(texts, expected),
        DnsRecordPurpose::ReturnPathSpf => bounces::compare_spf(texts),
    }
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

/// Verifiers need not look at more than one record of a name (RFC 6376 section 3.6.2.2), so there
/// has to be exactly one.
fn compare_dkim(texts: &[String], expected: &str) -> Result<(), &'static str> {
    match texts {
        [text] => tags::compare_dkim(text, expected).map_err(|difference| difference.message()),
        // K17: a panel made a record of each string.
        texts if joins_to(texts, expected) => Err(
            "is spread over several TXT records; make one record of it, as in status.dnsRecords[].splitValue",
        ),
        _ => Err(
            "is one of several TXT records of that name; leave only the value in status.dnsRecords",
        ),
    }
}

/// Whether the texts are the parts of `expected`, in any order: resolvers rotate records. All orders
/// of up to three parts are tried, which is what a key of 4096 bits needs.
fn joins_to(texts: &[String], expected: &str) -> bool {
    if texts.len() > 3 {
        return false;
    }
    let mut turned = texts.to_vec();
    (0..texts.len()).any(|_| {
        turned.rotate_left(1);
        let backward: String = turned.iter().rev().map(String::as_str).collect();
        [turned.concat(), backward]
            .iter()
            .any(|text| tags::compare_dkim(text, expected).is_ok())
    })
}

fn mismatch(record: &DnsRecord) -> String {
    // Judged again from the observed texts, which are shortened only when they are no key anyway.
    let texts: Vec<String> = record
        .observed
        .iter()
        .flat_map(|text| text.lines())
        .map(str::to_owned)
        .collect();
    let difference = compare(record.purpose, &texts, &record.value)
        .err()
        .unwrap_or("has another value; publish the value in status.dnsRecords");
    format!("{} {difference}", title(record))
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

/// K19: strings of at most 255 octets.
fn split(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for character in value.chars() {
        match parts.last_mut() {
            Some(last) if last.len() + character.len_utf8() <= STRING => last.push(character),
            _ => parts.push(character.to_string()),
        }
    }
    parts
}

#[cfg(test)]
mod tests;
