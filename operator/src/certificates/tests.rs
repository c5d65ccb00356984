use std::collections::BTreeSet;

use rcgen::{CertificateParams, KeyPair};

use super::*;

const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    // 2026-11-25T00:00:00Z, plus an offset.
    Timestamp::from_second(1_795_564_800 + seconds).unwrap()
}

fn names() -> BTreeSet<String> {
    serving_names("outbox", "mail", "Outbox.Example.")
}

fn fresh(now: Timestamp) -> RelayCertificates {
    ensure(Existing::default(), "mail", "outbox", &names(), now).unwrap()
}

fn again(old: &RelayCertificates, names: &BTreeSet<String>, now: Timestamp) -> RelayCertificates {
    let existing = Existing {
        authority: Some(&old.authority_secret.data),
        serving: Some(&old.serving.data),
        internal: Some(&old.internal.data),
    };
    ensure(existing, "mail", "outbox", names, now).unwrap()
}

fn reasons(certificates: &RelayCertificates) -> [Option<Reissue>; 3] {
    [
        certificates.authority_secret.reissued,
        certificates.serving.reissued,
        certificates.internal.reissued,
    ]
}

#[test]
fn the_names_are_all_spellings_of_the_service_and_the_host_name() {
    let expected = [
        "outbox",
        "outbox.example",
        "outbox.mail",
        "outbox.mail.svc",
        "outbox.mail.svc.cluster.local",
    ];
    assert!(names().iter().eq(expected.iter()));
}

#[test]
fn all_are_made_when_there_are_none() {
    let made = fresh(at(0));
    assert_eq!(reasons(&made), [Some(Reissue::Missing); 3]);
    assert!(!made.serving.data.contains_key("ca.key"));
    for secret in [&made.authority_secret, &made.serving, &made.internal] {
        let entries: Vec<_> = secret.data.keys().map(String::as_str).collect();
        assert_eq!(entries, ["ca.crt", "tls.crt", "tls.key"]);
        assert_eq!(secret.data["ca.crt"], made.authority_secret.data["tls.crt"]);
    }
}

