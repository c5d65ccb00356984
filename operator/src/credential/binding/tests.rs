use serde_json::json;

use super::*;

#[expect(
    clippy::needless_pass_by_value,
    reason = "json! at the call reads better without a reference"
)]
fn relay(spec: serde_json::Value) -> SmtpRelay {
    serde_json::from_value(json!({
        "apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpRelay",
        "metadata": {"name": "outbox", "namespace": "mail"}, "spec": spec,
    }))
    .unwrap()
}

fn default_endpoint() -> Endpoint {
    endpoint(&relay(json!({})), Some("-----BEGIN".to_owned())).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_795_564_800).unwrap()
}

/// Without a rotation.
fn make(
    existing: Option<&SecretData>,
    username: &str,
    endpoint: &Endpoint,
) -> Result<Binding, RandomError> {
    ensure(existing, username, endpoint, &Wish::default(), now())
}

fn text_of<'a>(binding: &'a Binding, entry: &str) -> &'a str {
    std::str::from_utf8(&binding.data[entry]).unwrap()
}

#[test]
fn the_entries_are_those_of_the_service_binding_specification() {
    let binding = make(None, "shop.orders", &default_endpoint()).unwrap();
    let entries: Vec<_> = binding.data.keys().map(String::as_str).collect();
    assert_eq!(
        entries,
        [
            "ca.crt", "host", "password", "port", "provider", "type", "uri", "username", "verifier"
        ]
    );
    let password = text_of(&binding, "password");
    for (entry, value) in [
        ("type", "smtp"),
        ("provider", "mailrelay"),
        ("host", "outbox.mail.svc"),
        ("port", "587"),
        ("username", "shop.orders"),
        ("ca.crt", "-----BEGIN"),
        (
            "uri",
            &format!("smtp://shop.orders:{password}@outbox.mail.svc:587"),
        ),
    ] {
        assert_eq!(text_of(&binding, entry), value, "{entry}");
    }
    let verifier: ScramVerifier = text_of(&binding, "verifier").parse().unwrap();
    assert!(verifier.matches(password));
}

