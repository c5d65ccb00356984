//! MTA-STS (RFC 8461): the policies that domains publish, found by DNS, fetched over HTTPS, kept on
//! disk, and kept to for as long as they hold.
//!
//! A policy that is known and has not run out is followed whatever DNS and the web say (section 5.1):
//! neither a record that is gone nor a host that does not answer takes it away, only a newer policy or
//! its age does. Without one, a domain whose policy cannot be had is a domain without a policy.
//!
//! Bounds: policies in memory and on disk, octets of each, fetches at one time, and the time between
//! two fetches for one domain.

mod fetch;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod store;
mod text;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::resolve::Resolver;
use crate::context::now;
use crate::metrics::Metrics;
use crate::tls_reports::ResultType;
pub(super) use fetch::{FetchError, LIMIT, Way, speak};
pub(super) use store::Entry;
use store::Store;
pub(super) use text::{Mode, Policy};

/// Fetches at one time.
const FETCHES: usize = 16;
/// Domains of which is remembered when a policy was asked for.
const DOMAINS: u64 = 10_000;
/// Between two fetches for one domain, after one that failed and after one that did not.
const AFTER_FAILURE: Duration = Duration::from_mins(5);
const AFTER_SUCCESS: Duration = Duration::from_mins(1);

/// What a domain's policy says of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    None,
    /// It is one of the domain's, and its certificate has to prove it.
    Enforced,
    /// It is none of the domain's.
    Excluded,
    /// Whatever it is, it is used.
    Testing,
}

/// What `policy` says of `host`, in lower case without a trailing dot.
pub(super) fn verdict(policy: Option<&Policy>, host: &str) -> Verdict {
    match policy.map(|policy| (policy.mode, policy.admits(host))) {
        None | Some((Mode::None, _)) => Verdict::None,
        Some((Mode::Testing, _)) => Verdict::Testing,
        Some((Mode::Enforce, true)) => Verdict::Enforced,
        Some((Mode::Enforce, false)) => Verdict::Excluded,
    }
}

/// The policies.
pub(super) struct Sts {
    store: Arc<Store>,
    /// When the last fetch for a domain ended, and why it brought no policy.
    asked: Cache<String, (Instant, Option<ResultType>)>,
    /// Held by who fetches for a domain, so that others wait and find the result.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    permits: Semaphore,
    metrics: Metrics,
}

impl Sts {
    /// Reads what is in `directory`, which is made if it is missing.
    pub(super) fn open(directory: PathBuf, metrics: Metrics) -> Self {
        Self {
            store: Arc::new(Store::open(directory, now())),
            asked: Cache::new(DOMAINS),
            fetching: Mutex::default(),
            permits: Semaphore::new(FETCHES),
            metrics,
        }
    }

    /// The policy of `domain` that is in force, after a look at DNS and, if there is news, the web.
    pub(super) async fn policy(&self, way: &Way<'_>, domain: &str) -> Option<Arc<Entry>> {
        let known = self.store.get(domain, now());
        let Some(id) = published(&way.resolver, domain).await else {
            // What went wrong with a policy that is withdrawn is nobody's business any more.
            self.asked.invalidate(domain);
            return known;
        };
        if known.as_ref().is_some_and(|known| known.id == id) {
            return known;
        }
        // Rarely awaited, and large.
        Box::pin(self.fetch(way, domain, &id, known)).await
    }

    /// Why the policy of `domain`, which has one, cannot be had.
    pub(super) fn fault(&self, domain: &str) -> Option<ResultType> {
        self.asked.get(domain)?.1
    }

    /// The policies whose time to be fetched again has come; forgets those that have run out. A policy
    /// that has run out protects nothing, and its next fetch may be the one that is held back (RFC 8461
    /// section 10.2), so they are renewed whether there is mail or not.
    pub(super) fn stale(&self) -> Vec<Arc<Entry>> {
        self.store.sweep(now());
        self.store.stale(now())
    }

    /// Fetches a policy again.
    pub(super) async fn renew(&self, way: &Way<'_>, entry: &Arc<Entry>) {
        // A record that is gone says nothing about the policy that may still be there.
        let id = published(&way.resolver, entry.domain()).await;
        let id = id.unwrap_or_else(|| entry.id.clone());
        self.fetch(way, entry.domain(), &id, None).await;
    }

    /// Fetches the policy anew, unless somebody just did; what is known stays in force if that fails.
    async fn fetch(
        &self,
        way: &Way<'_>,
        domain: &str,
        id: &str,
        known: Option<Arc<Entry>>,
    ) -> Option<Arc<Entry>> {
        let turn = Arc::clone(self.fetching.lock().entry(domain.to_owned()).or_default());
        let fetched = {
            let _turn = turn.lock().await;
            self.fetch_in_turn(way, domain, id).await
        };
        let mut fetching = self.fetching.lock();
        // Nobody else waits: the map and this function have one each.
        if Arc::strong_count(&turn) == 2 {
            fetching.remove(domain);
        }
        drop(fetching);
        if fetched {
            self.store.get(domain, now())
        } else {
            known
        }
    }

    /// Whether something newer than before may be in the store.
    async fn fetch_in_turn(&self, way: &Way<'_>, domain: &str, id: &str) -> bool {
        if let Some((at, fault)) = self.asked.get(domain) {
            let good = fault.is_none();
            let pause = if good { AFTER_SUCCESS } else { AFTER_FAILURE };
            if at.elapsed() < pause {
                return good;
            }
        }
        let Ok(_permit) = self.permits.acquire().await else {
            return false;
        };
        let result = fetch::fetch(way, domain).await;
        let fault = result.as_ref().err().map(fetch::FetchError::result_type);
        self.asked
            .insert(domain.to_owned(), (Instant::now(), fault));
        match result {
            Ok(text) => self.keep(domain, id, text).await,
            Err(error) => {
                self.metrics.sts_fetch(error.label());
                tracing::warn!(domain, id, %error, "the MTA-STS policy of a domain cannot be had");
                false
            }
        }
    }

    async fn keep(&self, domain: &str, id: &str, text: Bytes) -> bool {
        let entry = match Entry::new(domain, id, &text, now()) {
            Ok(entry) => entry,
            Err(error) => {
                self.metrics.sts_fetch("invalid");
                tracing::warn!(domain, id, %error, "the MTA-STS policy of a domain is none");
                let fault = Some(ResultType::StsPolicyInvalid);
                self.asked
                    .insert(domain.to_owned(), (Instant::now(), fault));
                return false;
            }
        };
        self.metrics.sts_fetch("ok");
        let (mode, max_age) = (entry.policy.mode, entry.policy.max_age);
        tracing::info!(domain, id, ?mode, ?max_age, "MTA-STS policy of a domain");
        let store = Arc::clone(&self.store);
        // A slow disk must not stop sessions.
        let kept = tokio::task::spawn_blocking(move || store.put(entry, &text));
        kept.await.is_ok()
    }
}

/// The `id` that DNS shows for the policy of `domain`.
async fn published(resolver: &Resolver, domain: &str) -> Option<String> {
    match resolver.texts(&format!("_mta-sts.{domain}")).await {
        Ok(texts) => text::record_id(texts.iter().map(String::as_str)).map(String::from),
        Err(error) => {
            tracing::debug!(domain, %error, "whether the domain has an MTA-STS policy is not known");
            None
        }
    }
}

#[cfg(test)]
mod tests;
