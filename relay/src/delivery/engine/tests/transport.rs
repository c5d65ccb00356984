//! Transport security from end to end: a signed zone, a policy host and mail servers on loopback.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use relay_queue::Options;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::delivery::testing::peer::Tls;
use crate::delivery::testing::signed::SignedDns;
use crate::delivery::testing::tls_server;
use crate::delivery::testing::web::{self, Authority, VALID, Web};

/// A relay and two servers at 127.0.0.2 and 127.0.0.3, with names in a zone that is signed.
pub(super) struct World {
    pub(super) relay: Relay,
    pub(super) first: Peer,
    pub(super) second: Peer,
    pub(super) policies: Web,
    _dns: SignedDns,
}

/// A server whose certificate no authority knows.
pub(super) struct Own {
    pub(super) tls: Tls,
    /// Data of a TLSA record that fits.
    pub(super) tlsa: String,
}

pub(super) fn own() -> Own {
    let (server, pem) = tls_server(&["whatever.test"]);
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let key = digest::digest(&digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
    let mut digits = String::new();
    for octet in key.as_ref() {
        write!(digits, "{octet:02x}").unwrap();
    }
    Own {
        tls: Tls::Yes(server),
        tlsa: format!("3 1 1 {digits}"),
    }
}

pub(super) fn wrong() -> String {
    format!("3 1 1 {}", "00".repeat(32))
}

fn with(tls: Tls) -> Behaviour {
    Behaviour {
        tls,
        ..Behaviour::default()
    }
}

pub(super) fn policy(mode: &str, mx: &str) -> String {
    let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n");
    web::policy(&text)
}

/// Everything that a test may want otherwise.
pub(super) struct Setting<'a> {
    /// Name, type and data; `PORT` is that of the servers.
    names: &'a [(&'a str, &'a str, &'a str)],
    pub(super) first: Behaviour,
    pub(super) second: Behaviour,
    authority: Authority,
    pub(super) policy: String,
    pub(super) delivery: &'a str,
    /// What else stands in the main file, with a comma after it.
    pub(super) more: &'a str,
}

impl<'a> Setting<'a> {
    pub(super) fn new(names: &'a [(&'a str, &'a str, &'a str)], tls: Tls) -> Self {
        Self {
            names,
            first: with(tls),
            second: with(Tls::No),
            authority: Authority::new(),
            policy: String::new(),
            delivery: "",
            more: "",
        }
    }

    pub(super) async fn start(self) -> World {
        let (first, second) = two_peers(self.first, self.second).await;
        let port = first.port().to_string();
        let owners: Vec<String> = self
            .names
            .iter()
            .map(|(owner, ..)| owner.replace("PORT", &port))
            .collect();
        let names: Vec<_> = owners
            .iter()
            .zip(self.names)
            .map(|(owner, (_, kind, data))| (owner.as_str(), *kind, *data))
            .collect();
        let dns = SignedDns::start(&names).await;
        let server = self.authority.server("mta-sts.a.test", VALID);
        let policies = Web::start(server, self.policy).await;
        let delivery = format!(
            "certificateAuthorities: authorities.pem, mtaSts: {{port: {}}}, {}",
            policies.address.port(),
            self.delivery
        );
        let text = configuration(first.port(), Some(dns.address), &delivery);
        let anchored = format!(
            "timeout: 1s, dnssec: Validate, trustAnchors: [{:?}]",
            dns.anchor
        );
        let text = text.replace("timeout: 1s", &anchored);
        let text = text.replace("dns: {", &format!("{}dns: {{", self.more));
        let files = [("authorities.pem", self.authority.pem())];
        let files = files.each_ref().map(|(path, pem)| (*path, pem.as_str()));
        World {
            relay: Relay::start_with(&text, &files),
            first,
            second,
            policies,
            _dns: dns,
        }
    }
}

impl World {
    /// Sends one message to a domain; whether it arrived at the first server, and whether under TLS.
    pub(super) async fn sends(&self, domain: &str) -> Option<bool> {
        let before = self.first.messages().len();
        let attempts = self.relay.context.queue.counters().settled;
        let to = format!("to@{domain}");
        self.relay.submit(None, &[&to], TEXT).await;
        self.relay.attempted(attempts + 1).await;
        let arrived = self.first.messages().len() > before;
        arrived.then(|| *self.first.encrypted().last().unwrap())
    }
}

