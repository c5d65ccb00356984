//! A zone's primary name server: signed questions and updates over one TCP connection, bounded in time, and every
//! answer verified (RFC 8945 section 5.3).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::tsig::TsigError;
use hickory_resolver::proto::rr::{Name, TSigner};
use jiff::Timestamp;
use operator_api::PublishedRecord;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::update::{self, Observed, Step};
use super::wanted::{Hold, Planned};
use crate::domain::dns::Dns;
use crate::domain::records::Kind;

/// Until there is a connection, and for each question and answer.
const CONNECT: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(5);
/// For all records of a domain.
const WHOLE: Duration = Duration::from_secs(30);
/// Addresses of the server that are tried.
const ADDRESSES: usize = 2;
/// Port of DNS.
const PORT: u16 = 53;

/// Where a zone is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) zone: &'a str,
}

/// Why a name server could not be told. The text names what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::domain) enum Fault {
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// It does not take the key.
    #[error("{0}")]
    Key(String),
    /// It does not take the update.
    #[error("{0}")]
    Refused(String),
}

/// Writes what lacks and removes what goes; the records of ours that the zone has then, and, of those that it
/// should have, what stands in the way of the first that it has not.
pub(super) async fn bring_about(
    dns: &Dns,
    place: Place<'_>,
    signer: &TSigner,
    planned: &Planned,
    now: Timestamp,
) -> (Vec<PublishedRecord>, Result<Option<String>, Fault>) {
    let mut records: Vec<PublishedRecord> = planned
        .kept
        .iter()
        .flat_map(|kept| kept.records.clone())
        .collect();
    let work = write_all(dns, place, signer, planned, now, &mut records);
    let result = match timeout(WHOLE, work).await {
        Ok(result) => result,
        Err(_) => Err(silent(place.host)),
    };
    records.sort_by(|one, other| {
        (&one.name, &one.r#type, &one.value).cmp(&(&other.name, &other.r#type, &other.value))
    });
    (records, result)
}

async fn write_all(
    dns: &Dns,
    place: Place<'_>,
    signer: &TSigner,
    planned: &Planned,
    now: Timestamp,
    records: &mut Vec<PublishedRecord>,
) -> Result<Option<String>, Fault> {
    let mut session = Session::open(dns, place, signer, now).await?;
    let (mut foreign, mut fault) = (None, None);
    for item in &planned.records {
        let observed = session
            .look(&item.question.name, item.question.kind)
            .await?;
        let is_there = match update::step(item, &observed, records, planned.ttl) {
            Step::Keep => true,
            Step::Leave | Step::Wait => false,
            Step::Foreign(what) => {
                foreign.get_or_insert(what);
                false
            }
            Step::Write(update) => {
                let title = format!("{} {}", item.question.kind.name(), item.question.name);
                match session.update(update, &title).await {
                    // The others may be taken all the same.
                    Err(refused @ Fault::Refused(_)) => {
                        fault.get_or_insert(refused);
                        false
                    }
                    written => written?,
                }
            }
        };
        let is_ours = !matches!(item.hold, Hold::Owners(_));
        if is_there && is_ours {
            // Whatever was ours at the name was replaced.
            records.retain(|record| !item.is_at(record));
            records.push(item.record());
        }
    }
    for record in &planned.gone {
        session.remove(record).await?;
        records.retain(|known| known != record);
    }
    fault.map_or(Ok(foreign), Err)
}

/// Removes records; those that are left.
pub(super) async fn take_away(
    dns: &Dns,
    place: Place<'_>,
    signer: &TSigner,
    records: &[PublishedRecord],
    now: Timestamp,
) -> Result<(), Fault> {
    let work = async {
        let mut session = Session::open(dns, place, signer, now).await?;
        for record in records {
            session.remove(record).await?;
        }
        Ok(())
    };
    timeout(WHOLE, work)
        .await
        .unwrap_or_else(|_| Err(silent(place.host)))
}

fn silent(host: &str) -> Fault {
    Fault::Unreachable(format!(
        "name server {host} does not answer in time; correct server and port, or let the operator reach it over TCP"
    ))
}

/// A connection.
struct Session<'a> {
    stream: TcpStream,
    place: Place<'a>,
    zone: Name,
    signer: &'a TSigner,
    now: Timestamp,
}

