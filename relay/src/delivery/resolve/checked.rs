//! What of the octets of a name server is an answer to the question. Each answer passes here before
//! anything believes, validates or keeps it.
//!
//! An answer has the question in it, and its records are about the name that was asked for or about one
//! that its aliases lead to. Others beside them are dropped. An answer that has nothing but others is
//! none: taken for "there are no such records", it would bounce mail. The same goes for aliases that
//! lead on and on.
//!
//! What proves answers (DS and DNSKEY) is kept for a short while: hickory asks for all of it anew with each
//! answer that it validates. It is validated again each time it is used.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _, stream};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{ConnectionProvider, PoolContext};
use moka::sync::Cache;

/// Aliases of one name that are followed.
pub(super) const ALIASES: usize = 16;
/// Said of aliases beyond that.
pub(super) const ENDLESS: &str = "its aliases (CNAME) lead round or too far";

/// Answers about keys that are kept.
const KEYS: u64 = 2_000;
/// For how long at most: a forged one fails what it should prove, and so for no longer.
const KEY_TIME: Duration = Duration::from_mins(1);

/// Told whenever a name server has answered, by records or by a denial.
pub(in crate::delivery) type Heard = Arc<dyn Fn() + Send + Sync>;

/// Makes connections to name servers.
#[derive(Clone)]
pub(super) struct Checking {
    runtime: TokioRuntimeProvider,
    heard: Heard,
    keys: Keys,
}

/// What was answered about keys, and until when that holds.
type Keys = Cache<Query, (DnsResponse, Instant)>;

impl Checking {
    pub(super) fn new(heard: Heard) -> Self {
        Self {
            runtime: TokioRuntimeProvider::default(),
            heard,
            keys: Cache::new(KEYS),
        }
    }
}

impl ConnectionProvider for Checking {
    type Conn = Checked;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Checked, NetError>> + Send>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let opening = self.runtime.new_connection(ip, config, cx)?;
        let (heard, keys) = (self.heard.clone(), self.keys.clone());
        Ok(Box::pin(async move {
            Ok(Checked {
                connection: opening.await?,
                heard,
                keys,
            })
        }))
    }

    fn runtime_provider(&self) -> &Self::RuntimeProvider {
        &self.runtime
    }
}

/// A connection to a name server.
#[derive(Clone)]
pub(super) struct Checked {
    connection: DnsExchange<TokioRuntimeProvider>,
    heard: Heard,
    keys: Keys,
}

impl DnsHandle for Checked {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let asked = request.queries.first().cloned();
        if let Some((known, until)) = asked.as_ref().and_then(|asked| self.keys.get(asked))
            && Instant::now() < until
        {
            return Box::pin(stream::once(std::future::ready(Ok(known))));
        }
        let (heard, keys) = (self.heard.clone(), self.keys.clone());
        Box::pin(self.connection.send(request).map(move |response| {
            let mut response = response?;
            if let Some(asked) = &asked {
                check(asked, &mut response)?;
            }
            if matches!(
                response.response_code,
                ResponseCode::NoError | ResponseCode::NXDomain
            ) {
                heard();
                if let Some(asked) = asked.as_ref().filter(|asked| is_of_keys(asked))
                    && !response.truncation
                {
                    let until = Instant::now() + lifetime(&response);
                    keys.insert(asked.clone(), (response.clone(), until));
                }
            }
            Ok(response)
        }))
    }
}

fn is_of_keys(asked: &Query) -> bool {
    matches!(asked.query_type(), RecordType::DS | RecordType::DNSKEY)
}

/// How long an answer, or a denial, may be kept.
fn lifetime(response: &DnsResponse) -> Duration {
    let records = response.answers.iter().chain(&response.authorities);
    let least = records.map(|record| record.ttl).min().unwrap_or_default();
    Duration::from_secs(least.into()).min(KEY_TIME)
}

/// Takes out of the answer what is about something else; an error if nothing is left.
fn check(asked: &Query, response: &mut DnsResponse) -> Result<(), NetError> {
    // A server that could not read the question says so without it.
    let fails = response.queries.is_empty() && response.response_code != ResponseCode::NoError;
    if !fails && response.queries.first() != Some(asked) {
        return Err("the answer is to another question".into());
    }
    if response.answers.is_empty() {
        return Ok(());
    }
    let names = names(asked, &response.answers)?;
    let is_about = |record: &Record| names.contains(&record.name);
    let kind = asked.query_type();
    let answers = |record: &Record| {
        is_about(record)
            && (record.record_type() == kind
                || kind.is_any()
                || record.record_type() == RecordType::CNAME)
    };
    if !response.answers.iter().any(answers) {
        return Err("the answer is about other names or of other types than was asked for".into());
    }
    let is_proof = |record: &Record| {
        matches!(
            record.record_type(),
            RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3
        ) || record.record_type() == RecordType::Unknown(DNAME)
    };
    let all = response.answers.len();
    let mut kept = std::mem::take(&mut response.answers);
    kept.retain(|record| answers(record) || is_proof(record));
    if kept.len() < all {
        tracing::debug!(
            name = %asked.name(), dropped = all - kept.len(),
            "an answer of DNS had records that are about something else"
        );
    }
    response.answers = kept;
    Ok(())
}

/// Stands beside the aliases that it makes (RFC 6672).
const DNAME: u16 = 39;

/// The name that was asked for, and those that its aliases lead to, one after the other.
fn names(asked: &Query, answers: &[Record]) -> Result<Vec<Name>, NetError> {
    let mut names = vec![asked.name().clone()];
    if asked.query_type().is_cname() {
        return Ok(names);
    }
    while let Some(target) = names.last().and_then(|name| alias(name, answers)) {
        if names.len() > ALIASES || names.contains(target) {
            return Err(ENDLESS.into());
        }
        names.push(target.clone());
    }
    Ok(names)
}

fn alias<'a>(name: &Name, answers: &'a [Record]) -> Option<&'a Name> {
    answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name => Some(&target.0),
        _ => None,
    })
}