const HOST: &[(&str, &str, &str)] = &[
    ("a.test", "MX", "10 mx.test"),
    ("mx.test", "A", "127.0.0.2"),
];

fn with_host<'a>(more: &[(&'a str, &'a str, &'a str)]) -> Vec<(&'a str, &'a str, &'a str)> {
    [HOST, more].concat()
}

#[tokio::test]
async fn t15_dane_holds_the_certificate_against_the_records_and_never_falls_back_to_clear_text() {
    let own = own();
    let (right, other) = (own.tlsa.clone(), wrong());
    let pkix = right.replacen('3', "1", 1);
    let rows: [(&[&str], Tls, Option<bool>); 9] = [
        (&[&right], own.tls.clone(), Some(true)),
        (&[&other, &right], own.tls.clone(), Some(true)),
        (&[&other], own.tls.clone(), None),
        (&[&right], Tls::No, None),
        (&[&right], Tls::Closes, None),
        // PKIX usages are unusable: TLS, with any certificate.
        (&[&pkix], own.tls.clone(), Some(true)),
        (&[&pkix], Tls::No, None),
        (&[&pkix, &other], own.tls.clone(), None),
        (&[], Tls::No, Some(false)),
    ];
    for (records, tls, expected) in rows {
        let records = records
            .iter()
            .map(|data| ("_PORT._tcp.mx.test", "TLSA", *data));
        let names = with_host(&records.collect::<Vec<_>>());
        let world = Setting::new(&names, tls).start().await;
        assert_eq!(world.sends("a.test").await, expected, "{names:?}");
        world.relay.stop().await;
    }
}

#[tokio::test]
async fn t15_t18_a_host_whose_records_cannot_be_told_is_skipped_and_without_another_mail_waits() {
    for host in ["broken.test", "quiet.test"] {
        let exchanger = format!("10 {host}");
        let alone = [
            ("a.test", "MX", exchanger.as_str()),
            (host, "A", "127.0.0.2"),
        ];
        let world = Setting::new(&alone, own().tls).start().await;
        assert_eq!(world.sends("a.test").await, None, "{host}");
        assert_eq!(world.first.connections(), 0);
        world.relay.stop().await;
        let two = [
            &alone[..],
            &[
                ("a.test", "MX", "20 mx.test"),
                ("mx.test", "A", "127.0.0.3"),
            ],
        ]
        .concat();
        let world = Setting::new(&two, own().tls).start().await;
        world.relay.finish(None, &["to@a.test"]).await;
        assert_eq!(world.first.connections(), 0);
        assert_eq!(world.second.messages().len(), 1);
        world.relay.stop().await;
    }
}

#[tokio::test]
async fn t15_bogus_exchangers_and_addresses_lead_nowhere() {
    let names = [
        ("stripped.test", "MX", "10 mx.test"),
        ("mx.test", "A", "127.0.0.2"),
        ("a.test", "MX", "10 forged.test"),
        ("forged.test", "A", "127.0.0.2"),
    ];
    let world = Setting::new(&names, own().tls).start().await;
    for domain in ["stripped.test", "a.test"] {
        assert_eq!(world.sends(domain).await, None, "{domain}");
    }
    assert_eq!(world.first.connections(), 0);
    world.relay.stop().await;
}

#[tokio::test]
async fn records_that_nothing_proves_do_not_count() {
    let other = wrong();
    let names = [
        ("a.plain", "MX", "10 mx.plain"),
        ("mx.plain", "A", "127.0.0.2"),
        ("_PORT._tcp.mx.plain", "TLSA", other.as_str()),
        ("b.plain", "MX", "10 mx.test"),
        ("mx.test", "A", "127.0.0.2"),
        ("_PORT._tcp.mx.test", "TLSA", other.as_str()),
    ];
    // Neither those of a zone that is not signed, nor those of a host that an unsigned zone names.
    let world = Setting::new(&names, own().tls).start().await;
    for domain in ["a.plain", "b.plain"] {
        assert_eq!(world.sends(domain).await, Some(true), "{domain}");
    }
    world.relay.stop().await;
}