#[test]
fn passwords_have_256_random_bits_and_need_no_quoting() {
    let one = make(None, "a", &default_endpoint()).unwrap();
    let other = make(None, "a", &default_endpoint()).unwrap();
    let password = text_of(&one, "password");
    assert_eq!(password.len(), 43);
    assert!(
        password
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    assert_ne!(password, text_of(&other, "password"));
    assert_eq!(one.password, Password::Generated);
}

#[test]
fn o11_a_binding_in_order_comes_back_unchanged_verifier_included() {
    let made = make(None, "shop.orders", &default_endpoint()).unwrap();
    let again = make(Some(&made.data), "shop.orders", &default_endpoint()).unwrap();
    assert_eq!(again.data, made.data);
    assert_eq!(again.password, Password::Kept);
}

/// Each entry edited or removed: what is repaired, and whether the application needs a new password.
#[test]
fn edits_are_repaired_and_the_password_stays_while_it_can() {
    let made = make(None, "shop.orders", &default_endpoint()).unwrap();
    let other = make(None, "shop.orders", &default_endpoint()).unwrap();
    for entry in made.data.keys() {
        for edit in [None, Some(b"hunter2".to_vec()), Some(vec![0xff, 0xfe])] {
            let mut data = made.data.clone();
            data.remove(entry);
            data.extend(edit.map(|edit| (entry.clone(), edit)));
            let repaired = make(Some(&data), "shop.orders", &default_endpoint()).unwrap();
            if entry == "password" {
                assert_eq!(repaired.password, Password::Generated);
            } else {
                assert_eq!(repaired.password, Password::Kept);
                assert_eq!(repaired.data["password"], made.data["password"]);
            }
            let verifier: ScramVerifier = text_of(&repaired, "verifier").parse().unwrap();
            assert!(verifier.matches(text_of(&repaired, "password")), "{entry}");
            if entry != "password" && entry != "verifier" {
                assert_eq!(repaired.data, made.data, "{entry}");
            }
        }
    }
    // A password from a backup is taken, and the verifier follows.
    let mut data = made.data.clone();
    data.insert("password".into(), other.data["password"].clone());
    let restored = make(Some(&data), "shop.orders", &default_endpoint()).unwrap();
    assert_eq!(restored.data["password"], other.data["password"]);
    let verifier: ScramVerifier = text_of(&restored, "verifier").parse().unwrap();
    assert!(verifier.matches(text_of(&restored, "password")));
}

#[test]
fn the_port_is_the_best_that_takes_a_password_under_tls() {
    let listener = |name: &str, port: u16, tls: &str, authentication: &str| json!({"name": name, "port": port, "tls": tls, "authentication": authentication});
    let rows = [
        (
            vec![
                listener("a", 465, "Implicit", "Required"),
                listener("b", 587, "StartTls", "Required"),
            ],
            Some((587, false)),
        ),
        (
            vec![
                listener("a", 465, "Implicit", "Required"),
                listener("b", 25, "StartTls", "Required"),
            ],
            Some((465, true)),
        ),
        (
            vec![
                listener("a", 2525, "StartTls", "Optional"),
                listener("b", 26, "Implicit", "Required"),
            ],
            Some((26, true)),
        ),
        (
            vec![
                listener("a", 25, "StartTls", "None"),
                listener("b", 2525, "StartTls", "Optional"),
            ],
            Some((2525, false)),
        ),
        (vec![listener("a", 25, "None", "Optional")], None),
        (vec![listener("a", 25, "StartTls", "None")], None),
    ];
    for (listeners, expected) in rows {
        let relay = relay(json!({"listeners": listeners}));
        let found = endpoint(&relay, None).map(|endpoint| (endpoint.port, endpoint.implicit_tls));
        assert_eq!(found, expected, "{listeners:?}");
    }
}

#[test]
fn a_user_name_is_quoted_in_the_uri() {
    let implicit = relay(json!({"listeners": [{"name": "a", "port": 465, "tls": "Implicit"}]}));
    let binding = make(None, "a@b:c/d%e", &endpoint(&implicit, None).unwrap()).unwrap();
    assert!(text_of(&binding, "uri").starts_with("smtps://a%40b%3Ac%2Fd%25e:"));
    assert!(!binding.data.contains_key("ca.crt"));
}

#[test]
fn nothing_shows_the_password() {
    let binding = make(None, "a", &default_endpoint()).unwrap();
    assert!(!format!("{binding:?}").contains(text_of(&binding, "password")));
}

#[test]
fn a_rotation_keeps_the_password_before_for_the_overlap_and_no_longer() {
    let overlap = Duration::from_hours(1);
    let at = |seconds| now() + jiff::SignedDuration::from_secs(seconds);
    let rotate = |data: &SecretData, trigger: &str, seconds| {
        let wish = Wish {
            trigger: Some(trigger.into()),
            overlap,
        };
        ensure(Some(data), "a", &default_endpoint(), &wish, at(seconds)).unwrap()
    };
    let passes = |binding: &Binding, password: &str| {
        let verifiers = verifiers(&binding.data).unwrap();
        let known = verifiers.iter().map(|text| text.parse::<ScramVerifier>());
        known.flatten().any(|verifier| verifier.matches(password))
    };
    let first = make(None, "a", &default_endpoint()).unwrap();
    let old = text_of(&first, "password").to_owned();
    let second = rotate(&first.data, "november", 0);
    let new = text_of(&second, "password").to_owned();
    assert_eq!(second.password, Password::Rotated);
    assert_ne!(new, old);
    assert!(passes(&second, &new) && passes(&second, &old));
    // One challenge of SCRAM serves both.
    let salts: Vec<_> = verifiers(&second.data)
        .unwrap()
        .iter()
        .map(|text| text.parse::<ScramVerifier>().unwrap().salt().to_vec())
        .collect();
    assert_eq!(salts[0], salts[1]);
    assert_eq!(
        rotated(&second.data, at(0)),
        Rotated {
            trigger: Some("november".into()),
            previous_until: Some(at(3600)),
        }
    );
    // Asked again nothing changes, until the time is over.
    let again = rotate(&second.data, "november", 3599);
    assert_eq!(
        (again.data, again.password),
        (second.data.clone(), Password::Kept)
    );
    let over = rotate(&second.data, "november", 3600);
    assert!(passes(&over, &new) && !passes(&over, &old));
    assert_eq!(rotated(&over.data, at(3600)).previous_until, None);
    // A rotation within the overlap keeps one password before, not two.
    let third = rotate(&second.data, "december", 60);
    assert!(passes(&third, &new) && !passes(&third, &old));
    assert_eq!(verifiers(&third.data).unwrap().len(), 2);
}

#[test]
fn a_rotation_without_overlap_ends_the_password_before_at_once() {
    let first = make(None, "a", &default_endpoint()).unwrap();
    let wish = Wish {
        trigger: Some("leaked".into()),
        overlap: Duration::ZERO,
    };
    let second = ensure(Some(&first.data), "a", &default_endpoint(), &wish, now()).unwrap();
    assert_eq!(second.password, Password::Rotated);
    assert_eq!(verifiers(&second.data).unwrap().len(), 1);
    // A new Secret needs no rotation.
    let fresh = ensure(None, "a", &default_endpoint(), &wish, now()).unwrap();
    assert_eq!(fresh.password, Password::Generated);
    let kept = ensure(Some(&fresh.data), "a", &default_endpoint(), &wish, now()).unwrap();
    assert_eq!((kept.data, kept.password), (fresh.data, Password::Kept));
}
