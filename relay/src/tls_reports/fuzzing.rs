//! What has to hold for records that ask for reports, for counts, and for reports.

use std::fmt::Write as _;
use std::io::Read as _;

use flate2::read::GzDecoder;
use relay_queue::{MessageId, Timestamp};
use relay_smtp::Address;

use super::document::{self, Submitter};
use super::mail::{self, Letter};
use super::record::{Place, places};
use super::results::{Counted, Policies, Results};
use crate::fields;

/// Octets of a report that is not compressed, for inputs of a few thousand octets.
const LONGEST: u64 = 1 << 20;

/// TXT records, one in a line.
pub(crate) fn record(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let Some(found) = places(text.split('\n')) else {
        return;
    };
    assert!((1..=4).contains(&found.len()));
    let written: Vec<String> = found.iter().map(written).collect();
    for place in &found {
        if let Place::Post(uri) = place {
            assert_eq!(
                uri.scheme_str().map(str::to_ascii_lowercase).as_deref(),
                Some("https")
            );
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            assert!(!authority.is_empty() && !authority.contains('@'), "{uri}");
        }
    }
    let plain = format!("v=TLSRPTv1; rua={}", written.join(","));
    if written.iter().all(|place| place.len() <= 512) {
        assert_eq!(places([&*plain]), Some(found), "{plain}");
    }
    let twice = text.split('\n').chain([&*plain]);
    assert_eq!(places(twice), None, "two records are none");
}

/// With every octet of an address escaped.
fn written(place: &Place) -> String {
    match place {
        Place::Post(uri) => uri.to_string(),
        Place::Mail(address) => {
            address
                .as_str()
                .bytes()
                .fold("mailto:".to_owned(), |mut text, octet| {
                    let _ = write!(text, "%{octet:02x}");
                    text
                })
        }
    }
}

/// Counts that another shard handed in: a line of JSON for each.
pub(crate) fn counts(input: &[u8]) {
    let lines = input.split(|octet| *octet == b'\n');
    let counted: Vec<Counted> = lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let Some(first) = counted.first().cloned() else {
        return;
    };
    let mut results = Results::default();
    for one in counted {
        results.merge(one);
    }
    let mut again = Results::default();
    for one in results.all() {
        again.merge(one);
    }
    let keys: Vec<_> = results.keys().collect();
    assert_eq!(keys.len(), again.keys().count());
    for (day, domain) in keys {
        assert_eq!(results.of(day, domain), again.of(day, domain), "{domain}");
    }
    let (Some(policies), Ok(to)) = (
        results.of(first.day, &first.domain),
        Address::parse(&format!("tls@{}", first.domain)),
    ) else {
        return;
    };
    report(&first, &to, policies);
}

fn report(first: &Counted, to: &Address, policies: &Policies) {
    let submitter = Submitter {
        organization: "Shop \"and\" more".into(),
        contact: "tls@shop.example".into(),
        domain: "shop.example".into(),
    };
    let domain = to.domain();
    let made = document::build(&submitter, domain, first.day, policies);
    assert!(made.is_ok(), "{:?}", made.err());
    let Ok(document) = made else { return };
    let mut json = Vec::new();
    let read = GzDecoder::new(&*document.gzip)
        .take(LONGEST)
        .read_to_end(&mut json);
    assert!(read.is_ok_and(|length| (length as u64) < LONGEST));
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
    let entries = value["policies"].as_array();
    assert_eq!(entries.map(Vec::len), Some(policies.len()), "{value}");
    for (entry, tally) in entries.into_iter().flatten().zip(policies.values()) {
        let summary = &entry["summary"];
        assert_eq!(summary["total-successful-session-count"], tally.successful);
        assert_eq!(summary["total-failure-session-count"], tally.failed);
    }
    let Ok(from) = Address::parse("tls@shop.example") else {
        return;
    };
    let letter = mail::build(&Letter {
        id: MessageId(9),
        from: &from,
        to: std::slice::from_ref(to),
        submitter: &submitter,
        domain,
        document: &document,
        now: Timestamp(1_700_000_000_000),
    });
    let Ok(letter) = letter else { return };
    let content = letter.content.concat();
    let header = fields::parse(&content)
        .map(|header| header.fields)
        .unwrap_or_default();
    let names = |name: &str| {
        header
            .iter()
            .filter(|field| field.is(&content, name))
            .count()
    };
    assert_eq!(header.len(), 11, "{}", content.escape_ascii());
    assert_eq!(
        (
            names("TLS-Report-Domain"),
            names("To"),
            names("TLS-Required")
        ),
        (1, 1, 1)
    );
}
