//! Mail that waits when its relay is scaled to nothing or deleted: by each policy of the spec.

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Account, Mail};
use mailrelay_tests::namespace::{Kind, condition, text};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use serde_json::{Value, json};

const CLAIM: &str = "outbox-queue-0";

/// Sends a message that nobody takes for now.
async fn message_waits(
    scenario: &Scenario,
    account: &Account,
    subject: &str,
) -> anyhow::Result<()> {
    let mail = Mail::new(&scenario.sender(), &scenario.customer(), subject);
    let outcome = scenario.place.send(account, &mail).await?;
    ensure!(outcome.accepted, "{outcome:?}");
    Ok(())
}

/// Waits until the relay gives this reason for not being ready.
pub(crate) async fn reason(scenario: &Scenario, reason: &str) -> anyhow::Result<Value> {
    let holds = |relay: Option<&Value>| {
        let ready = relay.and_then(|relay| condition(relay, "Ready"));
        ready.is_some_and(|ready| ready["reason"] == reason)
    };
    let namespace = &scenario.namespace;
    let relay = namespace
        .watch(Kind::SmtpRelay, RELAY, reason, PATIENCE, holds)
        .await?;
    relay.context("the relay is gone")
}

/// Waits until an Event about the relay has this reason; its note.
async fn event(scenario: &Scenario, reason: &str) -> anyhow::Result<String> {
    mailrelay_tests::wait::until(reason, PATIENCE, || async {
        let events = scenario.namespace.list(Kind::Event).await;
        let events = events.map_err(|error| error.to_string())?;
        let found = events.iter().find(|event| event["reason"] == reason);
        let note = found.and_then(|event| event["note"].as_str());
        note.map(str::to_owned)
            .ok_or_else(|| format!("{} other Events", events.len()))
    })
    .await
}

#[tokio::test]
async fn no_shard_goes_while_mail_waits_unless_told_to_and_none_is_needed_to_deliver_it()
-> anyhow::Result<()> {
    scenario::run("zero", 38, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        scenario.receiver.stop().await?;
        message_waits(scenario, &account, "waits at zero").await?;
        let namespace = &scenario.namespace;
        let none = json!({"spec": {"replicas": 0}});
        namespace.patch(Kind::SmtpRelay, RELAY, &none).await?;
        let relay = reason(scenario, "MailWaits").await?;
        let ready = condition(&relay, "Ready").context("no condition Ready")?;
        let message = text(ready, "/message")?;
        ensure!(
            message.contains("1 messages wait in outbox-0")
                && message.contains("spec.scaleToZeroPolicy"),
            "{message}"
        );
        // It goes on as it is: another client is served.
        message_waits(scenario, &account, "comes while zero is refused").await?;

        // Told to wait, it takes nothing new, delivers, and goes.
        let wait = json!({"spec": {"scaleToZeroPolicy": "Wait"}});
        namespace.patch(Kind::SmtpRelay, RELAY, &wait).await?;
        reason(scenario, "Draining").await?;
        scenario.receiver.resume().await?;
        let customer = scenario.customer();
        let delivered = scenario.receiver.expect(&customer, 2, PATIENCE).await?;
        ensure!(delivered.len() == 2, "{} messages, not 2", delivered.len());
        for kind in [Kind::Deployment, Kind::PersistentVolumeClaim] {
            for name in scenario.made(kind).await? {
                namespace.gone(kind, &name, PATIENCE).await?;
            }
        }
        let relay = reason(scenario, "ScaledToZero").await?;
        ensure!(relay["status"]["replicas"] == 0, "{}", relay["status"]);

        // And back: the relay serves as before.
        let one = json!({"spec": {"replicas": 1}});
        namespace.patch(Kind::SmtpRelay, RELAY, &one).await?;
        let account = scenario.ready().await?;
        message_waits(scenario, &account, "after zero").await?;
        scenario.receiver.expect(&customer, 3, PATIENCE).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_queue_that_is_retained_is_delivered_by_a_relay_made_anew() -> anyhow::Result<()> {
    scenario::run("retain", 39, async |scenario: &mut Scenario| {
        let spec = "  deletionPolicy: Retain";
        let account = scenario.set_up(spec).await?;
        scenario.receiver.stop().await?;
        message_waits(scenario, &account, "retained").await?;
        let namespace = &scenario.namespace;
        let claim = namespace.get(Kind::PersistentVolumeClaim, CLAIM).await?;
        let identity = text(&claim.context("no claim")?, "/metadata/uid")?;

        namespace.remove(Kind::SmtpRelay, RELAY).await?;
        namespace.gone(Kind::SmtpRelay, RELAY, PATIENCE).await?;
        namespace
            .gone(Kind::Deployment, "outbox-0", PATIENCE)
            .await?;
        let note = event(scenario, "ClaimKept").await?;
        ensure!(note.contains(CLAIM), "{note}");
        let kept = namespace.get(Kind::PersistentVolumeClaim, CLAIM).await?;
        let kept = kept.context("the claim is gone")?;
        ensure!(
            text(&kept, "/metadata/uid")? == identity
                && kept["metadata"]["deletionTimestamp"].is_null()
                && kept["metadata"]["ownerReferences"].is_null(),
            "{kept:#}"
        );

        scenario.receiver.resume().await?;
        namespace.apply(&scenario.manifests(spec)).await?;
        let customer = scenario.customer();
        let delivered = scenario.receiver.expect(&customer, 1, PATIENCE).await?;
        ensure!(
            delivered[0].only("Subject")? == "retained",
            "{:?}",
            delivered[0]
        );
        let claims = namespace.list(Kind::PersistentVolumeClaim).await?;
        ensure!(
            claims.len() == 1 && text(&claims[0], "/metadata/uid")? == identity,
            "{} claims",
            claims.len()
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_queue_that_is_discarded_goes_at_once_and_an_event_counts_it() -> anyhow::Result<()> {
    scenario::run("discard", 40, async |scenario: &mut Scenario| {
        let account = scenario.set_up("  deletionPolicy: Discard").await?;
        scenario.receiver.stop().await?;
        message_waits(scenario, &account, "discarded").await?;
        let namespace = &scenario.namespace;
        // What it says of its queue is what the Event can count.
        let counted = |relay: Option<&Value>| {
            relay.is_some_and(|relay| relay["status"]["queuedMessages"] == 1)
        };
        namespace
            .watch(Kind::SmtpRelay, RELAY, "1 queued", PATIENCE, counted)
            .await?;
        namespace.remove(Kind::SmtpRelay, RELAY).await?;
        namespace.gone(Kind::SmtpRelay, RELAY, PATIENCE).await?;
        namespace
            .gone(Kind::PersistentVolumeClaim, CLAIM, PATIENCE)
            .await?;
        let note = event(scenario, "MailDiscarded").await?;
        ensure!(note.starts_with("1 messages of 1 shards"), "{note}");
        Ok(())
    })
    .await
}
