use super::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::delivery::testing::configuration;

/// Routes as a configuration file has them.
fn routes(delivery: &str) -> Routes {
    let name = PathBuf::from("relay.yaml");
    let text = configuration(25, None, delivery);
    let source = BTreeMap::from([(name.clone(), text.into_bytes())]);
    Routes::new(&relay_config::parse_files(&name, &source).unwrap().config)
}

fn to(recipient: &str) -> Asked<'_> {
    Asked {
        recipient,
        sender: Some("from.test"),
        tag: None,
    }
}

fn exchangers(hosts: &[(u16, &str)]) -> Vec<Exchanger> {
    hosts
        .iter()
        .map(|(preference, host)| Exchanger {
            preference: *preference,
            host: (*host).into(),
        })
        .collect()
}

const SMART: &str = "smarthosts: [{host: smart.test, port: 587}]";

#[test]
fn the_first_route_of_which_all_lists_match_is_taken() {
    let routes = routes(&format!(
        "routes: [\
         {{name: exact, recipientDomains: [a.test, b.test], senderDomains: [from.test]}}, \
         {{name: below, recipientDomains: ['*.a.test'], {SMART}}}, \
         {{name: bulk, tags: [bulk], {SMART}}}, \
         {{name: reports, senderDomains: ['<>'], {SMART}}}]"
    ));
    let rows = [
        (to("a.test"), "a.test via exact"),
        (to("b.test"), "b.test via exact"),
        (to("x.a.test"), "route below"),
        (to("y.x.a.test"), "route below"),
        (to("xa.test"), "xa.test"),
        (to("c.test"), "c.test"),
        (
            Asked {
                sender: Some("other.test"),
                ..to("a.test")
            },
            "a.test",
        ),
        (
            Asked {
                tag: Some("bulk"),
                ..to("c.test")
            },
            "route bulk",
        ),
        (
            Asked {
                tag: Some("Bulk"),
                ..to("c.test")
            },
            "c.test",
        ),
        (
            Asked {
                tag: Some("bulk"),
                ..to("x.a.test")
            },
            "route below",
        ),
        (
            Asked {
                sender: None,
                ..to("c.test")
            },
            "route reports",
        ),
        (to("[192.0.2.1]"), "[192.0.2.1]"),
    ];
    for (asked, destination) in rows {
        assert_eq!(&*routes.destination(asked), destination, "{asked:?}");
    }
}

#[test]
fn without_a_match_the_smarthosts_for_all_mail_are_taken() {
    let routes = routes(&format!(
        "{SMART}, routes: [{{name: direct, recipientDomains: [a.test]}}]"
    ));
    assert_eq!(&*routes.destination(to("a.test")), "a.test via direct");
    assert_eq!(&*routes.destination(to("b.test")), "smarthost");
    assert_eq!(routes.way(to("b.test")), Way::Smarthosts(None));
    assert_eq!(&*routes.destination(to("[192.0.2.1]")), "smarthost");
}

#[test]
fn routes_by_mx_host_are_decided_when_the_hosts_are_known() {
    let routes = routes(&format!(
        "routes: [{{name: big, mxSuffixes: [big.test, other.test], {SMART}}}, \
         {{name: late, mxSuffixes: [late.test], recipientDomains: [a.test], tls: Verified}}, \
         {{name: rest, recipientDomains: [a.test, b.test], tls: Required}}, \
         {{name: never, mxSuffixes: [mx.test]}}]"
    ));
    let asked = to("a.test");
    assert_eq!(routes.way(asked), Way::Undecided("a.test"));
    assert_eq!(
        &*routes.destination(asked),
        "a.test via big or late or rest"
    );
    assert_eq!(&*routes.destination(to("b.test")), "b.test via big or rest");
    assert_eq!(
        &*routes.destination(to("c.test")),
        "c.test via big or never or default"
    );
    assert_eq!(
        routes.way(to("[192.0.2.1]")),
        Way::Exchangers(None, "[192.0.2.1]")
    );
    let rest = Way::Exchangers(Some(2), "a.test");
    let rows: [(&[(u16, &str)], _); 7] = [
        (&[(10, "mx1.big.test")], Way::Smarthosts(Some(0))),
        (&[(10, "big.test")], Way::Smarthosts(Some(0))),
        (&[(10, "mxbig.test")], rest),
        // A secondary of somebody's says nothing about who hosts the domain.
        (&[(10, "mx.test"), (20, "mx.big.test")], rest),
        (
            &[(10, "mx.test"), (10, "mx.other.test")],
            Way::Smarthosts(Some(0)),
        ),
        (&[(0, "x.late.test")], Way::Exchangers(Some(1), "a.test")),
        // No such domain: perhaps only the next server knows it.
        (&[], rest),
    ];
    for (hosts, way) in rows {
        assert_eq!(routes.decide(asked, &exchangers(hosts)), way, "{hosts:?}");
    }
    let way = routes.decide(to("c.test"), &exchangers(&[(0, "other.example")]));
    assert_eq!(way, Way::Exchangers(None, "c.test"));
}
