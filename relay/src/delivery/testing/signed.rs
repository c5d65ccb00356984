//! Name servers on loopback with a signed root zone and an unsigned zone below it, behind a forwarder that
//! spoils the answers that a test wants spoilt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_resolver::proto::dnssec::rdata::DNSKEY;
use hickory_resolver::proto::dnssec::{Algorithm, DnssecSigner, SigningKey as _};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SOA};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::UdpSocket;

use super::dns::{data, name};

/// The zone that is not signed.
pub(crate) const UNSIGNED: &str = "plain";

/// Running name servers; end when dropped.
pub(crate) struct SignedDns {
    pub(crate) address: SocketAddr,
    /// The root's key, as `dns.trustAnchors` has it.
    pub(crate) anchor: String,
    behaviour: Arc<Behaviour>,
    _servers: [Server<Catalog>; 2],
}

#[derive(Default)]
struct Behaviour {
    /// Takes all signatures out.
    strips: AtomicBool,
    /// Validates, in place of the client, and says so.
    validates: AtomicBool,
    queries: AtomicUsize,
}

impl SignedDns {
    /// Serves these records, `(name, type, data)`; those below [`UNSIGNED`] are not signed. Answers about
    /// names with `stripped` in them lose their signatures, those with `forged` other data than was
    /// signed, those with `servfail` are failures, and those with `silent` do not come; with `broken` and
    /// `quiet` the last two are true of TLSA records alone.
    pub(crate) async fn start(records: &[(&str, &str, &str)]) -> Self {
        let is_unsigned = |owner: &str| is_below(owner, UNSIGNED);
        let (unsigned, signed): (Vec<_>, Vec<_>) =
            records.iter().partition(|(owner, ..)| is_unsigned(owner));
        let mut root = zone(&Name::root(), &signed);
        root.upsert_mut(record(UNSIGNED, data("NS", "ns.plain")), 1);
        let (signer, anchor) = signer();
        root.add_zone_signing_key_mut(signer).unwrap();
        root.secure_zone_mut().unwrap();
        let plain = zone(&name(UNSIGNED), &unsigned);
        let (root, first) = serve(Name::root(), root).await;
        let (plain, second) = serve(name(UNSIGNED), plain).await;
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let behaviour = Arc::<Behaviour>::default();
        tokio::spawn(forward(Arc::new(front), root, plain, behaviour.clone()));
        Self {
            address,
            anchor,
            behaviour,
            _servers: [first, second],
        }
    }

    /// From now on no signature passes, or each does.
    pub(crate) fn strip(&self, strips: bool) {
        self.behaviour.strips.store(strips, Ordering::SeqCst);
    }

    /// From now on it validates itself.
    pub(crate) fn validate(&self) {
        self.behaviour.validates.store(true, Ordering::SeqCst);
    }

    pub(crate) fn queries(&self) -> usize {
        self.behaviour.queries.load(Ordering::SeqCst)
    }
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn zone(
    origin: &Name,
    records: &[&(&str, &str, &str)],
) -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut zone = InMemoryZoneHandler::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
        Some(NxProofKind::Nsec),
    );
    let soa = SOA::new(name("ns.test"), name("root.test"), 1, 3600, 600, 86400, 60);
    zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
    zone.upsert_mut(
        Record::from_rdata(origin.clone(), 60, data("NS", "ns.test")),
        1,
    );
    for (owner, kind, text) in records {
        zone.upsert_mut(record(owner, data(kind, text)), 1);
    }
    zone
}

fn signer() -> (DnssecSigner, String) {
    let algorithm = Algorithm::ECDSAP256SHA256;
    let der = EcdsaSigningKey::generate_pkcs8(algorithm).unwrap();
    let key = EcdsaSigningKey::from_pkcs8(&der, algorithm).unwrap();
    let public = DNSKEY::from_key(&key.to_public_key().unwrap());
    let anchor = format!(". 3600 IN DNSKEY {public}");
    let day = Duration::from_hours(24);
    let signer = DnssecSigner::new(public, Box::new(key), Name::root(), day);
    (signer, anchor)
}

async fn serve(
    origin: Name,
    zone: InMemoryZoneHandler<TokioRuntimeProvider>,
) -> (SocketAddr, Server<Catalog>) {
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::new(catalog);
    server.register_socket(socket);
    (address, server)
}

async fn forward(
    front: Arc<UdpSocket>,
    root: SocketAddr,
    plain: SocketAddr,
    behaviour: Arc<Behaviour>,
) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = front.recv_from(&mut buffer).await {
        behaviour.queries.fetch_add(1, Ordering::SeqCst);
        let Ok(query) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let (front, behaviour) = (front.clone(), behaviour.clone());
        tokio::spawn(async move {
            if let Some(answer) = answer(&query, root, plain, &behaviour).await {
                let _ = front.send_to(&answer.to_vec().unwrap(), client).await;
            }
        });
    }
}

async fn answer(
    query: &Message,
    root: SocketAddr,
    plain: SocketAddr,
    behaviour: &Behaviour,
) -> Option<Message> {
    let question = query.queries.first()?;
    let text = question.name().to_lowercase().to_ascii();
    let is_tlsa = question.query_type() == RecordType::TLSA;
    if text.contains("silent") || is_tlsa && text.contains("quiet") {
        return None;
    }
    if text.contains("servfail") || is_tlsa && text.contains("broken") {
        return Some(failure(query));
    }
    let below = is_below(text.trim_end_matches('.'), UNSIGNED);
    // What stands at a delegation belongs to the zone above.
    let to_plain = below && !(text == "plain." && question.query_type() == RecordType::DS);
    let validates = behaviour.validates.load(Ordering::SeqCst);
    let spoilt = text.contains("forged") || text.contains("stripped");
    if validates && spoilt {
        return Some(failure(query));
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = if to_plain { plain } else { root };
    socket
        .send_to(&query.to_vec().unwrap(), upstream)
        .await
        .unwrap();
    let mut buffer = vec![0; 65_535];
    let (length, _) = socket.recv_from(&mut buffer).await.ok()?;
    let mut answer = Message::from_vec(&buffer[..length]).unwrap();
    if validates {
        answer.metadata.authentic_data = query.metadata.authentic_data && !below;
    }
    if behaviour.strips.load(Ordering::SeqCst) || text.contains("stripped") || validates {
        for section in [
            &mut answer.answers,
            &mut answer.authorities,
            &mut answer.additionals,
        ] {
            section.retain(|record| !is_of_dnssec(record.record_type()));
        }
    }
    if text.contains("forged") {
        answer.answers.iter_mut().for_each(forge);
    }
    Some(answer)
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn failure(query: &Message) -> Message {
    let mut answer = Message::error_msg(query.id, query.op_code, ResponseCode::ServFail);
    answer.add_queries(query.queries.iter().cloned());
    answer
}

fn is_of_dnssec(kind: RecordType) -> bool {
    matches!(
        kind,
        RecordType::RRSIG | RecordType::NSEC | RecordType::DNSKEY | RecordType::DS
    )
}

fn forge(record: &mut Record) {
    match &mut record.data {
        RData::A(address) => *address = A::new(127, 0, 0, 66),
        RData::MX(exchanger) => exchanger.preference += 1,
        RData::TLSA(tlsa) => tlsa.cert_data[0] ^= 1,
        _ => {}
    }
}
