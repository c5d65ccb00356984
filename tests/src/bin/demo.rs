//! `make demo`: an application's mail through a relay that the operator made, to a real mail
//! server that checks the signatures.
//!
//! Everything is the real thing: a Kubernetes cluster, the chart, the manifests of
//! `examples/cluster`, Postfix with OpenDKIM as the receiving server, and Python's smtplib, swaks
//! and msmtp as applications. The last line on standard output can be read by a script.

#![expect(clippy::print_stdout, reason = "a demonstration talks to a person")]

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use mailrelay_tests::clients::{Account, Encryption, Mail, Outcome, Place};
use mailrelay_tests::cluster::{Cluster, OPERATOR_NAMESPACE, RELEASE};
use mailrelay_tests::namespace::{Kind, Namespace};
use mailrelay_tests::prerequisites;
use mailrelay_tests::process::checkout;
use mailrelay_tests::receiver::{Delivered, More, Plan, Receiver};
use mailrelay_tests::scenario::{account, dns_records};
use mailrelay_tests::zone::{Record, Zone};

/// The namespace of `examples/cluster`.
const NAMESPACE: &str = "mail";
const SENDING_ZONE: &str = "shop.example";
const RECEIVING_ZONE: &str = "inbox.example";
const EXCHANGER: &str = "mx.inbox.example";
const RECEIVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 10);
const CUSTOMER: &str = "customer@inbox.example";
const SENDER: &str = "orders@shop.example";
/// Per step; a cold machine pulls nothing, but has two busy cores.
const LIMIT: Duration = Duration::from_mins(2);
/// RSA-2048 and Ed25519.
const SIGNATURES_PER_MAIL: usize = 2;

