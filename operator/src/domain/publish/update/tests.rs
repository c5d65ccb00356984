use operator_api::DnsRecordPurpose;

use super::*;
use crate::domain::records::Question;

const NAME: &str = "mail-r1._domainkey.shop.example";
const KEY: &str = "v=DKIM1; k=ed25519; p=AAAA";
const OTHER: &str = "v=DKIM1; k=ed25519; p=BBBB";

fn item(purpose: DnsRecordPurpose, name: &str, kind: Kind, value: &str, hold: Hold) -> Item {
    Item {
        question: Question::new(name, kind),
        value: value.to_owned(),
        purpose,
        hold,
        is_shown: false,
    }
}

fn dkim(value: &str) -> Item {
    item(DnsRecordPurpose::Dkim, NAME, Kind::Txt, value, Hold::Ours)
}

fn there(texts: &[&str]) -> Observed {
    let records = texts.iter();
    Observed {
        records: records.map(|text| data(Kind::Txt, text).unwrap()).collect(),
        alias: false,
    }
}

fn ours(name: &str, value: &str) -> PublishedRecord {
    PublishedRecord {
        name: name.to_owned(),
        r#type: "TXT".to_owned(),
        value: value.to_owned(),
        unneeded_since: None,
    }
}

/// Class, type and value of each record of a section: `IN` adds, `NONE` with a value takes away.
fn section(records: &[Record]) -> Vec<String> {
    let records = records.iter();
    records
        .map(|record| {
            let value = match &record.data {
                RData::Update0(_) => String::new(),
                data => text(data),
            };
            format!("{} {} {value}", record.dns_class, record.record_type())
        })
        .collect()
}

fn written(step: Step) -> (Vec<String>, Vec<String>) {
    let Step::Write(update) = step else {
        panic!("{step:?}")
    };
    (section(&update.prerequisites), section(&update.updates))
}

#[test]
fn a_record_is_added_only_where_there_is_nothing_and_no_alias() {
    let (prerequisites, updates) = written(step(&dkim(KEY), &Observed::default(), &[], 60));
    assert_eq!(prerequisites, ["NONE TXT ", "NONE CNAME "]);
    assert_eq!(updates, [format!("IN TXT {KEY}")]);
    assert_eq!(step(&dkim(KEY), &there(&[KEY]), &[], 60), Step::Keep);
    let alias = Observed {
        alias: true,
        ..Observed::default()
    };
    let Step::Foreign(why) = step(&dkim(KEY), &alias, &[], 60) else {
        panic!("an alias was written to")
    };
    assert!(why.contains("alias"), "{why}");
}

#[test]
fn a_long_key_is_written_in_strings_that_fit() {
    let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(400));
    let Step::Write(update) = step(&dkim(&long), &Observed::default(), &[], 60) else {
        panic!("not written")
    };
    let RData::TXT(txt) = &update.updates[0].data else {
        panic!("no TXT")
    };
    let lengths: Vec<usize> = txt.txt_data.iter().map(|part| part.len()).collect();
    assert_eq!((lengths, update.updates[0].ttl), (vec![255, 163], 60));
}

#[test]
fn what_the_operator_put_there_gives_way_and_what_others_put_there_does_not() {
    let known = [ours(NAME, OTHER)];
    let (prerequisites, updates) = written(step(&dkim(KEY), &there(&[OTHER]), &known, 60));
    // Should it have been changed since, nothing is done.
    assert_eq!(prerequisites, [format!("IN TXT {OTHER}")]);
    assert_eq!(
        updates,
        [format!("NONE TXT {OTHER}"), format!("IN TXT {KEY}")]
    );
    for known in [&[][..], &[ours("elsewhere.shop.example", OTHER)]] {
        let Step::Foreign(why) = step(&dkim(KEY), &there(&[OTHER]), known, 60) else {
            panic!("overwritten")
        };
        assert!(why.contains(NAME) && !why.contains("BBBB"), "{why}");
    }
    let mut shown = dkim(KEY);
    shown.is_shown = true;
    assert_eq!(step(&shown, &there(&[OTHER]), &[], 60), Step::Leave);
    // A leftover beside the right one goes, too.
    let (_, updates) = written(step(&dkim(KEY), &there(&[KEY, OTHER]), &known, 60));
    assert_eq!(updates, [format!("NONE TXT {OTHER}")]);
}

