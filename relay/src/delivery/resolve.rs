//! DNS for delivery: mail exchangers and addresses (RFC 5321 section 5.1, RFC 7505).
//!
//! A name that does not exist and a name without records are answers; everything else (a server that
//! fails, refuses or stays silent) is not, and leads to another try later (cases M2 and M7). Names
//! are absolute, since a pod's search list would turn one query into five. The cache is hickory's
//! own, bounded by entries.

mod backend;
mod checked;
mod secure;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use parking_lot::Mutex;
use relay_config::{Dns, Dnssec};

use super::dane::Hosts;
use super::plan::{Choice, Exchanger, Server};
use super::tls::Tls;
use crate::metrics::Metrics;
pub(crate) use backend::check_anchors;
use backend::{Backend, Judged};
pub(super) use checked::Heard;
use checked::{ALIASES, ENDLESS};

/// Answers that are kept.
const CACHE_ENTRIES: u64 = 10_000;
/// Mail exchangers of one domain that are looked at.
const EXCHANGERS: usize = 50;

/// Aliases that hickory follows, if each comes in an answer of its own, less one.
const LOOKUPS: usize = 7;

/// Why a name gave no hosts or addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResolveError {
    /// NXDOMAIN.
    #[error("{0} does not exist in DNS")]
    NoSuchName(String),
    /// The name has no records of the kind, for certain.
    #[error("{0} has no address in DNS")]
    NoRecords(String),
    /// RFC 7505.
    #[error("{0} takes no mail: its MX record says so")]
    NullExchanger(String),
    /// RFC 2782: the domain says that it does not have the service.
    #[error("{0} has no server: its SRV record says so")]
    NoService(String),
    /// It cannot be asked for.
    #[error("{0} is no name of DNS")]
    NotAName(String),
    /// The resolver cannot be made.
    #[error("no name servers are known from /etc/resolv.conf ({0}); name some in dns.servers")]
    NoNameServers(String),
    /// No answer.
    #[error("DNS lookup of {name} failed: {cause}")]
    Temporary {
        /// What was asked for.
        name: String,
        /// What went wrong.
        cause: String,
    },
}

impl ResolveError {
    /// Whether DNS has answered, and will not answer otherwise soon.
    pub(super) const fn is_definite(&self) -> bool {
        !matches!(self, Self::Temporary { .. } | Self::NoNameServers(_))
    }
}

/// Makes resolvers; keeps each for as long as its settings hold.
pub(super) struct Resolvers {
    tls: Tls,
    metrics: Metrics,
    heard: Heard,
    current: Kept,
    plain: Kept,
}

type Kept = Mutex<Option<(Dns, Arc<Resolver>)>>;

impl Resolvers {
    /// `heard` is told whenever a name server has answered; what comes from the cache is no answer.
    pub(super) fn new(tls: Tls, metrics: Metrics, heard: Heard) -> Self {
        Self {
            tls,
            metrics,
            heard,
            current: Mutex::new(None),
            plain: Mutex::new(None),
        }
    }

    /// The resolver for these settings.
    pub(super) fn get(&self, dns: &Dns) -> Result<Arc<Resolver>, ResolveError> {
        self.kept(&self.current, dns, || match dns.dnssec {
            // It finds out.
            Dnssec::Auto => {}
            Dnssec::Disabled => self.metrics.dane_unavailable(Some("disabled")),
            Dnssec::Validate | Dnssec::TrustResolver => self.metrics.dane_unavailable(None),
        })
    }

    /// One that validates nothing, for names that the administrator gave: the certificate proves a
    /// smarthost, and its name may be one of a network's own.
    pub(super) fn plain(&self, dns: &Dns) -> Result<Arc<Resolver>, ResolveError> {
        let dns = Dns {
            dnssec: Dnssec::Disabled,
            ..dns.clone()
        };
        self.kept(&self.plain, &dns, || ())
    }

    fn kept(
        &self,
        kept: &Kept,
        dns: &Dns,
        tell: impl FnOnce(),
    ) -> Result<Arc<Resolver>, ResolveError> {
        let mut kept = kept.lock();
        if let Some((settings, resolver)) = &*kept
            && settings == dns
        {
            return Ok(resolver.clone());
        }
        let backend = Backend::new(dns, &self.tls.verified, &self.metrics, self.heard.clone())
            .map_err(|error| ResolveError::NoNameServers(error.to_string()))?;
        let resolver = Arc::new(Resolver {
            backend,
            hosts: Hosts::default(),
            metrics: self.metrics.clone(),
        });
        tell();
        *kept = Some((dns.clone(), resolver.clone()));
        Ok(resolver)
    }
}

