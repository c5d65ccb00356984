//! Mail that was accepted arrives, whatever happens to the receiving server and the relay.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Mail, Outcome};
use mailrelay_tests::namespace::{Kind, Namespace};
use mailrelay_tests::node;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use serde_json::Value;

/// A thousand messages through two signatures and their verification on two cores.
const BULK_PATIENCE: Duration = Duration::from_mins(4);
const SESSIONS: usize = 10;

#[tokio::test]
async fn mail_waits_while_the_receiver_is_down_and_arrives_after() -> anyhow::Result<()> {
    scenario::run("outage", 16, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let (sender, customer) = (scenario.sender(), scenario.customer());
        scenario.receiver.stop().await?;
        let outcome = scenario
            .place
            .send(&account, &Mail::new(&sender, &customer, "waits"))
            .await?;
        ensure!(outcome.accepted, "{outcome:?}");
        scenario
            .namespace
            .watch(
                Kind::SmtpRelay,
                RELAY,
                "one message in the queue",
                PATIENCE,
                |relay| relay.is_some_and(|relay| relay["status"]["queuedMessages"] == 1),
            )
            .await?;
        scenario.receiver.resume().await?;
        let delivered = scenario.receiver.expect(&customer, 1, PATIENCE).await?;
        ensure!(delivered.len() == 1, "{} copies", delivered.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_killed_relay_loses_none_of_a_thousand_accepted_messages() -> anyhow::Result<()> {
    scenario::run("kill", 17, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        scenario.receiver.stop().await?;
        let first = mails(scenario, 0..1000);
        let outcomes = scenario.place.smtplib(&account, &first, SESSIONS).await?;
        let mut accepted = accepted(&first, &outcomes)?;
        ensure!(
            accepted.len() == first.len(),
            "only {} of 1000 accepted",
            accepted.len()
        );

        // Killed while more of them come in: what has its 250 counts, the rest does not.
        let second = mails(scenario, 1000..1500);
        let pod = relay_pod(&scenario.namespace).await?;
        let (outcomes, killed) = tokio::join!(
            scenario.place.smtplib(&account, &second, SESSIONS),
            node::kill_relay(&scenario.namespace, &pod),
        );
        killed?;
        accepted.extend(self::accepted(&second, &outcomes?)?);
        restarted(&scenario.namespace, &pod).await?;

        scenario.receiver.resume().await?;
        let recipient = format!("load-*@inbox.{}", scenario.zone.name());
        let delivered = scenario
            .receiver
            .expect(&recipient, accepted.len(), BULK_PATIENCE)
            .await?;
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        for message in &delivered {
            *copies.entry(message.only("Subject")?).or_default() += 1;
        }
        let missing: Vec<&String> = accepted
            .iter()
            .filter(|subject| !copies.contains_key(*subject))
            .collect();
        ensure!(
            missing.is_empty(),
            "{} accepted messages are lost: {missing:?}",
            missing.len()
        );
        // The receiver was down at the kill, so that no reply to a final dot was lost.
        let twice: Vec<_> = copies.iter().filter(|(_, copies)| **copies > 1).collect();
        ensure!(twice.is_empty(), "delivered more than once: {twice:?}");
        println!(
            "{} accepted before and around the kill, all delivered once",
            accepted.len()
        );
        Ok(())
    })
    .await
}

fn mails(scenario: &Scenario, numbers: std::ops::Range<usize>) -> Vec<Mail> {
    let recipient = |number| format!("load-{number}@inbox.{}", scenario.zone.name());
    numbers
        .map(|number| {
            Mail::new(
                &scenario.sender(),
                &recipient(number),
                &format!("bulk {number}"),
            )
        })
        .collect()
}

/// Subjects of the mails that were accepted.
fn accepted(mails: &[Mail], outcomes: &[Outcome]) -> anyhow::Result<Vec<String>> {
    outcomes
        .iter()
        .filter(|outcome| outcome.accepted)
        .map(|outcome| {
            let mail = mails
                .get(outcome.number)
                .context("an outcome without a mail")?;
            let subject = mail
                .text
                .lines()
                .find_map(|line| line.strip_prefix("Subject: "));
            Ok(subject.context("a mail without a subject")?.to_owned())
        })
        .collect()
}

/// The only relay pod.
pub(crate) async fn relay_pod(namespace: &Namespace) -> anyhow::Result<Value> {
    let pods = namespace.list(Kind::Pod).await?;
    // One that is on its way out may still be listed when its successor serves.
    let mut staying = pods
        .into_iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let pod = staying.next().context("no pod")?;
    let more = staying.count();
    ensure!(more == 0, "one pod, not {}", more + 1);
    Ok(pod)
}

/// Waits until the pod, or its successor, runs and is ready again.
async fn restarted(namespace: &Namespace, pod: &Value) -> anyhow::Result<()> {
    if !namespace.cluster.is_own() {
        namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        return Ok(());
    }
    let name = mailrelay_tests::namespace::text(pod, "/metadata/name")?;
    namespace
        .watch(
            Kind::Pod,
            &name,
            "the container runs again",
            PATIENCE,
            |pod| {
                pod.is_some_and(|pod| {
                    let container = &pod["status"]["containerStatuses"][0];
                    container["restartCount"].as_u64() > Some(0) && container["ready"] == true
                })
            },
        )
        .await?;
    Ok(())
}
