//! Leader election by a Lease: at most one operator writes.
//!
//! Every write is a replace with the resource version that was read, so of two candidates one wins.
//! Whether a Lease has expired is judged by how long ago this process last saw it change, on its
//! own monotonic clock; clocks of different nodes are never compared. The holder gives up when it
//! could not renew for [`RENEW_DEADLINE`], which is less than [`LEASE_DURATION`], so it has stopped
//! before another can start. A graceful stop releases the Lease, and the next starts at once.

mod election;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use operator_api::names::WATCHED_ANNOTATION;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::watch::Scope;
use election::{Decision, Observed, decide};

/// Name of the Lease.
pub const LEASE: &str = "mailrelay-operator";
/// How long a Lease counts after its holder last renewed it.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long gives up.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Wait between two renewals of the Lease.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Wait between two looks at a Lease that another holds: short, since a leader that stops releases it,
/// and nothing is reconciled until the next one has seen that.
const STANDBY_PERIOD: Duration = Duration::from_millis(500);
/// One request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// A candidate.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    watched: Option<String>,
    observed: Option<Observed>,
}

impl Candidate {
    /// A candidate for Lease `name` in `namespace`. `identity` must be unique to this process.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            watched: None,
            observed: None,
        }
    }

    /// Says on the Lease what its holder watches, so that operators of other namespaces know what is theirs.
    #[must_use]
    pub fn watching(mut self, scope: &Scope) -> Self {
        self.watched = Some(scope.text());
        self
    }

    /// Waits until this process leads; false when `stop` came first.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        loop {
            if self.attempt().await {
                return true;
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(STANDBY_PERIOD) => {}
            }
        }
    }

    /// Renews until `stop`, or until the Lease is lost. True when it is still held.
    pub async fn hold(&mut self, stop: &CancellationToken) -> bool {
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = tokio::time::sleep(RETRY_PERIOD) => {}
            }
            // The API server's clock starts when it writes, which is before its answer is here.
            let asked = tokio::time::Instant::now();
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let held = tokio::time::timeout(left, self.attempt()).await == Ok(true);
            if held {
                renewed = asked;
            } else if renewed.elapsed() >= RENEW_DEADLINE || self.taken() {
                return false;
            }
        }
    }

    /// Gives the Lease up, so that the next candidate need not wait. Best effort.
    pub async fn release(&mut self) {
        let Some(mut lease) = self.observed.take().map(|observed| observed.lease) else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return;
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let parameters = PostParams::default();
        let request = self.api.replace(&self.name, &parameters, &lease);
        match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(_)) => tracing::info!("the Lease was released"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not released"),
            Err(_) => tracing::warn!("the Lease was not released in time"),
        }
    }

    /// Whether somebody else was last seen to hold the Lease.
    fn taken(&self) -> bool {
        self.observed
            .as_ref()
            .and_then(Observed::holder)
            .is_some_and(|holder| holder != self.identity)
    }

    /// One round: read, decide, write. True when this process holds the Lease afterwards.
    async fn attempt(&mut self) -> bool {
        match tokio::time::timeout(REQUEST_TIMEOUT, self.round()).await {
            Ok(Ok(held)) => held,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => false,
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "the Lease cannot be read or written");
                false
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the API server did not answer in time");
                false
            }
        }
    }

    async fn round(&mut self) -> Result<bool, kube::Error> {
        let now = Instant::now();
        let found = self.api.get_opt(&self.name).await?;
        self.observed = found.map(|lease| Observed::update(self.observed.take(), lease, now));
        let decision = decide(self.observed.as_ref(), &self.identity, LEASE_DURATION, now);
        let lease = match (decision, &self.observed) {
            (Decision::Wait, _) => return Ok(false),
            (_, None) => {
                let lease = self.lease(None, Decision::Create);
                self.api.create(&PostParams::default(), &lease).await?
            }
            (decision, Some(observed)) => {
                let lease = self.lease(Some(&observed.lease), decision);
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await?
            }
        };
        self.observed = Some(Observed::update(self.observed.take(), lease, now));
        Ok(true)
    }

    fn lease(&self, old: Option<&Lease>, decision: Decision) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old_spec = old.and_then(|lease| lease.spec.as_ref());
        let transitions = old_spec
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or(0);
        let renews = decision == Decision::Renew;
        let acquired = old_spec
            .filter(|_| renews)
            .and_then(|spec| spec.acquire_time.clone());
        let mut metadata = old.map_or_else(
            || ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        if let Some(watched) = &self.watched {
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(WATCHED_ANNOTATION.to_owned(), watched.clone());
        }
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(!renews && old.is_some())),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests;
