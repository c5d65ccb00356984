//! Whether the name servers pass signatures on: a look at a signed zone every few minutes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::Resolver;
use crate::metrics::Metrics;

/// Between two looks.
const INTERVAL: Duration = Duration::from_mins(5);

/// What the last look showed.
pub(super) struct Probe {
    /// Zones of trust anchors; one that shows signatures is enough.
    zones: Vec<Name>,
    /// For one query.
    limit: Duration,
    metrics: Metrics,
    seen: Mutex<Option<(Result<(), Fault>, Instant)>>,
    /// Held by who looks.
    looking: tokio::sync::Mutex<()>,
}

/// Why answers cannot be validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NoSignatures,
    NoAnswer,
}

impl Fault {
    const fn label(self) -> &'static str {
        match self {
            Self::NoSignatures => "no_signatures",
            Self::NoAnswer => "no_answer",
        }
    }
}

impl Probe {
    /// `zones` besides the root.
    pub(super) fn new(mut zones: Vec<Name>, limit: Duration, metrics: Metrics) -> Self {
        zones.push(Name::root());
        Self {
            zones,
            limit,
            metrics,
            seen: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// Whether signatures pass. Only the first caller and those beside it wait for a look.
    pub(super) async fn passes(self: &Arc<Self>, resolver: &Resolver) -> bool {
        let seen = *self.seen.lock();
        let Some((result, at)) = seen else {
            let _looking = self.looking.lock().await;
            let seen = *self.seen.lock();
            return match seen {
                Some((result, _)) => result.is_ok(),
                None => self.look(resolver).await.is_ok(),
            };
        };
        if at.elapsed() > INTERVAL {
            let (probe, resolver) = (Arc::clone(self), resolver.clone());
            tokio::spawn(async move {
                // Somebody else is at it otherwise.
                if let Ok(_looking) = probe.looking.try_lock() {
                    let _known = probe.look(&resolver).await;
                }
            });
        }
        result.is_ok()
    }

    async fn look(&self, resolver: &Resolver) -> Result<(), Fault> {
        let mut result = Err(Fault::NoAnswer);
        for zone in &self.zones {
            result = self.look_at(resolver, zone).await;
            if result.is_ok() {
                break;
            }
        }
        let before = self.seen.lock().replace((result, Instant::now()));
        if before.map(|(result, _)| result) != Some(result) {
            self.tell(result);
        }
        result
    }

    async fn look_at(&self, resolver: &Resolver, zone: &Name) -> Result<(), Fault> {
        resolver.clear_lookup_cache(zone.clone(), RecordType::SOA);
        match timeout(self.limit, resolver.lookup(zone.clone(), RecordType::SOA)).await {
            Ok(Ok(lookup)) => {
                let signed = lookup.answers().iter().any(|record| {
                    record.record_type() == RecordType::SOA && record.proof == Proof::Secure
                });
                signed.then_some(()).ok_or(Fault::NoSignatures)
            }
            Ok(Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. }))) => {
                Err(Fault::NoSignatures)
            }
            Ok(Err(_)) | Err(_) => Err(Fault::NoAnswer),
        }
    }

    fn tell(&self, result: Result<(), Fault>) {
        match result {
            Ok(()) => {
                self.metrics.dane_unavailable(None);
                tracing::info!("the name servers pass DNSSEC signatures on; DANE is used");
            }
            Err(fault) => {
                self.metrics.dane_unavailable(Some(fault.label()));
                tracing::warn!(
                    reason = fault.label(),
                    "answers of the name servers cannot be validated by DNSSEC, so DANE is not used; \
                     name servers that pass signatures on can be set in dns.servers"
                );
            }
        }
    }
}