#[test]
fn o13_what_is_in_order_comes_back_unchanged() {
    let made = fresh(at(0));
    let kept = again(&made, &names(), at(24 * HOUR));
    assert_eq!(reasons(&kept), [None; 3]);
    assert_eq!(kept.authority_secret.data, made.authority_secret.data);
    assert_eq!(kept.serving.data, made.serving.data);
    assert_eq!(kept.internal.data, made.internal.data);
    assert_eq!(kept.next_renewal(), made.next_renewal());
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life_and_the_authority_stays() {
    let made = fresh(at(0));
    let due = made.next_renewal();
    assert_eq!(due, at(60 * 24 * HOUR - HOUR));
    let before = again(&made, &names(), at(60 * 24 * HOUR - HOUR - 1));
    assert_eq!(reasons(&before), [None; 3]);
    let after = again(&made, &names(), due);
    assert_eq!(
        reasons(&after),
        [None, Some(Reissue::Due), Some(Reissue::Due)]
    );
}

#[test]
fn a_clock_that_went_back_gives_a_certificate_that_is_valid_now() {
    let made = fresh(at(0));
    let earlier = again(&made, &names(), at(-48 * HOUR));
    let kept = again(&earlier, &names(), at(-48 * HOUR));
    assert_eq!(reasons(&kept), [None; 3]);
}

#[test]
fn after_a_renewal_of_the_authority_clients_of_the_old_one_still_find_it() {
    let made = fresh(at(0));
    let due = made.authority_secret.renew_at;
    let renewed = again(&made, &names(), due);
    assert_eq!(reasons(&renewed)[0], Some(Reissue::Due));
    let old = String::from_utf8(made.authority_secret.data["tls.crt"].clone()).unwrap();
    let bundle = renewed.authority.bundle();
    assert!(bundle.ends_with(&old) && bundle.len() > old.len());
    let kept = again(&renewed, &names(), due);
    assert_eq!(reasons(&kept), [None; 3]);
    assert_eq!(kept.authority.bundle(), bundle);
    // Once the old one has expired it leaves the bundle.
    let later = again(
        &renewed,
        &names(),
        due + jiff::SignedDuration::from_hours(1300 * 24),
    );
    assert_eq!(later.authority_secret.reissued, None);
    assert!(!later.authority.bundle().contains(&old));
}

#[test]
fn changed_names_reissue_only_the_serving_leaf() {
    let made = fresh(at(0));
    let mut more = names();
    more.insert("smtp.example".into());
    let changed = again(&made, &more, at(1));
    assert_eq!(reasons(&changed), [None, Some(Reissue::NamesChanged), None]);
    let fewer = again(&changed, &names(), at(2));
    assert_eq!(fewer.serving.reissued, Some(Reissue::NamesChanged));
}

/// Every entry damaged in every way, and what happens to the three certificates.
#[test]
fn damage_is_replaced_and_nothing_else() {
    let other = fresh(at(0));
    for (damage, content) in [
        ("no PEM", b"gone".to_vec()),
        ("binary", vec![0, 159, 146, 150]),
        (
            "PEM of something else",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
        ),
        ("another's key", other.serving.data["tls.key"].clone()),
    ] {
        let mut made = fresh(at(0));
        made.serving.data.insert("tls.key".into(), content.clone());
        let mended = again(&made, &names(), at(1));
        assert_eq!(
            reasons(&mended),
            [None, Some(Reissue::Damaged), None],
            "{damage}"
        );

        let mut made = fresh(at(0));
        made.serving.data.insert("tls.crt".into(), content.clone());
        let mended = again(&made, &names(), at(1));
        assert_eq!(
            reasons(&mended),
            [None, Some(Reissue::Damaged), None],
            "{damage}"
        );

        let mut made = fresh(at(0));
        made.serving.data.insert("ca.crt".into(), content.clone());
        let mended = again(&made, &names(), at(1));
        assert_eq!(reasons(&mended), [None; 3], "{damage}");
        assert_eq!(
            mended.serving.data["ca.crt"],
            mended.authority.bundle().as_bytes()
        );

        let mut made = fresh(at(0));
        made.authority_secret.data.insert("tls.key".into(), content);
        let mended = again(&made, &names(), at(1));
        assert_eq!(
            reasons(&mended),
            [
                Some(Reissue::Damaged),
                Some(Reissue::AuthorityChanged),
                Some(Reissue::AuthorityChanged)
            ],
            "{damage}"
        );
    }
}

#[test]
fn a_leaf_in_the_authoritys_place_is_damage() {
    let mut made = fresh(at(0));
    made.authority_secret.data = made.serving.data.clone();
    assert_eq!(
        again(&made, &names(), at(1)).authority_secret.reissued,
        Some(Reissue::Damaged)
    );
}

#[test]
fn an_edited_bundle_mends_itself() {
    let mut made = fresh(at(0));
    let stranger = fresh(at(0)).authority_secret.data["tls.crt"].clone();
    made.authority_secret.data.insert("ca.crt".into(), stranger);
    let mended = again(&made, &names(), at(1));
    assert_eq!(reasons(&mended), [None; 3]);
    assert_eq!(
        mended.authority_secret.data["ca.crt"],
        mended.authority_secret.data["tls.crt"]
    );
}

#[test]
fn clients_of_admin_ports_are_the_operator_and_shards_and_no_listener() {
    use rustls::server::WebPkiClientVerifier;
    let made = fresh(at(0));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.authority.certificate().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), inspect::provider())
        .build()
        .unwrap();
    let seconds = u64::try_from(at(1).as_second()).unwrap();
    let now = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let identity = made.authority.operator_identity(at(0)).unwrap();
    verifier
        .verify_client_cert(&identity.chain[0], &[], now)
        .unwrap();
    let (shard, _) = inspect::pair(&made.internal.data).unwrap();
    verifier.verify_client_cert(&shard[0], &[], now).unwrap();
    let (listener, _) = inspect::pair(&made.serving.data).unwrap();
    verifier
        .verify_client_cert(&listener[0], &[], now)
        .unwrap_err();
    // By their names the shards tell them apart.
    let names = |leaf| inspect::facts(leaf).unwrap().names;
    assert!(names(&identity.chain[0]).is_empty());
    assert!(names(&shard[0]).iter().eq(["outbox.mailrelay.internal"]));
}

