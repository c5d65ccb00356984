use std::sync::LazyLock;

use super::*;
use DkimAlgorithm::{Ed25519Sha256, RsaSha256};

/// Making RSA keys is slow in a debug build.
static RSA: LazyLock<SigningKey> = LazyLock::new(|| keys::generate(RsaSha256).unwrap());
static ED25519: LazyLock<SigningKey> = LazyLock::new(|| keys::generate(Ed25519Sha256).unwrap());

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_795_564_800 + day * 86400).unwrap()
}

fn selectors(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|selector| (*selector).to_owned()).collect()
}

/// Plans for `data` with prefix `mail` and applies the plan.
fn step(
    data: &SecretData,
    algorithms: &[DkimAlgorithm],
    prefix: &str,
    verified: &[&str],
    day: i64,
) -> (Plan, SecretData) {
    let wanted = Wanted {
        algorithms: &algorithms.iter().copied().collect(),
        prefix,
        former: &BTreeSet::new(),
        verified: &selectors(verified),
    };
    let plan = plan(&Keyring::read(data), &wanted, at(day));
    let key = |algorithm: &DkimAlgorithm| match algorithm {
        RsaSha256 => RSA.clone(),
        Ed25519Sha256 => ED25519.clone(),
    };
    let made = plan
        .make
        .iter()
        .map(|(selector, algorithm)| (selector.clone(), key(algorithm)));
    let data = apply(data, &plan, &made.collect(), at(day));
    (plan, data)
}

fn signing(data: &SecretData) -> Vec<String> {
    Keyring::read(data)
        .signing()
        .map(|(selector, _)| selector.to_owned())
        .collect()
}

const BOTH: &[DkimAlgorithm] = &[RsaSha256, Ed25519Sha256];

#[test]
fn the_first_keys_sign_at_once() {
    let (plan, data) = step(&SecretData::new(), BOTH, "mail", &[], 0);
    assert_eq!(plan.make.len(), 2);
    assert_eq!(signing(&data), ["mail-e1", "mail-r1"]);
    let entries: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(
        entries,
        [
            "active",
            "mail-e1.created",
            "mail-e1.pem",
            "mail-r1.created",
            "mail-r1.pem"
        ]
    );
}

#[test]
fn nothing_changes_when_all_is_as_wanted() {
    let (_, data) = step(&SecretData::new(), BOTH, "mail", &[], 0);
    for verified in [&[][..], &["mail-r1", "mail-e1"]] {
        let (plan, again) = step(&data, BOTH, "mail", verified, 100);
        assert_eq!(
            (plan.make.len(), plan.retire.len(), plan.remove.len()),
            (0, 0, 0)
        );
        assert_eq!(again, data);
    }
}

#[test]
fn a_new_prefix_signs_only_once_its_record_is_seen() {
    let (_, data) = step(&SecretData::new(), &[RsaSha256], "old", &["old-r1"], 0);
    let (_, data) = step(&data, &[RsaSha256], "new", &["old-r1"], 1);
    assert_eq!(signing(&data), ["old-r1"]);
    assert!(data.contains_key("new-r1.pem"));
    let (_, data) = step(&data, &[RsaSha256], "new", &["old-r1"], 50);
    assert_eq!(signing(&data), ["old-r1"]);
    let (_, data) = step(&data, &[RsaSha256], "new", &["old-r1", "new-r1"], 51);
    assert_eq!(signing(&data), ["new-r1"]);
    // An outage of DNS does not turn back.
    let (_, data) = step(&data, &[RsaSha256], "new", &[], 52);
    assert_eq!(signing(&data), ["new-r1"]);
    let (_, data) = step(&data, &[RsaSha256], "new", &[], 57);
    assert!(data.contains_key("old-r1.pem"));
    let (_, data) = step(&data, &[RsaSha256], "new", &[], 58);
    let entries: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(entries, ["active", "new-r1.created", "new-r1.pem"]);
}

#[test]
fn going_back_to_the_old_prefix_takes_the_old_key_again() {
    let (_, data) = step(&SecretData::new(), &[RsaSha256], "old", &[], 0);
    let (_, data) = step(&data, &[RsaSha256], "new", &["old-r1", "new-r1"], 1);
    let (_, data) = step(&data, &[RsaSha256], "new", &["old-r1", "new-r1"], 2);
    assert_eq!(signing(&data), ["new-r1"]);
    let (plan, data) = step(&data, &[RsaSha256], "old", &["old-r1", "new-r1"], 3);
    assert!(plan.make.is_empty());
    assert_eq!(plan.recall, selectors(&["old-r1"]));
    assert_eq!(signing(&data), ["old-r1"]);
    assert!(!data.contains_key("old-r1.retired"));
}

