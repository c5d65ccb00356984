//! When connections are kept, shared and given up.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn b8_b30_a_stale_connection_is_replaced_at_once() {
    for stale in [
        (|| Answer::SayAndClose("421 4.4.2 idle too long")) as fn() -> Answer,
        || Answer::Say("503 5.5.1 what"),
        || Answer::Close,
    ] {
        let count = AtomicUsize::new(0);
        let behaviour = rule(move |connection, line| {
            let mail = connection == 0 && line.starts_with("MAIL");
            let second = mail && count.fetch_add(1, Ordering::SeqCst) > 0;
            second.then(stale)
        });
        let (relay, peer) = relay_and_peer(behaviour, "").await;
        relay.finish(None, &["a@[127.0.0.1]"]).await;
        relay.finish(None, &["b@[127.0.0.1]"]).await;
        assert_eq!(peer.connections(), 2);
        assert_eq!(peer.messages().len(), 2);
        relay.stop().await;
    }
}

#[tokio::test]
async fn connections_are_reused_up_to_their_limit() {
    let (relay, peer) = relay_and_peer(
        Behaviour::default(),
        "messagesPerConnection: 3, connectionsPerDestination: 1",
    )
    .await;
    for number in 0..7 {
        let to = format!("r{number}@[127.0.0.1]");
        relay.submit(None, &[&to], TEXT).await;
    }
    relay.queued(0).await;
    assert_eq!(peer.messages().len(), 7);
    assert_eq!(peer.connections(), 3);
    relay.stop().await;
}

#[tokio::test]
async fn idle_connections_make_room_for_those_in_use() {
    let pair = Pair::start(
        TWO_DOMAINS,
        Behaviour::default(),
        Behaviour::default(),
        "connections: 1, idleTimeout: 1h",
    )
    .await;
    for to in ["a@one.test", "a@two.test", "a@one.test"] {
        pair.relay.finish(None, &[to]).await;
    }
    // The second destination's connection took the place of the first's.
    let connections = (pair.first.connections(), pair.second.connections());
    assert_eq!(connections, (2, 1));
    assert_eq!(pair.first.lines(0).last().unwrap(), "QUIT");
    pair.relay.stop().await;
}

#[tokio::test]
async fn a_server_that_keeps_silent_holds_up_no_other() {
    let silent = rule(|_, line| (line == "connect").then_some(Answer::Silence));
    let pair = Pair::start(TWO_DOMAINS, silent, Behaviour::default(), "connections: 1").await;
    pair.relay.submit(None, &["a@one.test"], TEXT).await;
    while pair.first.connections() == 0 {
        tokio::task::yield_now().await;
    }
    pair.relay.submit(None, &["a@two.test"], TEXT).await;
    pair.relay.queued(1).await;
    // Nobody waits for the silent one's end.
    assert_eq!(pair.second.messages().len(), 1);
}

#[tokio::test]
async fn a_destination_that_cannot_be_reached_is_not_asked_for_each_message() {
    let closing = rule(|_, line| (line == "connect").then_some(Answer::Close));
    let (relay, peer) = relay_and_peer(closing, "retry: {initial: 1m}").await;
    for number in 0..5 {
        let to = format!("r{number}@[127.0.0.1]");
        assert_eq!(relay.defer(None, &[&to]).await, number + 1);
    }
    assert_eq!(peer.connections(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn m17_a_changed_configuration_does_not_reuse_connections() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    relay.finish(None, &["a@[127.0.0.1]"]).await;
    relay.reconfigure(&configuration(peer.port(), None, "connections: 7"));
    relay.finish(None, &["b@[127.0.0.1]"]).await;
    assert_eq!(peer.connections(), 2);
    relay.stop().await;
}

#[tokio::test]
async fn limits_hold_and_destinations_take_turns() {
    let (relay, peer) = relay_and_peer(
        Behaviour::default(),
        "connections: 2, connectionsPerDestination: 1, messagesPerConnection: 2",
    )
    .await;
    for number in 0..40 {
        let to = format!("r@[127.0.0.{}]", 1 + number % 2);
        relay.submit(None, &[&to], TEXT).await;
    }
    // Only 127.0.0.1 listens; the other destination is refused at once and waits.
    peer.received(20).await;
    relay.queued(20).await;
    relay.stop().await;
}
