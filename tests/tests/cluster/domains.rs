//! Sending domains of other namespaces: the relay's owner decides.

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Mail, Place};
use mailrelay_tests::namespace::{Kind, Namespace, condition};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario, dns_records};
use serde_json::{Value, json};

#[tokio::test]
async fn a_domain_of_another_namespace_needs_the_relays_permission() -> anyhow::Result<()> {
    scenario::run("guests", 18, async |scenario: &mut Scenario| {
        scenario.set_up("").await?;
        let guests = Namespace::create(&scenario.cluster, "t-guests-team").await?;
        let domain = format!("team.{}", scenario.zone.name());
        guests
            .apply(&guest_manifests(&domain, &scenario.namespace.name))
            .await?;

        for (kind, name) in [(Kind::SendingDomain, "team"), (Kind::SmtpCredential, "app")] {
            let refused = guests
                .condition(kind, name, "Accepted", "False", PATIENCE)
                .await?;
            explains_the_refusal(&refused)?;
        }

        let all = json!({"spec": {
            "domains": {"namespaces": {"from": "All"}},
            "clients": {"namespaces": {"from": "All"}},
        }});
        scenario
            .namespace
            .patch(Kind::SmtpRelay, RELAY, &all)
            .await?;
        guests
            .condition(Kind::SendingDomain, "team", "Accepted", "True", PATIENCE)
            .await?;
        let records = dns_records(&guests, "team", PATIENCE).await?;
        scenario.zone.publish(records)?;
        guests
            .condition(Kind::SendingDomain, "team", "Ready", "True", PATIENCE)
            .await?;
        let account = scenario::account(&guests, "app", PATIENCE).await?;

        let place = Place::pod(scenario.cluster.resolver, &guests.name)?;
        let customer = scenario.customer();
        let mail = Mail::new(&format!("hello@{domain}"), &customer, "from a guest");
        let outcome = place.send(&account, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");
        let delivered = scenario.receiver.expect(&customer, 1, PATIENCE).await?;
        let verdicts = delivered[0].verdicts();
        ensure!(
            verdicts.len() == 2
                && verdicts
                    .iter()
                    .all(|one| one.result == "pass" && one.domain == domain),
            "{verdicts:?}\n{}",
            delivered[0].header_block()
        );

        // A guest is no owner: the first team's domain stays the first team's.
        let stolen = Mail::new(&scenario.sender(), &customer, "in another's name");
        let outcome = place.send(&account, &stolen).await?;
        ensure!(
            outcome.code == 550 && outcome.text.starts_with("5.7.1 "),
            "a guest sent as {}: {outcome:?}",
            scenario.domain()
        );

        // Its first keys followed no others.
        let events = guests.list(Kind::Event).await?;
        ensure!(
            !events.iter().any(|event| event["reason"] == "KeysRotated"),
            "{events:#?}"
        );

        // And what was allowed can be taken back.
        let same = json!({"spec": {"domains": {"namespaces": {"from": "Same"}}}});
        scenario
            .namespace
            .patch(Kind::SmtpRelay, RELAY, &same)
            .await?;
        let refused = guests
            .condition(Kind::SendingDomain, "team", "Accepted", "False", PATIENCE)
            .await?;
        explains_the_refusal(&refused)?;
        guests.delete().await
    })
    .await
}

fn explains_the_refusal(object: &Value) -> anyhow::Result<()> {
    let accepted = condition(object, "Accepted").context("no condition Accepted")?;
    ensure!(accepted["reason"] == "NotAllowedByRelay", "{accepted:#}");
    let message = accepted["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("namespaces") && message.contains(RELAY),
        "the message names neither the field nor the relay: {message}"
    );
    Ok(())
}

fn guest_manifests(domain: &str, relay_namespace: &str) -> String {
    format!(
        "\
apiVersion: mailrelay.dev/v1alpha1
kind: SendingDomain
metadata: {{name: team}}
spec: {{domain: {domain}, relayRef: {{name: {RELAY}, namespace: {relay_namespace}}}}}
---
apiVersion: mailrelay.dev/v1alpha1
kind: SmtpCredential
metadata: {{name: app}}
spec: {{relayRef: {{name: {RELAY}, namespace: {relay_namespace}}}}}
"
    )
}
