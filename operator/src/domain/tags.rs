//! Tag lists of DNS records (RFC 6376 section 3.2): read leniently, compared by meaning.
//!
//! Providers reorder, respace and re-split what a user pastes; none of this changes what a verifier
//! does, so none of it may look like a fault.

use std::collections::BTreeMap;

use operator_api::DnsRecordState;

use super::records::{Answer, Finding};

/// Tags by name. Names are case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tags<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Tags<'a> {
    /// `None` when the text is no tag list: an entry without `=`, or a name that stands twice.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut entries = text.split(';').map(str::trim);
        let is_wrong = |entry: &str| !entry.is_empty() && !entry.contains('=');
        if entries.any(is_wrong) {
            return None;
        }
        Self::parse_leniently(text)
    }

    /// Entries without `=` are passed over, as in DMARC records (RFC 7489 section 6.3); `None` when a name
    /// stands twice, of which receivers may take either.
    pub(super) fn parse_leniently(text: &'a str) -> Option<Self> {
        let mut tags = BTreeMap::new();
        for (name, value) in text.split(';').filter_map(|entry| entry.split_once('=')) {
            let previous = tags.insert(name.trim(), value.trim());
            if previous.is_some() {
                return None;
            }
        }
        Some(Self(tags))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }
}

/// Whether a record begins with its version, such as `DMARC1`. Both are case-sensitive.
pub(super) fn is_version(text: &str, version: &str) -> bool {
    let first = text.split(';').next().unwrap_or_default();
    let first = first.split_once('=');
    first.is_some_and(|(tag, value)| (tag.trim(), value.trim()) == ("v", version))
}

/// Why a record does not do for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not a DKIM key record.
    NotDkim,
    /// `k=` names another algorithm.
    KeyType,
    /// `p=` is empty: the key is revoked.
    Revoked,
    /// `p=` is a key, and should be empty.
    NotRevoked,
    /// `p=` is another key.
    OtherKey,
    /// `h=` leaves out sha256.
    HashRefused,
    /// `s=` leaves out email.
    ServiceRefused,
    /// `t=y`: verifiers treat the domain as testing and may ignore signatures.
    Testing,
}

impl Difference {
    /// What is wrong, and the remedy.
    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::NotDkim => "is not a DKIM key record; publish the value in status.dnsRecords",
            Self::KeyType => "names another key type in k=; publish the value in status.dnsRecords",
            Self::Revoked => {
                "has an empty p=, which revokes the key; publish the value in status.dnsRecords"
            }
            Self::NotRevoked => {
                "still holds the key that spec.dkim.revokedSelectors revokes; replace it by the value in \
                 status.dnsRecords"
            }
            Self::OtherKey => {
                "holds another public key in p=; replace it by the value in status.dnsRecords"
            }
            Self::HashRefused => "leaves sha256 out of h=; remove h= from the record",
            Self::ServiceRefused => "leaves email out of s=; remove s= from the record",
            Self::Testing => "has t=y, with which verifiers may ignore the signature; remove t=y",
        }
    }
}

/// Whether a DKIM key record means what `expected` (written by this operator) means: to a verifier
/// of RFC 6376 section 3.6.1, signatures by the key must count.
pub(super) fn compare_dkim(observed: &str, expected: &str) -> Result<(), Difference> {
    let observed = Tags::parse(observed).ok_or(Difference::NotDkim)?;
    let expected = Tags::parse(expected).ok_or(Difference::NotDkim)?;
    if observed.get("v").is_some_and(|version| version != "DKIM1") {
        return Err(Difference::NotDkim);
    }
    let public = squeezed(observed.get("p").ok_or(Difference::NotDkim)?);
    let key_type = |tags: &Tags<'_>| tags.get("k").unwrap_or("rsa").to_owned();
    let is_to_be_revoked = expected.get("p").is_some_and(str::is_empty);
    match (is_to_be_revoked, public.is_empty()) {
        // Whatever else stands in it.
        (true, true) => return Ok(()),
        (true, false) => return Err(Difference::NotRevoked),
        _ => {}
    }
    if key_type(&observed) != key_type(&expected) {
        return Err(Difference::KeyType);
    }
    if public.is_empty() {
        return Err(Difference::Revoked);
    }
    if public != squeezed(expected.get("p").unwrap_or_default()) {
        return Err(Difference::OtherKey);
    }
    let lists = |tag: &str, wanted: &[&str]| {
        observed
            .get(tag)
            .is_none_or(|list| list.split(':').any(|word| wanted.contains(&word.trim())))
    };
    if !lists("h", &["sha256"]) {
        return Err(Difference::HashRefused);
    }
    if !lists("s", &["*", "email"]) {
        return Err(Difference::ServiceRefused);
    }
    if observed.get("t").is_some() && lists("t", &["y"]) {
        return Err(Difference::Testing);
    }
    Ok(())
}

