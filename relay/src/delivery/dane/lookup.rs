//! What DNS says of a host's certificate, and a memory for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use tokio::time::timeout;

use super::{Association, Tlsa, usable};
use crate::delivery::resolve::{ResolveError, Resolver};

/// Hosts of which is remembered what DNS said.
const HOSTS: u64 = 10_000;
/// How long it is remembered that a host has records, whatever their time to live is.
const LONGEST: Duration = Duration::from_hours(1);
/// How long it is remembered that a host has none.
const ABSENT: Duration = Duration::from_mins(5);
/// How long a failure is remembered, so that a queue full of mail does not wait for each message.
const FAILED: Duration = Duration::from_secs(30);

/// What DANE asks of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Dane {
    /// Nothing: no records, or none that would be believed.
    None,
    /// TLS, whatever the certificate is: there are records, but none that SMTP can use.
    Unusable,
    /// TLS with a certificate that the records name.
    Records(Arc<Tlsa>),
    /// It cannot be told, and the host must not be used (RFC 7672 section 2.1.2).
    Failed(Arc<str>),
}

/// What was found for a host, without the recipient's domain, which is a name that the certificate
/// may have.
#[derive(Clone)]
enum Found {
    None,
    Unusable,
    Records {
        associations: Arc<[Association]>,
        names: Vec<Arc<str>>,
    },
    Failed(Arc<str>),
}

/// What is known of hosts.
pub(in crate::delivery) struct Hosts(Cache<(Arc<str>, u16), (Found, Instant)>);

impl Default for Hosts {
    fn default() -> Self {
        Self(Cache::new(HOSTS))
    }
}

impl Resolver {
    /// What DANE asks of `host` for mail to `domain`, in at most `limit`. The caller knows that the way
    /// from the domain to the host is proven.
    pub(in crate::delivery) async fn dane(
        &self,
        host: &Arc<str>,
        port: u16,
        domain: &str,
        limit: Duration,
    ) -> Dane {
        let key = (Arc::clone(host), port);
        let known = self.hosts.0.get(&key);
        let found = match known {
            Some((found, until)) if Instant::now() < until => found,
            _ => {
                let (found, until) = match timeout(limit, look_up(self, host, port)).await {
                    Ok(Ok(found)) => found,
                    Ok(Err(error)) => failed(&error.to_string()),
                    Err(_) => failed("DNS gave no answer in time"),
                };
                self.hosts.0.insert(key, (found.clone(), until));
                self.metrics.dane(found.label());
                found
            }
        };
        found.for_domain(domain)
    }
}

impl Found {
    const fn label(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unusable => "unusable",
            Self::Records { .. } => "usable",
            Self::Failed(_) => "failed",
        }
    }

    /// The domain itself is a name that the certificate may have (RFC 7672 section 3.2.2).
    fn for_domain(self, domain: &str) -> Dane {
        match self {
            Self::None => Dane::None,
            Self::Unusable => Dane::Unusable,
            Self::Failed(why) => Dane::Failed(why),
            Self::Records {
                associations,
                mut names,
            } => {
                if !names.iter().any(|name| **name == *domain) {
                    names.push(domain.into());
                }
                Dane::Records(Arc::new(Tlsa {
                    associations,
                    names,
                }))
            }
        }
    }
}

fn failed(why: &str) -> (Found, Instant) {
    (Found::Failed(why.into()), Instant::now() + FAILED)
}

async fn look_up(
    resolver: &Resolver,
    host: &Arc<str>,
    port: u16,
) -> Result<(Found, Instant), ResolveError> {
    let bases = resolver.tlsa_bases(host).await?;
    for base in &bases.answer {
        let records = resolver.tlsa(base, port).await?;
        if records.answer.is_empty() {
            continue;
        }
        let until = records.until.min(Instant::now() + LONGEST);
        let associations = usable(&records.answer);
        if associations.is_empty() {
            return Ok((Found::Unusable, until));
        }
        let mut names: Vec<Arc<str>> = vec![base.as_str().into()];
        if base.as_str() != &**host {
            names.push(Arc::clone(host));
        }
        let associations = associations.into();
        return Ok((
            Found::Records {
                associations,
                names,
            },
            until,
        ));
    }
    Ok((Found::None, Instant::now() + ABSENT))
}
