//! Whether all authoritative servers of a zone show a record: what a resolver says may be older, or be one
//! server's word alone.
//!
//! Asked only for keys that wait to sign, and seldom; bounded in servers, addresses and time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use jiff::SignedDuration;
use tokio::time::{Instant, timeout};

use super::{CONCURRENCY, Dns, LOOKUP, QUERY, client_config, joined, name_server};
use crate::domain::records::Answer;

/// Servers of a zone that are asked; more are no better.
const SERVERS: usize = 13;
/// For all of them.
const WHOLE: Duration = Duration::from_secs(20);
/// How long it is remembered what was found.
const KEPT: Duration = Duration::from_secs(50);
/// Addresses of one server that are tried.
const ADDRESSES: usize = 2;
/// Added to the time to live when not every server could be asked: what it has may be that old.
const DOUBT: SignedDuration = SignedDuration::from_hours(24);
/// Time to live when no server could be asked: resolvers hardly remember anything longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// Where a record is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Wherever anybody can look; answers from before may be remembered for so long.
    Everywhere(SignedDuration),
    /// Not at this server.
    NotAt(String),
    /// Nobody could tell in time.
    Unknown,
}

/// What one server shows.
enum Shown {
    Yes(u32),
    No,
    Silent,
}

impl Dns {
    /// Where the TXT record at `name`, which the resolver shows, is seen. `fits` tells whether what a
    /// server has there is the record.
    ///
    /// What was found is told again for [`KEPT`].
    pub async fn spread(&self, name: &str, fits: impl Fn(&Answer) -> bool) -> Spread {
        let known = self.spreads.lock().get(name).cloned();
        if let Some((spread, at)) = known
            && at.elapsed() < KEPT
        {
            return spread;
        }
        let found = timeout(WHOLE, self.look_everywhere(name, fits)).await;
        let spread = found.unwrap_or(Spread::Unknown);
        let mut spreads = self.spreads.lock();
        spreads.retain(|_, (_, at)| at.elapsed() < KEPT);
        spreads.insert(name.to_owned(), (spread.clone(), Instant::now()));
        spread
    }

    async fn look_everywhere(&self, name: &str, fits: impl Fn(&Answer) -> bool) -> Spread {
        let servers = self.authorities(name).await;
        let asked = servers.into_iter().map(|(server, addresses)| async move {
            let answer = self.ask_server(&addresses, name).await;
            (server, answer)
        });
        // In the order of their names, so that it is always the same one that lags behind.
        let answers: BTreeMap<_, _> = stream::iter(asked)
            .buffer_unordered(SERVERS)
            .collect()
            .await;
        let shown = answers.into_iter().map(|(server, answer)| {
            let shown = match answer {
                None | Some((Answer::Failed(_), _)) => Shown::Silent,
                Some((answer, ttl)) if fits(&answer) => Shown::Yes(ttl),
                Some(_) => Shown::No,
            };
            (server, shown)
        });
        judge(shown)
    }

    /// Servers of the zone that `name` lies in, with their addresses.
    async fn authorities(&self, name: &str) -> BTreeMap<String, Vec<IpAddr>> {
        let mut zone = name;
        // A top-level domain has no keys of ours.
        while let Some((_, parent)) = zone.split_once('.').filter(|(_, rest)| rest.contains('.')) {
            zone = parent;
            let found = timeout(LOOKUP, self.resolver.ns_lookup(format!("{zone}."))).await;
            let Ok(Ok(found)) = found else { continue };
            let servers = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::NS(server) => Some(server.0.to_string()),
                    _ => None,
                });
            let servers: Vec<String> = servers.take(SERVERS).collect();
            if servers.is_empty() {
                continue;
            }
            let located = servers.into_iter().map(|server| async move {
                let found = timeout(LOOKUP, self.resolver.lookup_ip(server.as_str())).await;
                let addresses = match found {
                    Ok(Ok(found)) => found.iter().take(ADDRESSES).collect(),
                    _ => Vec::new(),
                };
                (server, addresses)
            });
            return stream::iter(located)
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
        }
        BTreeMap::new()
    }

    /// What a server says of itself, without asking others, and for how long.
    async fn ask_server(&self, addresses: &[IpAddr], name: &str) -> Option<(Answer, u32)> {
        for address in addresses {
            let server = SocketAddr::new(*address, self.authority_port);
            let Some(resolver) = direct(server) else {
                continue;
            };
            let lookup = resolver.lookup(format!("{name}."), RecordType::TXT);
            let found = match timeout(LOOKUP, lookup).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) if super::is_absence(&error) => return Some((Answer::None, 0)),
                _ => continue,
            };
            let records = found.answers().iter();
            let texts = records.filter_map(|record| match &record.data {
                RData::TXT(text) => Some((joined(&text.txt_data), record.ttl)),
                _ => None,
            });
            let (texts, ttls): (Vec<String>, Vec<u32>) = texts.unzip();
            return Some(match ttls.into_iter().max() {
                Some(ttl) => (Answer::Records(texts), ttl),
                None => (Answer::None, 0),
            });
        }
        None
    }
}

/// Asks one server, which is to answer by itself.
fn direct(server: SocketAddr) -> Option<TokioResolver> {
    let config = ResolverConfig::from_parts(None, vec![], vec![name_server(server)]);
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    let options = builder.options_mut();
    options.timeout = QUERY;
    options.attempts = 1;
    options.cache_size = 0;
    options.recursion_desired = false;
    options.edns0 = true;
    builder.with_tls_config(client_config().ok()?).build().ok()
}

/// Pure.
fn judge(shown: impl IntoIterator<Item = (String, Shown)>) -> Spread {
    let (mut longest, mut silent) = (None::<u32>, false);
    for (server, shown) in shown {
        match shown {
            Shown::Yes(ttl) => longest = longest.max(Some(ttl)),
            Shown::No => return Spread::NotAt(server.trim_end_matches('.').to_owned()),
            Shown::Silent => silent = true,
        }
    }
    let remembered = longest.map_or(LONGEST, |ttl| SignedDuration::from_secs(ttl.into()));
    // Silent are all of them, too, when none could be asked.
    let in_doubt = silent || longest.is_none();
    let doubt = if in_doubt {
        DOUBT
    } else {
        SignedDuration::ZERO
    };
    Spread::Everywhere(remembered.min(LONGEST).saturating_add(doubt))
}

#[cfg(test)]
mod tests;
