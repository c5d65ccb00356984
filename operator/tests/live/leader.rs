//! Who leads, and when the next one does.

use std::time::{Duration, Instant};

use mailrelay_tests::control_plane::{Fault, Proxy, User};
use serde_json::json;

use crate::objects::{namespace, operator, plane, relay, relay_is_judged};

/// As the operator has it.
const LEASE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_hands_over_at_once_and_a_killed_leader_within_the_lease() {
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, "post").await.unwrap();
    let first = operator(&plane, None, "first", &[]).unwrap();
    first.leads().await.unwrap();
    let second = operator(&plane, None, "second", &[]).unwrap();
    let third = operator(&plane, None, "third", &[]).unwrap();
    relay(client, "post", "outbox", json!({})).await.unwrap();
    relay_is_judged(client, "post", "outbox", LEASE)
        .await
        .unwrap();

    let started = Instant::now();
    first.stop().await.unwrap();
    let stopped = started.elapsed();
    let (leader, waits) = tokio::select! {
        led = second.leads() => { led.unwrap(); (second, third) }
        led = third.leads() => { led.unwrap(); (third, second) }
    };
    let handed_over = started.elapsed();
    println!("clean stop: ended after {stopped:?}, the next led after {handed_over:?}");
    assert!(handed_over < Duration::from_secs(2), "{handed_over:?}");

    let killed = Instant::now();
    leader.kill().await.unwrap();
    waits.leads().await.unwrap();
    let handed_over = killed.elapsed();
    println!("killed: the next led after {handed_over:?}");
    assert!(
        handed_over < LEASE + Duration::from_secs(3),
        "{handed_over:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_stops_before_another_leads_and_a_standby_writes_nothing() {
    let plane = plane().await.unwrap();
    let client = &plane.client;
    namespace(client, "post").await.unwrap();
    let upstream = plane.client_of(User::Operator).await.unwrap();
    let [before_first, before_second] = [
        Proxy::start(upstream.clone()).await.unwrap(),
        Proxy::start(upstream).await.unwrap(),
    ];
    let mut first = operator(&plane, Some(&before_first), "first", &[]).unwrap();
    first.leads().await.unwrap();
    let second = operator(&plane, Some(&before_second), "second", &[]).unwrap();
    relay(client, "post", "outbox", json!({})).await.unwrap();
    relay_is_judged(client, "post", "outbox", LEASE)
        .await
        .unwrap();

    let cut = Instant::now();
    before_first.set(Fault::Cut);
    // Work for whoever dares.
    relay(client, "post", "bulk", json!({})).await.unwrap();
    let ends = async {
        let code = first.ended(LEASE).await.unwrap();
        (code, cut.elapsed())
    };
    let leads = async {
        second.leads().await.unwrap();
        cut.elapsed()
    };
    let ((code, ended), led) = tokio::join!(ends, leads);
    println!("cut off: the leader ended after {ended:?}, the next led after {led:?}");
    assert_eq!(code, Some(1), "{}", first.log());
    assert!(ended + Duration::from_secs(1) < led, "{ended:?} {led:?}");
    let standby = before_second.requests();
    let other = standby
        .iter()
        .take_while(|request| request.at < cut)
        .find(|request| !request.line.starts_with("GET") || !request.line.contains("/leases/"));
    assert!(other.is_none(), "{other:?}");
    relay_is_judged(client, "post", "bulk", LEASE)
        .await
        .unwrap();
}