#[tokio::test]
async fn m6_the_records_and_the_name_are_those_of_what_an_alias_leads_to() {
    let own = own();
    let names = [
        ("a.test", "MX", "10 alias.test"),
        ("alias.test", "CNAME", "host.test"),
        ("host.test", "A", "127.0.0.2"),
        ("_PORT._tcp.host.test", "TLSA", own.tlsa.as_str()),
    ];
    // Without records there, those of the alias count.
    let at_alias = ("_PORT._tcp.alias.test", "TLSA", own.tlsa.as_str());
    let at_alias = [&names[..3], &[at_alias]].concat();
    let other = wrong();
    let against = [
        &at_alias[..],
        &[("_PORT._tcp.host.test", "TLSA", other.as_str())],
    ]
    .concat();
    let rows = [
        (&names[..], Some(true), Some("host.test")),
        (&at_alias, Some(true), Some("alias.test")),
        (&against, None, None),
    ];
    for (names, expected, name) in rows {
        let world = Setting::new(names, own.tls.clone()).start().await;
        assert_eq!(world.sends("a.test").await, expected);
        let asked_for = world.first.server_names();
        let asked_for = asked_for.first().cloned().flatten();
        assert_eq!(asked_for.as_deref(), name);
        world.relay.stop().await;
    }
}

const STS: &[(&str, &str, &str)] = &[
    ("_mta-sts.a.test", "TXT", "v=STSv1; id=1"),
    ("mta-sts.a.test", "A", "127.0.0.1"),
];

fn by(authority: &Authority, name: &str, until: i32) -> Tls {
    let server: Arc<ServerConfig> = authority.server(name, until);
    Tls::Yes(server)
}

#[tokio::test]
async fn mta_sts_enforced_wants_a_valid_certificate_and_testing_wants_to_know() {
    let names = with_host(STS);
    for (mode, failing) in [
        ("enforce", None),
        ("testing", Some(true)),
        ("none", Some(true)),
    ] {
        let authority = Authority::new();
        let rows = [
            (by(&authority, "mx.test", VALID), Some(true)),
            (by(&authority, "mx.test", 2001), failing),
            (by(&authority, "other.test", VALID), failing),
            (own().tls, failing),
            (Tls::No, failing.map(|_| false)),
            (Tls::Closes, failing.map(|_| false)),
        ];
        for (number, (tls, expected)) in rows.into_iter().enumerate() {
            let setting = Setting {
                authority: authority.clone(),
                policy: policy(mode, "*.test"),
                ..Setting::new(&names, tls)
            };
            let world = setting.start().await;
            assert_eq!(world.sends("a.test").await, expected, "{mode} {number}");
            assert_eq!(world.policies.requests(), 1);
            world.relay.stop().await;
        }
    }
}

#[tokio::test]
async fn mta_sts_enforced_passes_over_hosts_that_the_policy_does_not_name() {
    let names = [
        ("a.test", "MX", "10 stray.test"),
        ("stray.test", "A", "127.0.0.2"),
        STS[0],
        STS[1],
        ("a.test", "MX", "20 mx.test"),
        ("mx.test", "A", "127.0.0.3"),
    ];
    for (names, delivered) in [(&names[..4], false), (&names[..], true)] {
        let authority = Authority::new();
        let setting = Setting {
            second: with(by(&authority, "mx.test", VALID)),
            policy: policy("enforce", "mx.test"),
            ..Setting::new(names, by(&authority, "stray.test", VALID))
        };
        let world = Setting {
            authority,
            ..setting
        }
        .start()
        .await;
        assert_eq!(world.sends("a.test").await, None);
        assert_eq!(world.first.connections(), 0);
        assert_eq!(world.second.messages().len(), usize::from(delivered));
        world.relay.stop().await;
    }
}

