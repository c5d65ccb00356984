//! From an earlier chart to this one while clients send; then without an operator at all.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mailrelay_tests::chart::Release;
use mailrelay_tests::clients::{Account, Mail, Outcome};
use mailrelay_tests::cluster::not_run;
use mailrelay_tests::namespace::{Kind, text};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A field that the earlier definitions do not have.
const NEW_FIELD: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/tls\
                         /properties/issuerRef";
const DEFINITION: &str = "crd/smtprelays.mailrelay.dev";
/// Between the end of one session and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the cluster's definition has the new field.
async fn has_new_field(scenario: &Scenario) -> anyhow::Result<bool> {
    let kubectl = scenario.cluster.kubectl();
    let said = kubectl
        .args(["get", DEFINITION, "--output=json"])
        .succeed()
        .await?;
    let definition: Value = serde_json::from_str(&said)?;
    Ok(definition.pointer(NEW_FIELD).is_some())
}

/// One new session and message after the other until told to stop.
async fn steady(
    scenario: &Scenario,
    account: &Account,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    while !*stop.borrow() {
        let subject = format!("steady {}", outcomes.len());
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), &subject);
        outcomes.push(scenario.place.send(account, &mail).await?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(outcomes)
}

/// Waits until both shards run the image with this tag and are ready.
async fn rolled_out(scenario: &Scenario, tag: &str) -> anyhow::Result<()> {
    for shard in 0..2 {
        let name = format!("{RELAY}-{shard}");
        let namespace = &scenario.namespace;
        let all = |shard: Option<&Value>| {
            shard.is_some_and(|shard| {
                let image = &shard["spec"]["template"]["spec"]["containers"][0]["image"];
                let status = &shard["status"];
                image.as_str().is_some_and(|image| image.ends_with(tag))
                    && status["observedGeneration"] == shard["metadata"]["generation"]
                    && status["updatedReplicas"] == 1
                    && status["availableReplicas"] == 1
            })
        };
        namespace
            .watch(Kind::Deployment, &name, tag, PATIENCE, all)
            .await?;
    }
    scenario
        .namespace
        .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
        .await?;
    Ok(())
}

#[tokio::test]
async fn o2_o7_an_upgrade_brings_new_definitions_and_loses_no_mail_and_an_uninstall_leaves_all()
-> anyhow::Result<()> {
    scenario::run_alone("upgrade", 76, async |scenario: &mut Scenario| {
        let cluster = scenario.cluster.clone();
        if !cluster.is_own() {
            not_run("another cluster has no images of two versions");
            return Ok(());
        }
        cluster.load_previous_images().await?;
        let folder = tempfile::tempdir()?;
        cluster
            .deploy(&Release::previous(folder.path()).await?)
            .await?;
        let judged = from_previous(scenario).await;
        // The tests that follow find this checkout's chart, whatever became of this one.
        cluster.install().await?;
        let sent = judged?;
        println!("{sent} messages accepted during the upgrade, all delivered once");
        Ok(())
    })
    .await
}

async fn from_previous(scenario: &mut Scenario) -> anyhow::Result<usize> {
    let cluster = scenario.cluster.clone();
    ensure!(
        !has_new_field(scenario).await?,
        "the earlier definitions are not in force"
    );
    let account = scenario
        .set_up("  replicas: 2\n  limits: {messageSize: 3Mi}")
        .await?;
    rolled_out(scenario, ":previous").await?;
    let before = relay(scenario).await?;

    let (stop, stopped) = watch::channel(false);
    let upgrade = async {
        let upgraded = async {
            cluster.install().await?;
            ensure!(
                has_new_field(scenario).await?,
                "the definitions are the earlier ones"
            );
            rolled_out(scenario, ":dev").await
        };
        let upgraded = upgraded.await;
        stop.send(true)?;
        upgraded
    };
    let (outcomes, upgraded) = tokio::join!(steady(scenario, &account, stopped), upgrade);
    upgraded?;
    let outcomes = outcomes?;
    let refused: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| !outcome.accepted)
        .collect();
    ensure!(
        refused.is_empty(),
        "{} sent, and {refused:?}",
        outcomes.len()
    );
    let delivered = scenario
        .receiver
        .expect(&scenario.customer(), outcomes.len(), PATIENCE)
        .await?;
    ensure!(
        delivered.len() == outcomes.len(),
        "{} delivered",
        delivered.len()
    );
    let after = relay(scenario).await?;
    ensure!(
        after["spec"] == before["spec"],
        "{} is now {}",
        before["spec"],
        after["spec"]
    );

    uninstalled(scenario, &account).await?;
    Ok(outcomes.len())
}

async fn relay(scenario: &Scenario) -> anyhow::Result<Value> {
    let found = scenario.namespace.get(Kind::SmtpRelay, RELAY).await?;
    found.context("the relay is gone")
}

/// Without an operator relays serve, and whoever deletes one is not held up.
async fn uninstalled(scenario: &mut Scenario, account: &Account) -> anyhow::Result<()> {
    scenario.cluster.uninstall().await?;
    let left = relay(scenario).await?;
    ensure!(
        left["metadata"]["finalizers"].is_null(),
        "{}",
        left["metadata"]
    );
    scenario.receiver.stop().await?;
    let mail = Mail::new(
        &scenario.sender(),
        &scenario.customer(),
        "without an operator",
    );
    let outcome = scenario.place.send(account, &mail).await?;
    ensure!(outcome.accepted, "{outcome:?}");

    let namespace = &scenario.namespace;
    namespace.remove(Kind::SmtpRelay, RELAY).await?;
    namespace.gone(Kind::SmtpRelay, RELAY, PATIENCE).await?;
    namespace
        .gone(Kind::Deployment, &format!("{RELAY}-0"), PATIENCE)
        .await?;
    let claims = namespace.list(Kind::PersistentVolumeClaim).await?;
    ensure!(
        claims.len() == 2,
        "{} claims, with mail in one",
        claims.len()
    );

    // And who installs it again finds relays made anew at their mail.
    scenario.cluster.install().await?;
    namespace
        .apply(&scenario.manifests("  replicas: 2"))
        .await?;
    scenario.receiver.resume().await?;
    let customer = scenario.customer();
    wait_for_subject(scenario, &customer, "without an operator").await?;
    for claim in namespace.list(Kind::PersistentVolumeClaim).await? {
        let name = text(&claim, "/metadata/name")?;
        let known = claims
            .iter()
            .any(|one| one["metadata"]["uid"] == claim["metadata"]["uid"]);
        ensure!(known, "{name} is a new claim: {}", json!(claim["metadata"]));
    }
    Ok(())
}

async fn wait_for_subject(
    scenario: &Scenario,
    customer: &str,
    subject: &str,
) -> anyhow::Result<()> {
    mailrelay_tests::wait::until(subject, PATIENCE, async || {
        let arrived = scenario
            .receiver
            .mailbox(customer)
            .map_err(|error| error.to_string())?;
        let found = arrived
            .iter()
            .any(|message| message.only("Subject").is_ok_and(|found| found == subject));
        if found {
            Ok(())
        } else {
            Err(format!("{} messages, not it", arrived.len()))
        }
    })
    .await
}
