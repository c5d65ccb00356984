//! DANE (RFC 7672) towards real servers under signed zones, and what Postfix's `posttls-finger` makes of
//! the same hosts: both have to come to the same verdict.

use mailrelay_tests::peers::Offer;
use mailrelay_tests::peers::finger::{self, Trust};
use mailrelay_tests::zone::Record;

use super::certificates::{Fault, Shown};
use super::draft::{Draft, Who};
use super::plain::{line, send};
use super::stage::{Running, stage};
use crate::authority::Authority;

/// What has to become of mail to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes, to a server that a TLSA record proves.
    Proven,
    /// It goes as to a host without TLSA records.
    Opportunistic,
    /// It waits, with this status.
    Waits(&'static str),
}

/// The host's TLS is not as it has to be (RFC 3463 section 3.8: cryptographic failure).
const WRONG: Verdict = Verdict::Waits("4.7.5");
/// DNS does not say what has to be known (RFC 3463 section 3.5: directory server failure).
const UNKNOWN: Verdict = Verdict::Waits("4.4.3");

/// TLSA data of a host, from what the host shows and what another one shows.
type Records = fn(&Shown, &Shown) -> Vec<String>;

/// A kind of host; there is one of it at Postfix and one at Exim.
struct Row {
    name: &'static str,
    zone: &'static str,
    fault: Fault,
    offer: Offer,
    records: Records,
    verdict: Verdict,
}

const fn row(
    name: &'static str,
    zone: &'static str,
    fault: Fault,
    records: Records,
    verdict: Verdict,
) -> Row {
    Row {
        name,
        zone,
        fault,
        offer: Offer::Current,
        records,
        verdict,
    }
}

const SIGNED: &str = "signed.example";
/// The servers that have every kind of host, with a part of the hosts' names.
const SERVERS: [(Who, &str); 2] = [(Who::Postfix, "postfix"), (Who::Exim, "exim")];

const ROWS: [Row; 20] = [
    row(
        "key",
        SIGNED,
        Fault::None,
        |own, _| vec![own.tlsa(3, 1, 1)],
        Verdict::Proven,
    ),
    row(
        "certificate",
        SIGNED,
        Fault::None,
        |own, _| vec![own.tlsa(3, 0, 2)],
        Verdict::Proven,
    ),
    row(
        "whole",
        SIGNED,
        Fault::None,
        |own, _| vec![own.tlsa(3, 1, 0)],
        Verdict::Proven,
    ),
    // RFC 7671 section 5.1: neither dates nor names matter with DANE-EE.
    row(
        "expired",
        SIGNED,
        Fault::Expired,
        |own, _| vec![own.tlsa(3, 1, 1)],
        Verdict::Proven,
    ),
    row(
        "renamed",
        SIGNED,
        Fault::OtherName,
        |own, _| vec![own.tlsa(3, 1, 1)],
        Verdict::Proven,
    ),
    row(
        "wrong",
        SIGNED,
        Fault::None,
        |_, other| vec![other.tlsa(3, 1, 1)],
        WRONG,
    ),
    // In the middle of a change of keys.
    row(
        "rolling",
        SIGNED,
        Fault::None,
        |own, other| vec![other.tlsa(3, 1, 1), own.tlsa(3, 1, 1)],
        Verdict::Proven,
    ),
    // RFC 7671 section 9: the strongest digest decides.
    row(
        "agile",
        SIGNED,
        Fault::None,
        |own, other| vec![own.tlsa(3, 1, 1), other.tlsa(3, 1, 2)],
        WRONG,
    ),
    row(
        "authority",
        SIGNED,
        Fault::None,
        |own, _| vec![own.tlsa(2, 0, 1)],
        Verdict::Proven,
    ),
    // With DANE-TA they do matter.
    row(
        "ta-expired",
        SIGNED,
        Fault::Expired,
        |own, _| vec![own.tlsa(2, 0, 1)],
        WRONG,
    ),
    row(
        "ta-renamed",
        SIGNED,
        Fault::OtherName,
        |own, _| vec![own.tlsa(2, 1, 1)],
        WRONG,
    ),
    // RFC 7672 section 3.1.3: usages 0 and 1 are not for SMTP.
    row(
        "unusable",
        SIGNED,
        Fault::None,
        |own, _| vec![own.tlsa(1, 1, 1)],
        Verdict::Opportunistic,
    ),
    row(
        "none",
        SIGNED,
        Fault::None,
        |_, _| vec![],
        Verdict::Opportunistic,
    ),
    // Records that nothing proves are none.
    row(
        "unproven",
        "plain.example",
        Fault::None,
        |_, other| vec![other.tlsa(3, 1, 1)],
        Verdict::Opportunistic,
    ),
    row(
        "forged",
        "forged.example",
        Fault::None,
        |own, _| vec![own.tlsa(3, 1, 1)],
        UNKNOWN,
    ),
    // Whether there are records cannot be known.
    row(
        "silent",
        "silent.example",
        Fault::None,
        |_, _| vec![],
        UNKNOWN,
    ),
    row(
        "stale",
        "stale.example",
        Fault::None,
        |own, _| vec![own.tlsa(3, 1, 1)],
        UNKNOWN,
    ),
    // Denials by hashed names (RFC 5155).
    row(
        "hashed",
        "hashed.example",
        Fault::None,
        |own, _| vec![own.tlsa(3, 1, 1)],
        Verdict::Proven,
    ),
    row(
        "none",
        "hashed.example",
        Fault::None,
        |_, _| vec![],
        Verdict::Opportunistic,
    ),
    Row {
        offer: Offer::Nothing,
        ..row(
            "stripped",
            SIGNED,
            Fault::None,
            |own, _| vec![own.tlsa(3, 1, 1)],
            WRONG,
        )
    },
];

