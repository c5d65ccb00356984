//! A relay that hands its mail to another relay, as to any smarthost.

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::Mail;
use mailrelay_tests::namespace::{Kind, condition, has_condition, text};
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use serde_json::json;

/// The relay that applications of a branch use.
const BRANCH: &str = "branch";

fn manifests(scenario: &Scenario, user: &str) -> String {
    let domain = scenario.domain();
    let host = format!("{RELAY}.{}.svc.cluster.local", scenario.namespace.name);
    format!(
        "\
apiVersion: v1
kind: Secret
metadata: {{name: upstream}}
stringData: {{username: {user}, password: not-that-one}}
---
apiVersion: mailrelay.dev/v1alpha1
kind: SmtpRelay
metadata: {{name: {BRANCH}}}
spec:
  delivery:
    retry: {{initial: 1s, maximum: 2s}}
    smarthosts:
    - host: {host}
      caSecretRef: {{name: storefront-smtp, key: ca.crt}}
      credentialsSecretRef: {{name: upstream}}
---
apiVersion: mailrelay.dev/v1alpha1
kind: SendingDomain
metadata: {{name: shop-of-the-branch}}
spec: {{domain: {domain}, relayRef: {{name: {BRANCH}}}}}
---
apiVersion: mailrelay.dev/v1alpha1
kind: SmtpCredential
metadata: {{name: till}}
spec: {{relayRef: {{name: {BRANCH}}}}}
"
    )
}

#[tokio::test]
async fn mail_waits_for_the_right_password_of_a_smarthost_and_goes_once_its_secret_has_it()
-> anyhow::Result<()> {
    scenario::run("smarthost", 41, async |scenario: &mut Scenario| {
        let upstream = scenario.set_up("").await?;
        let (user, password) = upstream.login.context("no login")?;
        let namespace = &scenario.namespace;
        namespace.apply(&manifests(scenario, &user)).await?;
        let till = scenario.account("till").await?;
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), "by two relays");
        let outcome = scenario.place.send(&till, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");

        // It was tried, waits, and the condition says why.
        let branch = namespace
            .condition(
                Kind::SmtpRelay,
                BRANCH,
                "EgressHealthy",
                "False",
                2 * PATIENCE,
            )
            .await?;
        let egress = condition(&branch, "EgressHealthy").context("no condition")?;
        ensure!(egress["reason"] == "LoginRefused", "{egress}");
        let message = text(egress, "/message")?;
        ensure!(message.contains("535"), "{message}");
        ensure!(has_condition(&branch, "Ready", "True"), "{branch:#}");

        let right = json!({"stringData": {"password": password}});
        namespace.patch(Kind::Secret, "upstream", &right).await?;
        let customer = scenario.customer();
        let delivered = scenario.receiver.expect(&customer, 1, 2 * PATIENCE).await?;
        let received = delivered[0].header("Received");
        ensure!(
            received.iter().any(|line| line.contains(BRANCH)) && received.len() >= 2,
            "{received:?}"
        );
        namespace
            .condition(
                Kind::SmtpRelay,
                BRANCH,
                "EgressHealthy",
                "True",
                2 * PATIENCE,
            )
            .await?;
        Ok(())
    })
    .await
}
