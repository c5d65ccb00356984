//! Whatever a spec says and DNS answers: there is an end to the questions, and each condition has a
//! documented reason.

use std::sync::Arc;

use operator_api::DnsRecordState;
use proptest::prelude::*;
use serde_json::json;

use super::tests::{applied, judged, now, seen};
use super::*;
use crate::domain::judge::Facts;
use crate::domain::records::Question;
use crate::domain::spf::Answers;
use crate::render::fixtures;

/// Texts that are nearly records, and others.
fn text() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        Just("v=spf1".to_owned()),
        Just("include:%{d}".to_owned()),
        Just("include:a.example".to_owned()),
        Just("redirect=shop.example".to_owned()),
        Just("exists:%{ir}.%{p}.a.example".to_owned()),
        Just("mx".to_owned()),
        Just("a:b.example/8//8".to_owned()),
        Just("ptr".to_owned()),
        Just("ip4:192.0.2.0/24".to_owned()),
        Just("-all".to_owned()),
        Just("v=DMARC1; p=reject;".to_owned()),
        Just("rua=mailto:a@b.example,mailto:x@y.z.a.example!1m; psd=y".to_owned()),
        Just("v=DKIM1; k=ed25519; p=".to_owned()),
        Just("v=STSv1; id=1".to_owned()),
        Just("v=TLSRPTv1; rua=mailto:a@b.example".to_owned()),
        "\\PC{0,20}",
        "%\\{[a-zA-Z0-9.+-]{0,6}\\}?",
    ];
    prop::collection::vec(term, 0..6).prop_map(|terms| terms.join(" "))
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => prop::collection::vec(text(), 1..3).prop_map(Answer::Records),
        1 => Just(Answer::None),
        1 => Just(Answer::Failed("no answer".to_owned())),
        1 => Just(Answer::Records(vec!["192.0.2.25".to_owned()])),
        1 => Just(Answer::Records(vec!["10 b.example".to_owned(), "0 .".to_owned()])),
    ]
}

fn spec() -> impl Strategy<Value = (SendingDomain, bool)> {
    let policy = prop::option::of(prop::sample::select(vec!["None", "Quarantine", "Reject"]));
    let bounces = prop::sample::select(vec![
        json!(null),
        json!({"domain": "shop.example"}),
        json!({"domain": "b.shop.example"}),
        json!({"address": "b@shop.example"}),
    ]);
    (policy, bounces, any::<bool>(), any::<bool>()).prop_map(|(policy, bounces, more, egress)| {
        let mut domain = fixtures::domain("shop", "web", 1, "shop.example");
        let dns = json!({
            "dmarc": {"policy": policy, "reports": ["d@reports.example"]},
            "tlsReports": ["mailto:t@shop.example"], "bimiLogo": "https://shop.example/l.svg",
        });
        domain.spec.dns = more.then(|| serde_json::from_value(dns).unwrap());
        domain.spec.bounces = serde_json::from_value(bounces).unwrap();
        (domain, egress)
    })
}

proptest! {
    #[test]
    fn any_spec_and_any_answers_end_in_stated_conditions(
        (domain, egress) in spec(),
        answers in prop::collection::vec(answer(), 1..12),
    ) {
        let mut relay = fixtures::relay(fixtures::open());
        let addresses = json!({"addresses": ["192.0.2.25", "2001:db8::25"], "spfIncludes": ["a.example"]});
        relay.spec.egress = egress.then(|| serde_json::from_value(addresses).unwrap());
        relay.spec.hostname = Some("mx.shop.example".to_owned());
        let applied = applied();
        let keyring = Keyring::read(applied.data.as_ref().unwrap());
        let facts = Facts::new(&domain, Some(&relay));
        let mut known = Answers::new();
        let mut rounds = 0;
        loop {
            let wanted = validate::wanted(&domain, &keyring, Some(&relay), &known);
            let first = wanted.iter().map(|one| one.question.clone());
            let open: Vec<Question> = first
                .chain(facts.needs(&wanted, &known))
                .filter(|question| !known.contains_key(question))
                .collect();
            if open.is_empty() {
                break;
            }
            for question in open {
                let answer = answers[(known.len() * 7 + rounds) % answers.len()].clone();
                known.insert(question, answer);
            }
            rounds += 1;
            prop_assert!(rounds < 400, "questions without end");
        }
        let mut seen = seen();
        seen.relay = Some(Arc::new(relay.clone()));
        seen.check.answers = known;
        let (status, _) = build(&domain, &seen, &judged(), &applied, true, now());
        prop_assert_eq!(status.conditions.len(), 5);
        for condition in &status.conditions {
            prop_assert!(!condition.reason.is_empty() && !condition.message.is_empty());
        }
        for record in &status.dns_records {
            let message = record.message.as_deref().unwrap_or_default();
            let offers = message.contains("the value in status.dnsRecords");
            prop_assert!(!(offers && record.value.is_empty()), "{:?}", record);
            prop_assert_eq!(record.value.is_empty(), record.zone.is_empty());
            prop_assert!(record.value.len() <= 4096, "{:?}", record);
            prop_assert!(!record.value.chars().any(char::is_control), "{:?}", record);
            let faulty = [DnsRecordState::Mismatch, DnsRecordState::Conflict, DnsRecordState::Missing];
            prop_assert!(!faulty.contains(&record.state) || record.message.is_some(), "{:?}", record);
            let printable = |text: &str| !text.chars().any(char::is_control);
            prop_assert!(record.message.as_deref().is_none_or(printable), "{:?}", record);
        }
        // The same observations give the same status.
        let (again, _) = build(&domain, &seen, &judged(), &applied, true, now());
        prop_assert_eq!(status, again);
    }
}
