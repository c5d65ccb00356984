//! Looking records up, bounded in time, and remembering when to look again.
//!
//! Names are always absolute, so that no search list is tried. Answers are cached for a minute at
//! most, whatever their time to live says: somebody waits for a record that was just published.

mod authority;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::records::{Answer, Kind, Question};
pub use authority::Spread;

/// One query to one server.
const QUERY: Duration = Duration::from_secs(3);
/// One name, over all servers and attempts.
const LOOKUP: Duration = Duration::from_secs(10);
/// What is asked for one domain at most, and how long what its records lead to is followed.
const MOST_QUESTIONS: usize = 160;
const WHOLE: Duration = Duration::from_secs(30);
/// Lookups at one time for one domain.
const CONCURRENCY: usize = 4;
/// Records of an answer, and octets of their texts, at most: strangers' answers are kept for as long as the
/// domain.
const MOST_RECORDS: usize = 64;
const MOST_OCTETS: usize = 16 * 1024;
/// Answers in the resolver's cache, which may have 64 KiB each.
const CACHE: u64 = 256;
/// Longest time to live that is honoured.
const CACHED: Duration = Duration::from_mins(1);
/// Between checks of a domain whose records are all as they should be.
const VERIFIED: Duration = Duration::from_hours(1);
/// Between checks of one whose records are not: at first, and in the long run.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(15);
/// A wait is a tenth of the time that somebody has been waiting.
const SHARE: u32 = 10;
/// Jitter is up to this share of a wait, in both directions.
const JITTER: f64 = 0.2;

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error(
    "DNS cannot be used: {0}; name servers with --dns-server, such as --dns-server=10.96.0.10:53"
)]
pub struct ResolverError(#[from] NetError);

/// A resolver and what it was last asked for each domain.
pub struct Dns {
    resolver: TokioResolver,
    checks: Mutex<HashMap<(String, String), Kept>>,
    /// Port of authoritative servers.
    authority_port: u16,
    /// Where records were seen, and when that was.
    spreads: Mutex<HashMap<String, (Spread, Instant)>>,
}

/// What was seen of a domain's records.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Answers by question.
    pub answers: BTreeMap<Question, Answer>,
    /// When to look again; never when nothing was looked up.
    pub again: Option<Instant>,
}

/// A [`Check`] as it is remembered, for as long as the domain: a list takes less than a tree.
struct Kept {
    answers: Box<[(Question, Answer)]>,
    again: Option<Instant>,
}

impl From<&Check> for Kept {
    fn from(check: &Check) -> Self {
        let answers = check.answers.iter();
        Self {
            answers: answers
                .map(|(question, answer)| (question.clone(), answer.clone()))
                .collect(),
            again: check.again,
        }
    }
}

impl From<&Kept> for Check {
    fn from(kept: &Kept) -> Self {
        Self {
            answers: kept.answers.iter().cloned().collect(),
            again: kept.again,
        }
    }
}

/// How far a domain's records have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All are as they should be.
    Settled,
    /// Only some that nothing depends on are not.
    Optional,
    /// Something that is needed is not.
    Open,
}

