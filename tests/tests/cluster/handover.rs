//! Scaling down while mail waits for a receiver that is down.

use std::collections::BTreeSet;

use anyhow::ensure;
use mailrelay_tests::clients::Mail;
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};

use crate::changes::{scale, shards};

const MAILS: usize = 200;
const SESSIONS: usize = 10;

#[tokio::test]
async fn a_scale_down_with_deferred_mail_hands_it_to_the_shard_that_stays() -> anyhow::Result<()> {
    scenario::run("handover", 27, async |scenario: &mut Scenario| {
        let account = scenario.set_up("  replicas: 2").await?;
        let customer = scenario.customer();
        scenario.receiver.stop().await?;
        let mails: Vec<Mail> = (0..MAILS)
            .map(|number| Mail::new(&scenario.sender(), &customer, &format!("waits {number}")))
            .collect();
        let outcomes = scenario.place.smtplib(&account, &mails, SESSIONS).await?;
        ensure!(
            outcomes.iter().all(|outcome| outcome.accepted),
            "{outcomes:?}"
        );
        let namespace = &scenario.namespace;
        let all_queued = |relay: Option<&serde_json::Value>| {
            relay.is_some_and(|relay| relay["status"]["queuedMessages"] == MAILS)
        };
        namespace
            .watch(
                Kind::SmtpRelay,
                RELAY,
                "all mail queued",
                PATIENCE,
                all_queued,
            )
            .await?;
        let before = shards(namespace).await?;
        ensure!(
            before.iter().all(|shard| shard["queuedMessages"] != 0),
            "mail waits at one shard only: {before:?}"
        );

        // Nothing can be delivered: only by a hand-over its queue becomes empty.
        scale(namespace, 1).await?;
        let (deployment, claim) = (format!("{RELAY}-1"), format!("{RELAY}-queue-1"));
        namespace
            .gone(Kind::Deployment, &deployment, PATIENCE)
            .await?;
        namespace
            .gone(Kind::PersistentVolumeClaim, &claim, PATIENCE)
            .await?;
        namespace
            .watch(
                Kind::SmtpRelay,
                RELAY,
                "all mail at the other",
                PATIENCE,
                all_queued,
            )
            .await?;

        scenario.receiver.resume().await?;
        let delivered = scenario.receiver.expect(&customer, MAILS, PATIENCE).await?;
        let subjects: BTreeSet<String> = delivered
            .iter()
            .map(|message| message.only("Subject"))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            (delivered.len(), subjects.len()) == (MAILS, MAILS),
            "{} messages with {} subjects",
            delivered.len(),
            subjects.len()
        );
        Ok(())
    })
    .await
}
