//! TLS reports from end to end: sessions are counted, reports are made a day later, and arrive by mail
//! and over HTTPS. They are read by another implementation.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::GzDecoder;
use mail_auth::report::tlsrpt::{PolicyType, ResultType, TlsReport};

use super::super::Engine;
use super::super::reports::hand_in;
use super::transport::{Own, Setting, World, own, policy, wrong};
use super::*;
use crate::delivery::testing::peer::Tls;
use crate::siblings::testing::Shards;
use crate::tls_reports::{Basis, Day, Failure, Policy, ResultType as Kind, TlsReports};

/// RFC 8463 appendix A.1.
const DOMAIN: &str = "domains: [{name: from.example, dkim: [{selector: s, algorithm: Ed25519Sha256, privateKey: \"-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\\n-----END PRIVATE KEY-----\\n\"}]}], ";
const REPORTS: &str = "reports: {tls: {from: tls@from.example, organization: The Shop}}";
const OK: &str = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

/// `a.test` has an MTA-STS policy, `b.test` TLSA records that fit; both want reports. Where the reports
/// go, TLS is broken and TLSA records forbid it; a report of that would be wanted, too.
fn names<'a>(own: &'a Own, wrong: &'a str, rua: &'a str) -> Vec<(&'a str, &'a str, &'a str)> {
    vec![
        ("a.test", "MX", "10 mx.test"),
        ("b.test", "MX", "10 dane.test"),
        ("mx.test", "A", "127.0.0.2"),
        ("dane.test", "A", "127.0.0.2"),
        ("_PORT._tcp.dane.test", "TLSA", &own.tlsa),
        ("_mta-sts.a.test", "TXT", "v=STSv1; id=1"),
        ("mta-sts.a.test", "A", "127.0.0.1"),
        ("_smtp._tls.a.test", "TXT", rua),
        ("_smtp._tls.b.test", "TXT", rua),
        ("reports.test", "MX", "10 broken-tls.test"),
        ("_smtp._tls.reports.test", "TXT", rua),
        ("broken-tls.test", "A", "127.0.0.3"),
        ("_PORT._tcp.broken-tls.test", "TLSA", wrong),
    ]
}

async fn world(mode: &str, rua: &str) -> World {
    let (own, wrong) = (own(), wrong());
    let names = names(&own, &wrong, rua);
    let mut setting = Setting::new(&names, own.tls.clone());
    setting.second.tls = Tls::Closes;
    setting.policy = policy(mode, "mx.test");
    setting.delivery = REPORTS;
    setting.more = DOMAIN;
    setting.start().await
}

impl World {
    /// Makes reports as if so much time had passed since this day's end.
    async fn report(&self, after: Duration) {
        let engine = Engine::new(self.relay.context.clone()).unwrap();
        let at = Day::of(now()).end().after(after);
        engine.send_tls_reports(at).await;
    }
}

fn basis() -> Basis {
    Basis {
        domain: "a.test".into(),
        policy: Policy::none("a.test"),
        fault: None,
    }
}

/// When the last report of a day is due.
const LATE: Duration = Duration::from_hours(4);