fn set_options(options: &mut ResolverOpts, dns: &Dns) {
    options.timeout = dns.timeout.get();
    options.attempts = 2;
    options.cache_size = CACHE_ENTRIES;
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// Answers for one set of name servers.
pub(super) struct Resolver {
    backend: Backend,
    /// What TLSA records say of hosts.
    pub(super) hosts: Hosts,
    pub(super) metrics: Metrics,
}

/// An answer, before it is known what it means.
enum Answer {
    Records(Vec<RData>),
    NoRecords,
    NoSuchName,
}

impl Resolver {
    /// The mail exchangers of `domain`; the domain itself when it has none (case M1).
    pub(super) async fn exchangers(&self, domain: &str) -> Result<Vec<Exchanger>, ResolveError> {
        let records = match self.lookup(domain, RecordType::MX).await? {
            Answer::NoSuchName => return Err(ResolveError::NoSuchName(domain.into())),
            Answer::NoRecords => Vec::new(),
            Answer::Records(records) => records,
        };
        let mut exchangers: Vec<Exchanger> = records
            .into_iter()
            .filter_map(|record| match record {
                RData::MX(exchanger) => Some(Exchanger {
                    preference: exchanger.preference,
                    host: text(&exchanger.exchange),
                }),
                _ => None,
            })
            .collect();
        if exchangers.is_empty() {
            exchangers.push(Exchanger {
                preference: 0,
                host: domain.into(),
            });
        }
        exchangers.retain(|exchanger| !exchanger.host.is_empty());
        if exchangers.is_empty() {
            return Err(ResolveError::NullExchanger(domain.into()));
        }
        exchangers.sort_by_key(|exchanger| exchanger.preference);
        exchangers.truncate(EXCHANGERS);
        Ok(exchangers)
    }

    /// The servers that the SRV records of `name` name.
    pub(super) async fn services(&self, name: &str) -> Result<Vec<Choice<Server>>, ResolveError> {
        let records = match self.lookup(name, RecordType::SRV).await? {
            Answer::NoSuchName => return Err(ResolveError::NoSuchName(name.into())),
            Answer::NoRecords => return Err(ResolveError::NoRecords(name.into())),
            Answer::Records(records) => records,
        };
        let mut services: Vec<Choice<Server>> = records
            .into_iter()
            .filter_map(|record| match record {
                RData::SRV(service) => Some(Choice {
                    priority: service.priority,
                    weight: service.weight,
                    what: Server {
                        host: text(&service.target),
                        port: service.port,
                    },
                }),
                _ => None,
            })
            .collect();
        services.retain(|service| !service.what.host.is_empty() && service.what.port > 0);
        if services.is_empty() {
            return Err(ResolveError::NoService(name.into()));
        }
        services.sort_by_key(|service| service.priority);
        services.truncate(EXCHANGERS);
        Ok(services)
    }

    /// The addresses of a host.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let (four, six) = tokio::join!(
            self.lookup(host, RecordType::A),
            self.lookup(host, RecordType::AAAA)
        );
        let mut addresses = Vec::new();
        let mut exists = false;
        let mut failure = None;
        for answer in [four, six] {
            match answer {
                Ok(Answer::Records(records)) => {
                    addresses.extend(records.iter().filter_map(RData::ip_addr));
                    exists = true;
                }
                Ok(Answer::NoRecords) => exists = true,
                Ok(Answer::NoSuchName) => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(error) => Err(error),
            None if exists => Err(self.no_addresses(host).await),
            None => Err(ResolveError::NoSuchName(host.into())),
        }
    }

    /// Why a host has no addresses. Aliases beyond those that hickory follows are to it as a name without
    /// records, and a chain that somebody lets grow would bounce mail.
    async fn no_addresses(&self, host: &str) -> ResolveError {
        let mut name = host.to_owned();
        for _ in 0..LOOKUPS {
            match self.lookup(&name, RecordType::CNAME).await {
                Ok(Answer::Records(records)) => match records.first() {
                    Some(RData::CNAME(target)) => name = text(&target.0),
                    _ => return ResolveError::NoRecords(host.into()),
                },
                Ok(_) => return ResolveError::NoRecords(host.into()),
                Err(error) => return error,
            }
        }
        ResolveError::Temporary {
            name: host.into(),
            cause: ENDLESS.into(),
        }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Answer, ResolveError> {
        self.ask(name, kind).await.map(|(_, answer)| answer)
    }

    /// The answer, and with it what proves it, if it has records.
    async fn ask(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<(Option<Judged>, Answer), ResolveError> {
        let temporary = |cause: String| ResolveError::Temporary {
            name: name.into(),
            cause,
        };
        let absolute = absolute(name)?;
        let (answer, result) = match self.backend.lookup(&absolute, kind).await {
            Ok(judged) => {
                let records: Vec<RData> = judged
                    .lookup
                    .answers()
                    .iter()
                    .filter(|record| record.record_type() == kind)
                    .map(|record| record.data.clone())
                    .collect();
                // An alias whose target has no such records.
                if records.is_empty() {
                    (Ok((Some(judged), Answer::NoRecords)), "empty")
                } else {
                    (Ok((Some(judged), Answer::Records(records))), "ok")
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => (Ok((None, Answer::NoRecords)), "empty"),
                ResponseCode::NXDomain => (Ok((None, Answer::NoSuchName)), "empty"),
                code => (Err(temporary(code.to_string())), "temporary"),
            },
            Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })) => {
                let cause = "the answer should be signed and is not, or not rightly (DNSSEC)";
                (Err(temporary(cause.into())), "bogus")
            }
            Err(NetError::Timeout) => (Err(temporary("no answer in time".into())), "timeout"),
            Err(error) => (Err(temporary(error.to_string())), "temporary"),
        };
        let label = match kind {
            RecordType::MX => "MX",
            RecordType::A => "A",
            RecordType::TLSA => "TLSA",
            RecordType::TXT => "TXT",
            RecordType::CNAME => "CNAME",
            RecordType::SRV => "SRV",
            _ => "AAAA",
        };
        self.metrics.dns(label, result);
        answer
    }
}

/// `name` as it is asked for: without the search list of a pod.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    Name::from_ascii(format!("{name}.")).map_err(|_| ResolveError::NotAName(name.into()))
}

/// A name without its trailing dot (case M16); empty for the root.
fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
