//! The API server is away: mail goes on, tokens and passwords are taken, and a relay process that ends
//! is started again.
//!
//! `MAILRELAY_API_OUTAGE` is how long it is away, in seconds (default 0: as long as it takes to see all of
//! that once).

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mailrelay_tests::clients::{Encryption, Mail};
use mailrelay_tests::cluster::not_run;
use mailrelay_tests::namespace::{Kind, text};
use mailrelay_tests::node;
use mailrelay_tests::scenario::{self, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::Value;

use crate::durability::relay_pod;
use crate::identity;

const API_SERVER: &str = "kube-apiserver";
/// Between two messages of a long outage.
const PAUSE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn mail_goes_on_and_a_relay_starts_again_without_an_api_server() -> anyhow::Result<()> {
    scenario::run_alone("away", 75, async |scenario: &mut Scenario| {
        if !scenario.cluster.is_own() {
            not_run("the API server of another cluster is not ours to stop");
            return Ok(());
        }
        let account = scenario.set_up("").await?;
        let token = identity::account_token(scenario, &account.host).await?;
        let pod = relay_pod(&scenario.namespace).await?;
        let implicit = account.at(465, Encryption::Implicit);
        let outage: u64 = match std::env::var("MAILRELAY_API_OUTAGE") {
            Ok(seconds) => seconds.parse().context("MAILRELAY_API_OUTAGE")?,
            Err(_) => 0,
        };

        let sent = Cell::new(0);
        let both = async || {
            let mail = Mail::new(&scenario.sender(), &scenario.customer(), "by password");
            let outcome = scenario.place.send(&implicit, &mail).await?;
            ensure!(outcome.accepted, "{outcome:?}");
            sent.set(sent.get() + 1);
            let outcome = identity::send(scenario, &account, "OAUTHBEARER", &token).await?;
            ensure!(outcome.accepted, "{outcome:?}");
            sent.set(sent.get() + 1);
            Ok(())
        };
        let outlive = async || {
            let start = Instant::now();
            both().await?;
            node::kill_relay(&scenario.namespace, &pod).await?;
            wait::until("mail after the restart", PATIENCE, async || {
                both().await.map_err(|error| error.to_string())
            })
            .await?;
            while start.elapsed() < Duration::from_secs(outage) {
                tokio::time::sleep(PAUSE).await;
                both().await?;
            }
            Ok(start.elapsed())
        };
        let away = scenario.cluster.without(API_SERVER, outlive).await?;
        println!(
            "{} messages in {away:.1?} without an API server",
            sent.get()
        );
        scenario
            .receiver
            .expect(&scenario.customer(), sent.get(), PATIENCE)
            .await?;

        let name = text(&pod, "/metadata/name")?;
        let restarted = |pod: Option<&Value>| {
            let status = pod.map(|pod| &pod["status"]["containerStatuses"][0]);
            status.is_some_and(|status| status["restartCount"] == 1)
        };
        scenario
            .namespace
            .watch(Kind::Pod, &name, "restarted once", PATIENCE, restarted)
            .await?;

        // The operator comes back, too: a change is in force.
        crate::changes::scale(&scenario.namespace, 2).await?;
        scenario
            .namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        Ok(())
    })
    .await
}
