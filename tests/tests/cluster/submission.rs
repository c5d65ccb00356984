//! Mail that must arrive: over every port, with both signatures, aligned with `From`.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mailrelay_tests::clients::{Encryption, Mail};
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::receiver::Delivered;
use mailrelay_tests::scenario::{self, CREDENTIAL, DOMAIN, PATIENCE, Scenario};
use mailrelay_tests::wait;
use serde_json::{Value, json};

use crate::durability::relay_pod;

/// From `kubectl apply` of an SmtpRelay to the first accepted message.
const FIRST_ACCEPTED_LIMIT: Duration = Duration::from_secs(15);
/// From an edit of a SendingDomain or credential to its being in force in every relay pod.
const EDIT_LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn o19_mail_over_each_port_of_a_pod_that_may_write_nothing_arrives_with_both_signatures()
-> anyhow::Result<()> {
    scenario::run_alone("submission", 11, async |scenario: &mut Scenario| {
        let start = Instant::now();
        scenario.namespace.apply(&scenario.manifests("")).await?;
        let account = scenario.ready().await?;
        let (sender, customer) = (scenario.sender(), scenario.customer());
        let outcome = scenario
            .place
            .send(&account, &Mail::new(&sender, &customer, "first"))
            .await?;
        let first = start.elapsed();
        ensure!(outcome.accepted, "{outcome:?}");
        println!("from apply to the first accepted message: {first:.1?}");
        ensure!(
            first < FIRST_ACCEPTED_LIMIT,
            "the first message was accepted after {first:.1?}"
        );
        scenario.receiver.expect(&customer, 1, PATIENCE).await?;

        is_restricted(&relay_pod(&scenario.namespace).await?)?;

        scenario.publish().await?;
        let mail = |subject: &str| Mail::new(&sender, &customer, subject);
        let place = &scenario.place;
        let implicit = account.at(465, Encryption::Implicit);
        let clear = |port| account.at(port, Encryption::StartTls);
        let outcomes = [
            place.send(&account, &mail("smtplib 587")).await?,
            place.send(&implicit, &mail("smtplib 465")).await?,
            place.swaks(&implicit, &mail("swaks 465")).await?,
            place.msmtp(&clear(2525), &mail("msmtp 2525")).await?,
            place.swaks(&clear(25), &mail("swaks 25")).await?,
            place.send(&clear(8025), &mail("smtplib 8025")).await?,
        ];
        for outcome in &outcomes {
            ensure!(outcome.accepted, "{outcome:?}");
        }
        let delivered = scenario
            .receiver
            .expect(&customer, 1 + outcomes.len(), PATIENCE)
            .await?;
        for message in &delivered {
            if message.only("Subject")? != "first" {
                is_signed(message, &scenario.domain())?;
            }
            is_complete(message)?;
        }
        Ok(())
    })
    .await
}

/// Neither root nor able to become it, and with nothing to write to but its volumes.
fn is_restricted(pod: &Value) -> anyhow::Result<()> {
    let user = &pod["spec"]["securityContext"]["runAsNonRoot"];
    ensure!(*user == true, "runAsNonRoot: {user}");
    let containers = pod["spec"]["containers"].as_array();
    for container in containers.into_iter().flatten() {
        let context = &container["securityContext"];
        ensure!(context["readOnlyRootFilesystem"] == true, "{context}");
        ensure!(context["allowPrivilegeEscalation"] == false, "{context}");
        ensure!(
            context["capabilities"] == json!({"drop": ["ALL"]}),
            "{context}"
        );
    }
    Ok(())
}

/// Both signatures pass, and both are of the domain in `From`.
fn is_signed(message: &Delivered, domain: &str) -> anyhow::Result<()> {
    let block = message.header_block();
    let mut verdicts = message.verdicts();
    verdicts.sort_by(|one, other| one.algorithm.cmp(&other.algorithm));
    ensure!(
        verdicts.len() == 2,
        "two signatures, not {}:\n{block}",
        verdicts.len()
    );
    for (verdict, algorithm) in verdicts.iter().zip(["ed25519-sha256", "rsa-sha256"]) {
        ensure!(verdict.result == "pass", "{verdict:?}\n{block}");
        ensure!(
            verdict.domain == domain,
            "{verdict:?} is not aligned\n{block}"
        );
        ensure!(
            verdict.algorithm == algorithm,
            "{verdict:?} is not {algorithm}\n{block}"
        );
    }
    ensure!(
        message.only("From")?.ends_with(&format!("@{domain}>")),
        "{block}"
    );
    Ok(())
}

