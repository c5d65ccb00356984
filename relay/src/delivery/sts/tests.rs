//! Policies from an HTTPS host on loopback.

use std::path::Path;

use relay_config::{Cidr, Dns, Dnssec};

use super::*;
use crate::delivery::resolve::Resolvers;
use crate::delivery::testing::dns::Dns as Server;
use crate::delivery::testing::web::{self, Authority, VALID, Web};
use crate::delivery::tls::{self, Tls};

const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 86400\n";
const NONE: &str = "version: STSv1\nmode: none\nmax_age: 86400\n";
const NAMES: &[(&str, &str, &str)] = &[
    ("_mta-sts.a.test", "TXT", "v=STSv1; id=1"),
    ("mta-sts.a.test", "A", "127.0.0.1"),
];

/// A domain with a policy, and what a relay needs to find it.
struct World {
    web: Web,
    client: tls::Web,
    dns: Server,
    permitted: Vec<Cidr>,
    limit: Duration,
}

impl World {
    async fn start(name: &str, until: i32, answer: String) -> Self {
        let authority = Authority::new();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate()).unwrap();
        Self {
            web: Web::start(authority.server(name, until), answer).await,
            client: tls::Web::new(roots).unwrap(),
            dns: Server::start(NAMES).await,
            permitted: vec!["127.0.0.0/8".parse().unwrap()],
            limit: LIMIT,
        }
    }

    async fn good(answer: String) -> Self {
        Self::start("mta-sts.a.test", VALID, answer).await
    }

    fn way(&self) -> Way<'_> {
        Way {
            resolver: resolver(self.dns.address),
            tls: self.client.https.clone(),
            port: self.web.address.port(),
            permitted: &self.permitted,
            limit: self.limit,
        }
    }

    /// The same with the names of another time.
    async fn with_names(mut self, names: &[(&str, &str, &str)]) -> Self {
        self.dns = Server::start(names).await;
        self
    }
}

fn resolver(address: std::net::SocketAddr) -> Arc<Resolver> {
    let settings = Dns {
        servers: vec![address],
        timeout: relay_config::Duration::from_millis(300),
        dnssec: Dnssec::Disabled,
        ..Dns::default()
    };
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), Arc::new(|| ()));
    resolvers.get(&settings).unwrap()
}

fn sts(directory: &Path) -> Sts {
    Sts::open(directory.join("mta-sts"), Metrics::unread())
}

async fn mode(sts: &Sts, world: &World) -> Option<Mode> {
    let entry = sts.policy(&world.way(), "a.test").await;
    entry.map(|entry| entry.policy.mode)
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_holds_over_a_restart_without_record_and_host() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::good(web::policy(ENFORCE)).await;
    let first = sts(directory.path());
    for _ in 0..3 {
        assert_eq!(mode(&first, &world).await, Some(Mode::Enforce));
    }
    assert_eq!(world.web.requests(), 1);
    let gone = world.with_names(&[]).await;
    assert_eq!(
        mode(&sts(directory.path()), &gone).await,
        Some(Mode::Enforce)
    );
    assert_eq!(gone.web.requests(), 1);
}

#[tokio::test]
async fn many_messages_at_once_fetch_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::good(web::policy(ENFORCE)).await);
    let sts = Arc::new(sts(directory.path()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (sts, world) = (sts.clone(), world.clone());
        tasks.spawn(async move { mode(&sts, &world).await });
    }
    assert_eq!(tasks.join_all().await, [Some(Mode::Enforce); 20]);
    assert_eq!(world.web.requests(), 1);
    assert!(sts.fetching.lock().is_empty());
}

#[tokio::test]
async fn a_policy_that_cannot_be_had_is_none_and_is_not_asked_for_again_at_once() {
    let header = |text: &str| format!("HTTP/1.1 {text}\r\nContent-Length: 0\r\n\r\n");
    let typed = |kind: &str| web::policy(ENFORCE).replace("text/plain", kind);
    let huge = web::policy(&format!("{ENFORCE}{}", "x: y\n".repeat(20_000)));
    let endless = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{}",
        "x: y\n".repeat(20_000)
    );
    let headers = format!(
        "HTTP/1.1 200 OK\r\n{}",
        "X: yyyyyyyyyyyyyy\r\n".repeat(5_000)
    );
    let answers = [
        header("301 Moved\r\nLocation: https://mta-sts.a.test/elsewhere"),
        header("404 Not Found"),
        web::policy(ENFORCE).replace("200 OK", "404 Not Found"),
        web::policy(ENFORCE).replace("200 OK", "302 Found"),
        web::policy(ENFORCE).replace("200 OK", "203 Changed"),
        header("500 Internal Server Error"),
        typed("text/html"),
        typed("text/plainly"),
        web::policy("<html>\n"),
        web::policy("version: STSv1\nmode: enforce\nmax_age: 1\n"),
        huge,
        endless,
        headers,
        "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(),
    ];
    for answer in answers {
        let directory = tempfile::tempdir().unwrap();
        let world = World::good(answer.clone()).await;
        let sts = sts(directory.path());
        assert_eq!(mode(&sts, &world).await, None, "{answer:.80}");
        world.web.say(web::policy(ENFORCE));
        assert_eq!(mode(&sts, &world).await, None, "{answer:.80}");
        assert_eq!(world.web.requests(), 1);
    }
}

