//! Listeners behind a proxy.

use super::*;

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n";

#[tokio::test]
async fn the_client_of_the_header_is_the_one_that_counts() {
    let relay = Relay::start("").await;
    let mut client = relay.connect(5).await;
    client.send(HEADER).await;
    assert_eq!(client.reply().await[..3], *"220");
    client.command("EHLO c").await;
    let reply = client
        .submit("a@open.example", "From: a@open.example\r\n\r\nhi")
        .await;
    assert_eq!(reply[..3], *"250");
    let (_, content) = &relay.queued()[0];
    assert!(
        content.starts_with("Received: from c ([192.0.2.7])"),
        "{content}"
    );

    let mut stranger = relay.connect(5).await;
    stranger
        .send(b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n")
        .await;
    assert_eq!(stranger.reply().await[..9], *"554 5.7.1");
    // What the proxy says on its own account is not a client of these networks.
    let mut own = relay.connect(5).await;
    own.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await;
    assert_eq!(own.reply().await[..9], *"554 5.7.1");
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let relay = Relay::start("").await;
    let mut stream = relay.tcp(6).await;
    let version_2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".as_slice(),
        &[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xd1],
    ]
    .concat();
    stream.write_all(&version_2).await.unwrap();
    let mut client = relay.encrypt(stream).await.unwrap();
    assert_eq!(client.reply().await[..3], *"220");
    client.command("EHLO c").await;
    assert_eq!(client.log_in("otter").await[..3], *"235");
}

#[tokio::test]
async fn without_a_header_or_from_elsewhere_nothing_is_said() {
    let relay = Relay::start("").await;
    let mut client = relay.connect(5).await;
    client
        .send(b"EHLO c\r\nMAIL FROM:<a@open.example>\r\n")
        .await;
    assert_eq!(client.reply().await, "");
    let mut stranger = relay.connect(8).await;
    let reply = stranger.reply().await;
    assert!(
        reply.starts_with("554 5.7.1 this port is for proxies"),
        "{reply}"
    );
}

#[tokio::test]
async fn clients_behind_one_proxy_are_counted_apart() {
    let relay = Relay::start("limits: {connectionsPerAddress: 1}").await;
    let mut first = relay.connect(5).await;
    first.send(HEADER).await;
    assert_eq!(first.reply().await[..3], *"220");
    let mut again = relay.connect(5).await;
    again.send(HEADER).await;
    assert_eq!(again.reply().await[..9], *"421 4.7.0");
    let mut other = relay.connect(5).await;
    other
        .send(b"PROXY TCP4 192.0.2.8 198.51.100.1 40000 25\r\n")
        .await;
    assert_eq!(other.reply().await[..3], *"220");
}
