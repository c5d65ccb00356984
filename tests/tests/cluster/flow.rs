//! Clients that send without a pause while the relay's shape changes: none of them notices, and a ledger
//! says of each accepted message that it arrived once.
//!
//! `MAILRELAY_QUEUED` is the number of messages that wait at the scale-down (default 3000), and
//! `MAILRELAY_RATE` that of messages a second at the rollout (default 100, while other tests run).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Account, Encryption};
use mailrelay_tests::flow::{Flow, Ledger, Mails};
use mailrelay_tests::namespace::{Kind, has_condition, text};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::sink::Sink;
use mailrelay_tests::submission::{Server, plain};
use mailrelay_tests::wait;
use serde_json::{Value, json};

use crate::changes::scale;

/// Beyond what delivery takes (nothing can be delivered here).
const HAND_OVER_LIMIT: Duration = Duration::from_mins(1);
/// For all messages to arrive.
const DELIVERY_LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn a_scale_down_from_three_with_mail_waiting_disturbs_no_client() -> anyhow::Result<()> {
    scenario::run("shrink", 34, async |scenario: &mut Scenario| {
        let queued: u64 = setting("MAILRELAY_QUEUED", 3000)?;
        let mut sink = sink(scenario, 134).await?;
        let account = scenario.set_up("  replicas: 3").await?;
        let server = server(scenario, &account).await?;
        let mails = mails(scenario);
        let before = Flow::start(&server, &mails, 0..queued, Duration::ZERO, 30);
        let before = flawless("the first messages", before.finish().await)?;
        println!(
            "{queued} messages accepted by three shards, {:.0} per second",
            before.rate()
        );
        holds(scenario, queued).await?;

        let steady = Flow::start(
            &server,
            &mails,
            queued..u64::MAX,
            Duration::from_millis(50),
            10,
        );
        let start = Instant::now();
        scale(&scenario.namespace, 1).await?;
        for shard in 1..3 {
            let (deployment, claim) =
                (format!("{RELAY}-{shard}"), format!("{RELAY}-queue-{shard}"));
            scenario
                .namespace
                .gone(Kind::Deployment, &deployment, 4 * PATIENCE)
                .await?;
            scenario
                .namespace
                .gone(Kind::PersistentVolumeClaim, &claim, PATIENCE)
                .await?;
        }
        let drained = start.elapsed();
        let during = flawless("the scale-down", steady.stop().await)?;
        let all = queued + u64::try_from(during.accepted.len())?;
        println!(
            "two of three shards handed over and went in {drained:.1?}, while {} messages were \
             accepted and {} sessions ended between two messages",
            during.accepted.len(),
            during.goodbyes
        );
        ensure!(drained < HAND_OVER_LIMIT, "the drain took {drained:.1?}");
        holds(scenario, all).await?;
        sink.open().await?;
        arrives_once(&sink, &[&before, &during]).await
    })
    .await
}

#[tokio::test]
async fn a_rollout_and_an_eviction_at_two_shards_disturb_no_client() -> anyhow::Result<()> {
    scenario::run("rollout", 35, async |scenario: &mut Scenario| {
        let rate: u32 = setting("MAILRELAY_RATE", 100)?;
        let mut sink = sink(scenario, 135).await?;
        sink.open().await?;
        let account = scenario.set_up("  replicas: 2").await?;
        let server = server(scenario, &account).await?;
        let interval = Duration::from_secs(1) / rate;
        let flow = Flow::start(&server, &mails(scenario), 0..u64::MAX, interval, 40);

        let before = pods(scenario).await?;
        let template = json!({"spec": {"podTemplate": {"metadata": {"annotations": {"rollout": "again"}}}}});
        scenario
            .namespace
            .patch(Kind::SmtpRelay, RELAY, &template)
            .await?;
        let start = Instant::now();
        let fresh = replaced(scenario, &before, 2).await?;
        println!("two shards were rolled out in {:.1?}", start.elapsed());

        evict(scenario, &fresh[0]).await?;
        let kept = &fresh[1..];
        replaced(scenario, &fresh[..1], 2)
            .await?
            .iter()
            .find(|pod| *pod == &kept[0])
            .context("the other pod went, too")?;
        let ledger = flawless("the rollout", flow.stop().await)?;
        println!(
            "{} messages accepted meanwhile, {:.0} per second; {} sessions ended between two messages",
            ledger.accepted.len(),
            ledger.rate(),
            ledger.goodbyes
        );
        arrives_once(&sink, &[&ledger]).await
    })
    .await
}

