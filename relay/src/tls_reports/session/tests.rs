//! What sessions count as.

use rustls_pki_types::{ServerName, UnixTime};

use super::*;

fn of(error: rustls::Error) -> ResultType {
    match Ending::of_handshake(&io::Error::other(error)) {
        Ending::Failed(kind, _) => kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn certificates_fail_in_the_words_of_rfc_8460() {
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
    let rows = [
        (CertificateError::Expired, ResultType::CertificateExpired),
        (
            CertificateError::ExpiredContext {
                time,
                not_after: time,
            },
            ResultType::CertificateExpired,
        ),
        (
            CertificateError::NotValidYet,
            ResultType::CertificateExpired,
        ),
        (
            CertificateError::NotValidForName,
            ResultType::CertificateHostMismatch,
        ),
        (
            CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("a.test").unwrap(),
                presented: vec!["b.test".into()],
            },
            ResultType::CertificateHostMismatch,
        ),
        (
            CertificateError::UnknownIssuer,
            ResultType::CertificateNotTrusted,
        ),
        (
            CertificateError::BadSignature,
            ResultType::CertificateNotTrusted,
        ),
    ];
    for (error, expected) in rows {
        assert_eq!(of(error.clone().into()), expected, "{error:?}");
    }
    let other = rustls::Error::General("x".into());
    assert_eq!(of(other), ResultType::ValidationFailure);
    let broken = io::Error::from(io::ErrorKind::UnexpectedEof);
    assert!(matches!(
        Ending::of_handshake(&broken),
        Ending::Failed(ResultType::ValidationFailure, _)
    ));
}

#[test]
fn addresses_of_inner_networks_are_not_told() {
    let inner = [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.1.2.3",
    ];
    for address in inner {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "203.0.113.7",
        "100.128.0.1",
        "2001:db8::1",
        "::ffff:203.0.113.7",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}
