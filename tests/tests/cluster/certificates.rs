//! Certificates of the user's: in force as they change, and what cannot be used changes nothing.

use anyhow::ensure;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use mailrelay_tests::clients::{Account, Encryption, Mail};
use mailrelay_tests::namespace::{Kind, condition};
use mailrelay_tests::scenario::{self, CREDENTIAL, PATIENCE, RELAY, Scenario};
use mailrelay_tests::wait;
use serde_json::json;

use crate::durability::relay_pod;

const SECRET: &str = "bought";

/// A certificate and its key, PEM.
struct Bought {
    certificate: String,
    key: String,
}

fn buy(host: &str) -> anyhow::Result<Bought> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])?;
    Ok(Bought {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    })
}

/// Writes the Secret with its authority, as a user or cert-manager does.
async fn write(scenario: &Scenario, certificate: &str, key: &str) -> anyhow::Result<()> {
    write_with(scenario, certificate, key, certificate).await
}

async fn write_with(
    scenario: &Scenario,
    certificate: &str,
    key: &str,
    authority: &str,
) -> anyhow::Result<()> {
    let content = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = [
        ("tls.crt", certificate),
        ("tls.key", key),
        ("ca.crt", authority),
    ];
    let given = data.into_iter().filter(|(_, text)| !text.is_empty());
    let secret = Secret {
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            given
                .map(|(name, text)| (name.to_owned(), content(text)))
                .collect(),
        ),
        ..Secret::default()
    };
    let mut secret = serde_json::to_value(secret)?;
    secret["metadata"] = json!({"name": SECRET});
    scenario.namespace.apply(&secret.to_string()).await
}

/// Waits until this certificate is shown at the port.
async fn served(scenario: &Scenario, implicit: &Account, expected: &str) -> anyhow::Result<()> {
    let bare = |pem: &str| pem.split_whitespace().collect::<String>();
    wait::until(
        "the certificate at port 465",
        PATIENCE,
        async || match scenario.place.certificate(implicit).await {
            Ok(shown) if bare(&shown) == bare(expected) => Ok(()),
            Ok(_) => Err("another one".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await
}

#[tokio::test]
async fn a_certificate_of_the_users_serves_and_a_bad_one_changes_nothing() -> anyhow::Result<()> {
    scenario::run("bought", 81, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let implicit = account.at(465, Encryption::Implicit);
        let pod = relay_pod(&scenario.namespace).await?;

        let patch = json!({"spec": {"tls": {"secretName": SECRET}}});
        scenario
            .namespace
            .patch(Kind::SmtpRelay, RELAY, &patch)
            .await?;
        let told = async |status: &str, reason: &str| {
            let namespace = &scenario.namespace;
            let kind = Kind::SmtpRelay;
            let found = namespace
                .condition(kind, RELAY, "TlsReady", status, PATIENCE)
                .await?;
            let found = condition(&found, "TlsReady").map(|one| one["reason"].clone());
            ensure!(found == Some(json!(reason)), "{found:?} is not {reason}");
            Ok(())
        };
        told("False", "CertificateMissing").await?;
        // What the operator issued goes on until there is another.
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), "meanwhile");
        ensure!(scenario.place.send(&implicit, &mail).await?.accepted);

        let first = buy(&account.host)?;
        write(scenario, &first.certificate, &first.key).await?;
        served(scenario, &implicit, &first.certificate).await?;
        told("True", "CertificateValid").await?;
        // The application finds the new authority where it found the old one.
        let account = wait::until("the new authority", PATIENCE, async || {
            match scenario.account(CREDENTIAL).await {
                Ok(found) if found.authority.trim() == first.certificate.trim() => Ok(found),
                Ok(found) => Err(found.authority),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), "bought");
        ensure!(scenario.place.send(&account, &mail).await?.accepted);

        let second = buy(&account.host)?;
        write(scenario, &second.certificate, &first.key).await?;
        told("False", "CertificateInvalid").await?;
        served(scenario, &implicit, &first.certificate).await?;
        write(scenario, &second.certificate, &second.key).await?;
        served(scenario, &implicit, &second.certificate).await?;
        told("True", "CertificateValid").await?;

        // Of a public issuer clients need no authority, and are given none.
        write_with(scenario, &second.certificate, &second.key, "").await?;
        wait::until(
            "the ConfigMap with the authority goes",
            PATIENCE,
            async || {
                let get = ["get", "configmaps", "--output=name"];
                let said = scenario.namespace.kubectl().args(get).finish().await;
                let said = said.map_or_else(|error| error.to_string(), |finished| finished.said());
                let gone = !said.contains(&format!("{RELAY}-ca"));
                if gone { Ok(()) } else { Err(said) }
            },
        )
        .await?;

        // The first change put another Secret into the pod; none after it needed a new one.
        let after = relay_pod(&scenario.namespace).await?;
        let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "{restarts} restarts");
        ensure!(
            after["metadata"]["uid"] != pod["metadata"]["uid"],
            "the volume is the same"
        );
        Ok(())
    })
    .await
}