#[derive(Parser)]
#[command(about = "An application's mail through an operator-made relay to a real mail server")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Builds, starts, sends, verifies.
    Up,
    /// Removes what `up` made.
    Down,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().action {
        Action::Up => up().await,
        Action::Down => down().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is going on, with the time since the start.
struct Progress(Instant);

impl Progress {
    fn say(&self, text: &str) {
        println!("[{:4.0} s] {text}", self.0.elapsed().as_secs_f32());
    }
}

async fn up() -> anyhow::Result<()> {
    let progress = Progress(Instant::now());
    prerequisites::ensure(&["mail", "receiver"]).await?;
    progress.say("cluster: starting (a cold machine builds Kubernetes first, some minutes)");
    let mut cluster = Cluster::connect().await?;
    progress.say("images: building static binaries, from scratch");
    cluster.load_images().await?;
    progress.say(&format!(
        "operator: helm install {RELEASE} charts/mailrelay-operator"
    ));
    cluster.install().await?;

    progress.say(&format!(
        "receiver: Postfix and OpenDKIM at {RECEIVER_ADDRESS}:25"
    ));
    let mut receiver = start_receiver(&cluster).await?;
    progress.say("relay: kubectl apply -f examples/cluster");
    let applied = Instant::now();
    let namespace = apply(&cluster).await?;
    let account = account(&namespace, "storefront", LIMIT).await?;
    let seconds = applied.elapsed().as_secs_f32();
    progress.say(&format!(
        "relay: ready {seconds:.1} s after apply, at {}",
        account.host
    ));
    publish(&cluster, &namespace, &progress).await?;

    let sent = send(&cluster, &account, &progress).await?;
    let delivered = receiver.expect(CUSTOMER, sent, LIMIT).await?;
    let passed = show(&delivered, sent, &progress)?;
    receiver.stop().await?;
    what_next(&cluster);
    let expected = sent * SIGNATURES_PER_MAIL;
    ensure!(
        passed == expected,
        "only {passed} of {expected} signatures pass"
    );
    println!(
        "demo: delivered {sent} of {sent}, dkim pass {passed} of {expected}, in {:.0} s",
        progress.0.elapsed().as_secs_f32()
    );
    Ok(())
}

async fn down() -> anyhow::Result<()> {
    let own = std::env::var_os("KUBECONFIG").is_none_or(|value| value.is_empty());
    if own {
        println!("demo: ending the cluster");
        return Cluster::down().await;
    }
    let cluster = Cluster::connect().await?;
    println!("demo: removing namespace {NAMESPACE} and the operator");
    Namespace {
        cluster: cluster.clone(),
        name: NAMESPACE.into(),
    }
    .delete()
    .await?;
    cluster.uninstall().await
}

async fn start_receiver(cluster: &Cluster) -> anyhow::Result<Receiver> {
    cluster.add_address(RECEIVER_ADDRESS).await?;
    let mut zone = Zone::new(&cluster.zones, RECEIVING_ZONE);
    zone.publish([
        Record::address(EXCHANGER, RECEIVER_ADDRESS),
        Record::mail_exchanger(RECEIVING_ZONE, EXCHANGER),
    ])?;
    Receiver::start(Plan {
        host: EXCHANGER.into(),
        address: RECEIVER_ADDRESS,
        resolver: cluster.resolver,
        recipients: vec![CUSTOMER.into(), SENDER.into()],
        more: More::default(),
    })
    .await
}

async fn apply(cluster: &Cluster) -> anyhow::Result<Namespace> {
    cluster
        .kubectl()
        .args(["apply", "--filename"])
        .arg(checkout().join("examples/cluster"))
        .succeed()
        .await?;
    let namespace = Namespace {
        cluster: cluster.clone(),
        name: NAMESPACE.into(),
    };
    namespace
        .condition(Kind::SmtpRelay, "outbox", "Ready", "True", LIMIT)
        .await?;
    Ok(namespace)
}

/// Publishes the records exactly as the status prints them, as the domain's owner would.
async fn publish(
    cluster: &Cluster,
    namespace: &Namespace,
    progress: &Progress,
) -> anyhow::Result<()> {
    let records = dns_records(namespace, "shop", LIMIT).await?;
    for record in &records {
        let start: String = record.value.chars().take(40).collect();
        progress.say(&format!(
            "dns: publishing {} {} {start}…",
            record.name, record.kind
        ));
    }
    let mut zone = Zone::new(&cluster.zones, SENDING_ZONE);
    zone.publish(records)?;
    zone.publish([Record::mail_exchanger(SENDING_ZONE, EXCHANGER)])?;
    namespace
        .condition(Kind::SendingDomain, "shop", "DnsVerified", "True", LIMIT)
        .await?;
    progress.say("dns: the operator has seen the records");
    Ok(())
}

/// One mail each with three applications over three ports; returns how many were accepted.
async fn send(cluster: &Cluster, account: &Account, progress: &Progress) -> anyhow::Result<usize> {
    let place = Place::pod(cluster.resolver, NAMESPACE)?;
    let mail = |subject: &str| Mail::new(SENDER, CUSTOMER, subject);
    let implicit = account.at(465, Encryption::Implicit);
    let other = account.at(2525, Encryption::StartTls);
    let mut sent = 0;
    let mut note = |client: &str, outcome: &Outcome| {
        ensure!(
            outcome.accepted,
            "{client}: {} {}",
            outcome.code,
            outcome.text
        );
        progress.say(&format!("sent: {client}, accepted with 250"));
        sent += 1;
        Ok(())
    };
    note(
        "Python's smtplib, port 587, STARTTLS, login",
        &place.send(account, &mail("by smtplib")).await?,
    )?;
    note(
        "swaks, port 465, TLS from the first octet, login",
        &place.swaks(&implicit, &mail("by swaks")).await?,
    )?;
    note(
        "msmtp, port 2525, STARTTLS, login",
        &place.msmtp(&other, &mail("by msmtp")).await?,
    )?;
    Ok(sent)
}

/// Shows the first message and the verdict on each; returns how many signatures pass.
fn show(delivered: &[Delivered], sent: usize, progress: &Progress) -> anyhow::Result<usize> {
    ensure!(
        delivered.len() == sent,
        "{} messages arrived, {sent} were sent",
        delivered.len()
    );
    let first = delivered.first().context("nothing arrived")?;
    progress.say(&format!(
        "delivered: {sent} of {sent}; the first one's header as received:"
    ));
    println!("\n{}\n", first.header_block());
    let mut passed = 0;
    for message in delivered {
        for verdict in message.verdicts() {
            let subject = message.only("Subject")?;
            println!(
                "OpenDKIM on {subject:?}: {} for {} ({})",
                verdict.result, verdict.domain, verdict.algorithm
            );
            passed += usize::from(verdict.result == "pass" && verdict.domain == SENDING_ZONE);
        }
    }
    Ok(passed)
}

fn what_next(cluster: &Cluster) {
    let kubectl = if cluster.is_own() {
        "tests/cluster/cluster kubectl"
    } else {
        "kubectl"
    };
    println!(
        "
What to try next (the cluster keeps running; the receiving server has ended, so new mail waits):
  {kubectl} get smtprelays,sendingdomains,smtpcredentials -A
  {kubectl} -n {NAMESPACE} describe smtprelay outbox
  {kubectl} -n {NAMESPACE} logs -l mailrelay.dev/relay=outbox
  {kubectl} -n {NAMESPACE} scale smtprelay outbox --replicas 2
  {kubectl} -n {OPERATOR_NAMESPACE} logs -l app.kubernetes.io/instance={RELEASE}
  {kubectl} explain smtprelay.spec.listeners
  make demo-down
"
    );
}
