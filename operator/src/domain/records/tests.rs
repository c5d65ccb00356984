use super::*;
use crate::domain::keys;

const NAME: &str = "mail-r1._domainkey.shop.example";

fn long_value() -> String {
    format!("v=DKIM1; k=rsa; p={}", "A".repeat(392))
}

fn texts(list: &[&str]) -> Answer {
    Answer::Records(list.iter().map(|text| (*text).to_owned()).collect())
}

fn wanted(name: &str) -> WantedRecord {
    WantedRecord {
        question: Question {
            name: name.to_owned(),
            kind: Kind::Txt,
        },
        value: long_value(),
        purpose: DnsRecordPurpose::Dkim,
        requirement: DnsRecordRequirement::Required,
    }
}

fn made(answer: Option<&Answer>, previous: Option<&DnsRecord>) -> DnsRecord {
    of(NAME, answer, previous)
}

fn of(name: &str, answer: Option<&Answer>, previous: Option<&DnsRecord>) -> DnsRecord {
    let wanted = wanted(name);
    let finding = match answer {
        None | Some(Answer::Failed(_)) => None,
        Some(Answer::None) => Some(Finding::missing()),
        Some(Answer::Records(texts)) => Some(crate::domain::tags::judge_dkim(texts, &wanted.value)),
    };
    record(wanted, finding, answer, previous)
}

#[test]
fn k14_the_record_holds_no_placeholder() {
    let key = keys::generate(DkimAlgorithm::Ed25519Sha256).unwrap();
    assert_eq!(
        name("mail-e1", "shop.example"),
        "mail-e1._domainkey.shop.example"
    );
    assert_eq!(value(&key), format!("v=DKIM1; k=ed25519; p={}", key.public));
}

#[test]
fn k19_long_values_are_also_shown_in_strings_of_at_most_255_octets() {
    let record = made(None, None);
    let lengths: Vec<_> = record.split_value.iter().map(String::len).collect();
    assert_eq!(lengths, [255, 155]);
    assert_eq!(record.split_value.concat(), record.value);
    assert_eq!(zone::split("v=DKIM1"), ["v=DKIM1"]);
    assert_eq!(zone::split(&"A".repeat(510)).len(), 2);
}

#[test]
fn what_dns_shows_decides_the_state() {
    let good = long_value();
    let rows = [
        (None, DnsRecordState::Unknown),
        (
            Some(Answer::Failed(
                "the name server answered Server Failure".into(),
            )),
            DnsRecordState::Unknown,
        ),
        (Some(Answer::None), DnsRecordState::Missing),
        (Some(texts(&[&good])), DnsRecordState::Verified),
        (
            Some(texts(&[&good.replace("; ", ";")])),
            DnsRecordState::Verified,
        ),
        (Some(texts(&["v=spf1 -all"])), DnsRecordState::Mismatch),
        (
            Some(texts(&[&good, "v=spf1 -all"])),
            DnsRecordState::Conflict,
        ),
    ];
    for (answer, state) in rows {
        let record = made(answer.as_ref(), None);
        assert_eq!(record.state, state, "{answer:?}");
        let differs = [DnsRecordState::Mismatch, DnsRecordState::Conflict];
        assert_eq!(record.observed.is_some(), differs.contains(&state));
    }
}

#[test]
fn an_outage_of_dns_never_turns_a_good_record_bad() {
    let verified = made(Some(&texts(&[&long_value()])), None);
    let failed = Answer::Failed("the name servers did not answer in time".into());
    for answer in [Some(&failed), None] {
        assert_eq!(made(answer, Some(&verified)), verified);
    }
    let wrong = made(Some(&texts(&["v=DKIM1; p="])), None);
    assert_eq!(made(Some(&failed), Some(&wrong)), wrong);
    // A new key's record was never seen.
    let mut former = verified.clone();
    former.value = "v=DKIM1; k=rsa; p=BBBB".into();
    assert_eq!(
        made(Some(&failed), Some(&former)).state,
        DnsRecordState::Unknown
    );
}

#[test]
fn k17_a_value_spread_over_several_records_is_told_apart() {
    let value = long_value();
    let (head, tail) = value.split_at(255);
    let record = made(Some(&texts(&[head, tail])), None);
    assert_eq!(record.state, DnsRecordState::Conflict);
    let verdict = verdict(&[record], |_| None);
    assert_eq!(
        verdict.message,
        "TXT mail-r1._domainkey.shop.example is spread over several TXT records; make one record \
         of it, as in status.dnsRecords[].splitValue"
    );
}

#[test]
fn the_status_does_not_change_with_the_order_of_answers() {
    let one = made(Some(&texts(&["b", "a"])), None);
    let other = made(Some(&texts(&["a", "b"])), None);
    assert_eq!(one, other);
}

