use jiff::{SignedDuration, Timestamp};
use operator_api::DnsRecordPurpose;
use serde_json::{Value, json};

use super::*;
use crate::domain::publish::wanted::{Facts, plan};
use crate::domain::records::{Question, WantedRecord};
use crate::domain::spf::Answers;
use crate::render::fixtures::domain;

fn wanted(purpose: DnsRecordPurpose, name: &str, kind: Kind, value: &str) -> WantedRecord {
    WantedRecord {
        question: Question::new(name, kind),
        value: value.to_owned(),
        purpose,
        requirement: operator_api::DnsRecordRequirement::Required,
    }
}

fn object() -> DNSEndpoint {
    let mut shop = domain("shop", "web", 5, "shop.example");
    shop.spec.dns =
        serde_json::from_value(json!({"publish": {"externalDNS": {}, "ttl": "1m"}})).unwrap();
    let answers = Answers::new();
    let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(392));
    let facts = Facts {
        domain: &shop,
        wanted: vec![
            wanted(
                DnsRecordPurpose::Dkim,
                "r1._domainkey.shop.example",
                Kind::Txt,
                &long,
            ),
            wanted(
                DnsRecordPurpose::ReturnPathMx,
                "b.shop.example",
                Kind::Mx,
                "10 mx.shop.example",
            ),
        ],
        shown: &[],
        answers: &answers,
        removed: std::collections::BTreeSet::new(),
        retirement: SignedDuration::from_hours(1),
        is_open: true,
    };
    build(&shop, &plan(&facts, Timestamp::UNIX_EPOCH))
}

#[test]
fn the_object_has_targets_as_external_dns_takes_them_and_goes_with_its_domain() {
    let object = serde_json::to_value(object()).unwrap();
    let endpoints = &object["spec"]["endpoints"];
    assert_eq!(
        endpoints[1],
        json!({"dnsName": "b.shop.example", "recordType": "MX", "recordTTL": 60,
        "targets": ["10 mx.shop.example"]})
    );
    let target = endpoints[0]["targets"][0].as_str().unwrap();
    let strings: Vec<usize> = target.split('"').skip(1).step_by(2).map(str::len).collect();
    assert_eq!(
        (strings, &endpoints[0]["targets"][1]),
        (vec![255, 155], &Value::Null)
    );
    let metadata = &object["metadata"];
    assert_eq!(metadata["name"], "web-dns");
    assert_eq!(metadata["ownerReferences"][0]["kind"], "SendingDomain");
    assert_eq!(object["apiVersion"], "externaldns.k8s.io/v1alpha1");
}

#[test]
fn external_dns_has_seen_it_when_it_says_so_of_this_very_generation() {
    let wanted = object();
    let mut live = wanted.clone();
    live.metadata.generation = Some(2);
    let seen = |generation| {
        let mut live = live.clone();
        live.status = Some(EndpointStatus {
            observed_generation: generation,
        });
        is_observed(&live, &wanted)
    };
    assert!(seen(Some(2)));
    assert!(!seen(Some(1)) && !seen(None) && !is_observed(&live, &wanted));
    live.spec.endpoints.clear();
    live.status = Some(EndpointStatus {
        observed_generation: Some(2),
    });
    assert!(!is_observed(&live, &wanted), "of another content");
}
