//! Changes while mail flows: sessions keep working, and conditions tell the truth at each step.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Account, Encryption, Mail, Outcome};
use mailrelay_tests::namespace::{Kind, Namespace, has_condition, text};
use mailrelay_tests::scenario::{self, CREDENTIAL, DOMAIN, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::{Value, json};

use crate::durability::relay_pod;

/// How long a session stays open while things change around it.
const PAUSE: Duration = Duration::from_millis(250);
const PACED: usize = 80;

/// One session that stays open for `PACED` mails.
async fn one_session(scenario: &Scenario, account: &Account) -> anyhow::Result<Vec<Outcome>> {
    let mails: Vec<Mail> = (0..PACED)
        .map(|number| {
            let subject = format!("paced {number}");
            Mail::new(&scenario.sender(), &scenario.customer(), &subject)
        })
        .collect();
    scenario.place.paced(account, &mails, PAUSE).await
}

fn all_accepted(outcomes: &[Outcome]) -> anyhow::Result<()> {
    ensure!(outcomes.len() == PACED, "{} outcomes", outcomes.len());
    match outcomes.iter().find(|outcome| !outcome.accepted) {
        Some(refused) => anyhow::bail!("the open session was disturbed: {refused:?}"),
        None => Ok(()),
    }
}

#[tokio::test]
async fn a_session_outlives_a_rotated_password_and_a_new_certificate() -> anyhow::Result<()> {
    scenario::run("renewal", 22, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let implicit = account.at(465, Encryption::Implicit);
        let old = scenario.place.certificate(&implicit).await?;
        let changes = async {
            let namespace = &scenario.namespace;
            namespace
                .remove(Kind::Secret, &format!("{RELAY}-tls"))
                .await?;
            wait::until("a new certificate at port 465", PATIENCE, || async {
                match scenario.place.certificate(&implicit).await {
                    Ok(new) if new != old => Ok(()),
                    Ok(_) => Err("the old one".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            })
            .await?;
            namespace
                .condition(Kind::SmtpRelay, RELAY, "TlsReady", "True", PATIENCE)
                .await?;

            // The one before is accepted for a day, and so is the session that used it.
            let rotate = json!({"spec": {"rotation": {"trigger": "renewal"}}});
            namespace
                .patch(Kind::SmtpCredential, CREDENTIAL, &rotate)
                .await?;
            wait::until("a new password", PATIENCE, || async {
                let fresh = scenario
                    .account(CREDENTIAL)
                    .await
                    .map_err(|error| error.to_string())?;
                let mail = Mail::new(&scenario.sender(), &scenario.customer(), "new password");
                if fresh.login == account.login {
                    return Err("the old one".to_owned());
                }
                match scenario.place.send(&fresh, &mail).await {
                    Ok(outcome) if outcome.accepted => Ok(()),
                    Ok(outcome) => Err(format!("{outcome:?}")),
                    Err(error) => Err(error.to_string()),
                }
            })
            .await
        };
        let (outcomes, renewed) = tokio::join!(one_session(scenario, &account), changes);
        renewed?;
        all_accepted(&outcomes?)?;
        scenario
            .receiver
            .expect(&scenario.customer(), PACED + 1, PATIENCE)
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deleted_pod_is_told_and_replaced_and_its_mail_arrives() -> anyhow::Result<()> {
    scenario::run("pod", 23, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let (sender, customer) = (scenario.sender(), scenario.customer());
        scenario.receiver.stop().await?;
        let mail = Mail::new(&sender, &customer, "before the pod was deleted");
        let outcome = scenario.place.send(&account, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");

        let pod = relay_pod(&scenario.namespace).await?;
        let name = text(&pod, "/metadata/name")?;
        let namespace = &scenario.namespace;
        let (told, deleted) = tokio::join!(
            namespace.watch(
                Kind::SmtpRelay,
                RELAY,
                "Ready is not True",
                PATIENCE,
                |relay| { relay.is_some_and(|relay| !has_condition(relay, "Ready", "True")) }
            ),
            namespace.remove(Kind::Pod, &name),
        );
        deleted?;
        told?;
        namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        let successor = relay_pod(namespace).await?;
        ensure!(text(&successor, "/metadata/name")? != name, "the same pod");
        // A node learns of the new endpoint a moment after everybody else.
        let after = Mail::new(&sender, &customer, "after");
        wait::until("the next message is taken", PATIENCE, || async {
            match scenario.place.send(&account, &after).await {
                Ok(outcome) if outcome.accepted => Ok(()),
                Ok(outcome) => Err(format!("{outcome:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        scenario.receiver.resume().await?;
        let delivered = scenario.receiver.expect(&customer, 2, PATIENCE).await?;
        ensure!(delivered.len() == 2, "{} messages, not 2", delivered.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_session_outlives_scaling_and_both_shards_deliver() -> anyhow::Result<()> {
    scenario::run("scale", 24, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let scaling = async {
            let namespace = &scenario.namespace;
            scale(namespace, 2).await?;
            let shards = shards(&scenario.namespace).await?;
            ensure!(shards.len() == 2, "{shards:?}");
            namespace
                .condition(Kind::SendingDomain, DOMAIN, "Programmed", "True", PATIENCE)
                .await
        };
        let (outcomes, scaled) = tokio::join!(one_session(scenario, &account), scaling);
        scaled?;
        all_accepted(&outcomes?)?;

        // New sessions meet both shards: each Received line names the pod that wrote it.
        let customer = scenario.customer();
        let mails: Vec<Mail> = (0..20)
            .map(|number| Mail::new(&scenario.sender(), &customer, &format!("shard {number}")))
            .collect();
        let outcomes = scenario
            .place
            .smtplib(&account, &mails, mails.len())
            .await?;
        ensure!(
            outcomes.iter().all(|outcome| outcome.accepted),
            "{outcomes:?}"
        );
        scenario
            .receiver
            .expect(&customer, PACED + mails.len(), PATIENCE)
            .await?;

        // Down again: the shard that goes leaves nothing behind.
        scale(&scenario.namespace, 1).await?;
        scenario
            .namespace
            .gone(Kind::Deployment, &format!("{RELAY}-1"), PATIENCE)
            .await?;
        let claim = format!("{RELAY}-queue-1");
        scenario
            .namespace
            .gone(Kind::PersistentVolumeClaim, &claim, PATIENCE)
            .await
    })
    .await
}

/// Scales as `kubectl scale` does and waits for the relay to say that it is done.
pub(crate) async fn scale(namespace: &Namespace, replicas: u32) -> anyhow::Result<()> {
    namespace
        .kubectl()
        .args([
            "scale",
            "smtprelay",
            RELAY,
            &format!("--replicas={replicas}"),
        ])
        .succeed()
        .await?;
    namespace
        .watch(
            Kind::SmtpRelay,
            RELAY,
            &format!("{replicas} ready shards"),
            PATIENCE,
            |relay| {
                relay.is_some_and(|relay| {
                    relay["status"]["readyReplicas"] == json!(replicas)
                        && has_condition(relay, "Ready", "True")
                })
            },
        )
        .await?;
    Ok(())
}

async fn shards(namespace: &Namespace) -> anyhow::Result<Vec<Value>> {
    let relay = namespace
        .get(Kind::SmtpRelay, RELAY)
        .await?
        .context("the relay is gone")?;
    Ok(relay["status"]["shards"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}