#[test]
fn foreign_text_is_cut_and_cleaned() {
    let hostile = format!("a\nb\u{1b}[31m{}", "ä".repeat(10_000));
    let shown = made(Some(&texts(&[&hostile])), None).observed.unwrap();
    assert!(shown.starts_with("a\u{fffd}b\u{fffd}[31m"), "{shown}");
    assert_eq!(shown.chars().count(), SHOWN);
}

#[test]
fn the_condition_tells_the_worst_and_the_remedy() {
    let of = |name: &str, answer: Option<&Answer>| {
        of(&format!("{name}._domainkey.shop.example"), answer, None)
    };
    let good = texts(&[&long_value()]);
    let verified = || of("a", Some(&good));
    let failed = Answer::Failed("no name server can be reached".into());
    let other_key = texts(&["v=DKIM1; k=rsa; p=BBBB"]);
    let rows = [
        (
            vec![verified()],
            Some(true),
            "RecordsVerified",
            "all records are published",
        ),
        (vec![], None, "KeysPending", "there are no keys yet"),
        (
            vec![
                verified(),
                of("b", Some(&Answer::None)),
                of("c", Some(&Answer::None)),
            ],
            Some(false),
            "RecordsMissing",
            "publish TXT b._domainkey.shop.example and TXT c._domainkey.shop.example with the values in status.dnsRecords",
        ),
        (
            vec![of("b", Some(&Answer::None)), of("c", Some(&other_key))],
            Some(false),
            "RecordsMismatch",
            "TXT c._domainkey.shop.example holds another public key in p=; replace it by the value in status.dnsRecords",
        ),
        (
            vec![verified(), of("b", Some(&failed))],
            None,
            "LookupFailed",
            "TXT b._domainkey.shop.example cannot be looked up: no name server can be reached",
        ),
    ];
    for (records, status, reason, message) in rows {
        let verdict = verdict(&records, |_| Some("no name server can be reached"));
        assert_eq!((verdict.status, verdict.reason), (status, reason));
        assert!(
            verdict.message.starts_with(message),
            "{}\nnot {message}",
            verdict.message
        );
    }
}

#[test]
fn what_is_not_required_is_told_of_last_and_decides_nothing() {
    let good = texts(&[&long_value()]);
    let dkim = made(Some(&good), None);
    let other = |requirement, state| DnsRecord {
        name: "_dmarc.shop.example".into(),
        requirement,
        state,
        message: Some("is missing".into()),
        ..dkim.clone()
    };
    let recommended = DnsRecordRequirement::Recommended;
    let missing = other(recommended, DnsRecordState::Missing);
    let told = verdict(&[dkim.clone(), missing.clone()], |_| None);
    assert_eq!((told.status, told.reason), (Some(true), "RecordsVerified"));
    assert_eq!(
        told.message,
        "all required records are published; recommended: TXT _dmarc.shop.example is missing"
    );
    let unknown = other(recommended, DnsRecordState::Unknown);
    let told = verdict(&[dkim.clone(), unknown], |_| None);
    assert_eq!(told.message, "all records are published");
    let absent = made(Some(&Answer::None), None);
    let told = verdict(&[absent, missing], |_| None);
    assert_eq!(told.reason, "RecordsMissing");
}

#[test]
fn what_is_published_stays_through_an_outage_whatever_the_value_would_be() {
    let failed = Answer::Failed("the name servers did not answer in time".into());
    for purpose in [
        DnsRecordPurpose::MtaSts,
        DnsRecordPurpose::TlsReports,
        DnsRecordPurpose::Bimi,
        DnsRecordPurpose::Spf,
        DnsRecordPurpose::Dmarc,
    ] {
        let wanted = WantedRecord {
            purpose,
            value: "v=X; made".into(),
            ..wanted("_x.shop.example")
        };
        let published = Finding::satisfied(Some("v=X; published"));
        let verified = record(wanted.clone(), Some(published), None, None);
        assert_eq!(verified.value, "v=X; published");
        assert_eq!(
            record(wanted.clone(), None, Some(&failed), Some(&verified)),
            verified
        );
    }
}

#[test]
fn no_value_is_shown_that_might_be_worse_than_what_stands_there() {
    let wanted = |purpose| WantedRecord {
        purpose,
        ..wanted("shop.example")
    };
    for purpose in [DnsRecordPurpose::Spf, DnsRecordPurpose::Dmarc] {
        let record = record(wanted(purpose), None, None, None);
        assert_eq!(
            (record.value, record.split_value.len(), record.zone),
            (String::new(), 0, String::new())
        );
    }
}