/// What a submission lacked was added, and nothing was changed.
fn is_complete(message: &Delivered) -> anyhow::Result<()> {
    message.only("Date")?;
    message.only("Message-ID")?;
    let received = message.header("Received");
    ensure!(
        received.len() == 2,
        "one hop, two Received:\n{}",
        message.header_block()
    );
    ensure!(
        received[0].contains("TLSv1.3"),
        "delivered in clear: {}",
        received[0]
    );
    ensure!(
        received[1].contains("ESMTPSA"),
        "no login in the trace: {}",
        received[1]
    );
    let text = message.text();
    ensure!(text.contains("\n.A line that begins with a dot."), "{text}");
    Ok(())
}

#[tokio::test]
async fn r50_bcc_is_removed_and_its_recipient_served() -> anyhow::Result<()> {
    scenario::run("blind", 12, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let (sender, customer) = (scenario.sender(), scenario.customer());
        let hidden = customer.replace("customer@", "hidden@");
        let mut mail = Mail::new(&sender, &customer, "blind copy");
        mail.recipients.push(hidden.clone());
        mail.text = format!("Bcc: <{hidden}>\r\n{}", mail.text);
        let outcome = scenario.place.send(&account, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");
        for recipient in [&customer, &hidden] {
            let delivered = scenario.receiver.expect(recipient, 1, PATIENCE).await?;
            let [message] = &delivered[..] else {
                anyhow::bail!("{} messages for {recipient}", delivered.len());
            };
            ensure!(
                message.header("Bcc").is_empty(),
                "{}",
                message.header_block()
            );
            is_signed(message, &scenario.domain())?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_edit_is_in_force_within_seconds() -> anyhow::Result<()> {
    scenario::run_alone("edit", 13, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), "edit");
        let place = &scenario.place;
        ensure!(
            place.send(&account, &mail).await?.accepted,
            "not accepted before the edit"
        );

        // Only another credential may use the domain.
        let start = Instant::now();
        let other = json!({"spec": {"senders": [{"namespace": "somebody-else"}]}});
        scenario
            .namespace
            .patch(Kind::SendingDomain, DOMAIN, &other)
            .await?;
        wait::until("the sender is refused", PATIENCE, || async {
            match place.send(&account, &mail).await {
                Ok(outcome) if !outcome.accepted => Ok(()),
                Ok(outcome) => Err(format!("{outcome:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let taken = start.elapsed();
        println!("from an edit of the domain to the refusal: {taken:.1?}");
        ensure!(
            taken < EDIT_LIMIT,
            "an edit of the domain was in force after {taken:.1?}"
        );

        // And back, so that only the password decides below.
        let all = json!({"spec": {"senders": null}});
        scenario
            .namespace
            .patch(Kind::SendingDomain, DOMAIN, &all)
            .await?;
        wait::until("the sender is accepted again", PATIENCE, || async {
            match place.send(&account, &mail).await {
                Ok(outcome) if outcome.accepted => Ok(()),
                Ok(outcome) => Err(format!("{outcome:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;

        // A deleted binding Secret means a new password.
        let start = Instant::now();
        scenario
            .namespace
            .remove(Kind::Secret, &format!("{CREDENTIAL}-smtp"))
            .await?;
        wait::until("a new password is accepted", PATIENCE, || async {
            let fresh = scenario
                .account(CREDENTIAL)
                .await
                .map_err(|error| error.to_string())?;
            if fresh.login == account.login {
                return Err("the old password is still in the Secret".into());
            }
            match place.send(&fresh, &mail).await {
                Ok(outcome) if outcome.accepted => Ok(()),
                Ok(outcome) => Err(format!("{outcome:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let taken = start.elapsed();
        println!("from a deleted credential Secret to the new password: {taken:.1?}");
        ensure!(
            taken < EDIT_LIMIT,
            "a new password was in force after {taken:.1?}"
        );
        Ok(())
    })
    .await
}