#[tokio::test]
async fn a_claim_of_another_class_gets_the_mail_and_no_client_notices() -> anyhow::Result<()> {
    scenario::run("move", 36, async |scenario: &mut Scenario| {
        let mut sink = sink(scenario, 136).await?;
        let class = other_class(scenario).await?;
        let account = scenario.set_up("").await?;
        let server = server(scenario, &account).await?;
        let mails = mails(scenario);
        let before = Flow::start(&server, &mails, 0..500, Duration::ZERO, 10);
        let before = flawless("the first messages", before.finish().await)?;
        holds(scenario, 500).await?;
        let steady = Flow::start(
            &server,
            &mails,
            500..u64::MAX,
            Duration::from_millis(50),
            10,
        );
        let start = Instant::now();
        let namespace = &scenario.namespace;
        let change = json!({"spec": {"queue": {"storageClassName": class}}});
        namespace.patch(Kind::SmtpRelay, RELAY, &change).await?;
        let claim = format!("{RELAY}-queue-0");
        let has_class = |claim: Option<&Value>| {
            claim.is_some_and(|claim| claim["spec"]["storageClassName"] == json!(class))
        };
        let awaited = "a claim of the new class";
        namespace
            .watch(
                Kind::PersistentVolumeClaim,
                &claim,
                awaited,
                2 * PATIENCE,
                has_class,
            )
            .await?;
        // The second shard was there for the time only.
        let deployment = format!("{RELAY}-1");
        namespace
            .gone(Kind::Deployment, &deployment, 2 * PATIENCE)
            .await?;
        namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        println!(
            "the queue moved to another class in {:.1?}",
            start.elapsed()
        );
        let during = flawless("the move", steady.stop().await)?;
        let all = 500 + u64::try_from(during.accepted.len())?;
        holds(scenario, all).await?;
        sink.open().await?;
        arrives_once(&sink, &[&before, &during]).await
    })
    .await
}

/// A storage class like the default one, under another name.
async fn other_class(scenario: &Scenario) -> anyhow::Result<String> {
    const NAME: &str = "mailrelay-test-other";
    let listed = scenario
        .cluster
        .kubectl()
        .args(["get", "storageclasses", "--output=json"])
        .succeed()
        .await?;
    let listed: Value = serde_json::from_str(&listed)?;
    let is_default = |class: &&Value| {
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    let mut class = listed["items"]
        .as_array()
        .and_then(|classes| classes.iter().find(is_default))
        .context("the cluster has no default storage class")?
        .clone();
    class["metadata"] = json!({"name": NAME});
    scenario
        .cluster
        .kubectl()
        .args(["apply", "--server-side", "-f", "-"])
        .input(class.to_string())
        .succeed()
        .await?;
    Ok(NAME.to_owned())
}

/// Number in the environment, or the default.
pub(crate) fn setting<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .map_err(|_| anyhow::anyhow!("{name}: {value:?} is not a number")),
        Err(_) => Ok(default),
    }
}

/// The mail server of `bulk.<zone>`, which does not listen yet. To be made before the relay is set up: by then the
/// zone with its records is served.
pub(crate) async fn sink(scenario: &mut Scenario, host: u8) -> anyhow::Result<Sink> {
    let address = Ipv4Addr::new(10, 250, 0, host);
    scenario.cluster.add_address(address).await?;
    let zone = scenario.zone.name().to_owned();
    let exchanger = format!("sink.{zone}");
    scenario.zone.publish([
        mailrelay_tests::zone::Record::address(&exchanger, address),
        mailrelay_tests::zone::Record::mail_exchanger(&format!("bulk.{zone}"), &exchanger),
    ])?;
    Ok(Sink::new(SocketAddr::from((address, 25))))
}

pub(crate) fn mails(scenario: &Scenario) -> Mails {
    Mails {
        sender: scenario.sender(),
        domain: format!("bulk.{}", scenario.zone.name()),
    }
}

