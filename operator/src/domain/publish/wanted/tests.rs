use serde_json::{Value, json};

use super::*;
use crate::domain::records::Kind;
use crate::render::fixtures::domain;

const RETIREMENT: SignedDuration = SignedDuration::from_hours(24 * 14);

fn now() -> Timestamp {
    Timestamp::from_second(1_795_564_800).unwrap()
}

fn shop(publish: &Value, publication: &Value) -> SendingDomain {
    let mut shop = domain("shop", "web", 5, "shop.example");
    shop.spec.dns = serde_json::from_value(json!({"publish": publish})).unwrap();
    shop.status = serde_json::from_value(json!({"publication": publication})).unwrap();
    shop
}

fn rfc2136() -> Value {
    json!({"rfc2136": {"server": "192.0.2.53", "tsigSecretRef": {"name": "tsig"}}})
}

fn wanted(purpose: DnsRecordPurpose, name: &str, value: &str) -> WantedRecord {
    WantedRecord {
        question: Question::new(name, Kind::Txt),
        value: value.to_owned(),
        purpose,
        requirement: operator_api::DnsRecordRequirement::Required,
    }
}

fn key(selector: &str) -> WantedRecord {
    let name = format!("{selector}._domainkey.shop.example");
    wanted(
        DnsRecordPurpose::Dkim,
        &name,
        &format!("v=DKIM1; p={selector}"),
    )
}

fn facts<'a>(
    domain: &'a SendingDomain,
    answers: &'a Answers,
    wanted: Vec<WantedRecord>,
) -> Facts<'a> {
    Facts {
        domain,
        wanted,
        shown: &[],
        answers,
        removed: BTreeSet::new(),
        retirement: RETIREMENT,
        is_open: true,
    }
}

fn published(selectors: &[&str]) -> Value {
    let records: Vec<Value> = selectors
        .iter()
        .map(|selector| {
            json!({"name": format!("{selector}._domainkey.shop.example"), "type": "TXT",
                "value": format!("v=DKIM1; p={selector}")})
        })
        .collect();
    json!({"rfc2136": rfc2136()["rfc2136"], "records": records})
}

fn names(records: &[PublishedRecord]) -> Vec<&str> {
    let names = records.iter().map(|record| record.name.as_str());
    names.map(|name| name.split('.').next().unwrap()).collect()
}

#[test]
fn keys_and_the_return_path_are_published_and_the_owners_records_only_when_asked_for() {
    let answers = Answers::new();
    let all = || {
        vec![
            key("e1"),
            wanted(
                DnsRecordPurpose::ReturnPathSpf,
                "b.shop.example",
                "v=spf1 redirect=shop.example",
            ),
            wanted(DnsRecordPurpose::Spf, "shop.example", "v=spf1 -all"),
            wanted(
                DnsRecordPurpose::Dmarc,
                "_dmarc.shop.example",
                "v=DMARC1; p=none",
            ),
            wanted(DnsRecordPurpose::MtaSts, "_mta-sts.shop.example", ""),
        ]
    };
    let shown: Vec<DnsRecord> = serde_json::from_value(json!([
        {"name": "_dmarc.shop.example", "type": "TXT", "value": "v=DMARC1; p=reject", "splitValue": [],
            "purpose": "Dmarc", "state": "Mismatch"},
        {"name": "shop.example", "type": "TXT", "value": "v=spf1 mx -all", "splitValue": [],
            "purpose": "Spf", "state": "Verified"},
    ]))
    .unwrap();
    let values = |publish: &Value| -> Vec<String> {
        let domain = shop(publish, &Value::Null);
        let mut facts = facts(&domain, &answers, all());
        facts.shown = &shown;
        let records = plan(&facts, now()).records;
        records.into_iter().map(|item| item.value).collect()
    };
    let basic = ["v=DKIM1; p=e1", "v=spf1 redirect=shop.example"];
    assert_eq!(values(&rfc2136()), basic);
    let mut asked = rfc2136();
    asked["records"] = json!(["Spf", "Dmarc"]);
    // What is in order is not touched.
    assert_eq!(values(&asked), ["v=DMARC1; p=reject"]);
    // external-dns has to be told of it for as long as it is to stand.
    let handed = json!({"externalDNS": {}, "records": ["Spf", "Dmarc"]});
    assert_eq!(values(&handed), ["v=spf1 mx -all", "v=DMARC1; p=reject"]);
}

#[test]
fn nothing_is_published_of_a_domain_that_is_anothers_and_nothing_forgotten() {
    let answers = Answers::new();
    let domain = shop(&rfc2136(), &published(&["e1"]));
    let mut closed = facts(&domain, &answers, vec![key("e1")]);
    closed.is_open = false;
    let planned = plan(&closed, now());
    assert!(planned.records.is_empty() && planned.gone.is_empty());
    assert_eq!(names(&planned.kept.unwrap().records), ["e1"]);
    // The same once publishing is turned off: mail rests on what is in DNS.
    let mut off = shop(&rfc2136(), &published(&["e1"]));
    off.spec.dns = None;
    let planned = plan(&facts(&off, &answers, vec![key("e1")]), now());
    assert!(planned.gone.is_empty());
    assert_eq!(names(&planned.kept.unwrap().records), ["e1"]);
}

