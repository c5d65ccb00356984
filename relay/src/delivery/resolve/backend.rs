//! Who answers, and whether the answer is proven (DNSSEC, RFC 4035).
//!
//! Three ways lead to a proven answer: the relay validates (`Validate`); the name servers do and are
//! believed (`TrustResolver`, the AD bit, RFC 6840 section 5.8); or the relay validates for as long as a
//! look at the root zone shows that the name servers pass signatures on (`Auto`). The last keeps mail
//! flowing behind name servers that strip them, at a price: who sits between the relay and its name
//! servers can take DANE away. `Validate` is for whoever minds.
//!
//! A validated answer that fails is no answer. One exception: names below a top-level domain that the
//! signed root says does not exist, such as `cluster.local`, are somebody's own and cannot be signed.

mod probe;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::caching_client::CachingClient;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, system_conf::read_system_conf};
use moka::sync::Cache;
use relay_config::{Dns, Dnssec};
use tokio::time::timeout;

use super::checked::{Checking, Heard};
use super::{name_server, set_options};
use crate::metrics::Metrics;
use probe::Probe;

/// Denials that are kept; hickory keeps none while it validates.
const DENIALS: u64 = 10_000;
/// Top-level domains of which is kept whether the root knows them.
const TOP_LEVELS: u64 = 1_000;
/// How long what the root says of a top-level domain is kept.
const TOP_LEVEL_TIME: Duration = Duration::from_mins(10);
/// Time for an answer with its aliases and all that it takes to validate it, in that of one query: a
/// hostile zone could make the chain long and each of its links slow.
const QUERIES: u32 = 8;
/// Bounds on the time for which a denial is kept.
const DENIAL_TIMES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// An answer and what is known of its origin.
pub(super) struct Judged {
    pub(super) lookup: Lookup,
    trust: Trust,
}

#[derive(Clone, Copy)]
enum Trust {
    Nothing,
    /// What the validation says of each record.
    Records,
    /// What the resolver says of the whole.
    Resolver,
}

impl Judged {
    /// Whether DNSSEC proves that `record`, one of the answer, is the zone's own.
    pub(super) fn is_secure(&self, record: &Record) -> bool {
        match self.trust {
            Trust::Nothing => false,
            Trust::Records => record.proof == Proof::Secure,
            Trust::Resolver => self.lookup.message().metadata.authentic_data,
        }
    }
}

/// One of hickory's.
pub(super) type Resolver = hickory_resolver::Resolver<Checking>;

/// Answers for one set of name servers.
pub(super) struct Backend {
    plain: Resolver,
    judge: Judge,
    /// For an answer with all that it takes.
    limit: Duration,
    denials: Cache<(Name, RecordType), (NetError, Instant)>,
    top_levels: Cache<Name, bool>,
}

enum Judge {
    Nobody,
    Relay(Resolver),
    RelayWhilePossible(Resolver, Arc<Probe>),
    Resolver(CachingClient<AskForProof>),
}

impl Backend {
    pub(super) fn new(
        dns: &Dns,
        tls: &rustls::ClientConfig,
        metrics: &Metrics,
        heard: Heard,
    ) -> Result<Self, NetError> {
        let checking = Checking::new(heard);
        let (config, options) = settings(dns)?;
        let build = |anchors: Option<TrustAnchors>| {
            let mut builder = Resolver::builder_with_config(config.clone(), checking.clone())
                .with_options(options.clone())
                // Without this the builder looks for the system's certificate authorities, of which
                // an image from scratch has none, and fails.
                .with_tls_config(tls.clone());
            if let Some(anchors) = anchors {
                builder = builder.with_trust_anchor(Arc::new(anchors));
            }
            builder.build()
        };
        let validating = || build(Some(anchors(&dns.trust_anchors)?.0));
        let judge = match dns.dnssec {
            Dnssec::Disabled => Judge::Nobody,
            Dnssec::Validate => Judge::Relay(validating()?),
            Dnssec::Auto => {
                let (_, zones) = anchors(&dns.trust_anchors)?;
                let probe = Probe::new(zones, dns.timeout.get(), metrics.clone());
                Judge::RelayWhilePossible(validating()?, Arc::new(probe))
            }
            Dnssec::TrustResolver => {
                let tls = TlsConfig {
                    config: tls.clone(),
                };
                let pool = NameServerPool::from_config(
                    config.name_servers.clone(),
                    Arc::new(PoolContext::new(options.clone(), tls)),
                    checking.clone(),
                );
                let handle = AskForProof(RetryDnsHandle::new(pool, options.attempts));
                Judge::Resolver(CachingClient::new(options.cache_size, handle, true))
            }
        };
        Ok(Self {
            plain: build(None)?,
            judge,
            limit: dns.timeout.get() * QUERIES,
            denials: Cache::new(DENIALS),
            top_levels: Cache::builder()
                .max_capacity(TOP_LEVELS)
                .time_to_live(TOP_LEVEL_TIME)
                .build(),
        })
    }