/// Verifiers need not look at more than one record of a name (RFC 6376 section 3.6.2.2), so there
/// has to be exactly one.
pub(super) fn judge_dkim(texts: &[String], expected: &str) -> Finding {
    match texts {
        [text] => match compare_dkim(text, expected) {
            Ok(()) => Finding::verified(),
            Err(difference) => Finding::fault(DnsRecordState::Mismatch, difference.message()),
        },
        // K17: a panel made a record of each string.
        texts if joins_to(texts, expected) => Finding::fault(
            DnsRecordState::Conflict,
            "is spread over several TXT records; make one record of it, as in status.dnsRecords[].splitValue",
        ),
        _ => Finding::fault(
            DnsRecordState::Conflict,
            "is one of several TXT records of that name; leave only the value in status.dnsRecords",
        ),
    }
}

/// Whether an answer shows the record of a key.
pub(super) fn is_dkim(answer: &Answer, expected: &str) -> bool {
    let is_right = |texts| judge_dkim(texts, expected).state == DnsRecordState::Verified;
    matches!(answer, Answer::Records(texts) if is_right(texts))
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
            .any(|text| compare_dkim(text, expected).is_ok())
    })
}

/// Without white space, which may stand anywhere inside base64.
fn squeezed(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_ascii_whitespace())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "v=DKIM1; k=rsa; p=MIIBIjAN";

    #[test]
    fn k18_records_of_the_same_meaning_are_equal() {
        for observed in [
            EXPECTED,
            "v=DKIM1;k=rsa;p=MIIBIjAN",
            "v=DKIM1; p=MIIBIjAN;",
            "v=DKIM1; p=MIIB IjAN; k=rsa; ;",
            " v = DKIM1 ; k = rsa ; p = MIIBIjAN ",
            "p=MIIBIjAN",
            "v=DKIM1; h=sha1:sha256; s=email; t=s; n=made by hand; p=MIIBIjAN",
        ] {
            assert_eq!(compare_dkim(observed, EXPECTED), Ok(()), "{observed}");
        }
    }

    #[test]
    fn records_with_which_a_signature_would_not_count_are_told_apart() {
        for (observed, expected) in [
            ("", Difference::NotDkim),
            ("v=spf1 -all", Difference::NotDkim),
            (
                "v=DKIM1; k=rsa; p=MIIBIjAN; p=MIIBIjAN",
                Difference::NotDkim,
            ),
            ("v=DKIM2; p=MIIBIjAN", Difference::NotDkim),
            ("v=DKIM1; k=ed25519; p=MIIBIjAN", Difference::KeyType),
            ("v=DKIM1; k=rsa; p=", Difference::Revoked),
            ("v=DKIM1; k=rsa; p=MIIBIjAM", Difference::OtherKey),
            ("v=DKIM1; k=rsa; p=miibijan", Difference::OtherKey),
            ("v=DKIM1; h=sha1; p=MIIBIjAN", Difference::HashRefused),
            ("v=DKIM1; s=tlsrpt; p=MIIBIjAN", Difference::ServiceRefused),
            ("v=DKIM1; t=y; p=MIIBIjAN", Difference::Testing),
            ("v=DKIM1; t=s:y; p=MIIBIjAN", Difference::Testing),
        ] {
            assert_eq!(
                compare_dkim(observed, EXPECTED),
                Err(expected),
                "{observed}"
            );
        }
    }

    #[test]
    fn a_key_is_revoked_by_an_empty_one() {
        let revoked = |observed| compare_dkim(observed, "v=DKIM1; p=");
        for observed in ["v=DKIM1; p=", "p=", "v=DKIM1; k=ed25519; p= ; n=gone"] {
            assert_eq!(revoked(observed), Ok(()), "{observed}");
        }
        assert_eq!(revoked(EXPECTED), Err(Difference::NotRevoked));
        assert_eq!(revoked("v=spf1 -all"), Err(Difference::NotDkim));
    }
}