#[tokio::test]
async fn a_policy_host_that_does_not_end_its_answer_costs_a_bounded_time() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    for answer in [
        "",
        "HTTP/1.1 200",
        endless,
        &format!("{endless}Content-Length: 99\r\n\r\nx: y"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::good(answer.to_owned()).await;
        world.limit = Duration::from_millis(300);
        let sts = sts(directory.path());
        let error = fetch::fetch(&world.way(), "a.test").await.unwrap_err();
        assert_eq!(error.label(), "timeout", "{answer:?}");
        assert_eq!(mode(&sts, &world).await, None);
    }
}

#[tokio::test]
async fn the_policy_host_has_to_prove_its_name_by_a_valid_certificate() {
    for (name, until) in [
        ("mta-sts.a.test", 2001),
        ("a.test", VALID),
        ("mta-sts.b.test", VALID),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(name, until, web::policy(ENFORCE)).await;
        assert_eq!(
            mode(&sts(directory.path()), &world).await,
            None,
            "{name} {until}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::good(web::policy(ENFORCE)).await;
    let mut others = rustls::RootCertStore::empty();
    others.add(Authority::new().certificate()).unwrap();
    world.client = tls::Web::new(others).unwrap();
    assert_eq!(mode(&sts(directory.path()), &world).await, None);
    assert_eq!(world.web.requests(), 0);
}

#[tokio::test]
async fn nothing_is_fetched_from_where_mail_may_not_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::good(web::policy(ENFORCE)).await;
    world.permitted.clear();
    assert_eq!(mode(&sts(directory.path()), &world).await, None);
    assert_eq!(world.web.requests(), 0);
}

#[tokio::test]
async fn a_new_policy_replaces_the_old_one_and_one_that_cannot_be_had_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::good(web::policy(ENFORCE)).await;
    assert_eq!(
        mode(&sts(directory.path()), &world).await,
        Some(Mode::Enforce)
    );
    let newer = |id| -> [(&str, &str, &str); 2] { [("_mta-sts.a.test", "TXT", id), NAMES[1]] };
    let world = world.with_names(&newer("v=STSv1; id=2")).await;
    world.web.say("HTTP/1.1 500 no\r\n\r\n".into());
    let second = sts(directory.path());
    assert_eq!(mode(&second, &world).await, Some(Mode::Enforce));
    assert_eq!(world.web.requests(), 2);
    // A fetch that failed is not repeated at once.
    world.web.say(web::policy(NONE));
    assert_eq!(mode(&second, &world).await, Some(Mode::Enforce));
    assert_eq!(world.web.requests(), 2);
    // Removal of a policy (RFC 8461 section 8.3).
    assert_eq!(mode(&sts(directory.path()), &world).await, Some(Mode::None));
    assert_eq!(world.web.requests(), 3);
}

#[tokio::test]
async fn a_policy_is_renewed_though_its_record_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::good(web::policy(ENFORCE)).await;
    let first = sts(directory.path());
    let entry = first.policy(&world.way(), "a.test").await.unwrap();
    assert!(first.stale().is_empty());
    let second = sts(directory.path());
    second.renew(&world.way(), &entry).await;
    assert_eq!(world.web.requests(), 2);
    // But not again within a minute.
    second.renew(&world.way(), &entry).await;
    assert_eq!(world.web.requests(), 2);
}

#[test]
fn what_a_policy_says_of_a_host() {
    let read = |mode: &str| Policy::parse(ENFORCE.replace("enforce", mode).as_bytes()).unwrap();
    let (enforce, testing, none) = (read("enforce"), read("testing"), read("none"));
    let rows = [
        (None, "mx.a.test", Verdict::None),
        (Some(&enforce), "mx.a.test", Verdict::Enforced),
        (Some(&enforce), "mx.b.test", Verdict::Excluded),
        (Some(&testing), "mx.a.test", Verdict::Testing),
        (Some(&testing), "mx.b.test", Verdict::Testing),
        (Some(&none), "mx.b.test", Verdict::None),
    ];
    for (policy, host, expected) in rows {
        assert_eq!(verdict(policy, host), expected, "{host}");
    }
}