/// The relay's Service, at the port with TLS from the first octet.
pub(crate) async fn server(scenario: &Scenario, account: &Account) -> anyhow::Result<Server> {
    let account = account.at(465, Encryption::Implicit);
    let service = scenario.namespace.get(Kind::Service, RELAY).await?;
    let address = text(&service.context("no Service")?, "/spec/clusterIP")?;
    let login = account.login.clone().context("no login")?;
    Server::new(
        SocketAddr::new(address.parse()?, account.port),
        &account.host,
        &account.authority,
        &plain(&login),
    )
}

/// The ledger, if every message was accepted at once.
fn flawless(what: &str, ledger: Ledger) -> anyhow::Result<Ledger> {
    ensure!(
        ledger.failures.is_empty(),
        "{what}: {} of {} messages were not accepted: {:?}",
        ledger.failures.len(),
        ledger.accepted.len() + ledger.failures.len(),
        ledger.failures.iter().take(10).collect::<Vec<_>>()
    );
    ensure!(!ledger.accepted.is_empty(), "{what}: nothing was sent");
    Ok(ledger)
}

/// Waits until the relay says that so many messages wait.
async fn holds(scenario: &Scenario, messages: u64) -> anyhow::Result<()> {
    let awaited = format!("{messages} messages wait");
    scenario
        .namespace
        .watch(Kind::SmtpRelay, RELAY, &awaited, 2 * PATIENCE, |relay| {
            relay.is_some_and(|relay| relay["status"]["queuedMessages"] == json!(messages))
        })
        .await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "figures of the run")]
async fn arrives_once(sink: &Sink, ledgers: &[&Ledger]) -> anyhow::Result<()> {
    let accepted: usize = ledgers.iter().map(|ledger| ledger.accepted.len()).sum();
    let start = Instant::now();
    let awaited = format!("{accepted} messages at the receiver");
    wait::until(&awaited, DELIVERY_LIMIT, || async {
        match sink.copies().len() {
            count if count >= accepted => Ok(()),
            count => Err(format!("{count} messages")),
        }
    })
    .await?;
    println!("all {accepted} arrived {:.1?} later", start.elapsed());
    let copies = sink.copies();
    let numbers = ledgers.iter().flat_map(|ledger| &ledger.accepted);
    let lost: Vec<_> = numbers
        .filter(|number| !copies.contains_key(*number))
        .collect();
    ensure!(
        lost.is_empty(),
        "{} lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(10)]
    );
    let twice: Vec<_> = copies.iter().filter(|(_, copies)| **copies != 1).collect();
    ensure!(
        twice.is_empty(),
        "{} arrived more than once: {:?}",
        twice.len(),
        &twice[..twice.len().min(10)]
    );
    Ok(())
}

/// Names of the relay's pods.
async fn pods(scenario: &Scenario) -> anyhow::Result<Vec<String>> {
    let pods = scenario.namespace.list(Kind::Pod).await?;
    pods.iter().map(|pod| text(pod, "/metadata/name")).collect()
}

/// Waits until none of `before` is left and `number` shards are ready; the names of their pods.
async fn replaced(
    scenario: &Scenario,
    before: &[String],
    number: usize,
) -> anyhow::Result<Vec<String>> {
    let awaited = format!("other pods than {before:?}");
    let fresh = wait::until(&awaited, 2 * PATIENCE, || async {
        let now = pods(scenario).await.map_err(|error| error.to_string())?;
        if now.len() == number && now.iter().all(|pod| !before.contains(pod)) {
            Ok(now)
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await?;
    let all_ready = |relay: Option<&Value>| {
        relay.is_some_and(|relay| {
            relay["status"]["readyReplicas"] == json!(number)
                && has_condition(relay, "Ready", "True")
        })
    };
    scenario
        .namespace
        .watch(
            Kind::SmtpRelay,
            RELAY,
            "all shards ready",
            PATIENCE,
            all_ready,
        )
        .await?;
    Ok(fresh)
}

/// What a node drain does: the API server asks the PodDisruptionBudget first.
async fn evict(scenario: &Scenario, pod: &str) -> anyhow::Result<()> {
    let namespace = &scenario.namespace.name;
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    scenario
        .namespace
        .kubectl()
        .args(["create", "--raw", &path, "-f", "-"])
        .input(eviction.to_string())
        .succeed()
        .await?;
    Ok(())
}
