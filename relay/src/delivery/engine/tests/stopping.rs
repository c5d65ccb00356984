//! What a stop waits for.

use super::*;

#[tokio::test]
async fn a_stop_lets_an_attempt_finish_and_settles_it() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let line = format!("{}\r\n", "x".repeat(70));
    let content = format!("A: b\r\n\r\n{}", line.repeat(50_000));
    relay.submit(None, &["to@[127.0.0.1]"], &content).await;
    while peer.lines(0).is_empty() {
        tokio::task::yield_now().await;
    }
    let queue = relay.context.queue.clone();
    relay.stop().await;
    assert_eq!(peer.messages().len(), 1);
    assert_eq!(queue.status().0, 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_server_longer_than_the_grace() {
    let silent = rule(|_, line| (line == "connect").then_some(Answer::Silence));
    let peer = Peer::start(silent).await;
    let text = configuration(peer.port(), None, "")
        .replace("greeting: 10s", "greeting: 1h")
        .replace("dns:", "limits: {shutdownGrace: 100ms}, dns:");
    let relay = Relay::start(&text);
    relay.submit(None, &["to@[127.0.0.1]"], TEXT).await;
    while peer.connections() == 0 {
        tokio::task::yield_now().await;
    }
    relay.stop().await;
}
