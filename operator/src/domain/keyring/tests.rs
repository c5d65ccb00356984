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

/// What stands in spec and annotations about new keys and old ones.
#[derive(Clone, Default)]
struct Asked<'a> {
    rotate_every: Option<SignedDuration>,
    rotate_now: Option<&'a str>,
    revoked: &'a [&'a str],
    unknown: &'a [&'a str],
    own: BTreeMap<String, SigningKey>,
}

static OTHER_RSA: LazyLock<SigningKey> = LazyLock::new(|| keys::generate(RsaSha256).unwrap());

/// How long answers about records are remembered.
const TTL: SignedDuration = SignedDuration::from_hours(1);
/// How long messages may be on their way.
const WAY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Plans for `data` and applies the plan. `shown` are selectors whose record is everywhere.
fn step(
    data: &SecretData,
    algorithms: &[DkimAlgorithm],
    prefix: &str,
    shown: &[&str],
    day: i64,
) -> (Plan, SecretData) {
    step_asked(data, algorithms, prefix, shown, at(day), &Asked::default())
}

fn step_asked(
    data: &SecretData,
    algorithms: &[DkimAlgorithm],
    prefix: &str,
    shown: &[&str],
    now: Timestamp,
    asked: &Asked<'_>,
) -> (Plan, SecretData) {
    let shown = shown.iter().map(|selector| ((*selector).to_owned(), TTL));
    let wanted = Wanted {
        algorithms: &algorithms.iter().copied().collect(),
        own: &asked.own,
        prefix,
        former: &BTreeSet::new(),
        shown: &shown.collect(),
        unknown: &selectors(asked.unknown),
        rotate_every: asked.rotate_every,
        rotate_now: asked.rotate_now,
        revoked: &selectors(asked.revoked),
        retirement: WAY,
    };
    let plan = plan(&Keyring::read(data), &wanted, now);
    let key = |algorithm: &DkimAlgorithm| match algorithm {
        RsaSha256 => RSA.clone(),
        Ed25519Sha256 => ED25519.clone(),
    };
    let made = plan
        .make
        .iter()
        .map(|(selector, algorithm)| (selector.clone(), key(algorithm)));
    let data = apply(data, &plan, &made.collect(), now);
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
    // Seen everywhere is not yet forgotten everywhere that it was not there.
    let (_, data) = step(&data, &[RsaSha256], "new", &["new-r1"], 50);
    assert_eq!(signing(&data), ["old-r1"]);
    let (_, data) = step(&data, &[RsaSha256], "new", &["new-r1"], 51);
    assert_eq!(signing(&data), ["new-r1"]);
    // An outage of DNS does not turn back.
    let (_, data) = step(&data, &[RsaSha256], "new", &[], 52);
    assert_eq!(signing(&data), ["new-r1"]);
    let (_, data) = step(&data, &[RsaSha256], "new", &[], 57);
    assert!(data.contains_key("old-r1.pem"));
    let (_, data) = step(&data, &[RsaSha256], "new", &[], 58);
    let entries: Vec<_> = data.keys().map(String::as_str).collect();
    let left = ["active", "new-r1.created", "new-r1.pem", "new-r1.seen"];
    assert!(!data.contains_key("old-r1.seen"));
    assert_eq!(entries, left);
}

