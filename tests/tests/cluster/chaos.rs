//! Everything goes wrong while clients send: at the end a ledger says of each message that got its 250
//! whether it arrived or was reported, and how often.
//!
//! `MAILRELAY_CHAOS_SECONDS` is how long it goes on (default 100); each disturbance comes once before any comes
//! twice. The last line can be read by a script.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mailrelay_tests::cluster::{OPERATOR_NAMESPACE, not_run};
use mailrelay_tests::flow::{Flow, Ledger};
use mailrelay_tests::namespace::{Kind, text};
use mailrelay_tests::node;
use mailrelay_tests::process::Run;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::sink::{Manner, Sink};
use mailrelay_tests::wait;
use serde_json::json;

use crate::flow::{mails, server, setting, sink};

/// Between two messages of all clients together.
const INTERVAL: Duration = Duration::from_millis(10);
const CLIENTS: u32 = 40;
/// How long a disturbance lasts.
const WHILE: Duration = Duration::from_secs(4);
/// Connections of a relay to one destination: so many messages may be under way when a process is killed, and
/// arrive twice.
const CONNECTIONS: usize = 20;
/// For everything to arrive in the end.
const DELIVERY_LIMIT: Duration = Duration::from_mins(5);
const ADMIN_PORT: &str = "8443";

/// What is done to the relay and to the world around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    KilledRelay,
    DeletedPod,
    KilledOperator,
    MoreShards,
    Refusing,
    NoApiServer,
    NoEtcd,
    NoDns,
    FewerShards,
    NewCertificate,
    NewConfiguration,
    Slow,
    Breaking,
    Babbling,
    NoWayToSiblings,
    NoWayOut,
}

const ALL: [Trouble; 16] = [
    Trouble::MoreShards,
    Trouble::KilledRelay,
    Trouble::Refusing,
    Trouble::DeletedPod,
    Trouble::KilledOperator,
    Trouble::NoDns,
    Trouble::NoWayToSiblings,
    Trouble::FewerShards,
    Trouble::NoApiServer,
    Trouble::Slow,
    Trouble::NewCertificate,
    Trouble::NewConfiguration,
    Trouble::NoWayOut,
    Trouble::Breaking,
    Trouble::NoEtcd,
    Trouble::Babbling,
];

#[tokio::test]
async fn whatever_goes_wrong_no_accepted_message_is_lost() -> anyhow::Result<()> {
    scenario::run_alone("chaos", 37, async |scenario: &mut Scenario| {
        if !scenario.cluster.is_own() {
            not_run("another cluster is not ours to disturb");
            return Ok(());
        }
        let seconds: u64 = setting("MAILRELAY_CHAOS_SECONDS", 100)?;
        let mut sink = sink(scenario, 137).await?;
        sink.open().await?;
        let account = scenario.set_up("  replicas: 1").await?;
        let server = server(scenario, &account).await?;
        let flow = Flow::start(&server, &mails(scenario), 0..u64::MAX, INTERVAL, CLIENTS);
        let start = Instant::now();
        let mut seen: BTreeMap<Trouble, usize> = BTreeMap::new();
        let mut troubles = ALL.iter().cycle();
        while start.elapsed() < Duration::from_secs(seconds)
            && let Some(trouble) = troubles.next()
        {
            println!("{:5.1} s: {trouble:?}", start.elapsed().as_secs_f64());
            let done = disturb(scenario, &sink, *trouble).await;
            done.with_context(|| format!("{trouble:?}"))?;
            *seen.entry(*trouble).or_default() += 1;
        }
        let ledger = flow.stop().await;
        scenario
            .namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", 2 * PATIENCE)
            .await?;
        judge(scenario, &sink, &ledger, &seen).await
    })
    .await
}

async fn disturb(scenario: &Scenario, sink: &Sink, trouble: Trouble) -> anyhow::Result<()> {
    let namespace = &scenario.namespace;
    let cluster = &scenario.cluster;
    match trouble {
        Trouble::KilledRelay => {
            let pods = namespace.list(Kind::Pod).await?;
            let pod = pods.first().context("no pod")?;
            node::kill_relay(namespace, pod).await?;
            tokio::time::sleep(WHILE).await;
        }
        Trouble::DeletedPod => {
            let pods = namespace.list(Kind::Pod).await?;
            let name = text(pods.last().context("no pod")?, "/metadata/name")?;
            namespace.remove(Kind::Pod, &name).await?;
            tokio::time::sleep(WHILE).await;
        }
        Trouble::KilledOperator => {
            cluster
                .kubectl()
                .args(["--namespace", OPERATOR_NAMESPACE, "delete", "pods", "--all"])
                .args(["--grace-period=0", "--force"])
                .succeed()
                .await?;
        }
        // What becomes of it is seen at the end: the next trouble comes in the middle of it.
        Trouble::MoreShards => scale(scenario, 4).await?,
        Trouble::FewerShards => scale(scenario, 1).await?,
        Trouble::NewCertificate => {
            let secret = format!("{RELAY}-tls");
            namespace.remove(Kind::Secret, &secret).await?;
        }
        Trouble::NewConfiguration => {
            let change = json!({"spec": {"limits": {"messageSize": "1Mi"}}});
            namespace.patch(Kind::SmtpRelay, RELAY, &change).await?;
        }
        Trouble::Refusing => behave(sink, Manner::Refuses).await,
        Trouble::Slow => behave(sink, Manner::Delays(Duration::from_millis(500))).await,
        Trouble::Breaking => behave(sink, Manner::Breaks).await,
        Trouble::Babbling => behave(sink, Manner::Babbles).await,
        Trouble::NoApiServer => away(scenario, "kube-apiserver").await?,
        Trouble::NoEtcd => away(scenario, "etcd").await?,
        Trouble::NoDns => away(scenario, "coredns").await?,
        Trouble::NoWayToSiblings => cut(&["FORWARD"], &["--dport", ADMIN_PORT]).await?,
        Trouble::NoWayOut => {
            let address = "10.250.0.137";
            let way = ["--destination", address, "--dport", "25"];
            cut(&["INPUT", "FORWARD"], &way).await?;
        }
    }
    Ok(())
}

