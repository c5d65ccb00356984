//! A DNS server on loopback: hickory-server with a zone in memory, behind a forwarder that fails or
//! stays silent for the names that a test wants so.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, SRV, TLSA, TXT};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::UdpSocket;

/// A running server; ends when dropped.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    queries: Arc<AtomicUsize>,
    _server: Server<Catalog>,
}

pub(super) fn name(text: &str) -> Name {
    Name::from_str(&format!("{}.", text.trim_end_matches('.'))).unwrap()
}

/// The data of a record, as a zone file has it.
pub(crate) fn data(kind: &str, data: &str) -> RData {
    match kind {
        "A" => RData::A(A(data.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(data.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(name(data))),
        "NS" => RData::NS(NS(name(data))),
        "TXT" => RData::TXT(TXT::new(vec![data.to_owned()])),
        "SRV" => {
            let mut parts = data.split(' ');
            let mut number = || parts.next().unwrap().parse().unwrap();
            let (priority, weight, port) = (number(), number(), number());
            RData::SRV(SRV::new(
                priority,
                weight,
                port,
                name(parts.next().unwrap()),
            ))
        }
        "MX" => {
            let (preference, host) = data.split_once(' ').unwrap();
            RData::MX(MX::new(preference.parse().unwrap(), name(host)))
        }
        "TLSA" => {
            let mut fields = data.split(' ');
            let mut number = || fields.next().unwrap().parse::<u8>().unwrap();
            let (usage, selector, matching) = (number(), number(), number());
            let digits = fields.next().unwrap().as_bytes();
            let octets = digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
            RData::TLSA(TLSA::new(
                usage.into(),
                selector.into(),
                matching.into(),
                octets.collect(),
            ))
        }
        other => panic!("{other}"),
    }
}

impl Dns {
    /// Serves the zone `test.`; records are `(name, type, data)`. Queries for names with `servfail`
    /// in them fail, and those with `silent` get no answer.
    pub(crate) async fn start(records: &[(&str, &str, &str)]) -> Self {
        let origin = name("test");
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
            None,
        );
        let soa = SOA::new(name("ns.test"), name("root.test"), 1, 3600, 600, 86400, 60);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        for (owner, kind, text) in records {
            let data = data(kind, text);
            zone.upsert_mut(Record::from_rdata(name(owner), 60, data), 1);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let upstream = socket.local_addr().unwrap();
        let mut server = Server::new(catalog);
        server.register_socket(socket);
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let queries = Arc::new(AtomicUsize::new(0));
        tokio::spawn(forward(Arc::new(front), upstream, queries.clone()));
        Self {
            address,
            queries,
            _server: server,
        }
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

async fn forward(front: Arc<UdpSocket>, upstream: SocketAddr, queries: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = front.recv_from(&mut buffer).await {
        queries.fetch_add(1, Ordering::SeqCst);
        let mut query = buffer[..length].to_vec();
        let has = |word: &[u8]| {
            query
                .windows(word.len())
                .any(|window| window.eq_ignore_ascii_case(word))
        };
        if has(b"silent") {
            continue;
        }
        if has(b"servfail") {
            // An answer, code 2.
            query[2] |= 0x80;
            query[3] = 2;
            let _ = front.send_to(&query, client).await;
            continue;
        }
        let front = front.clone();
        tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(&query, upstream).await.unwrap();
            let mut answer = [0; 4096];
            if let Ok((length, _)) = socket.recv_from(&mut answer).await {
                let _ = front.send_to(&answer[..length], client).await;
            }
        });
    }
}
