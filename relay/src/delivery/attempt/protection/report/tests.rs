//! Which policy a session is held against.

use super::*;
use crate::delivery::dane::Tlsa;

const MODE_NONE: &str = "version: STSv1\nmode: none\nmax_age: 86400\n";
const ENFORCE: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.a.test\r\nmax_age: 86400\r\n";

#[test]
fn the_policy_is_the_one_that_decided() {
    let read = |text: &str| sts::Policy::parse(text.as_bytes()).unwrap();
    let (none, enforce) = (read(MODE_NONE), read(ENFORCE));
    let records = Dane::Records(Arc::new(Tlsa::for_test(&["base.test"])));
    let failed = Dane::Failed("x".into());
    let fetch = Some(ResultType::StsPolicyFetchError);
    let invalid = Some(ResultType::TlsaInvalid);
    let rows = [
        (
            &Dane::None,
            None,
            None,
            PolicyType::NoPolicyFound,
            "a.test",
            None,
        ),
        (
            &Dane::None,
            Some(&none),
            None,
            PolicyType::NoPolicyFound,
            "a.test",
            None,
        ),
        (
            &Dane::None,
            Some(&enforce),
            None,
            PolicyType::Sts,
            "a.test",
            None,
        ),
        // One that is known is in force although a newer one cannot be had.
        (
            &Dane::None,
            Some(&enforce),
            fetch,
            PolicyType::Sts,
            "a.test",
            None,
        ),
        (&Dane::None, None, fetch, PolicyType::Sts, "a.test", fetch),
        (&records, None, None, PolicyType::Tlsa, "base.test", None),
        (&failed, None, None, PolicyType::Tlsa, "mx.a.test", None),
        (
            &Dane::Unusable,
            None,
            None,
            PolicyType::Tlsa,
            "mx.a.test",
            invalid,
        ),
        (
            &Dane::Unusable,
            Some(&enforce),
            None,
            PolicyType::Sts,
            "a.test",
            None,
        ),
    ];
    let domain: Arc<str> = "a.test".into();
    for (dane, policy, unavailable, kind, of, fault) in rows {
        let basis = basis(&domain, "mx.a.test", dane, policy, unavailable);
        assert_eq!(basis.policy.policy_type, kind, "{dane:?} {policy:?}");
        assert_eq!(basis.policy.policy_domain, of, "{dane:?} {policy:?}");
        assert_eq!(basis.fault, fault, "{dane:?} {policy:?}");
        assert_eq!(&*basis.domain, "a.test");
    }
    let basis = basis(&domain, "mx.a.test", &Dane::None, Some(&enforce), None);
    let lines = [
        "version: STSv1",
        "mode: enforce",
        "mx: *.a.test",
        "max_age: 86400",
    ];
    assert_eq!(basis.policy.policy_string, lines);
    assert_eq!(basis.policy.mx_host, ["*.a.test"]);
}