#[test]
fn a_retired_keys_record_goes_at_once_and_that_of_a_lost_key_only_when_its_mail_has_arrived() {
    let answers = Answers::new();
    let domain = shop(&rfc2136(), &published(&["e1", "e2", "e3"]));
    let mut regular = facts(&domain, &answers, vec![key("e3")]);
    regular.removed = BTreeSet::from(["e1".to_owned()]);
    let planned = plan(&regular, now());
    assert_eq!(names(&planned.gone), ["e1"]);
    assert_eq!(names(&planned.stay), ["e2"]);
    let kept = planned.kept.unwrap();
    assert_eq!(names(&kept.records), ["e3", "e2", "e1"]);
    // The status remembers since when, and that the first one may go, should that fail.
    let later = shop(&rfc2136(), &serde_json::to_value(kept).unwrap());
    let planned = plan(&facts(&later, &answers, vec![key("e3")]), now());
    assert_eq!(
        (names(&planned.gone), names(&planned.stay)),
        (vec!["e1"], vec!["e2"])
    );
    let planned = plan(
        &facts(&later, &answers, vec![key("e3")]),
        now() + RETIREMENT,
    );
    assert_eq!(names(&planned.gone), ["e2", "e1"]);
}

#[test]
fn a_revocation_that_is_over_goes_at_once_and_records_that_are_no_longer_to_be_published_too() {
    let answers = Answers::new();
    let mut publication = published(&["e1"]);
    publication["records"][0]["value"] = json!("v=DKIM1; p=");
    let domain = shop(&rfc2136(), &publication);
    assert_eq!(
        names(&plan(&facts(&domain, &answers, vec![key("e3")]), now()).gone),
        ["e1"]
    );
    let mut others = rfc2136();
    others["records"] = json!(["ReturnPath"]);
    let domain = shop(&others, &published(&["e2"]));
    let planned = plan(&facts(&domain, &answers, vec![key("e2")]), now());
    assert_eq!(names(&planned.gone), ["e2"]);
}

#[test]
fn records_in_a_zone_that_is_not_named_any_more_stay_and_are_told_of() {
    let answers = Answers::new();
    let mut moved = rfc2136();
    moved["rfc2136"]["zone"] = json!("example");
    let domain = shop(&moved, &published(&["e1"]));
    let planned = plan(&facts(&domain, &answers, vec![key("e1")]), now());
    let left = planned.left.unwrap();
    assert!(
        left.contains("zone shop.example") && left.contains("e1._domainkey"),
        "{left}"
    );
    assert!(planned.gone.is_empty() && planned.kept.unwrap().records.is_empty());
    let mut renamed = rfc2136();
    renamed["rfc2136"]["server"] = json!("ns.example");
    let domain = shop(&renamed, &published(&["e1"]));
    let planned = plan(&facts(&domain, &answers, vec![key("e1")]), now());
    assert_eq!(
        planned.left, None,
        "another name of the server is the same zone"
    );
}

#[test]
fn a_server_is_left_alone_once_dns_shows_what_is_known_to_be_ours() {
    let answers = Answers::new();
    let shown: Vec<DnsRecord> = serde_json::from_value(json!([{"name": "e1._domainkey.shop.example",
        "type": "TXT", "value": "v=DKIM1; p=e1", "splitValue": [], "purpose": "Dkim", "state": "Verified"}]))
    .unwrap();
    let settled = |publication: &Value, shown: &[DnsRecord]| {
        let domain = shop(&rfc2136(), publication);
        let mut facts = facts(&domain, &answers, vec![key("e1")]);
        facts.shown = shown;
        plan(&facts, now()).is_settled()
    };
    assert!(settled(&published(&["e1"]), &shown));
    assert!(!settled(&published(&["e1"]), &[]), "not in DNS");
    assert!(!settled(&Value::Null, &shown), "not known to be ours");
    // A lost key's record stays, and there is nothing to do about it yet.
    assert!(settled(&published(&["e1", "e2"]), &shown));
}

#[test]
fn times_to_live_are_those_of_the_setting() {
    let answers = Answers::new();
    let ttl = |publish: &Value| {
        let domain = shop(publish, &Value::Null);
        plan(&facts(&domain, &answers, vec![key("e1")]), now()).ttl
    };
    assert_eq!(ttl(&rfc2136()), 300);
    let mut short = rfc2136();
    short["ttl"] = json!("1m30s");
    assert_eq!(ttl(&short), 90);
}