impl<'a> Session<'a> {
    async fn open(
        dns: &Dns,
        place: Place<'a>,
        signer: &'a TSigner,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let host = place.host;
        let zone = update::absolute(place.zone).ok_or_else(|| {
            Fault::Refused(format!("zone {} is no name that DNS takes", place.zone))
        })?;
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => dns.addresses(host).await,
        };
        if addresses.is_empty() {
            return Err(Fault::Unreachable(format!(
                "name server {host} has no address in DNS; correct server, or give an address"
            )));
        }
        let port = place.port.unwrap_or(PORT);
        for address in addresses.into_iter().take(ADDRESSES) {
            let connect = TcpStream::connect(SocketAddr::new(address, port));
            if let Ok(Ok(stream)) = timeout(CONNECT, connect).await {
                return Ok(Self {
                    stream,
                    place,
                    zone,
                    signer,
                    now,
                });
            }
        }
        Err(Fault::Unreachable(format!(
            "name server {host} cannot be reached at TCP port {port}; correct server and port, or let the operator \
             reach it"
        )))
    }

    /// What the server has.
    async fn look(&mut self, name: &str, kind: Kind) -> Result<Observed, Fault> {
        let Some(name) = update::absolute(name) else {
            return Ok(Observed::default());
        };
        let title = format!("{} {name}", kind.name());
        let kind = update::wire(kind);
        let answer = self.ask(update::question(&name, kind), &title).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {
                Ok(update::observed(&name, kind, &answer))
            }
            code => Err(self.refused(code, &title)),
        }
    }

    /// Whether the update was made; if not, somebody else wrote at the same time.
    async fn update(&mut self, update: update::Update, record: &str) -> Result<bool, Fault> {
        let message = update::message(&self.zone, update);
        let answer = self.ask(message, record).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(true),
            ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::YXDomain => Ok(false),
            code => Err(self.refused(code, record)),
        }
    }

    async fn remove(&mut self, record: &PublishedRecord) -> Result<(), Fault> {
        let kind = match record.r#type.as_str() {
            "MX" => Kind::Mx,
            _ => Kind::Txt,
        };
        let observed = self.look(&record.name, kind).await?;
        if let Some(update) = update::removal(record, &observed) {
            let title = format!("{} {}", record.r#type, record.name);
            self.update(update, &title).await?;
        }
        Ok(())
    }

    /// One exchange.
    async fn ask(&mut self, mut message: Message, record: &str) -> Result<Message, Fault> {
        let second = u64::try_from(self.now.as_second()).unwrap_or_default();
        let unsendable = |_| Fault::Refused("the update is too large for a DNS message".to_owned());
        let signed = self
            .signer
            .sign_message(&message, second)
            .map_err(unsendable)?;
        let (signature, verifier) = signed;
        message.set_signature(signature);
        let sent = message.to_vec().map_err(unsendable)?;
        let exchange = exchange(&mut self.stream, &sent);
        let Ok(Ok(received)) = timeout(EXCHANGE, exchange).await else {
            return Err(silent(self.place.host));
        };
        let answer = self.parse(&received, message.metadata.id)?;
        let Some(mut verifier) = verifier else {
            return Err(self.untrusted());
        };
        match verifier.verify(&received) {
            Ok(_) => Ok(answer),
            // Whoever refuses need not prove who it is.
            Err(_) if answer.metadata.response_code != ResponseCode::NoError => {
                Err(self.refused(answer.metadata.response_code, record))
            }
            Err(_) => Err(self.untrusted()),
        }
    }

    /// Reads an answer, and what it says of the key.
    fn parse(&self, received: &[u8], id: u16) -> Result<Message, Fault> {
        let answer = Message::from_vec(received);
        let answer = answer.ok().filter(|answer| answer.metadata.id == id);
        let answer = answer.ok_or_else(|| {
            Fault::Refused(format!(
                "what name server {} answers is no DNS message",
                self.place.host
            ))
        })?;
        let error = answer
            .signature
            .as_ref()
            .and_then(|signature| signature.data.error);
        let Some(error) = error else {
            return Ok(answer);
        };
        let (host, key) = (self.place.host, self.signer.signer_name());
        Err(Fault::Key(match error {
            TsigError::BadKey => format!(
                "name server {host} knows no TSIG key {key} with this algorithm; correct keyname and algorithm"
            ),
            TsigError::BadTime => format!(
                "name server {host} and the operator do not agree on the time (BADTIME); set the clocks of both"
            ),
            _ => format!(
                "name server {host} has another secret for TSIG key {key} (BADSIG); correct the entry secret"
            ),
        }))
    }

    fn untrusted(&self) -> Fault {
        Fault::Key(format!(
            "the answer of name server {} is not signed with TSIG key {}; somebody else may answer in its place",
            self.place.host,
            self.signer.signer_name()
        ))
    }

    fn refused(&self, code: ResponseCode, record: &str) -> Fault {
        let Place { host, zone, .. } = self.place;
        let key = self.signer.signer_name();
        Fault::Refused(match code {
            ResponseCode::NotAuth => format!(
                "name server {host} is not the primary of zone {zone} (NOTAUTH); correct server or zone"
            ),
            ResponseCode::NotZone => {
                format!("{record} does not lie in zone {zone} (NOTZONE); correct zone")
            }
            ResponseCode::Refused => format!(
                "name server {host} does not take {record} with TSIG key {key} (REFUSED); let the key write there, or see \
                 its log: BIND also refuses an MX record whose host it should know and does not"
            ),
            code => format!("name server {host} answers for {record}: {code}"),
        })
    }
}

/// RFC 1035 section 4.2.2.
async fn exchange(stream: &mut TcpStream, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = u16::try_from(sent.len()).map_err(std::io::Error::other)?;
    let mut framed = Vec::with_capacity(sent.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(sent);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut received = vec![0; usize::from(length)];
    stream.read_exact(&mut received).await?;
    Ok(received)
}