#[test]
fn a_leaf_for_other_purposes_is_made_anew() {
    let mut made = fresh(at(0));
    let internal = BTreeSet::from(["outbox.mailrelay.internal".to_owned()]);
    // As operators before this one made it: for servers alone.
    let server = leaf::ensure(None, &made.authority, &internal, Usage::Server, at(0)).unwrap();
    made.internal.data = server.data;
    let both = leaf::ensure(
        None,
        &made.authority,
        &names(),
        Usage::ServerAndClient,
        at(0),
    );
    made.serving.data = both.unwrap().data;
    let mended = again(&made, &names(), at(1));
    let changed = Some(Reissue::UsageChanged);
    assert_eq!(reasons(&mended), [None, changed, changed]);
    assert_eq!(reasons(&again(&mended, &names(), at(2))), [None; 3]);
}

#[test]
fn nothing_shows_a_key() {
    let made = fresh(at(0));
    let identity = made.authority.operator_identity(at(0)).unwrap();
    let shown = format!("{made:?} {identity:?}");
    assert!(
        !shown.contains("PRIVATE") && !shown.contains("tls.key"),
        "{shown}"
    );
}

/// A certificate of the user's own, for days `from` to `to`.
fn users(from: u8, to: u8) -> (SecretData, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["smtp.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 11, from);
    params.not_after = rcgen::date_time_ymd(2026, 11, to);
    let certificate = params.self_signed(&key).unwrap();
    let data = SecretData::from([
        ("tls.crt".to_owned(), certificate.pem().into_bytes()),
        ("tls.key".to_owned(), key.serialize_pem().into_bytes()),
    ]);
    (data, key)
}

#[test]
fn a_users_certificate_is_taken_when_it_is_in_order() {
    let (mut data, _) = users(1, 30);
    let good = check_provided(&data, at(0)).unwrap();
    assert_eq!(good.not_after.to_string(), "2026-11-30T00:00:00Z");
    assert_eq!(good.bundle, None);
    let authority = fresh(at(0)).authority_secret.data["tls.crt"].clone();
    data.insert("ca.crt".into(), authority.clone());
    assert_eq!(
        check_provided(&data, at(0))
            .unwrap()
            .bundle
            .unwrap()
            .into_bytes(),
        authority
    );
}

#[test]
fn a_users_certificate_that_cannot_be_used_says_which_entry_and_the_remedy() {
    let other = fresh(at(0)).serving.data;
    let change = |edit: &dyn Fn(&mut SecretData)| {
        let (mut data, _) = users(1, 30);
        edit(&mut data);
        data
    };
    let joined = |first: &[u8], second: &[u8]| [first, second].concat();
    let rows = [
        (SecretData::new(), "entry tls.crt is missing or empty"),
        (
            change(&|data| drop(data.remove("tls.key"))),
            "entry tls.key is missing or empty",
        ),
        (
            change(&|data| drop(data.insert("tls.crt".into(), b"x".to_vec()))),
            "entry tls.crt has no readable certificate",
        ),
        (
            change(&|data| drop(data.insert("tls.key".into(), b"x".to_vec()))),
            "entry tls.key is not a usable private key",
        ),
        (
            change(&|data| drop(data.insert("tls.key".into(), other["tls.key"].clone()))),
            "tls.key is not the private key of the certificate",
        ),
        (
            change(&|data| {
                let chain = joined(&other["tls.crt"], &data["tls.crt"]);
                data.insert("tls.crt".into(), chain);
            }),
            "tls.crt does not begin with the leaf",
        ),
        (
            change(&|data| {
                let chain = data["tls.crt"].repeat(11);
                data.insert("tls.crt".into(), chain);
            }),
            "entry tls.crt has more than 10 certificates",
        ),
        (
            change(&|data| drop(data.insert("ca.crt".into(), b"x".to_vec()))),
            "entry ca.crt has no readable certificate",
        ),
        (
            users(1, 20).0,
            "the certificate expired at 2026-11-20T00:00:00Z; renew it",
        ),
        (
            users(27, 30).0,
            "the certificate is valid only from 2026-11-27T00:00:00Z",
        ),
    ];
    for (data, expected) in rows {
        let fault = check_provided(&data, at(0)).unwrap_err().to_string();
        assert!(fault.starts_with(expected), "{fault}\nnot {expected}");
    }
}