#[test]
fn going_back_to_the_old_prefix_takes_the_old_key_again() {
    let (_, data) = step(&SecretData::new(), &[RsaSha256], "old", &[], 0);
    let (_, data) = step(&data, &[RsaSha256], "new", &["old-r1", "new-r1"], 1);
    let (_, data) = step(&data, &[RsaSha256], "new", &["new-r1"], 2);
    let (_, data) = step(&data, &[RsaSha256], "new", &["new-r1"], 3);
    assert_eq!(signing(&data), ["new-r1"]);
    let (plan, data) = step(&data, &[RsaSha256], "old", &["old-r1"], 3);
    assert!(plan.make.is_empty());
    assert_eq!(plan.recall, selectors(&["old-r1"]));
    assert_eq!(signing(&data), ["new-r1"]);
    let (_, data) = step(&data, &[RsaSha256], "old", &["old-r1"], 4);
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
        own: &BTreeMap::new(),
        prefix: "mail",
        former: &selectors(&["mail-r1", "mail-e7", "other-r9", "mail-rx", "mail-r"]),
        shown: &BTreeMap::new(),
        unknown: &BTreeSet::new(),
        rotate_every: None,
        rotate_now: None,
        revoked: &BTreeSet::new(),
        retirement: WAY,
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
    let keyring = Keyring::read(&data);
    assert_eq!((keyring.keys.len(), keyring.crowded), (MOST_KEYS, true));
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

/// Keys that were made on day 0, with prefix `mail`.
fn rotating(days: i64) -> (Asked<'static>, SecretData) {
    let asked = Asked {
        rotate_every: Some(SignedDuration::from_hours(24 * days)),
        ..Asked::default()
    };
    let (_, data) = step_asked(&SecretData::new(), BOTH, "mail", &[], at(0), &asked);
    (asked, data)
}

#[test]
fn keys_of_an_age_get_successors_that_sign_once_their_records_have_spread() {
    let (asked, data) = rotating(90);
    let go =
        |data: &SecretData, shown: &[&str], now| step_asked(data, BOTH, "mail", shown, now, &asked);
    let (plan, data) = go(&data, &[], at(89));
    assert_eq!(plan.make, BTreeMap::new());
    let (plan, data) = go(&data, &[], at(90));
    let made = [
        ("mail-e2".to_owned(), Ed25519Sha256),
        ("mail-r2".to_owned(), RsaSha256),
    ];
    assert_eq!(plan.make, made.into());
    assert_eq!(signing(&data), ["mail-e1", "mail-r1"]);
    // Nobody publishes for a year: nothing new is made, and nothing breaks.
    let (plan, data) = go(&data, &[], at(455));
    assert_eq!(plan.make, BTreeMap::new());
    assert_eq!(signing(&data), ["mail-e1", "mail-r1"]);
    // One of the two is published everywhere; then a server loses it, and the wait begins anew.
    let (_, data) = go(&data, &["mail-r2"], at(456));
    let (plan, data) = go(&data, &[], at(457));
    assert_eq!(plan.unseen, selectors(&["mail-r2"]));
    let (_, data) = go(&data, &["mail-r2"], at(458));
    // That nobody knows for a while changes nothing.
    let asked_in_vain = Asked {
        unknown: &["mail-r2"],
        ..asked.clone()
    };
    let (plan, data) = step_asked(&data, BOTH, "mail", &[], at(458), &asked_in_vain);
    assert_eq!(plan.unseen, BTreeSet::new());
    let soon = at(458)
        .checked_add(TTL - SignedDuration::from_secs(1))
        .unwrap();
    let (_, data) = go(&data, &["mail-r2"], soon);
    assert_eq!(signing(&data), ["mail-e1", "mail-r1"]);
    let then = at(458).checked_add(TTL).unwrap();
    let (plan, data) = go(&data, &["mail-r2"], then);
    assert_eq!(
        signing(&data),
        ["mail-e1", "mail-r2"],
        "each algorithm in its own time"
    );
    assert_eq!(plan.retire, selectors(&["mail-r1"]));
    // What the old key signed may still be on its way.
    let (_, data) = go(
        &data,
        &[],
        then.checked_add(WAY - SignedDuration::from_secs(1))
            .unwrap(),
    );
    assert!(data.contains_key("mail-r1.pem"));
    let (_, data) = go(&data, &[], then.checked_add(WAY).unwrap());
    assert!(!data.contains_key("mail-r1.pem"));
}

#[test]
fn an_annotation_asks_for_new_keys_once_for_each_value() {
    let (_, data) = step(&SecretData::new(), &[RsaSha256], "mail", &[], 0);
    let go = |data: &SecretData, value, shown: &[&str], day| {
        let asked = Asked {
            rotate_now: Some(value),
            ..Asked::default()
        };
        step_asked(data, &[RsaSha256], "mail", shown, at(day), &asked)
    };
    let (plan, data) = go(&data, "a", &[], 1);
    assert!(plan.make.contains_key("mail-r2"));
    let (plan, data) = go(&data, "a", &["mail-r2"], 2);
    assert_eq!(plan.make, BTreeMap::new());
    // While a successor waits, another one would only make the wait longer.
    let (plan, data) = go(&data, "b", &["mail-r2"], 3);
    assert_eq!(plan.make, BTreeMap::new());
    assert_eq!(signing(&data), ["mail-r2"]);
    let (plan, data) = go(&data, "b", &[], 4);
    assert_eq!(plan.make, BTreeMap::new());
    let (plan, _) = go(&data, "c", &[], 5);
    assert!(plan.make.contains_key("mail-r3"));
}

#[test]
fn a_revoked_key_is_destroyed_and_replaced_at_once_and_its_selector_stays_taken() {
    let (_, data) = step(&SecretData::new(), BOTH, "mail", &[], 0);
    let asked = Asked {
        revoked: &["mail-r1", "strange"],
        ..Asked::default()
    };
    let (plan, data) = step_asked(&data, BOTH, "mail", &[], at(1), &asked);
    assert_eq!(plan.revoke, selectors(&["mail-r1"]));
    assert_eq!(signing(&data), ["mail-e1", "mail-r2"]);
    assert!(!data.contains_key("mail-r1.pem"));
    let (plan, again) = step_asked(&data, BOTH, "mail", &[], at(2), &asked);
    assert_eq!((plan.make, plan.revoke), Default::default());
    assert_eq!(again, data);
    // No longer named, it is still not used again.
    let (plan, data) = step(&data, BOTH, "mail", &[], 3);
    assert_eq!(plan.make, BTreeMap::new());
    let mut lost = data.clone();
    lost.remove("mail-r2.pem");
    lost.remove("mail-r2.created");
    let (plan, _) = step(&lost, BOTH, "mail", &[], 4);
    assert!(plan.make.contains_key("mail-r2"));
}

#[test]
fn a_successor_that_is_revoked_gets_another_one_and_the_old_key_signs_on() {
    let (asked, data) = rotating(90);
    let (_, data) = step_asked(&data, BOTH, "mail", &[], at(90), &asked);
    let asked = Asked {
        revoked: &["mail-r2"],
        ..asked.clone()
    };
    let (plan, data) = step_asked(&data, BOTH, "mail", &[], at(91), &asked);
    assert!(plan.make.contains_key("mail-r3"));
    assert_eq!(signing(&data), ["mail-e1", "mail-r1"]);
}

#[test]
fn keys_that_matter_are_read_first_and_too_many_get_no_successors() {
    let (asked, mut data) = rotating(90);
    for number in 0..200 {
        data.insert(format!("a{number}.pem"), b"x".to_vec());
        data.insert(
            format!("a{number}.retired"),
            b"2026-11-24T00:00:00Z".to_vec(),
        );
    }
    assert_eq!(signing(&data), ["mail-e1", "mail-r1"]);
    let (plan, _) = step_asked(&data, BOTH, "mail", &[], at(91), &asked);
    assert_eq!(plan.make, BTreeMap::new());
    assert_eq!(plan.active, selectors(&["mail-e1", "mail-r1"]));
}

#[test]
fn a_key_of_the_owner_signs_at_once_when_nothing_else_does_and_is_never_rotated() {
    let own = BTreeMap::from([("mine".to_owned(), RSA.clone())]);
    let asked = Asked {
        rotate_now: Some("now"),
        rotate_every: Some(SignedDuration::from_hours(24)),
        own,
        ..Asked::default()
    };
    let (plan, data) = step_asked(&SecretData::new(), &[RsaSha256], "mail", &[], at(0), &asked);
    assert!(plan.make.is_empty());
    assert_eq!(plan.active, selectors(&["mine"]));
    let stored = Keyring::read(&data);
    assert_eq!(stored.keys["mine"].key, Ok(RSA.clone()));
    // Nothing is written again.
    let (plan, again) = step_asked(&data, &[RsaSha256], "mail", &[], at(9), &asked);
    assert!(plan.import.is_empty() && plan.make.is_empty());
    assert_eq!(again, data);
}

#[test]
fn a_key_of_the_owner_takes_over_like_a_successor_and_gives_way_like_one() {
    let (_, made) = step(&SecretData::new(), &[RsaSha256], "mail", &[], 0);
    let asked = Asked {
        own: BTreeMap::from([("mine".to_owned(), OTHER_RSA.clone())]),
        ..Asked::default()
    };
    let (plan, data) = step_asked(&made, &[RsaSha256], "mail", &[], at(1), &asked);
    assert_eq!(plan.active, selectors(&["mail-r1"]));
    let (_, data) = step_asked(&data, &[RsaSha256], "mail", &["mine"], at(2), &asked);
    let (plan, data) = step_asked(&data, &[RsaSha256], "mail", &["mine"], at(3), &asked);
    assert_eq!(plan.active, selectors(&["mine"]));
    assert_eq!(plan.retire, selectors(&["mail-r1"]));
    // Another key under the same selector is in force at once.
    let asked = Asked {
        own: BTreeMap::from([("mine".to_owned(), RSA.clone())]),
        ..Asked::default()
    };
    let (plan, data) = step_asked(&data, &[RsaSha256], "mail", &[], at(4), &asked);
    assert_eq!(plan.active, selectors(&["mine"]));
    assert_eq!(Keyring::read(&data).keys["mine"].key, Ok(RSA.clone()));
    // Without it, the key from before is wanted again, and waits for its record.
    let (plan, _) = step(&data, &[RsaSha256], "mail", &[], 5);
    assert_eq!(plan.active, selectors(&["mine"]));
    assert_eq!(plan.recall, selectors(&["mail-r1"]));
}
