use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::rdata::{MX, TXT};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;

/// A name server on loopback that answers by the first label of the name.
struct Server {
    address: SocketAddr,
    queries: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server() -> Server {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let queries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&queries);
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = answer(&buffer[..length]) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    Server {
        address,
        queries,
        task,
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let name = question.name().to_string();
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(question.clone());
    if question.query_type() == RecordType::MX {
        let host = Name::from_ascii("Mx.shop.example.").unwrap();
        let data = RData::MX(MX::new(10, host));
        answer.add_answer(Record::from_rdata(question.name().clone(), 86400, data));
        return Some(answer.to_vec().unwrap());
    }
    let mut add = |strings: Vec<&str>| {
        let text = TXT::new(strings.into_iter().map(str::to_owned).collect());
        let record = Record::from_rdata(question.name().clone(), 86400, RData::TXT(text));
        answer.add_answer(record);
    };
    match name.split('.').next().unwrap() {
        "split" => add(vec!["v=DKIM1; k=rsa; ", "p=AAAA"]),
        "two" => {
            add(vec!["one"]);
            add(vec!["two"]);
        }
        "large" => (0..65).for_each(|_| add(vec!["x"])),
        "absent" => answer.metadata.response_code = ResponseCode::NXDomain,
        "other" => {}
        "broken" => answer.metadata.response_code = ResponseCode::ServFail,
        "refused" => answer.metadata.response_code = ResponseCode::Refused,
        _ => return None,
    }
    Some(answer.to_vec().unwrap())
}

fn dns(server: &Server) -> Dns {
    Dns::new(&[server.address]).unwrap()
}

fn key() -> (String, String) {
    ("shop".to_owned(), "shop-example".to_owned())
}

async fn ask(dns: &Dns, name: &str) -> Answer {
    let name = format!("{name}._domainkey.shop.example");
    dns.look_up(&txt(&name)).await
}

fn txt(name: &str) -> Question {
    Question {
        name: name.to_owned(),
        kind: Kind::Txt,
    }
}

#[tokio::test]
async fn answers_are_told_apart_and_strings_joined() {
    let server = server().await;
    let dns = dns(&server);
    assert_eq!(
        ask(&dns, "split").await,
        Answer::Records(vec!["v=DKIM1; k=rsa; p=AAAA".into()])
    );
    let Answer::Records(mut two) = ask(&dns, "two").await else {
        panic!()
    };
    two.sort();
    assert_eq!(two, ["one", "two"]);
    assert_eq!(ask(&dns, "absent").await, Answer::None);
    assert_eq!(ask(&dns, "other").await, Answer::None);
    for failing in ["broken", "refused"] {
        let answer = ask(&dns, failing).await;
        assert!(
            matches!(&answer, Answer::Failed(_)),
            "{failing}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn answers_of_strangers_are_bounded() {
    let large = ask(&dns(&server().await), "large").await;
    assert!(matches!(&large, Answer::Failed(_)), "{large:?}");
    let texts = |count: usize, length: usize| bounded(vec!["x".repeat(length); count]);
    assert!(matches!(texts(MOST_RECORDS, 1), Answer::Records(_)));
    assert!(matches!(texts(MOST_RECORDS + 1, 1), Answer::Failed(_)));
    assert!(matches!(texts(1, MOST_OCTETS), Answer::Records(_)));
    assert!(matches!(texts(1, MOST_OCTETS + 1), Answer::Failed(_)));
    assert_eq!(texts(0, 0), Answer::None);
}

#[tokio::test]
async fn mail_exchangers_are_asked_for_by_their_type() {
    let server = server().await;
    let question = Question {
        name: "split.example".into(),
        kind: Kind::Mx,
    };
    let answer = dns(&server).look_up(&question).await;
    assert_eq!(answer, Answer::Records(vec!["10 Mx.shop.example".into()]));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dns = Dns::new(&[silent.local_addr().unwrap()]).unwrap();
    let started = std::time::Instant::now();
    let answer = ask(&dns, "split").await;
    assert!(matches!(&answer, Answer::Failed(_)), "{answer:?}");
    assert!(
        started.elapsed() <= LOOKUP + Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_domain_is_looked_up_again_only_when_it_is_time_or_names_are_new() {
    let server = server().await;
    let dns = dns(&server);
    let names = [txt("absent.example")];
    let check = async |names: &[Question]| {
        dns.check(
            &key(),
            |_| names.to_vec(),
            Duration::ZERO,
            |_| Progress::Open,
        )
        .await
    };
    check(&names).await;
    let asked = server.queries.load(Ordering::SeqCst);
    assert!(asked > 0);
    check(&names).await;
    assert_eq!(server.queries.load(Ordering::SeqCst), asked);
    let more = [txt("absent.example"), txt("other.example")];
    let check = check(&more).await;
    assert!(server.queries.load(Ordering::SeqCst) > asked);
    assert_eq!(check.answers.len(), 2);
    assert!(check.again.unwrap() > Instant::now());
    assert_eq!(dns.remembered(), 1);
    dns.retain(|_| false);
    assert_eq!(dns.remembered(), 0);
}

#[tokio::test]
async fn nothing_is_asked_for_a_domain_without_keys() {
    let server = server().await;
    let check = dns(&server)
        .check(
            &key(),
            |_| Vec::new(),
            Duration::ZERO,
            |_| Progress::Settled,
        )
        .await;
    assert!(check.again.is_none());
    assert_eq!(server.queries.load(Ordering::SeqCst), 0);
}

#[test]
fn waits_grow_with_the_time_that_somebody_has_been_waiting() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let rows = [
        (Progress::Open, Duration::ZERO, Duration::from_secs(10)),
        (Progress::Open, minutes(10), minutes(1)),
        (Progress::Open, minutes(10_000), minutes(15)),
        (Progress::Optional, minutes(10), minutes(1)),
        (Progress::Optional, minutes(10_000), minutes(60)),
        (Progress::Settled, minutes(10), minutes(60)),
    ];
    for (settled, waiting, expected) in rows {
        assert_eq!(wait(settled, waiting, 0.5), expected);
    }
    assert_eq!(wait(Progress::Settled, Duration::ZERO, 0.0), minutes(48));
    assert_eq!(wait(Progress::Settled, Duration::ZERO, 1.0), minutes(72));
}

#[tokio::test]
async fn what_answers_lead_to_is_asked_for_too_and_is_bounded() {
    let server = server().await;
    let dns = dns(&server);
    // Each answer asks for one more name, without end.
    let questions = |answers: &BTreeMap<Question, Answer>| {
        let known = answers.keys().cloned();
        let next = txt(&format!("split.{}.example", answers.len()));
        known.chain([next]).collect::<Vec<_>>()
    };
    let endless = |answers: &BTreeMap<Question, Answer>| {
        let failed = answers
            .values()
            .any(|answer| matches!(answer, Answer::Failed(_)));
        if failed {
            Vec::new()
        } else {
            questions(answers)
        }
    };
    let check = dns
        .check(&key(), endless, Duration::ZERO, |_| Progress::Open)
        .await;
    let asked = server.queries.load(Ordering::SeqCst);
    assert_eq!(asked, MOST_QUESTIONS);
    assert_eq!(check.answers.len(), MOST_QUESTIONS + 1);
    let check = dns
        .check(
            &("shop".into(), "other".into()),
            questions,
            Duration::ZERO,
            |_| Progress::Open,
        )
        .await;
    assert!(check.answers.len() <= 2 * MOST_QUESTIONS + 1);
}