#[tokio::test]
async fn l13_reports_arrive_once_whatever_tls_is_like_on_their_way_and_nothing_reports_on_them() {
    let rua = "v=TLSRPTv1; rua=mailto:tls@reports.test";
    let world = world("testing", rua).await;
    assert_eq!(world.sends("a.test").await, Some(true));
    assert_eq!(world.sends("b.test").await, Some(true));
    world.report(Duration::from_mins(29)).await;
    assert_eq!(world.relay.context.queue.status().0, 0, "too early");
    world.report(LATE).await;
    let reports = world.second.received(2).await;
    world.relay.queued(0).await;
    // Of the way of the reports nothing was counted, and of what was reported nothing is left.
    assert_eq!(world.relay.context.tls_reports.len(), 0);
    for _ in 0..3 {
        world.report(LATE * 2).await;
    }
    assert_eq!(world.relay.context.queue.status().0, 0);
    assert_eq!(world.second.messages().len(), 2);
    assert_eq!(world.second.encrypted(), [false, false]);

    let mut parsed: Vec<TlsReport> = Vec::new();
    for report in &reports {
        assert_eq!(report.mail, "MAIL FROM:<>");
        assert_eq!(report.recipients, ["RCPT TO:<tls@reports.test>"]);
        let text = &report.content;
        for header in [
            "\r\nTLS-Required: No\r\n",
            "\r\nTLS-Report-Submitter: from.example\r\n",
            "\r\nAuto-Submitted: auto-generated\r\n",
        ] {
            assert!(text.contains(header), "{header} in {text}");
        }
        assert!(text.starts_with("DKIM-Signature: "), "{text}");
        assert!(text.contains("report-type=\"tlsrpt\""), "{text}");
        parsed.push(TlsReport::parse_rfc5322(text.as_bytes(), 1 << 20).unwrap());
    }
    parsed.sort_by_key(|report| report.report_id.clone());
    let [a, b] = &parsed[..] else { panic!() };
    assert_eq!(a.organization_name.as_deref(), Some("The Shop"));
    assert_eq!(a.contact_info.as_deref(), Some("tls@from.example"));
    assert!(a.report_id.contains(".a.test@"), "{}", a.report_id);
    let [entry] = &a.policies[..] else { panic!() };
    assert_eq!(entry.policy.policy_type, PolicyType::Sts);
    assert_eq!(entry.policy.policy_domain, "a.test");
    assert_eq!(entry.policy.mx_host, ["mx.test"]);
    assert_eq!(entry.policy.policy_string[1], "mode: testing");
    let summary = (entry.summary.total_success, entry.summary.total_failure);
    assert_eq!(summary, (0, 1));
    let [detail] = &entry.failure_details[..] else {
        panic!()
    };
    assert_eq!(detail.result_type, ResultType::CertificateNotTrusted);
    assert_eq!(detail.receiving_mx_hostname.as_deref(), Some("mx.test"));
    assert_eq!(detail.receiving_ip, Some("127.0.0.2".parse().unwrap()));
    assert_eq!(detail.sending_mta_ip, None, "loopback is nobody's business");
    let [entry] = &b.policies[..] else { panic!() };
    assert_eq!(entry.policy.policy_type, PolicyType::Tlsa);
    assert_eq!(entry.policy.policy_domain, "dane.test");
    assert!(entry.policy.policy_string[0].starts_with("3 1 1 "));
    assert_eq!(entry.summary.total_success, 1);
    world.relay.stop().await;
}

#[tokio::test]
async fn a_report_is_posted_again_until_its_place_takes_it() {
    let rua = "v=TLSRPTv1; rua=https://mta-sts.a.test/v1/tls?key=1";
    let world = world("enforce", rua).await;
    // No certificate that the web knows: nothing is sent, and that is told.
    assert_eq!(world.sends("a.test").await, None);
    world
        .policies
        .say("HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n".into());
    world.report(LATE).await;
    assert_eq!(world.policies.posted().len(), 1);
    world.policies.say(OK.into());
    world.report(LATE).await;
    assert_eq!(world.policies.posted().len(), 1, "not again at once");
    world.report(LATE + Duration::from_mins(6)).await;
    world.report(LATE * 2).await;
    let posted = world.policies.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0], posted[1]);
    let end = posted[0]
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let (head, body) = posted[0].split_at(end);
    let head = String::from_utf8(head.to_vec())
        .unwrap()
        .to_ascii_lowercase();
    assert!(
        head.starts_with("post /v1/tls?key=1 http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/tlsrpt+gzip\r\n"),
        "{head}"
    );
    let mut json = Vec::new();
    GzDecoder::new(body).read_to_end(&mut json).unwrap();
    let report = TlsReport::parse_json(&json).unwrap();
    assert_eq!(report.policies[0].summary.total_failure, 1);
    assert_eq!(
        world.relay.context.queue.status().0,
        1,
        "the mail still waits"
    );
    world.relay.stop().await;
}

#[tokio::test]
async fn a_domain_that_asks_for_no_report_gets_none_and_is_not_asked_twice() {
    let world = world("testing", "v=TLSRPTv2; rua=mailto:tls@reports.test").await;
    world.sends("a.test").await;
    world.report(LATE).await;
    assert_eq!(world.relay.context.tls_reports.len(), 0);
    assert_eq!(world.relay.context.queue.status().0, 0);
    world.relay.stop().await;
}

