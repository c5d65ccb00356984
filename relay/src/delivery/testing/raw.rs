//! A name server on loopback that answers with whatever octets a test wants, over UDP and TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::dns::name;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A query, and how to answer it.
pub(crate) struct Asked {
    pub(crate) message: Message,
    pub(crate) transport: Transport,
}

impl Asked {
    /// The name, in lower case without its trailing dot.
    pub(crate) fn name(&self) -> String {
        let text = self.message.queries[0].name().to_lowercase().to_ascii();
        text.trim_end_matches('.').to_owned()
    }

    pub(crate) fn kind(&self) -> RecordType {
        self.message.queries[0].query_type()
    }

    /// An answer to the question, without records.
    pub(crate) fn answer(&self) -> Message {
        let mut answer = Message::new(self.message.id, MessageType::Response, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = ResponseCode::NoError;
        answer.add_query(self.message.queries[0].clone());
        answer
    }

    /// An answer with these records: owner and data.
    pub(crate) fn with(&self, records: impl IntoIterator<Item = (String, RData)>) -> Message {
        let mut answer = self.answer();
        for (owner, data) in records {
            answer.add_answer(Record::from_rdata(name(&owner), 60, data));
        }
        answer
    }

    /// An answer of thousands of records about the name that was asked for, each with this data, as short
    /// as they can be written: in the data, `0xc00c` is that name.
    pub(crate) fn with_many(&self, records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut octets = self.answer().to_vec().unwrap();
        let mut count = 0_u16;
        for data in records {
            octets.extend([0xc0, 0x0c]);
            octets.extend(u16::from(self.kind()).to_be_bytes());
            octets.extend([0, 1, 0, 0, 0, 60]);
            octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            octets.extend(data);
            count += 1;
        }
        octets[6..8].copy_from_slice(&count.to_be_bytes());
        octets
    }
}

/// What a test answers: octets, or nothing at all.
pub(crate) type Said = Option<Vec<u8>>;
type Rule = dyn Fn(&Asked) -> Said + Send + Sync;

/// A running server; ends with the test's runtime.
pub(crate) struct RawDns {
    pub(crate) address: SocketAddr,
    queries: Arc<AtomicUsize>,
}

impl RawDns {
    /// Answers by `rule`; with `tcp` off nobody listens there.
    pub(crate) async fn start(
        tcp: bool,
        rule: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        let (listener, socket) = sockets().await;
        let address = socket.local_addr().unwrap();
        let queries = Arc::<AtomicUsize>::default();
        let rule: Arc<Rule> = Arc::new(rule);
        tokio::spawn(serve_udp(socket, rule.clone(), queries.clone()));
        if tcp {
            tokio::spawn(serve_tcp(listener, rule, queries.clone()));
        }
        Self { address, queries }
    }

    /// Over both transports.
    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

/// Both on one port.
async fn sockets() -> (TcpListener, UdpSocket) {
    for _ in 0..20 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (listener, socket);
        }
    }
    panic!("no port is free for both transports");
}

fn judge(octets: &[u8], transport: Transport, rule: &Rule) -> Said {
    let message = Message::from_vec(octets).ok()?;
    rule(&Asked { message, transport })
}

async fn serve_udp(socket: UdpSocket, rule: Arc<Rule>, queries: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        queries.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = judge(&buffer[..length], Transport::Udp, &*rule) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, rule: Arc<Rule>, queries: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, rule.clone(), queries.clone()));
    }
}

async fn converse(
    mut stream: TcpStream,
    rule: Arc<Rule>,
    queries: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        queries.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = judge(&query, Transport::Tcp, &*rule) {
            stream
                .write_u16(u16::try_from(answer.len()).unwrap())
                .await?;
            stream.write_all(&answer).await?;
        }
    }
}
