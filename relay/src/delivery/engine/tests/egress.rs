//! A network that lets no mail out.

use std::time::Duration;

use bytes::Bytes;
use relay_queue::{MessageId, NewMessage};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::delivery::testing::envelope;

const HOUR: u64 = 3_600_000;
/// Hosts that have to be silent, and for how long.
const HOSTS: u8 = 5;
const LONG: Duration = Duration::from_mins(5);

/// A host that answers no attempt to connect: its queue of connections is full.
struct Silent {
    _listener: TcpListener,
    _full: [TcpStream; 2],
}

impl Silent {
    async fn start(host: u8, port: u16) -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 1, host], port));
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        // One more than `listen` was told; the kernel drops what comes then without a word.
        let full = [connect(address).await, connect(address).await];
        Self {
            _listener: listener,
            _full: full,
        }
    }
}

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A relay with short patience, silent hosts for `d1.test` and so on, and one for `good.test` that is not.
async fn relay_and_silent_hosts(hosts: u8, retry: &str) -> (Pair, Vec<Silent>) {
    let names: Vec<(String, String)> = (1..=hosts)
        .map(|host| (format!("d{host}.test"), format!("127.0.1.{host}")))
        .collect();
    let names = names.iter().map(|(name, data)| (&**name, "A", &**data));
    let names: Vec<_> = names.chain([("good.test", "A", "127.0.0.2")]).collect();
    let pair = Pair::start(&names, Behaviour::default(), Behaviour::default(), "").await;
    let text = configuration(pair.first.port(), Some(pair.dns.address), retry);
    pair.relay
        .reconfigure(&text.replace("connect: 10s", "connect: 200ms"));
    let mut silent = Vec::new();
    for host in 1..=hosts {
        silent.push(Silent::start(host, pair.first.port()).await);
    }
    (pair, silent)
}

#[tokio::test]
async fn hosts_that_do_not_answer_while_dns_does_show_that_the_port_is_blocked_until_one_answers() {
    let (pair, _silent) = relay_and_silent_hosts(HOSTS, "retry: {initial: 1h}").await;
    let egress = &pair.relay.context.egress;
    let begun = now();
    // One after the other, so that DNS answers after the first was silent.
    for host in 1..=HOSTS {
        let to = format!("to@d{host}.test");
        pair.relay.submit(None, &[&to], TEXT).await;
        // Nothing is due as soon as the attempt has begun: its end is what counts.
        pair.relay.attempted(host.into()).await;
        assert_eq!(pair.relay.context.queue.status().0, u64::from(host));
    }
    assert_eq!(egress.blocked_since(), None);
    // Five minutes later another one is silent.
    egress.timed_out("d1.test", now().after(LONG));
    let since = egress.blocked_since().unwrap();
    assert!(begun <= since && since <= now());

    pair.relay.submit(None, &["to@good.test"], TEXT).await;
    pair.first.received(1).await;
    assert_eq!(egress.blocked_since(), None);
}

/// Whether a message of that age, which cannot be delivered, is still kept after an attempt.
async fn is_kept(blocked: bool, hours: f64) -> bool {
    let retry = "retry: {initial: 30m, maximum: 30m, expireAfter: 2h}";
    let (pair, _silent) = relay_and_silent_hosts(1, retry).await;
    let egress = &pair.relay.context.egress;
    let hour = u64::from(blocked) * HOUR;
    egress.answered(now());
    for host in 0..HOSTS {
        egress.timed_out(&format!("mx{host}.test"), Timestamp(now().0 - hour));
    }
    egress.timed_out("mx0.test", now());
    assert_eq!(egress.blocked_since().is_some(), blocked);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a few hours"
    )]
    let age = (hours * HOUR as f64) as u64;
    let accepted_at = Timestamp(now().0 - age);
    let message = NewMessage {
        id: MessageId::new(accepted_at, 1),
        envelope: relay_queue::Envelope {
            accepted_at,
            ..envelope(None, &["to@d1.test"], TEXT)
        },
        content: vec![Bytes::from(TEXT)],
    };
    pair.relay.context.queue.append(message).await.unwrap();
    pair.relay.attempted(1).await;
    let kept = pair.relay.context.queue.status().0 == 1;
    pair.relay.stop().await;
    kept
}

#[tokio::test]
async fn mail_is_kept_beyond_its_age_while_the_port_is_blocked_and_for_as_long_again_at_most() {
    let rows = [
        (false, 1.0, true),
        (false, 2.1, false),
        (true, 2.1, true),
        (true, 3.9, true),
        (true, 4.1, false),
    ];
    for (blocked, hours, kept) in rows {
        assert_eq!(is_kept(blocked, hours).await, kept, "{blocked} {hours}");
    }
}