#[tokio::test]
async fn a_report_that_was_begun_is_not_made_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let day = Day::of(now());
    let basis = basis();
    let late = day.end().after(LATE);
    let (first, _) = TlsReports::open(directory.path(), now()).unwrap();
    first.note(&basis, None, now());
    first.flush(now()).unwrap();
    let (second, damaged) = TlsReports::open(directory.path(), now()).unwrap();
    assert_eq!((second.len(), damaged), (1, 0));
    assert_eq!(second.due(late).len(), 1);
    second.begin(day, "a.test", Vec::new()).unwrap();
    drop(second);
    let (third, _) = TlsReports::open(directory.path(), now()).unwrap();
    assert!(third.due(late).is_empty());
    // Nor when counts come that are late.
    third.note(&basis, None, now());
    assert!(third.due(late).is_empty());
}

#[tokio::test]
async fn tls_required_no_goes_before_what_the_domain_publishes_and_not_before_the_setting() {
    let asked = |options: relay_queue::Options| async move {
        let world = world("enforce", "").await;
        let to = ["to@a.test"];
        world.relay.submit_asking(options, None, &to, TEXT).await;
        world.relay.attempted(1).await;
        let arrived = world.first.messages().len();
        world.relay.stop().await;
        arrived
    };
    let optional = relay_queue::Options {
        tls_optional: true,
        ..relay_queue::Options::default()
    };
    assert_eq!(asked(relay_queue::Options::default()).await, 0);
    assert_eq!(asked(optional).await, 1);
}

#[tokio::test]
async fn shard_0_reports_for_all() {
    let shards = Shards::start(3, 2).await;
    let [first, second, leaving] = &shards.contexts[..] else {
        panic!()
    };
    let day = Day::of(now());
    for context in [first, second, leaving] {
        context.tls_reports.note(&basis(), None, now());
        let failure = Failure::of(Kind::StarttlsNotSupported);
        context.tls_reports.note(&basis(), Some(failure), now());
    }
    for context in [second, leaving] {
        hand_in(context).await.unwrap();
        assert_eq!(context.tls_reports.len(), 0);
    }
    let (policies, begun) = first.tls_reports.report(day, "a.test").unwrap();
    let tally = &policies[&Policy::none("a.test")];
    assert_eq!((tally.successful, tally.failed), (3, 3));
    assert_eq!(begun, None);
    // What comes after the report was made is in none, and makes no second one.
    first.tls_reports.begin(day, "a.test", Vec::new()).unwrap();
    second.tls_reports.note(&basis(), None, now());
    hand_in(second).await.unwrap();
    assert!(first.tls_reports.report(day, "a.test").is_none());
    assert!(first.tls_reports.due(day.end().after(LATE)).is_empty());
}

#[tokio::test]
async fn counts_wait_while_shard_0_is_away_and_count_once_when_its_answer_was_lost() {
    let shards = Shards::start(2, 2).await;
    let [first, second] = &shards.contexts[..] else {
        panic!()
    };
    second.tls_reports.note(&basis(), None, now());
    let batch = second.tls_reports.outgoing().unwrap();
    // It is in, and nobody here knows.
    first.tls_reports.take_in(batch).unwrap();
    hand_in(second).await.unwrap();
    let (policies, _) = first.tls_reports.report(Day::of(now()), "a.test").unwrap();
    assert_eq!(policies[&Policy::none("a.test")].successful, 1);
    first.shutdown.cancel();
    second.tls_reports.note(&basis(), None, now());
    assert!(hand_in(second).await.is_err());
    assert!(second.tls_reports.outgoing().is_some());
}

#[tokio::test]
async fn a_connection_of_mail_that_nothing_holds_up_serves_no_other() {
    let optional = relay_queue::Options {
        tls_optional: true,
        ..relay_queue::Options::default()
    };
    let world = world("enforce", "").await;
    for attempts in [1, 3] {
        world
            .relay
            .submit_asking(optional.clone(), None, &["to@a.test"], TEXT)
            .await;
        world.relay.attempted(attempts).await;
        assert_eq!(
            world.first.messages().len(),
            usize::try_from(attempts).unwrap().div_ceil(2)
        );
        // The connection is idle now, and not ten seconds old.
        world.relay.submit(None, &["to@a.test"], TEXT).await;
        world.relay.attempted(attempts + 1).await;
        assert_eq!(
            world.first.messages().len(),
            usize::try_from(attempts).unwrap().div_ceil(2)
        );
    }
    world.relay.stop().await;
}