    /// Asks for the records of one kind at `name`, which is absolute.
    pub(super) async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Judged, NetError> {
        match &self.judge {
            Judge::Nobody => self.plain(name, kind).await,
            Judge::Relay(resolver) => self.validate(resolver, name, kind).await,
            Judge::RelayWhilePossible(resolver, probe) => {
                if probe.passes(resolver).await {
                    self.validate(resolver, name, kind).await
                } else {
                    self.plain(name, kind).await
                }
            }
            Judge::Resolver(client) => {
                let query = Query::query(name.clone(), kind);
                let lookup = client.lookup(query, DnsRequestOptions::default());
                let lookup = timeout(self.limit, Box::pin(lookup)).await;
                Ok(Judged {
                    lookup: lookup.unwrap_or(Err(NetError::Timeout))?,
                    trust: Trust::Resolver,
                })
            }
        }
    }

    async fn plain(&self, name: &Name, kind: RecordType) -> Result<Judged, NetError> {
        // Boxed, for it is held in several places of an attempt's future.
        let lookup = Box::pin(self.plain.lookup(name.clone(), kind));
        let lookup = timeout(self.limit, lookup).await;
        Ok(Judged {
            lookup: lookup.unwrap_or(Err(NetError::Timeout))?,
            trust: Trust::Nothing,
        })
    }

    async fn validate(
        &self,
        resolver: &Resolver,
        name: &Name,
        kind: RecordType,
    ) -> Result<Judged, NetError> {
        let key = (name.clone(), kind);
        if let Some((denial, until)) = self.denials.get(&key)
            && Instant::now() < until
        {
            return Err(denial);
        }
        let answer = Box::pin(resolver.lookup(name.clone(), kind));
        let answer = timeout(self.limit, answer).await;
        let error = match answer.unwrap_or(Err(NetError::Timeout)) {
            Ok(lookup) => {
                return Ok(Judged {
                    lookup,
                    trust: Trust::Records,
                });
            }
            // Denied by a zone whose denials prove nothing.
            Err(NetError::Dns(DnsError::Nsec {
                response,
                proof: Proof::Insecure,
                ..
            })) => denial(name, kind, response.response_code),
            Err(error) if is_bogus(&error) && self.is_private(resolver, name).await => {
                return self.plain(name, kind).await;
            }
            Err(error) => error,
        };
        if let NetError::Dns(DnsError::NoRecordsFound(none)) = &error {
            let until = Instant::now() + denial_time(none);
            let short = denial(name, kind, none.response_code);
            self.denials.insert(key, (short, until));
        }
        Err(error)
    }

    /// Whether the root zone proves that the top-level domain of `name` does not exist.
    async fn is_private(&self, resolver: &Resolver, name: &Name) -> bool {
        let top = name.trim_to(1);
        if top.is_root() {
            return false;
        }
        if let Some(known) = self.top_levels.get(&top) {
            return known;
        }
        let answer = timeout(self.limit, resolver.lookup(top.clone(), RecordType::DS)).await;
        match answer.unwrap_or(Err(NetError::Timeout)) {
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let private = none.response_code == ResponseCode::NXDomain;
                self.top_levels.insert(top, private);
                private
            }
            Ok(_) => {
                self.top_levels.insert(top, false);
                false
            }
            Err(_) => false,
        }
    }
}

/// The name servers and how they are asked.
fn settings(dns: &Dns) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    let (config, mut options) = if dns.servers.is_empty() {
        read_system_conf()?
    } else {
        let servers = dns.servers.iter().copied().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        (config, ResolverOpts::default())
    };
    set_options(&mut options, dns);
    // The aliases on the way to an answer decide which TLSA records count.
    options.preserve_intermediates = true;
    Ok((config, options))
}

/// The root's keys and those of `records`, and the zones of the latter.
fn anchors(records: &[String]) -> Result<(TrustAnchors, Vec<Name>), NetError> {
    use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};
    let mut anchors = TrustAnchors::default();
    let mut zones = Vec::new();
    for (index, text) in records.iter().enumerate() {
        let entries = Parser::new(text.as_str()).parse().unwrap_or_default();
        let [Entry::DNSKEY(record)] = &entries[..] else {
            let error = format!(
                "dns.trustAnchors[{index}]: {text:?} is no DNSKEY record; write it as a zone file does, \
                 such as: example. IN DNSKEY 257 3 13 <key>"
            );
            return Err(NetError::from(error));
        };
        anchors.insert_with_name(record.data().public_key(), record.name().into());
        if !zones.contains(record.name()) {
            zones.push(record.name().clone());
        }
    }
    Ok((anchors, zones))
}

/// Says what is wrong with trust anchors, if something is.
pub(crate) fn check_anchors(records: &[String]) -> Result<(), String> {
    anchors(records)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn is_bogus(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })
    )
}

fn denial(name: &Name, kind: RecordType, code: ResponseCode) -> NetError {
    NoRecords::new(Query::query(name.clone(), kind), code).into()
}

fn denial_time(none: &NoRecords) -> Duration {
    let (least, most) = DENIAL_TIMES;
    let told = none
        .soa
        .as_ref()
        .map(|soa| u64::from(soa.ttl.min(soa.data.minimum)));
    told.map_or(least, Duration::from_secs).clamp(least, most)
}

/// Asks the resolver to say whether it validated (RFC 6840 section 5.7).
#[derive(Clone)]
struct AskForProof(RetryDnsHandle<NameServerPool<Checking>>);

impl DnsHandle for AskForProof {
    type Response = <RetryDnsHandle<NameServerPool<Checking>> as DnsHandle>::Response;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, mut request: DnsRequest) -> Self::Response {
        request.metadata.authentic_data = true;
        self.0.send(request)
    }
}
