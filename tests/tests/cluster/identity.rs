//! A pod is known by its ServiceAccount's token: no password, no Secret, no call to the API server.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use mailrelay_tests::clients::{Account, Mail, Outcome};
use mailrelay_tests::namespace::Kind;
use mailrelay_tests::scenario::{self, CREDENTIAL, DOMAIN, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::json;

const CLIENT: &str = include_str!("identity.py");
const PYTHON: &str = "/usr/bin/python3";
/// The application's ServiceAccount; not called like the credential, so that a swap is caught.
const ACCOUNT: &str = "warehouse";
/// From the removal of a grant, or its return, to its being in force in every relay pod.
const GRANT_LIMIT: Duration = Duration::from_secs(10);

/// A token of the ServiceAccount, as the kubelet projects it into a pod.
async fn token(scenario: &Scenario, audience: &str) -> anyhow::Result<String> {
    let client = scenario.cluster.client.clone();
    let accounts: Api<ServiceAccount> = Api::namespaced(client, &scenario.namespace.name);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: Some(600),
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await?;
    Ok(answer.status.context("no token was issued")?.token)
}

/// Makes the application's ServiceAccount and returns a token of it, once the relay knows the keys.
pub(crate) async fn account_token(scenario: &Scenario, audience: &str) -> anyhow::Result<String> {
    let manifest = format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {ACCOUNT}}}\n");
    scenario.namespace.apply(&manifest).await?;
    scenario
        .namespace
        .condition(Kind::SmtpRelay, RELAY, "IssuersReady", "True", PATIENCE)
        .await?;
    token(scenario, audience).await
}

/// Sends one mail with a token; `account` says where.
pub(crate) async fn send(
    scenario: &Scenario,
    account: &Account,
    mechanism: &str,
    token: &str,
) -> anyhow::Result<Outcome> {
    let mut authorities = tempfile::NamedTempFile::new()?;
    authorities.write_all(account.authority.as_bytes())?;
    let mail = Mail::new(&scenario.sender(), &scenario.customer(), mechanism);
    let plan = json!({
        "host": account.host, "port": account.port, "authorities": authorities.path(),
        "mechanism": mechanism, "token": token, "mail": mail,
    });
    let said = scenario
        .place
        .run(PYTHON)
        .args(["-c", CLIENT])
        .input(plan.to_string())
        .succeed()
        .await?;
    serde_json::from_str(said.trim()).with_context(|| said.clone())
}

/// Waits until a mail with the token is accepted, or refused, and says how long that took.
async fn until(
    scenario: &Scenario,
    account: &Account,
    token: &str,
    accepted: bool,
) -> anyhow::Result<(Duration, Outcome)> {
    let start = Instant::now();
    let outcome = wait::until("the grant's change", PATIENCE, || async {
        match send(scenario, account, "XOAUTH2", token).await {
            Ok(outcome) if outcome.accepted == accepted && outcome.code != 0 => Ok(outcome),
            Ok(outcome) => Err(format!("{outcome:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    Ok((start.elapsed(), outcome))
}

#[tokio::test]
async fn a_pod_sends_with_its_token_while_the_domain_grants_it() -> anyhow::Result<()> {
    scenario::run("identity", 71, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        // The audience by default is the host name that clients connect to.
        let own = account_token(scenario, &account.host).await?;

        for mechanism in ["OAUTHBEARER", "XOAUTH2", "PLAIN"] {
            let outcome = send(scenario, &account, mechanism, &own).await?;
            ensure!(outcome.accepted, "{mechanism}: {outcome:?}");
        }
        scenario
            .receiver
            .expect(&scenario.customer(), 3, PATIENCE)
            .await?;

        let foreign = token(scenario, "https://kubernetes.default.svc").await?;
        for mechanism in ["OAUTHBEARER", "XOAUTH2", "PLAIN"] {
            let outcome = send(scenario, &account, mechanism, &foreign).await?;
            ensure!(outcome.stage == "auth", "{mechanism}: {outcome:?}");
            ensure!(outcome.code == 535, "{mechanism}: {outcome:?}");
            ensure!(outcome.text.contains("another audience"), "{outcome:?}");
        }

        // The credential may send, the ServiceAccount no more.
        let namespace = scenario.namespace.name.clone();
        let without = json!({"spec": {"senders": [
            {"namespace": namespace, "credential": CREDENTIAL},
        ]}});
        let patch = async |patch| {
            let namespace = &scenario.namespace;
            namespace.patch(Kind::SendingDomain, DOMAIN, patch).await
        };
        patch(&without).await?;
        let (taken, outcome) = until(scenario, &account, &own, false).await?;
        println!("from the removal of a grant to the refusal: {taken:.1?}");
        ensure!(taken < GRANT_LIMIT, "in force after {taken:.1?}");
        ensure!(
            (outcome.stage.as_str(), outcome.code) == ("mail", 550),
            "{outcome:?}"
        );
        let identity = format!("sa:{namespace}/{ACCOUNT}");
        ensure!(outcome.text.contains(&identity), "{outcome:?}");
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), "credential");
        let outcome = scenario.place.send(&account, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");

        let again = json!({"spec": {"senders": [
            {"namespace": namespace, "serviceAccount": ACCOUNT},
        ]}});
        patch(&again).await?;
        let (taken, _) = until(scenario, &account, &own, true).await?;
        println!("from the grant's return to the acceptance: {taken:.1?}");
        ensure!(taken < GRANT_LIMIT, "in force after {taken:.1?}");
        let outcome = scenario.place.send(&account, &mail).await?;
        ensure!(
            !outcome.accepted,
            "the credential has no grant: {outcome:?}"
        );
        Ok(())
    })
    .await
}
