use super::*;

const NAMES: [&str; 1] = ["mx.test"];

fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> TLSA {
    TLSA::new(
        usage.into(),
        selector.into(),
        matching.into(),
        data.to_vec(),
    )
}

fn tlsa(records: &[TLSA]) -> Option<Tlsa> {
    let associations = usable(records);
    (!associations.is_empty()).then(|| Tlsa {
        associations: associations.into(),
        names: NAMES.map(Arc::from).to_vec(),
    })
}

fn sha256(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, octets).as_ref().to_vec()
}

fn sha512(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA512, octets).as_ref().to_vec()
}

const PARTS: Parts<'_> = Parts {
    certificate: b"certificate",
    public_key: b"key",
};

#[test]
fn usages_selectors_and_matchings_that_smtp_does_not_have_are_unusable() {
    let digest = sha256(b"certificate");
    let rows = [
        (record(0, 0, 1, &digest), false),
        (record(1, 0, 1, &digest), false),
        (record(2, 0, 1, &digest), true),
        (record(3, 0, 1, &digest), true),
        (record(4, 0, 1, &digest), false),
        (record(255, 0, 1, &digest), false),
        (record(3, 2, 1, &digest), false),
        (record(3, 1, 3, &digest), false),
        (record(3, 1, 2, &digest), false),
        (record(3, 1, 1, &digest[..31]), false),
        (record(3, 1, 0, b""), false),
        (record(3, 1, 0, b"key"), true),
    ];
    for (record, expected) in rows {
        assert_eq!(
            tlsa(std::slice::from_ref(&record)).is_some(),
            expected,
            "{record:?}"
        );
    }
    assert_eq!(tlsa(&[]), None);
}

#[test]
fn every_selector_and_matching_compares_its_part_in_its_form() {
    let rows = [
        record(3, 0, 0, b"certificate"),
        record(3, 0, 1, &sha256(b"certificate")),
        record(3, 0, 2, &sha512(b"certificate")),
        record(3, 1, 0, b"key"),
        record(3, 1, 1, &sha256(b"key")),
        record(3, 1, 2, &sha512(b"key")),
    ];
    let other = Parts {
        certificate: b"another certificate",
        public_key: b"another key",
    };
    for record in rows {
        let set = tlsa(std::slice::from_ref(&record)).unwrap();
        assert!(set.matches_end_entity(PARTS), "{record:?}");
        assert!(!set.matches_trust_anchor(PARTS), "{record:?}");
        assert!(!set.matches_end_entity(other), "{record:?}");
    }
}

#[test]
fn a_weaker_digest_does_not_count_beside_a_stronger_one() {
    let wrong = sha512(b"of another");
    let right = sha256(b"key");
    let set = tlsa(&[record(3, 1, 1, &right), record(3, 1, 2, &wrong)]).unwrap();
    assert!(!set.matches_end_entity(PARTS));
    // But it does beside a digest of something else, and beside whole data.
    for other in [
        record(3, 0, 2, &wrong),
        record(2, 1, 2, &wrong),
        record(3, 1, 0, b"x"),
    ] {
        let set = tlsa(&[record(3, 1, 1, &right), other]).unwrap();
        assert!(set.matches_end_entity(PARTS));
    }
    // An unusable one outdoes nothing.
    let set = tlsa(&[record(3, 1, 1, &right), record(3, 1, 2, b"short")]).unwrap();
    assert!(set.matches_end_entity(PARTS));
}

#[test]
fn one_of_many_records_is_enough_and_many_cost_no_more_than_a_hundred() {
    let mut records = vec![record(3, 1, 1, &sha256(b"old")); 99];
    records.push(record(3, 1, 1, &sha256(b"key")));
    assert!(tlsa(&records).unwrap().matches_end_entity(PARTS));
    records.insert(0, record(3, 1, 1, &sha256(b"older")));
    assert_eq!(tlsa(&records).unwrap().associations.len(), RECORDS);
}
