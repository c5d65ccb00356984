//! Against a scripted API server.

use serde_json::{Value, json};

use super::*;
use crate::testing::{answer, failure, pair};

const PATH: &str = "/smtprelays";

fn relays(rows: &[(&str, &[&str])]) -> Value {
    let relay = |(name, finalizers): &(&str, &[&str])| {
        json!({
            "apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpRelay", "spec": {},
            "metadata": {"name": name, "namespace": "post", "uid": "7b1c", "resourceVersion": "4",
                "finalizers": finalizers},
        })
    };
    let items: Vec<Value> = rows.iter().map(relay).collect();
    json!({"apiVersion": "mailrelay.dev/v1alpha1", "kind": "SmtpRelayList", "metadata": {}, "items": items})
}

#[tokio::test]
async fn o7_an_uninstall_takes_our_finalizer_off_and_leaves_others() {
    tokio::time::pause();
    let (client, mut server) = pair();
    let api = Api::all(client.clone());
    let held: &[(&str, &[&str])] = &[
        (
            "outbox",
            &["mailrelay.dev/finalizer", "backup.example/done"],
        ),
        ("other", &["backup.example/done"]),
    ];
    let script = async {
        answer(&mut server, "GET", PATH, 200, &relays(held)).await;
        let path = "/namespaces/post/smtprelays/outbox";
        let conflict = failure(409, "Conflict");
        let first = answer(&mut server, "PATCH", path, 409, &conflict).await;
        // Somebody wrote in between: read again.
        answer(&mut server, "GET", PATH, 200, &relays(&held[..1])).await;
        let written = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "outbox"}});
        answer(&mut server, "PATCH", path, 200, &written).await;
        answer(&mut server, "GET", PATH, 200, &relays(&held[1..])).await;
        first
    };
    let (released, sent) = tokio::join!(release(&client, &api, None), script);
    assert_eq!(released.unwrap(), 1);
    assert_eq!(
        sent["metadata"],
        json!({"finalizers": ["backup.example/done"], "resourceVersion": "4", "uid": "7b1c"})
    );
}

#[tokio::test]
async fn a_cluster_without_the_kind_has_nothing_to_release() {
    let (client, mut server) = pair();
    let api = Api::all(client.clone());
    let missing = failure(404, "NotFound");
    let (released, _) = tokio::join!(
        release(&client, &api, None),
        answer(&mut server, "GET", PATH, 404, &missing)
    );
    assert_eq!(released.unwrap(), 0);
}

#[tokio::test]
async fn o7_an_uninstall_leaves_relays_of_another_operator_and_gives_its_own_time_to_stop() {
    tokio::time::pause();
    let (client, mut server) = pair();
    let api = Api::all(client.clone());
    let finalizer: &[&str] = &["mailrelay.dev/finalizer"];
    let rows = [
        ("ours", finalizer),
        ("theirs", finalizer),
        ("nobodys", finalizer),
    ];
    let mut list = relays(&rows);
    for (index, operator) in [(0, "ops-a"), (1, "ops-b")] {
        list["items"][index]["metadata"]["annotations"] = json!({OPERATOR_ANNOTATION: operator});
    }
    let started = tokio::time::Instant::now();
    let script = async {
        // The operator puts its finalizers back, until it has stopped.
        for look in 0..8 {
            answer(&mut server, "GET", PATH, 200, &list).await;
            let written = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "x"}});
            answer(&mut server, "PATCH", "/smtprelays/ours", 200, &written).await;
            answer(&mut server, "PATCH", "/smtprelays/nobodys", 200, &written).await;
            assert!(started.elapsed() >= look * PAUSE);
        }
        list["items"]
            .as_array_mut()
            .unwrap()
            .retain(|one| one["metadata"]["name"] == "theirs");
        answer(&mut server, "GET", PATH, 200, &list).await;
    };
    let (released, ()) = tokio::join!(release(&client, &api, Some("ops-a")), script);
    assert_eq!(released.unwrap(), 16);
    // Longer than the grace of the operator's pod.
    assert!(started.elapsed() >= std::time::Duration::from_secs(30));
}