async fn scale(scenario: &Scenario, replicas: u32) -> anyhow::Result<()> {
    let change = json!({"spec": {"replicas": replicas}});
    let namespace = &scenario.namespace;
    namespace.patch(Kind::SmtpRelay, RELAY, &change).await?;
    tokio::time::sleep(WHILE).await;
    Ok(())
}

async fn behave(sink: &Sink, manner: Manner) {
    sink.behave(manner);
    tokio::time::sleep(WHILE).await;
    sink.behave(Manner::Takes);
}

/// Without a component for a while.
async fn away(scenario: &Scenario, component: &str) -> anyhow::Result<()> {
    let a_while = async || {
        tokio::time::sleep(WHILE).await;
        Ok(())
    };
    scenario.cluster.without(component, a_while).await
}

/// Packets vanish for a while, on this machine, which is the cluster's node. Each rule that was made is taken
/// away, whatever becomes of the others.
async fn cut(chains: &[&str], way: &[&str]) -> anyhow::Result<()> {
    let rule = async |verb: &str, chain: &str| {
        Run::new("iptables")
            .args(["--wait", verb, chain, "--protocol", "tcp"])
            .args(way)
            .args(["--jump", "DROP"])
            .succeed()
            .await
    };
    let mut done = Ok(());
    let mut made = Vec::new();
    for chain in chains {
        match rule("--insert", chain).await {
            Ok(_) => made.push(chain),
            Err(error) => done = done.and(Err(error)),
        }
    }
    if done.is_ok() {
        tokio::time::sleep(WHILE).await;
    }
    for chain in made {
        done = done.and(rule("--delete", chain).await.map(drop));
    }
    done
}

/// Waits until each accepted message arrived or was reported, and counts.
#[expect(clippy::print_stdout, reason = "figures of the run")]
async fn judge(
    scenario: &Scenario,
    sink: &Sink,
    ledger: &Ledger,
    seen: &BTreeMap<Trouble, usize>,
) -> anyhow::Result<()> {
    let awaited = format!("a word on each of {} messages", ledger.accepted.len());
    let known = wait::until(&awaited, DELIVERY_LIMIT, || async {
        let known = known(scenario, sink).map_err(|error| error.to_string())?;
        match ledger.accepted.difference(&known).count() {
            0 => Ok(known),
            missing => Err(format!("{missing} are missing")),
        }
    })
    .await;
    let copies = sink.copies();
    let lost = match &known {
        Ok(_) => 0,
        Err(_) => ledger
            .accepted
            .difference(&self::known(scenario, sink)?)
            .count(),
    };
    let reported = reported(scenario)?
        .difference(&copies.keys().cloned().collect())
        .count();
    let more: usize = copies
        .values()
        .map(|copies| usize::try_from(copies.saturating_sub(1)).unwrap_or(0))
        .sum();
    println!(
        "chaos: {} troubles, {} messages accepted ({:.0} per second), {} refused or broken off, \
         {} arrived, {reported} reported, {more} copies too many, lost {lost}",
        seen.values().sum::<usize>(),
        ledger.accepted.len(),
        ledger.rate(),
        ledger.failures.len(),
        copies.len(),
    );
    known?;
    let kills = [Trouble::KilledRelay, Trouble::DeletedPod, Trouble::NoWayOut]
        .iter()
        .filter_map(|trouble| seen.get(trouble))
        .sum::<usize>();
    ensure!(
        more <= kills * CONNECTIONS,
        "{more} copies too many for {kills} cuts of {CONNECTIONS} connections"
    );
    let sent = ledger.accepted.len() + ledger.failures.len();
    ensure!(
        ledger.accepted.len() * 2 > sent,
        "most of {sent} messages were refused: {:?}",
        ledger.failures.iter().take(5).collect::<Vec<_>>()
    );
    Ok(())
}

/// Messages that arrived, or whose sender was told.
fn known(scenario: &Scenario, sink: &Sink) -> anyhow::Result<BTreeSet<String>> {
    let mut known: BTreeSet<String> = sink.copies().into_keys().collect();
    known.extend(reported(scenario)?);
    Ok(known)
}

/// Local parts of the recipients that reports name (RFC 3464 section 2.3.2).
fn reported(scenario: &Scenario) -> anyhow::Result<BTreeSet<String>> {
    let reports = scenario.receiver.mailbox(&scenario.sender())?;
    let mut found = BTreeSet::new();
    for report in reports {
        let status = report.part("message/delivery-status")?;
        let recipients = status
            .lines()
            .filter_map(|line| line.strip_prefix("Final-Recipient: rfc822;"));
        found.extend(
            recipients
                .filter_map(|address| address.trim().split_once('@'))
                .map(|(local, _)| local.to_owned()),
        );
    }
    Ok(found)
}
