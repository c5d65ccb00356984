//! DNS for delivery: mail exchangers and addresses (RFC 5321 section 5.1, RFC 7505).
//!
//! A name that does not exist and a name without records are answers; everything else (a server that
//! fails, refuses or stays silent) is not, and leads to another try later (cases M2 and M7). Names
//! are absolute, since a pod's search list would turn one query into five. The cache is hickory's
//! own, bounded by entries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use parking_lot::Mutex;
use relay_config::Dns;

use super::plan::Exchanger;
use super::tls::Tls;
use crate::metrics::Metrics;

/// Answers that are kept.
const CACHE_ENTRIES: u64 = 10_000;
/// Mail exchangers of one domain that are looked at.
const EXCHANGERS: usize = 50;

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

/// Makes resolvers; keeps one for as long as its settings hold.
pub(super) struct Resolvers {
    tls: Tls,
    metrics: Metrics,
    current: Mutex<Option<(Dns, Arc<Resolver>)>>,
}

impl Resolvers {
    pub(super) fn new(tls: Tls, metrics: Metrics) -> Self {
        Self {
            tls,
            metrics,
            current: Mutex::new(None),
        }
    }

    /// The resolver for these settings.
    pub(super) fn get(&self, dns: &Dns) -> Result<Arc<Resolver>, ResolveError> {
        let mut current = self.current.lock();
        if let Some((settings, resolver)) = &*current
            && settings == dns
        {
            return Ok(resolver.clone());
        }
        let built = build(dns, &self.tls)
            .map_err(|error| ResolveError::NoNameServers(error.to_string()))?;
        let resolver = Arc::new(Resolver {
            inner: built,
            metrics: self.metrics.clone(),
        });
        *current = Some((dns.clone(), resolver.clone()));
        Ok(resolver)
    }
}

fn build(dns: &Dns, tls: &Tls) -> Result<TokioResolver, NetError> {
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = dns.servers.iter().copied().map(name_server).collect();
        TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), servers),
            TokioRuntimeProvider::default(),
        )
    };
    set_options(builder.options_mut(), dns);
    // Without this the builder looks for the system's certificate authorities, of which an image
    // from scratch has none, and fails.
    let builder: ResolverBuilder<_> = builder.with_tls_config((*tls.verified).clone());
    builder.build()
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
    inner: TokioResolver,
    metrics: Metrics,
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

    /// The addresses of a host: IPv4 first, since most receivers know the relay by it, and always
    /// in that order, since a greylisting server wants to see the same family again (case B15).
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
            None if exists => Err(ResolveError::NoRecords(host.into())),
            None => Err(ResolveError::NoSuchName(host.into())),
        }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Answer, ResolveError> {
        let temporary = |cause: String| ResolveError::Temporary {
            name: name.into(),
            cause,
        };
        let absolute = Name::from_ascii(format!("{name}."))
            .map_err(|error| temporary(format!("it is no DNS name: {error}")))?;
        let (answer, result) = match self.inner.lookup(absolute, kind).await {
            Ok(lookup) => {
                let records: Vec<RData> = lookup
                    .answers()
                    .iter()
                    .filter(|record| record.record_type() == kind)
                    .map(|record| record.data.clone())
                    .collect();
                // An alias whose target has no such records.
                if records.is_empty() {
                    (Ok(Answer::NoRecords), "empty")
                } else {
                    (Ok(Answer::Records(records)), "ok")
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => (Ok(Answer::NoRecords), "empty"),
                ResponseCode::NXDomain => (Ok(Answer::NoSuchName), "empty"),
                code => (Err(temporary(code.to_string())), "temporary"),
            },
            Err(NetError::Timeout) => (Err(temporary("no answer in time".into())), "timeout"),
            Err(error) => (Err(temporary(error.to_string())), "temporary"),
        };
        let label = match kind {
            RecordType::MX => "MX",
            RecordType::A => "A",
            _ => "AAAA",
        };
        self.metrics.dns(label, result);
        answer
    }
}

/// A name without its trailing dot (case M16); empty for the root.
fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
