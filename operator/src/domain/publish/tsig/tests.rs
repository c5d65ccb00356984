use super::*;

fn secret(entries: &[(&str, &str)]) -> SecretData {
    let entries = entries.iter();
    entries
        .map(|(entry, text)| ((*entry).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

const GOOD: &str = "c2l4dGVlbiBvY3RldHMgb3IgbW9yZSBhcmUgaGVyZQ==";

#[test]
fn a_key_is_read_from_what_tsig_keygen_shows() {
    let signer = read(&secret(&[("keyname", "Outbox.Key\n"), ("secret", GOOD)])).unwrap();
    assert_eq!(signer.signer_name().to_string(), "outbox.key.");
    assert_eq!(signer.algorithm(), &TsigAlgorithm::HmacSha256);
    for (text, expected) in [
        ("HMAC-SHA512", TsigAlgorithm::HmacSha512),
        ("hmac-sha384", TsigAlgorithm::HmacSha384),
    ] {
        let entries = [("keyname", "k"), ("secret", GOOD), ("algorithm", text)];
        assert_eq!(read(&secret(&entries)).unwrap().algorithm(), &expected);
    }
}

#[test]
fn what_is_no_key_is_told_by_entry_and_never_shown() {
    let long = "a".repeat(64);
    let rows: [(&[(&str, &str)], KeyFault); 7] = [
        (&[("secret", GOOD)], KeyFault::Missing("keyname")),
        (
            &[("keyname", "k"), ("secret", " ")],
            KeyFault::Missing("secret"),
        ),
        (&[("keyname", &long), ("secret", GOOD)], KeyFault::Name),
        (&[("keyname", "k"), ("secret", "c2hvcnQ=")], KeyFault::Key),
        (
            &[("keyname", "k"), ("secret", "*not base64*")],
            KeyFault::Key,
        ),
        (
            &[
                ("keyname", "k"),
                ("secret", GOOD),
                ("algorithm", "hmac-md5"),
            ],
            KeyFault::Algorithm,
        ),
        (
            &[
                ("keyname", "k"),
                ("secret", GOOD),
                ("algorithm", "hmac-sha1"),
            ],
            KeyFault::Algorithm,
        ),
    ];
    for (entries, expected) in rows {
        let Err(fault) = read(&secret(entries)) else {
            panic!("{expected:?}")
        };
        assert_eq!(fault, expected);
        assert!(!format!("{fault} {fault:?}").contains("c2"), "{fault}");
    }
}
