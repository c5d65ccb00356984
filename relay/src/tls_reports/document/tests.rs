//! The report, against the form of RFC 8460 section 4.4.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::*;
use crate::tls_reports::results::{PolicyType, ResultType};

#[test]
fn a_report_has_the_form_of_rfc_8460() {
    let day = Day::of(Timestamp(1_790_000_000_000));
    let policy = Policy {
        policy_type: PolicyType::Sts,
        policy_string: vec!["version: STSv1".into(), "mode: enforce".into()],
        policy_domain: "a.test".into(),
        mx_host: vec!["*.a.test".into()],
    };
    let failure = Failure {
        sending_mta_ip: Some("203.0.113.7".parse().unwrap()),
        receiving_mx_hostname: Some("mx.a.test".into()),
        receiving_ip: Some("2001:db8::1".parse().unwrap()),
        failure_reason_code: Some("expired".into()),
        ..Failure::of(ResultType::CertificateExpired)
    };
    let tally = Tally {
        successful: 5,
        failed: 3,
        failures: [(failure, 3)].into(),
    };
    let policies = Policies::from([(policy, tally), (Policy::none("a.test"), Tally::default())]);
    let submitter = Submitter {
        organization: "The Shop".into(),
        contact: "postmaster@shop.example".into(),
        domain: "shop.example".into(),
    };
    let document = build(&submitter, "a.test", day, &policies).unwrap();
    assert_eq!(
        document.file,
        "shop.example!a.test!1789948800!1790035199.json.gz"
    );
    assert_eq!(document.sessions, (5, 3));
    let mut octets = Vec::new();
    GzDecoder::new(&document.gzip[..])
        .read_to_end(&mut octets)
        .unwrap();
    let found: Value = serde_json::from_slice(&octets).unwrap();
    let expected = json!({
        "organization-name": "The Shop",
        "date-range": {
            "start-datetime": "2026-09-21T00:00:00Z",
            "end-datetime": "2026-09-21T23:59:59Z",
        },
        "contact-info": "postmaster@shop.example",
        "report-id": "1789948800.a.test@shop.example",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: enforce"],
                    "policy-domain": "a.test",
                    "mx-host": ["*.a.test"],
                },
                "summary": {
                    "total-successful-session-count": 5,
                    "total-failure-session-count": 3,
                },
                "failure-details": [{
                    "result-type": "certificate-expired",
                    "sending-mta-ip": "203.0.113.7",
                    "receiving-mx-hostname": "mx.a.test",
                    "receiving-ip": "2001:db8::1",
                    "failed-session-count": 3,
                    "failure-reason-code": "expired",
                }],
            },
            {
                "policy": {"policy-type": "no-policy-found", "policy-domain": "a.test"},
                "summary": {
                    "total-successful-session-count": 0,
                    "total-failure-session-count": 0,
                },
            },
        ],
    });
    assert_eq!(found, expected);
    // Made again, it is the same report.
    let again = build(&submitter, "a.test", day, &policies).unwrap();
    assert_eq!((again.id, again.gzip), (document.id, document.gzip));
}
