//! Credentials over their life: names that others have, rotation with overlap, deletion.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mailrelay_tests::clients::{Account, Mail, Outcome};
use mailrelay_tests::namespace::{Kind, condition, text};
use mailrelay_tests::scenario::{self, CREDENTIAL, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::json;

const KIND: Kind = Kind::SmtpCredential;
/// Longer than a rotation needs to be in force, so that the old password is seen to work beside the new one.
const OVERLAP: Duration = Duration::from_secs(20);
/// From its end, or from a deletion, to the refusal.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);

async fn send(scenario: &Scenario, account: &Account) -> anyhow::Result<Outcome> {
    let mail = Mail::new(&scenario.sender(), &scenario.customer(), "credential");
    scenario.place.send(account, &mail).await
}

/// Waits until the password is refused; how long that took.
async fn refused(scenario: &Scenario, account: &Account) -> anyhow::Result<Duration> {
    let start = Instant::now();
    wait::until("the password is refused", PATIENCE, async || {
        match send(scenario, account).await {
            Ok(outcome) if outcome.code == 535 => Ok(()),
            Ok(outcome) => Err(format!("{outcome:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    Ok(start.elapsed())
}

#[tokio::test]
async fn a_password_before_serves_for_the_overlap_and_none_after_the_deletion() -> anyhow::Result<()>
{
    scenario::run("passwords", 82, async |scenario: &mut Scenario| {
        let old = scenario.set_up("").await?;
        let namespace = &scenario.namespace;
        let overlap = format!("{}s", OVERLAP.as_secs());
        let rotation = json!({"spec": {"rotation": {"trigger": "1", "overlap": overlap}}});
        let rotated = Instant::now();
        namespace.patch(KIND, CREDENTIAL, &rotation).await?;
        let new = wait::until("a new password", PATIENCE, async || {
            match scenario.account(CREDENTIAL).await {
                Ok(new) if new.login != old.login => Ok(new),
                Ok(_) => Err("the old one".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        ensure!(
            send(scenario, &new).await?.accepted,
            "the new password is refused"
        );
        let both = send(scenario, &old).await?;
        ensure!(
            both.accepted || rotated.elapsed() > OVERLAP,
            "the old password is refused within the overlap: {both:?}"
        );
        refused(scenario, &old).await?;
        let taken = rotated.elapsed();
        println!(
            "the password before was refused after {taken:.1?}, its overlap being {OVERLAP:?}"
        );
        ensure!(
            taken >= OVERLAP && taken < OVERLAP + REFUSAL_LIMIT,
            "it was refused after {taken:.1?}"
        );

        let secret = format!("{CREDENTIAL}-smtp");
        namespace.remove(KIND, CREDENTIAL).await?;
        let taken = refused(scenario, &new).await?;
        println!("a deleted credential was refused after {taken:.1?}");
        ensure!(
            taken < REFUSAL_LIMIT,
            "a deleted credential was refused after {taken:.1?}"
        );
        namespace.gone(Kind::Secret, &secret, PATIENCE).await
    })
    .await
}

#[tokio::test]
async fn names_that_others_have_are_told_and_free_once_those_are_gone() -> anyhow::Result<()> {
    scenario::run("names", 83, async |scenario: &mut Scenario| {
        scenario.set_up("").await?;
        let namespace = &scenario.namespace;
        // A Secret of somebody else's in the way is left as it is.
        namespace
            .apply("apiVersion: v1\nkind: Secret\nmetadata: {name: taken}\nstringData: {key: value}\n")
            .await?;
        let manifest = |name: &str, spec: &str| {
            format!(
                "apiVersion: mailrelay.dev/v1alpha1\nkind: SmtpCredential\nmetadata: {{name: {name}}}\n\
                 spec: {{relayRef: {{name: {RELAY}}}, {spec}}}\n"
            )
        };
        namespace.apply(&manifest("second", "secretName: taken")).await?;
        let told = async |name: &str, kind: &str, reason: &str| {
            let found = namespace.condition(KIND, name, kind, "False", PATIENCE).await?;
            let found = condition(&found, kind).map(|one| one["reason"].clone());
            ensure!(found == Some(json!(reason)), "{name}: {kind} says {found:?}");
            Ok(())
        };
        told("second", "SecretReady", "SecretConflict").await?;
        let secret = namespace.get(Kind::Secret, "taken").await?.unwrap_or_default();
        ensure!(secret["data"] == json!({"key": "dmFsdWU="}), "{}", secret["data"]);
        namespace.remove(Kind::Secret, "taken").await?;
        let second = scenario.account("second").await?;
        ensure!(send(scenario, &second).await?.accepted, "the second credential is refused");

        // A user name belongs to the older one.
        let first = namespace.get(KIND, CREDENTIAL).await?.unwrap_or_default();
        let username = text(&first, "/status/username")?;
        namespace.apply(&manifest("third", &format!("username: {username}"))).await?;
        told("third", "Accepted", "Conflict").await?;
        let account = scenario.account(CREDENTIAL).await?;
        ensure!(send(scenario, &account).await?.accepted, "the older one suffers");
        namespace.remove(KIND, CREDENTIAL).await?;
        let third = scenario.account("third").await?;
        ensure!(send(scenario, &third).await?.accepted, "the name is not free");
        ensure!(refused(scenario, &account).await? < REFUSAL_LIMIT, "the old password serves");
        Ok(())
    })
    .await
}
