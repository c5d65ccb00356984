//! What one client may take of the relay.

use super::*;

#[tokio::test]
async fn one_address_has_its_sessions_and_gets_them_back() {
    let relay = Relay::start("limits: {connectionsPerAddress: 2}").await;
    let first = relay.greeted(2).await;
    let _second = relay.greeted(4).await;
    let mut third = relay.connect(2).await;
    let reply = third.reply().await;
    assert!(
        reply.starts_with("421 4.7.0 too many sessions from your address"),
        "{reply}"
    );
    assert_eq!(third.reply().await, "");
    drop(first);
    loop {
        let mut next = relay.connect(2).await;
        if next.reply().await.starts_with("220") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_identity_has_its_sessions_and_gets_them_back() {
    let relay = Relay::start("limits: {connectionsPerIdentity: 1}").await;
    let mut first = relay.greeted(4).await;
    assert_eq!(first.log_in("otter").await[..3], *"235");
    let mut second = relay.greeted(4).await;
    let reply = second.log_in("otter").await;
    assert!(
        reply.starts_with("421 4.7.0 too many sessions are authenticated"),
        "{reply}"
    );
    assert_eq!(second.reply().await, "");
    assert_eq!(first.command("QUIT").await[..3], *"221");
    assert_eq!(first.reply().await, "");
    loop {
        let mut next = relay.greeted(4).await;
        if next.log_in("otter").await.starts_with("235") {
            break;
        }
    }
}

#[tokio::test]
async fn octets_that_dribble_in_do_not_keep_a_session_open() {
    let relay = Relay::start("limits: {idleTimeout: 1s}").await;
    let mut client = relay.greeted(2).await;
    let started = tokio::time::Instant::now();
    let reply = loop {
        assert!(started.elapsed() < Duration::from_secs(15), "not closed");
        client.send(b"E").await;
        tokio::select! {
            reply = client.reply() => break reply,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    };
    assert_eq!(reply[..9], *"421 4.4.2");
}

#[tokio::test]
async fn a_message_that_dribbles_in_is_cut_off() {
    let relay = Relay::start("limits: {idleTimeout: 2s, minimumRate: 1000}").await;
    let mut client = relay.greeted(2).await;
    client.command("MAIL FROM:<a@open.example>").await;
    client.command("RCPT TO:<b@dest.example>").await;
    assert_eq!(client.command("DATA").await[..3], *"354");
    let started = tokio::time::Instant::now();
    let reply = loop {
        assert!(started.elapsed() < Duration::from_secs(15), "not closed");
        client.send(b"From: a@open.example\r\n").await;
        tokio::select! {
            reply = client.reply() => break reply,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    };
    assert!(
        reply.starts_with("421 4.4.2 the message comes too slowly"),
        "{reply}"
    );
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn a_session_that_is_old_ends_when_no_message_is_under_way() {
    let relay = Relay::start("limits: {idleTimeout: 5s, sessionTimeout: 2s}").await;
    let mut client = relay.greeted(2).await;
    let mut other = relay.greeted(2).await;
    other.command("MAIL FROM:<a@open.example>").await;
    let reply = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let reply = client.command("NOOP").await;
        if !reply.starts_with("250") {
            break reply;
        }
    };
    assert!(
        reply.starts_with("421 4.4.2 the session has lasted too long"),
        "{reply}"
    );
    // An open transaction has some seconds more.
    let reply = other.submit_rest("From: a@open.example\r\n\r\nhi").await;
    assert_eq!(reply[..3], *"250");
}

impl Client<TcpStream> {
    /// The rest of a transaction whose `MAIL` was said.
    async fn submit_rest(&mut self, content: &str) -> String {
        for line in ["RCPT TO:<bob@dest.example>", "DATA"] {
            let reply = self.command(line).await;
            assert!(reply.starts_with(['2', '3']), "{line} {reply}");
        }
        self.send(format!("{content}\r\n.\r\n").as_bytes()).await;
        self.reply().await
    }
}

#[tokio::test]
async fn commands_without_a_message_are_counted() {
    let relay = Relay::start("limits: {commands: 30}").await;
    let mut client = relay.greeted(2).await;
    let mut replies = 0;
    let last = loop {
        let reply = client.command("NOOP").await;
        if !reply.starts_with("250") {
            break reply;
        }
        replies += 1;
    };
    assert_eq!(replies, 29, "the EHLO was the first");
    assert!(last.starts_with("421 4.7.0 too many commands"), "{last}");
}
