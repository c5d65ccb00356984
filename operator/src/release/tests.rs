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
    let (released, sent) = tokio::join!(release(&client, &api), script);
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
        release(&client, &api),
        answer(&mut server, "GET", PATH, 404, &missing)
    );
    assert_eq!(released.unwrap(), 0);
}