#[test]
fn an_algorithm_that_is_no_longer_wanted_stops_signing() {
    let (_, data) = step(&SecretData::new(), BOTH, "mail", &[], 0);
    let (_, data) = step(&data, &[RsaSha256], "mail", &[], 1);
    assert_eq!(signing(&data), ["mail-r1"]);
    assert!(data.contains_key("mail-e1.pem"));
    let (_, data) = step(&data, &[RsaSha256], "mail", &[], 8);
    assert!(!data.contains_key("mail-e1.pem"));
}

#[test]
fn a_lost_secret_gets_selectors_that_no_former_key_had() {
    let wanted = Wanted {
        algorithms: &BTreeSet::from([RsaSha256]),
        prefix: "mail",
        former: &selectors(&["mail-r1", "mail-e7", "other-r9", "mail-rx", "mail-r"]),
        verified: &BTreeSet::new(),
    };
    let plan = plan(&Keyring::read(&SecretData::new()), &wanted, at(0));
    assert_eq!(
        plan.make,
        BTreeMap::from([("mail-r2".to_owned(), RsaSha256)])
    );
}

#[test]
fn a_damaged_key_is_kept_and_its_selector_not_used_again() {
    let (_, mut data) = step(&SecretData::new(), BOTH, "mail", &[], 0);
    data.insert("mail-r1.pem".into(), b"hunter2".to_vec());
    let (plan, after) = step(&data, BOTH, "mail", &[], 1);
    assert!(plan.make.is_empty());
    assert_eq!(after, data);
    assert_eq!(signing(&after), ["mail-e1"]);
    assert_eq!(
        Keyring::read(&after).keys["mail-r1"].key,
        Err(KeyError::NotPem)
    );
}

#[test]
fn a_lost_list_of_active_keys_is_made_anew() {
    let (_, mut data) = step(&SecretData::new(), BOTH, "mail", &[], 0);
    let whole = data.clone();
    data.remove("active");
    assert!(signing(&data).is_empty());
    let (plan, data) = step(&data, BOTH, "mail", &[], 1);
    assert!(plan.make.is_empty());
    assert_eq!(data, whole);
}

#[test]
fn an_existing_key_is_never_overwritten() {
    let (plan, data) = step(&SecretData::new(), &[RsaSha256], "mail", &[], 0);
    // A plan made from an older read of the Secret.
    let other = keys::generate(Ed25519Sha256).unwrap();
    let made = BTreeMap::from([("mail-r1".to_owned(), other)]);
    let after = apply(&data, &plan, &made, at(5));
    assert_eq!(after, data);
}

#[test]
fn strange_entries_are_passed_over() {
    let mut data = SecretData::from([
        ("active".to_owned(), vec![0xff]),
        (".pem".to_owned(), b"x".to_vec()),
        ("readme".to_owned(), b"x".to_vec()),
        ("mail-r1.created".to_owned(), b"yesterday".to_vec()),
    ]);
    for number in 0..200 {
        data.insert(format!("junk{number}.pem"), b"x".to_vec());
    }
    assert_eq!(Keyring::read(&data).keys.len(), MOST_KEYS);
    assert!(signing(&data).is_empty());
}

#[test]
fn a_damaged_key_that_is_deleted_gets_a_successor_with_another_selector() {
    let (_, mut data) = step(&SecretData::new(), &[RsaSha256], "mail", &[], 0);
    data.remove("mail-r1.pem");
    let (plan, data) = step(&data, &[RsaSha256], "mail", &[], 1);
    assert_eq!(
        plan.make,
        BTreeMap::from([("mail-r2".to_owned(), RsaSha256)])
    );
    assert_eq!(signing(&data), ["mail-r2"]);
}

#[test]
fn a_selector_tells_the_algorithm() {
    for (selector, expected) in [
        ("mail-r1", Some(RsaSha256)),
        ("my-mail-e12", Some(Ed25519Sha256)),
        ("mail-x1", None),
        ("mail-r", None),
        ("mail", None),
    ] {
        assert_eq!(algorithm_of(selector), expected, "{selector}");
    }
}