fn domain(row: &Row, server: &str) -> String {
    format!("{}.{server}.{}", row.name, row.zone)
}

/// A domain in the signed zone whose exchanger is an alias of its host (case M6).
struct Aliased {
    name: &'static str,
    /// Where the host lies.
    zone: &'static str,
    /// TLSA records at the exchanger's name, and at the host's.
    at_alias: Records,
    at_host: Records,
    verdict: Verdict,
}

impl Aliased {
    fn domain(&self, server: &str) -> String {
        format!("{}.{server}.{SIGNED}", self.name)
    }
}

const NONE: Records = |_, _| vec![];
const RIGHT: Records = |own, _| vec![own.tlsa(3, 1, 1)];
const OTHER: Records = |_, other| vec![other.tlsa(3, 1, 1)];

/// RFC 7672 section 2.2.2: the host's name counts before the exchanger's, unless the way there is not
/// proven or nothing is there.
const ALIASED: [Aliased; 6] = [
    aliased("at-host", SIGNED, NONE, RIGHT, Verdict::Proven),
    aliased("at-alias", SIGNED, RIGHT, NONE, Verdict::Proven),
    aliased("host-first", SIGNED, OTHER, RIGHT, Verdict::Proven),
    aliased("host-wrong", SIGNED, RIGHT, OTHER, WRONG),
    aliased("outward", "plain.example", RIGHT, OTHER, Verdict::Proven),
    aliased(
        "outward-none",
        "plain.example",
        NONE,
        OTHER,
        Verdict::Opportunistic,
    ),
];

const fn aliased(
    name: &'static str,
    zone: &'static str,
    at_alias: Records,
    at_host: Records,
    verdict: Verdict,
) -> Aliased {
    Aliased {
        name,
        zone,
        at_alias,
        at_host,
        verdict,
    }
}

/// Every domain of these tests, with its server and what has to become of mail to it.
fn domains() -> Vec<(Who, String, Verdict)> {
    let mut domains = Vec::new();
    for (who, server) in SERVERS {
        domains.extend(
            ROWS.iter()
                .map(|row| (who, domain(row, server), row.verdict)),
        );
        domains.extend(
            ALIASED
                .iter()
                .map(|row| (who, row.domain(server), row.verdict)),
        );
    }
    domains
}