impl Dns {
    /// Asks `servers`, or those of `/etc/resolv.conf` when there are none.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, ResolverError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if servers.is_empty() {
            TokioResolver::builder(provider)?
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_parts(None, vec![], servers);
            TokioResolver::builder_with_config(config, provider)
        };
        limit(builder.options_mut());
        Ok(Self {
            resolver: builder.with_tls_config(client_config()?).build()?,
            checks: Mutex::default(),
            authority_port: 53,
            spreads: Mutex::default(),
        })
    }

    /// The answers to `questions`, which may grow with what is known: those of the last check while it is
    /// not time for the next one and they still suffice. `waiting` is how long the domain has been
    /// incomplete.
    pub async fn check(
        &self,
        domain: &(String, String),
        questions: impl Fn(&BTreeMap<Question, Answer>) -> Vec<Question>,
        waiting: Duration,
        progress: impl Fn(&BTreeMap<Question, Answer>) -> Progress,
    ) -> Check {
        if questions(&BTreeMap::new()).is_empty() {
            return Check::default();
        }
        let known = self.checks.lock().get(domain).map(Check::from);
        if let Some(known) = known {
            let suffices = open(questions(&known.answers), &known.answers).is_empty();
            if suffices && known.again.is_some_and(|again| Instant::now() < again) {
                return known;
            }
        }
        let answers = self.ask(questions).await;
        let wait = wait(progress(&answers), waiting, fastrand::f64());
        let check = Check {
            answers,
            again: Some(Instant::now() + wait),
        };
        self.checks
            .lock()
            .insert(domain.clone(), Kept::from(&check));
        check
    }

    /// Asks until nothing is left to ask. What strangers' records ask for is bounded in number and time;
    /// what is beyond is as if nobody had answered.
    async fn ask(
        &self,
        questions: impl Fn(&BTreeMap<Question, Answer>) -> Vec<Question>,
    ) -> BTreeMap<Question, Answer> {
        let started = Instant::now();
        let mut answers = BTreeMap::new();
        loop {
            let mut open = open(questions(&answers), &answers);
            if open.is_empty() {
                return answers;
            }
            let room = MOST_QUESTIONS.saturating_sub(answers.len());
            if !answers.is_empty() && (room == 0 || started.elapsed() > WHOLE) {
                let failed = Answer::Failed("the records lead to too many lookups".to_owned());
                answers.extend(open.into_iter().map(|question| (question, failed.clone())));
                if answers.len() > 2 * MOST_QUESTIONS {
                    return answers;
                }
                continue;
            }
            if !answers.is_empty() {
                open.truncate(room);
            }
            let lookups = open.into_iter().map(|question| async move {
                let answer = self.look_up(&question).await;
                (question, answer)
            });
            let found: Vec<_> = stream::iter(lookups)
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
            answers.extend(found);
        }
    }

    /// Forgets domains that are not among `known`.
    pub fn retain(&self, known: impl Fn(&(String, String)) -> bool) {
        self.checks.lock().retain(|domain, _| known(domain));
    }

    /// Domains that are remembered.
    pub fn remembered(&self) -> usize {
        self.checks.lock().len()
    }

    async fn look_up(&self, question: &Question) -> Answer {
        let kind = match question.kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Mx => RecordType::MX,
            Kind::Ptr => RecordType::PTR,
            Kind::Txt => RecordType::TXT,
        };
        let name = format!("{}.", question.name);
        let lookup = self.resolver.lookup(name, kind);
        match tokio::time::timeout(LOOKUP, lookup).await {
            Err(_) => Answer::Failed(format!("no answer within {} s", LOOKUP.as_secs())),
            Ok(Err(error)) if is_absence(&error) => Answer::None,
            Ok(Err(error)) => Answer::Failed(reason(&error)),
            Ok(Ok(found)) => {
                let texts: Vec<String> = found
                    .answers()
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::TXT(text) if kind == RecordType::TXT => Some(joined(&text.txt_data)),
                        RData::A(address) if kind == RecordType::A => Some(address.to_string()),
                        RData::AAAA(address) if kind == RecordType::AAAA => {
                            Some(address.to_string())
                        }
                        RData::PTR(name) if kind == RecordType::PTR => {
                            Some(name.0.to_ascii().trim_end_matches('.').to_owned())
                        }
                        RData::MX(mx) if kind == RecordType::MX => {
                            let host = mx.exchange.to_ascii();
                            Some(format!("{} {}", mx.preference, host.trim_end_matches('.')))
                        }
                        _ => None,
                    })
                    .collect();
                bounded(texts)
            }
        }
    }
}

/// The resolver may be built with encrypted transports; then it looks for the system's root certificates,
/// which an image from scratch does not have, unless it is given some.
fn client_config() -> Result<rustls::ClientConfig, NetError> {
    let roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::Msg(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Whether there is no record for certain.
fn is_absence(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(found))
            if matches!(found.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
    )
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = QUERY;
    options.attempts = 2;
    options.cache_size = CACHE;
    options.positive_max_ttl = Some(CACHED);
    options.negative_max_ttl = Some(SHORTEST / 2);
    options.edns0 = true;
}

/// The same words for the same cause, so that a status does not change with every failure.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Timeout => "the name servers did not answer in time".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered {code}"),
        NetError::Dns(DnsError::NoRecordsFound(found)) => {
            format!("the name server answered {}", found.response_code)
        }
        NetError::Io(_) => "the name servers cannot be reached".to_owned(),
        _ => "the name server's answer cannot be used".to_owned(),
    }
}

fn joined(strings: &[Box<[u8]>]) -> String {
    String::from_utf8_lossy(&strings.concat()).into_owned()
}

/// Part of an answer would say something else than the whole.
fn bounded(texts: Vec<String>) -> Answer {
    let octets: usize = texts.iter().map(String::len).sum();
    match texts.len() {
        0 => Answer::None,
        1..=MOST_RECORDS if octets <= MOST_OCTETS => Answer::Records(texts),
        _ => Answer::Failed(format!(
            "the answer has more than {MOST_RECORDS} records or {} KiB",
            MOST_OCTETS / 1024
        )),
    }
}

/// Those that are not answered.
fn open(questions: Vec<Question>, answers: &BTreeMap<Question, Answer>) -> Vec<Question> {
    let mut open = questions;
    open.retain(|question| !answers.contains_key(question));
    open
}

/// `random` is from 0 to 1.
fn wait(progress: Progress, waiting: Duration, random: f64) -> Duration {
    let wait = match progress {
        Progress::Settled => VERIFIED,
        Progress::Optional => (waiting / SHARE).clamp(SHORTEST, VERIFIED),
        Progress::Open => (waiting / SHARE).clamp(SHORTEST, LONGEST),
    };
    wait.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests;
