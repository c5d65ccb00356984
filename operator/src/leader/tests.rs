//! The election against a scripted API server.

use serde_json::{Value, json};

use super::*;
use crate::testing::{Server, answer, failure, pair};

fn candidate() -> (Candidate, Server) {
    let (client, server) = pair();
    let candidate = Candidate::new(client, "mail", "operator", "pod-a".to_owned());
    let scope = Scope::Namespaces(vec!["press".to_owned(), "shop".to_owned()]);
    let candidate = candidate.watching(&scope);
    (candidate, server)
}

fn lease(holder: &str, version: &str) -> Value {
    let watched = json!({"mailrelay.dev/watch-namespaces": "*"});
    json!({"metadata": {"name": "operator", "resourceVersion": version, "annotations": watched},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3}})
}

#[tokio::test]
async fn the_first_candidate_makes_the_lease() {
    let (mut candidate, mut server) = candidate();
    let script = async {
        answer(
            &mut server,
            "GET",
            "/leases/operator",
            404,
            &failure(404, "NotFound"),
        )
        .await;
        answer(&mut server, "POST", "/leases", 201, &lease("pod-a", "1")).await
    };
    let (held, sent) = tokio::join!(candidate.attempt(), script);
    assert!(held);
    assert_eq!(sent["spec"]["holderIdentity"], "pod-a");
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once_with_the_version_that_was_read() {
    let (mut candidate, mut server) = candidate();
    let script = async {
        answer(&mut server, "GET", "/leases/operator", 200, &lease("", "7")).await;
        answer(
            &mut server,
            "PUT",
            "/leases/operator",
            200,
            &lease("pod-a", "8"),
        )
        .await
    };
    let (held, sent) = tokio::join!(candidate.attempt(), script);
    assert!(held);
    assert_eq!(sent["metadata"]["resourceVersion"], "7");
    assert_eq!(sent["spec"]["leaseTransitions"], 4);
    // What the holder before watched says nothing any more.
    let watched = &sent["metadata"]["annotations"]["mailrelay.dev/watch-namespaces"];
    assert_eq!(watched, "press,shop");
}

#[tokio::test]
async fn the_slower_of_two_candidates_waits() {
    let (mut candidate, mut server) = candidate();
    let script = async {
        answer(&mut server, "GET", "/leases/operator", 200, &lease("", "7")).await;
        answer(
            &mut server,
            "PUT",
            "/leases/operator",
            409,
            &failure(409, "Conflict"),
        )
        .await;
        answer(
            &mut server,
            "GET",
            "/leases/operator",
            200,
            &lease("pod-b", "8"),
        )
        .await;
    };
    let rounds = async { (candidate.attempt().await, candidate.attempt().await) };
    let (held, ()) = tokio::join!(rounds, script);
    assert_eq!(held, (false, false));
}

#[tokio::test]
async fn a_holder_that_finds_another_in_its_place_stops_at_once() {
    tokio::time::pause();
    let (mut candidate, mut server) = candidate();
    let script = async {
        answer(
            &mut server,
            "GET",
            "/leases/operator",
            200,
            &lease("pod-b", "9"),
        )
        .await;
    };
    let stop = CancellationToken::new();
    let (held, ()) = tokio::join!(candidate.hold(&stop), script);
    assert!(!held);
}

#[tokio::test]
async fn a_holder_without_an_api_server_stops_before_its_lease_expires() {
    tokio::time::pause();
    let (mut candidate, server) = candidate();
    let started = tokio::time::Instant::now();
    let stop = CancellationToken::new();
    // Requests are never answered.
    let held = candidate.hold(&stop).await;
    drop(server);
    assert!(!held);
    assert!(
        started.elapsed() < LEASE_DURATION,
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_graceful_stop_leaves_the_lease_free() {
    let (mut candidate, mut server) = candidate();
    let script = async {
        answer(
            &mut server,
            "GET",
            "/leases/operator",
            200,
            &lease("pod-a", "7"),
        )
        .await;
        answer(
            &mut server,
            "PUT",
            "/leases/operator",
            200,
            &lease("pod-a", "8"),
        )
        .await;
        answer(&mut server, "PUT", "/leases/operator", 200, &lease("", "9")).await
    };
    let stop = async {
        assert!(candidate.attempt().await);
        candidate.release().await;
    };
    let ((), sent) = tokio::join!(stop, script);
    assert_eq!(sent["metadata"]["resourceVersion"], "8");
    assert!(sent["spec"].get("holderIdentity").is_none());
}