/// Adds the domains of these tests.
pub(super) fn draft(draft: &mut Draft, authority: &Authority) {
    let other = Shown::new(authority, "other.example", Fault::None);
    for row in &ROWS {
        for (who, server) in SERVERS {
            let domain = domain(row, server);
            let shown = Shown::new(authority, &format!("mx.{domain}"), row.fault);
            let records = (row.records)(&shown, &other);
            draft.domain(who, &domain, &shown, row.offer, &records);
        }
    }
    for row in &ALIASED {
        for (who, server) in SERVERS {
            let domain = row.domain(server);
            let (alias, host) = (
                format!("mx.{domain}"),
                format!("host.{}.{server}.{}", row.name, row.zone),
            );
            let shown = Shown::new(authority, &host, Fault::None);
            draft.host(who, &host, &shown, Offer::Current);
            draft.tlsa(&host, &(row.at_host)(&shown, &other));
            draft.publish(Record {
                name: alias.clone(),
                kind: "CNAME".into(),
                value: format!("{host}."),
            });
            draft.tlsa(&alias, &(row.at_alias)(&shown, &other));
            draft.alias(who, &domain, &alias);
        }
    }
}

/// What a relay made of a host, and whether that is right.
fn judge(
    running: &Running,
    who: Who,
    domain: &str,
    name: &str,
    expected: Verdict,
) -> Option<String> {
    let recipient = format!("ada@{domain}");
    let id = send(running, &recipient, name);
    let outcome = running.relay.wait_for("an outcome", |line| {
        line["message"] == "delivery outcome" && line["message_id"] == id
    });
    let line = line(name);
    let found = match (outcome["outcome"].as_str(), outcome["tls_source"].as_str()) {
        (Some("delivered"), source) => {
            stage().arrived(who, &recipient, &line);
            let proven = source == Some("dane") && outcome["tls_policy"] == "dane";
            if proven {
                Verdict::Proven
            } else {
                Verdict::Opportunistic
            }
        }
        (Some("deferred"), _) => match expected {
            Verdict::Waits(status) if outcome["enhanced"] == status => expected,
            _ => Verdict::Waits("for another reason"),
        },
        _ => Verdict::Waits("for ever"),
    };
    (found != expected).then(|| format!("{domain}: {found:?} in place of {expected:?}: {outcome}"))
}

/// What `posttls-finger` finds at a host, as a verdict.
fn postfix(domain: &str) -> (Verdict, String) {
    let ask = finger::ask(stage().resolver(), "dane", domain, &[], None);
    let finding = stage().block_on(ask).unwrap();
    let verdict = match finding.trust {
        Some(Trust::Verified) => Verdict::Proven,
        Some(_) if !finding.demands_dane => Verdict::Opportunistic,
        _ => Verdict::Waits(""),
    };
    (verdict, finding.said)
}

fn table(running: &Running, name: &str) {
    let mut faults = Vec::new();
    for (who, domain, verdict) in domains() {
        faults.extend(judge(running, who, &domain, name, verdict));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn t15_dane_decides_at_every_host_when_the_relay_validates() {
    table(&stage().validating_relay(), "dane-validated");
}

#[test]
fn t15_dane_decides_at_every_host_when_the_resolver_is_trusted() {
    table(&stage().trusting_relay(), "dane-trusted");
}

#[test]
fn posttls_finger_comes_to_the_same_verdict_at_every_host() {
    let mut faults = Vec::new();
    for (_, domain, verdict) in domains() {
        let (found, said) = postfix(&domain);
        // It gives no status.
        if std::mem::discriminant(&found) != std::mem::discriminant(&verdict) {
            faults.push(format!(
                "{domain}: {found:?} in place of {verdict:?}: {said}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