#[test]
fn a_revocation_replaces_whatever_key_stands_there() {
    let revoked = item(
        DnsRecordPurpose::Dkim,
        NAME,
        Kind::Txt,
        "v=DKIM1; p=",
        Hold::Revoked,
    );
    let (prerequisites, updates) = written(step(&revoked, &there(&[OTHER]), &[], 60));
    assert_eq!(prerequisites, [format!("IN TXT {OTHER}")]);
    assert_eq!(
        updates,
        [format!("NONE TXT {OTHER}"), "IN TXT v=DKIM1; p=".to_owned()]
    );
    let foreign = step(&revoked, &there(&["something else"]), &[], 60);
    assert!(matches!(foreign, Step::Foreign(_)), "{foreign:?}");
}

#[test]
fn an_owners_record_is_replaced_only_where_it_is_the_one_that_the_value_was_made_of() {
    let (old, new) = ("v=spf1 mx -all", "v=spf1 mx ip4:192.0.2.1 -all");
    let proof = "google-site-verification=1";
    let spf = |seen: &[&str]| {
        let seen = seen.iter().map(|text| (*text).to_owned()).collect();
        let hold = Hold::Owners(seen);
        item(DnsRecordPurpose::Spf, "shop.example", Kind::Txt, new, hold)
    };
    let (prerequisites, updates) = written(step(&spf(&[old]), &there(&[proof, old]), &[], 60));
    assert_eq!(
        prerequisites,
        [format!("IN TXT {proof}"), format!("IN TXT {old}")]
    );
    assert_eq!(
        updates,
        [format!("NONE TXT {old}"), format!("IN TXT {new}")]
    );
    let (_, updates) = written(step(&spf(&[]), &there(&[proof]), &[], 60));
    assert_eq!(updates, [format!("IN TXT {new}")]);
    // Somebody changed it, and resolvers show the old one still.
    assert_eq!(
        step(&spf(&[old]), &there(&["v=spf1 a -all"]), &[], 60),
        Step::Wait
    );
    assert_eq!(step(&spf(&[]), &there(&[old]), &[], 60), Step::Wait);
    assert_eq!(step(&spf(&[old]), &there(&[new]), &[], 60), Step::Keep);
}

#[test]
fn an_mx_record_of_ours_is_written_and_recognised() {
    let mx = item(
        DnsRecordPurpose::ReturnPathMx,
        "b.shop.example",
        Kind::Mx,
        "10 mx.shop.example",
        Hold::Ours,
    );
    let (_, updates) = written(step(&mx, &Observed::default(), &[], 60));
    assert_eq!(updates, ["IN MX 10 mx.shop.example"]);
    let observed = Observed {
        records: vec![data(Kind::Mx, "10 MX.shop.example").unwrap()],
        alias: false,
    };
    assert_eq!(step(&mx, &observed, &[], 60), Step::Keep);
}

#[test]
fn a_removal_takes_exactly_the_record_that_was_published() {
    let record = ours(NAME, KEY);
    assert_eq!(removal(&record, &there(&[OTHER])), None);
    let update = removal(&record, &there(&[OTHER, KEY])).unwrap();
    assert_eq!(section(&update.updates), [format!("NONE TXT {KEY}")]);
    assert_eq!(update.updates[0].ttl, 0);
}

#[test]
fn the_message_is_an_update_of_the_zone_in_the_form_of_rfc_2136() {
    let zone = absolute("shop.example").unwrap();
    let update = written_update();
    let octets = message(&zone, update).to_vec().unwrap();
    let read = Message::from_vec(&octets).unwrap();
    assert_eq!(read.metadata.op_code, OpCode::Update);
    assert_eq!(read.queries[0].name(), &zone);
    assert_eq!(read.queries[0].query_type(), RecordType::SOA);
    assert_eq!(section(&read.authorities), [format!("IN TXT {KEY}")]);
    let classes: Vec<_> = read.answers.iter().map(|one| one.dns_class).collect();
    assert_eq!(classes, [DNSClass::NONE, DNSClass::NONE]);
}

fn written_update() -> Update {
    match step(&dkim(KEY), &Observed::default(), &[], 60) {
        Step::Write(update) => update,
        step => panic!("{step:?}"),
    }
}
