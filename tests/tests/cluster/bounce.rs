//! Mail that the receiving server refuses: its sender is told, once.

use anyhow::ensure;
use mailrelay_tests::clients::Mail;
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};

#[tokio::test]
async fn an_unknown_recipient_makes_one_bounce_with_the_remote_words() -> anyhow::Result<()> {
    scenario::run("bounce", 15, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let (sender, customer) = (scenario.sender(), scenario.customer());
        let unknown = customer.replace("customer@", "nobody@");
        let mut mail = Mail::new(&sender, &unknown, "bounces");
        // B1: the other recipient of the same message gets it, once.
        mail.recipients.push(customer.clone());
        let outcome = scenario.place.send(&account, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");

        let bounces = scenario.receiver.expect(&sender, 1, PATIENCE).await?;
        let bounce = &bounces[0];
        ensure!(
            bounce.only("Return-Path")? == "<>",
            "{}",
            bounce.header_block()
        );
        let kind = bounce.only("Content-Type")?;
        ensure!(
            kind.starts_with("multipart/report") && kind.contains("report-type=delivery-status"),
            "{kind}"
        );
        let status = bounce.part("message/delivery-status")?;
        for line in [
            &format!("Final-Recipient: rfc822; {unknown}"),
            "Action: failed",
            "Status: 5.1.1",
            "User unknown in virtual mailbox table",
        ] {
            ensure!(
                status.to_lowercase().contains(&line.to_lowercase()),
                "no {line:?} in the report:\n{status}"
            );
        }
        ensure!(
            status.contains("smtp; 550"),
            "no remote code in the report:\n{status}"
        );
        let text = bounce.part("text/plain")?;
        ensure!(text.contains(&unknown) && text.contains("550"), "{text}");

        let delivered = scenario.receiver.expect(&customer, 1, PATIENCE).await?;
        ensure!(
            delivered.len() == 1,
            "{} copies for {customer}",
            delivered.len()
        );
        // Nothing is left that could make a second bounce.
        scenario
            .namespace
            .watch(
                Kind::SmtpRelay,
                RELAY,
                "an empty queue",
                PATIENCE,
                |relay| relay.is_some_and(|relay| relay["status"]["queuedMessages"] == 0),
            )
            .await?;
        ensure!(
            scenario.receiver.count(&sender)? == 1,
            "more than one bounce"
        );
        Ok(())
    })
    .await
}