#[tokio::test]
async fn t17_dane_wins_per_host_and_mta_sts_holds_for_the_others() {
    let own = own();
    let names = [
        ("a.test", "MX", "10 bare.test"),
        ("bare.test", "A", "127.0.0.3"),
        ("a.test", "MX", "20 mx.test"),
        ("mx.test", "A", "127.0.0.2"),
        ("_PORT._tcp.mx.test", "TLSA", own.tlsa.as_str()),
        STS[0],
        STS[1],
    ];
    // Neither certificate is one that the web knows: only the host with records gets the mail, though
    // the policy does not name it.
    let setting = Setting {
        second: with(self::own().tls),
        policy: policy("enforce", "bare.test"),
        ..Setting::new(&names, own.tls)
    };
    let world = setting.start().await;
    assert_eq!(world.sends("a.test").await, Some(true));
    assert_eq!(world.second.messages().len(), 0);
    world.relay.stop().await;
}

#[tokio::test]
async fn m17_of_two_domains_on_one_host_only_the_one_with_a_policy_is_held_to_it() {
    let names = [&with_host(STS)[..], &[("b.test", "MX", "10 mx.test")]].concat();
    let setting = Setting {
        policy: policy("enforce", "mx.test"),
        delivery: "idleTimeout: 1h",
        ..Setting::new(&names, own().tls)
    };
    let world = setting.start().await;
    assert_eq!(world.sends("b.test").await, Some(true));
    assert_eq!(world.sends("a.test").await, None);
    assert_eq!(world.sends("b.test").await, Some(true));
    // The first connection was used again by its own domain, and by no other.
    assert_eq!(world.first.connections(), 2);
    world.relay.stop().await;
}

#[tokio::test]
async fn m17_an_open_connection_is_left_when_its_domain_has_got_a_policy_that_it_does_not_fit() {
    let names = with_host(STS);
    let setting = Setting {
        policy: "HTTP/1.1 503 later\r\nContent-Length: 0\r\n\r\n".into(),
        delivery: "idleTimeout: 1h",
        ..Setting::new(&names, own().tls)
    };
    let world = setting.start().await;
    assert_eq!(world.sends("a.test").await, Some(true));
    world.policies.say(policy("enforce", "mx.test"));
    assert_eq!(world.sends("a.test").await, Some(true));
    assert_eq!(world.first.connections(), 1);
    // Time for another look at the policy, and for another fetch.
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(6)).await;
    tokio::time::resume();
    assert_eq!(world.sends("a.test").await, None);
    assert_eq!(world.first.lines(0).last().unwrap(), "QUIT");
    world.relay.stop().await;
}

#[tokio::test]
async fn an_override_lets_mail_pass_until_its_time_is_over() {
    let (own, other) = (own(), wrong());
    let names = with_host(&[("_PORT._tcp.mx.test", "TLSA", other.as_str())]);
    for (expires, expected) in [
        ("2999-01-01T00:00:00Z", Some(true)),
        ("2020-01-01T00:00:00Z", None),
    ] {
        let delivery = format!(
            "tlsOverrides: [{{domain: a.test, policy: Opportunistic, expires: {expires:?}, reason: known}}]"
        );
        let setting = Setting {
            delivery: &delivery,
            ..Setting::new(&names, own.tls.clone())
        };
        let world = setting.start().await;
        assert_eq!(world.sends("a.test").await, expected, "{expires}");
        world.relay.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_requires_tls_goes_to_hosts_proven_by_dane_or_mta_sts() {
    let offers = |tls| Behaviour {
        offers: "250-REQUIRETLS\r\n",
        ..with(tls)
    };
    let (own, authority) = (own(), Authority::new());
    let dane = with_host(&[("_PORT._tcp.mx.test", "TLSA", own.tlsa.as_str())]);
    let sts = with_host(STS);
    let known = by(&authority, "mx.test", VALID);
    let rows = [
        (&dane, own.tls.clone(), true),
        (&sts, known, true),
        (&sts, own.tls, false),
    ];
    for (names, tls, expected) in rows {
        let setting = Setting {
            first: offers(tls),
            authority: authority.clone(),
            policy: policy("enforce", "mx.test"),
            ..Setting::new(names, Tls::No)
        };
        let world = setting.start().await;
        let options = Options {
            require_tls: true,
            ..Options::default()
        };
        let to = ["to@a.test"];
        world.relay.submit_asking(options, None, &to, TEXT).await;
        world.relay.attempted(1).await;
        assert_eq!(world.first.messages().len(), usize::from(expected));
        world.relay.stop().await;
    }
}
