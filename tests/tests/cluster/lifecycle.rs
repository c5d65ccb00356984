//! Deletion, and an operator that is restarted in the middle of a change.

use std::time::Instant;

use anyhow::ensure;
use mailrelay_tests::audit::Request;
use mailrelay_tests::clients::Mail;
use mailrelay_tests::cluster::OPERATOR_NAMESPACE;
use mailrelay_tests::namespace::{Kind, condition, text};
use mailrelay_tests::scenario::{self, CREDENTIAL, DOMAIN, PATIENCE, RELAY, Scenario};
use serde_json::json;

/// What the operator makes for a relay.
const MADE: [Kind; 8] = [
    Kind::Deployment,
    Kind::Pod,
    Kind::Service,
    Kind::Secret,
    Kind::PersistentVolumeClaim,
    Kind::ServiceAccount,
    Kind::PodDisruptionBudget,
    Kind::NetworkPolicy,
];

/// An application's own objects, one of them with a name that looks like the relay's.
const UNRELATED: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: outbox-backup, labels: {team: shop}}
stringData: {key: value}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: outbox-archive}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: storefront}
spec: {selector: {app: storefront}, ports: [{port: 80}]}
";

#[tokio::test]
async fn deleting_a_relay_removes_what_it_made_and_nothing_else() -> anyhow::Result<()> {
    scenario::run("deletion", 19, async |scenario: &mut Scenario| {
        scenario.set_up("").await?;
        let namespace = &scenario.namespace;
        namespace.apply(UNRELATED).await?;
        for kind in MADE {
            let made = scenario.made(kind).await?;
            ensure!(
                !made.is_empty(),
                "the relay made no {kind:?}, or it lacks its label"
            );
        }

        namespace.remove(Kind::SmtpRelay, RELAY).await?;
        namespace.gone(Kind::SmtpRelay, RELAY, PATIENCE).await?;
        for kind in MADE {
            for name in scenario.made(kind).await? {
                namespace.gone(kind, &name, PATIENCE).await?;
            }
        }
        for (kind, name) in [
            (Kind::Secret, "outbox-backup"),
            (Kind::PersistentVolumeClaim, "outbox-archive"),
            (Kind::Service, "storefront"),
            (Kind::Secret, "shop-dkim"),
        ] {
            ensure!(
                namespace.get(kind, name).await?.is_some(),
                "{kind:?} {name} is gone, too"
            );
        }
        for (kind, name) in [
            (Kind::SendingDomain, DOMAIN),
            (Kind::SmtpCredential, CREDENTIAL),
        ] {
            let object = namespace
                .condition(kind, name, "Accepted", "False", PATIENCE)
                .await?;
            let reason = condition(&object, "Accepted").map(|accepted| &accepted["reason"]);
            ensure!(
                reason == Some(&json!("RelayNotFound")),
                "{kind:?} {name} without its relay: {reason:?}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_operator_restarted_in_the_middle_of_a_change_finishes_it() -> anyhow::Result<()> {
    scenario::run_alone("restart", 20, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        let more = json!({"spec": {"replicas": 2, "limits": {"messageSize": "128Ki"}}});
        scenario
            .namespace
            .patch(Kind::SmtpRelay, RELAY, &more)
            .await?;
        // Without grace: whatever it was doing ends here.
        scenario
            .cluster
            .kubectl()
            .args(["--namespace", OPERATOR_NAMESPACE, "delete", "pods", "--all"])
            .args(["--grace-period=0", "--force"])
            .succeed()
            .await?;
        scenario
            .namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        let relay = scenario
            .namespace
            .watch(
                Kind::SmtpRelay,
                RELAY,
                "two shards run the change",
                PATIENCE,
                |relay| {
                    relay.is_some_and(|relay| {
                        let shards = relay["status"]["shards"].as_array();
                        shards.is_some_and(|shards| {
                            shards.len() == 2
                                && shards.iter().all(|shard| {
                                    shard["phase"] == "Running" && shard["programmed"] == true
                                })
                        })
                    })
                },
            )
            .await?;
        ensure!(relay.is_some(), "the relay is gone");
        // The other half of the change: the new limit is in force.
        let mut large = Mail::new(&scenario.sender(), &scenario.customer(), "large");
        large
            .text
            .push_str(&"0123456789abcdef\r\n".repeat(16 * 1024));
        let outcome = scenario.place.send(&account, &large).await?;
        ensure!(outcome.code == 552, "{outcome:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_somebody_deletes_or_edits_comes_back() -> anyhow::Result<()> {
    scenario::run("drift", 21, async |scenario: &mut Scenario| {
        scenario.set_up("").await?;
        let namespace = &scenario.namespace;
        let before = namespace
            .get(Kind::Service, RELAY)
            .await?
            .unwrap_or_default();
        let identity = text(&before, "/metadata/uid")?;
        namespace.remove(Kind::Service, RELAY).await?;
        namespace
            .watch(
                Kind::Service,
                RELAY,
                "the Service is made again",
                PATIENCE,
                |service| {
                    service.is_some_and(|service| service["metadata"]["uid"] != json!(identity))
                },
            )
            .await?;

        let selector = json!({"spec": {"selector": {"app": "somebody-else"}}});
        namespace.patch(Kind::Service, RELAY, &selector).await?;
        namespace
            .watch(
                Kind::Service,
                RELAY,
                "its selector is mended",
                PATIENCE,
                |service| {
                    service.is_some_and(|service| {
                        service["spec"]["selector"].get("app").is_none()
                            && service["spec"]["selector"]
                                .get("mailrelay.dev/relay")
                                .is_some()
                    })
                },
            )
            .await?;

        // And when nothing changes, nothing is written: every version stays what it is.
        let versions = async || -> anyhow::Result<Vec<String>> {
            let mut found = Vec::new();
            for kind in [
                Kind::SmtpRelay,
                Kind::SendingDomain,
                Kind::SmtpCredential,
                Kind::Service,
                Kind::Secret,
                Kind::Deployment,
                Kind::NetworkPolicy,
            ] {
                for object in namespace.list(kind).await? {
                    found.push(text(&object, "/metadata/resourceVersion")?);
                }
            }
            Ok(found)
        };
        namespace
            .condition(Kind::SmtpRelay, RELAY, "Ready", "True", PATIENCE)
            .await?;
        scenario.quiet(versions).await
    })
    .await
}

#[tokio::test]
async fn o7_o8_a_namespace_goes_with_a_relay_whose_mail_waits_and_nothing_is_made_in_it_again()
-> anyhow::Result<()> {
    scenario::run("terminating", 77, async |scenario: &mut Scenario| {
        let account = scenario.set_up("").await?;
        scenario.receiver.stop().await?;
        let mail = Mail::new(&scenario.sender(), &scenario.customer(), "waits");
        let outcome = scenario.place.send(&account, &mail).await?;
        ensure!(outcome.accepted, "{outcome:?}");
        let namespace = &scenario.namespace;
        namespace.remove(Kind::SmtpRelay, RELAY).await?;
        crate::waiting::reason(scenario, "Draining").await?;

        let deleted = Instant::now();
        namespace.delete().await?;
        println!(
            "a namespace with waiting mail was gone after {:.1?}",
            deleted.elapsed()
        );
        let requests = scenario.cluster.audit(OPERATOR_NAMESPACE)?;
        let about = |request: &&Request| {
            let object = request.object_ref.as_ref();
            object.is_some_and(|object| object.namespace == namespace.name)
        };
        let refused: Vec<String> = requests
            .iter()
            .filter(about)
            .filter(|request| request.line().contains("being terminated"))
            .map(Request::line)
            .collect();
        // One that was under way when the namespace was deleted is nobody's fault.
        ensure!(refused.len() <= 1, "tried to make: {refused:#?}");
        Ok(())
    })
    .await
}
