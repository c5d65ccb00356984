//! Authoritative servers on addresses of the loopback network, all on one port.

use std::collections::HashMap;
use std::str::FromStr as _;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NS, TXT};
use hickory_resolver::proto::rr::{Name, Record};
use tokio::net::UdpSocket;

use super::*;

const KEY: &str = "mail-r2._domainkey.shop.example";

/// Records of a server: name and type, then data and time to live.
type Zone = HashMap<(String, RecordType), Vec<(RData, u32)>>;

fn text(text: &str) -> RData {
    RData::TXT(TXT::new(vec![text.to_owned()]))
}

fn zone(records: impl IntoIterator<Item = (&'static str, RData, u32)>) -> Zone {
    let mut zone = Zone::new();
    for (name, data, ttl) in records {
        let key = (format!("{name}."), data.record_type());
        zone.entry(key).or_default().push((data, ttl));
    }
    zone
}

/// What the resolver knows: a zone with two servers.
fn delegation() -> Zone {
    let server = |name: &str| RData::NS(NS(Name::from_str(name).unwrap()));
    let address = |last| RData::A(A::new(127, 0, 0, last));
    zone([
        ("shop.example", server("one.dns.example."), 60),
        ("shop.example", server("two.dns.example."), 60),
        ("one.dns.example", address(2), 60),
        ("two.dns.example", address(3), 60),
    ])
}

/// Serves until the test ends.
fn serve(socket: UdpSocket, zone: Zone) {
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let name = question.name().to_string().to_ascii_lowercase();
            let mut answer = Message::response(query.metadata.id, OpCode::Query);
            answer.metadata.authoritative = true;
            answer.metadata.recursion_available = true;
            answer.add_query(question.clone());
            let found = zone.get(&(name, question.query_type()));
            if found.is_none() {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            for (data, ttl) in found.into_iter().flatten() {
                let owner = question.name().clone();
                answer.add_answer(Record::from_rdata(owner, *ttl, data.clone()));
            }
            socket
                .send_to(&answer.to_vec().unwrap(), peer)
                .await
                .unwrap();
        }
    });
}

/// A resolver that knows the delegation, and the zone's two servers; without a zone a server is silent.
async fn world(delegation: Zone, servers: [Option<Zone>; 2]) -> Dns {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = resolver.local_addr().unwrap();
    serve(resolver, delegation);
    for (last, zone) in (2..).zip(servers) {
        let place = (format!("127.0.0.{last}"), address.port());
        let socket = UdpSocket::bind((place.0.as_str(), place.1)).await.unwrap();
        match zone {
            Some(zone) => serve(socket, zone),
            // Bound, so that no other test is there; it lives as long as the test.
            None => std::mem::forget(socket),
        }
    }
    let mut dns = Dns::new(&[address]).unwrap();
    dns.authority_port = address.port();
    dns
}

fn shows(value: &str, ttl: u32) -> Zone {
    zone([(KEY, text(value), ttl)])
}

async fn spread(dns: &Dns) -> Spread {
    let fits = |answer: &Answer| *answer == Answer::Records(vec!["right".into()]);
    dns.spread(KEY, fits).await
}

fn everywhere(seconds: i64) -> Spread {
    Spread::Everywhere(SignedDuration::from_secs(seconds))
}

#[tokio::test]
async fn a_record_is_everywhere_once_each_server_of_the_zone_shows_it() {
    const DAY: i64 = 24 * 3600;
    let rows = [
        (
            [Some(shows("right", 300)), Some(shows("right", 3600))],
            everywhere(3600),
        ),
        (
            [Some(shows("right", 300)), Some(shows("old", 3600))],
            Spread::NotAt("two.dns.example".into()),
        ),
        (
            [Some(Zone::new()), Some(shows("right", 60))],
            Spread::NotAt("one.dns.example".into()),
        ),
        // Nobody waits for longer than a day for what is remembered.
        (
            [Some(shows("right", 1_000_000)), Some(shows("right", 1))],
            everywhere(DAY),
        ),
        // A server that cannot be asked may show what it likes.
        ([Some(shows("right", 300)), None], everywhere(300 + DAY)),
        (
            [None, Some(shows("old", 300))],
            Spread::NotAt("two.dns.example".into()),
        ),
        ([None, None], everywhere(2 * DAY)),
    ];
    for (number, (servers, expected)) in rows.into_iter().enumerate() {
        let dns = world(delegation(), servers).await;
        assert_eq!(spread(&dns).await, expected, "row {number}");
    }
}

#[tokio::test]
async fn without_servers_to_ask_the_resolver_is_believed_after_a_long_time() {
    let dns = world(Zone::new(), [None, None]).await;
    assert_eq!(spread(&dns).await, everywhere(2 * 24 * 3600));
}

#[tokio::test]
async fn the_zone_is_the_nearest_one_above_the_name() {
    let server = RData::NS(NS(Name::from_str("one.dns.example.").unwrap()));
    let mut delegation = delegation();
    let nearer = ("_domainkey.shop.example.".to_owned(), RecordType::NS);
    delegation.insert(nearer, vec![(server, 60)]);
    // The other server of the zone above has nothing to say about it.
    let dns = world(
        delegation,
        [Some(shows("right", 60)), Some(shows("old", 60))],
    )
    .await;
    assert_eq!(spread(&dns).await, everywhere(60));
}
