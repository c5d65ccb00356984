//! A session of an attempt with one host: how it is protected, and whether it may be used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::time::Instant;

use super::fault::{forbidden, of_connection};
use super::hosts::source_towards;
use super::protection::Protection;
use super::{Attempt, options};
use crate::context::now;
use crate::delivery::connection::{Connection, ConnectionError, Target};
use crate::delivery::engine::limits;
use crate::delivery::outcome::Remote;
use crate::delivery::plan::{self, Hop, Security};
use crate::delivery::policy::{Candidate, TlsPolicy};
use crate::tls_reports::Watch;

impl Attempt<'_, '_> {
    /// Connects to one address and sends; gives back what another may still deliver.
    pub(super) async fn host(
        &mut self,
        hop: &Hop,
        candidate: &Candidate,
        protection: &Protection,
        address: IpAddr,
        open: Vec<usize>,
    ) -> Vec<usize> {
        let config = &self.snapshot.config;
        let policy = &protection.policy;
        let credentials = match self.credentials(hop.smarthost).await {
            Ok(credentials) => credentials,
            Err(fate) => {
                self.note(&open, &fate);
                return open;
            }
        };
        let remote = Remote {
            host: hop.host.clone(),
            address: SocketAddr::new(address, hop.port),
            encryption: None,
            policy: Some(policy.applied()),
        };
        let watch = self.watch(hop, protection, address);
        let target = Target {
            destination: self.destination.clone(),
            remote: remote.clone(),
            identity: hop.identity.clone().or_else(|| {
                let tlsa = policy.tlsa.as_ref();
                tlsa.and_then(|tlsa| tlsa.server_name().cloned())
            }),
            candidate: candidate.clone(),
            policy: policy.clone(),
            tls: self.tls(hop, policy, watch.as_ref()),
            watch,
            credentials,
            name: config.hostname.clone(),
            timeouts: config.delivery.timeouts.clone(),
        };
        let limits = limits(self.snapshot);
        // Boxed: it is the largest part of a task, and no more needed once the session stands.
        let opening = Box::pin(self.open(target, hop.smarthost));
        let result = self.slot.patiently(limits, opening).await;
        self.observe(hop, address, &result);
        match &result {
            Ok(_) | Err(ConnectionError::Session(_)) => self.reached(),
            Err(error) if error.is_unreachable() => {
                self.unreachable(&of_connection(error, &remote));
            }
            Err(_) => {}
        }
        if result.is_ok() {
            self.slot.step_back(limits).await;
        }
        match result {
            Ok(connection) if self.is_loop(hop, address, &connection) => {
                connection.close().await;
                self.note(&open, &forbidden(&hop.host));
                open
            }
            Ok(connection) => self.transactions(connection, open, false).await,
            Err(error) => {
                tracing::debug!(
                    message_id = %self.work.id, host = %remote.host, address = %remote.address, %error,
                    "no session with this address"
                );
                let fate = of_connection(&error, &remote);
                let fate = if self.requires_tls() {
                    options::without_tls(fate, &error)
                } else {
                    fate
                };
                self.note(&open, &fate);
                open
            }
        }
    }

    /// Keeps an eye on whether the network lets mail out.
    fn observe(&self, hop: &Hop, address: IpAddr, result: &Result<Connection, ConnectionError>) {
        let families = &self.engine.families;
        match result {
            Err(ConnectionError::ConnectTimeout(_)) => families.failed(address, Instant::now()),
            Err(ConnectionError::Connect(error)) if is_no_way(error) => {
                families.failed(address, Instant::now());
            }
            _ => families.answered(address, Instant::now()),
        }
        let egress = &self.engine.context.egress;
        match (result, hop.smarthost) {
            (Err(ConnectionError::ConnectTimeout(_)), None) => egress.timed_out(&hop.host, now()),
            (Err(ConnectionError::ConnectTimeout(_)), Some(_)) => {}
            (Err(ConnectionError::Connect(error)), _) if is_no_way(error) => {}
            (_, None) => egress.reached(),
            (_, Some(_)) => egress.answered(now()),
        }
    }

    /// Counts for the report to the domain.
    fn watch(&self, hop: &Hop, protection: &Protection, address: IpAddr) -> Option<Watch> {
        let basis = protection.basis.as_ref()?;
        // An administrator's order to use no TLS is no failure of the domain.
        (protection.policy.security != Security::Clear).then(|| Watch {
            basis: Arc::clone(basis),
            host: Arc::clone(&hop.host),
            address,
            from: source_towards(address),
            judged: Arc::default(),
            reports: Arc::clone(&self.engine.context.tls_reports),
        })
    }

    fn tls(&self, hop: &Hop, policy: &TlsPolicy, watch: Option<&Watch>) -> Arc<ClientConfig> {
        let tls = &self.engine.tls;
        let web = tls.web(self.snapshot.web.as_ref());
        let smarthost = hop
            .smarthost
            .and_then(|id| self.snapshot.smarthost_tls.get(&id));
        match (policy.security, smarthost, &policy.tlsa) {
            (Security::Verified | Security::Implicit, Some(verified), _) => verified.server.clone(),
            (Security::Verified | Security::Implicit, None, _) => web.verified.clone(),
            (Security::Dane, _, Some(tlsa)) => tls.dane(tlsa),
            _ if policy.observe => {
                let judged = watch.map(|watch| Arc::clone(&watch.judged));
                tls.observing(
                    web,
                    &self.engine.context.metrics,
                    judged.unwrap_or_default(),
                )
            }
            _ => tls.unverified.clone(),
        }
    }

    /// Whether a mail exchanger turned out to be this relay.
    fn is_loop(&self, hop: &Hop, address: IpAddr, connection: &Connection) -> bool {
        let config = &self.snapshot.config;
        let name = &connection.client().capabilities().name;
        let permitted = &config.delivery.permitted_networks;
        hop.smarthost.is_none() && plan::is_loop(name, &config.hostname, address, permitted)
    }
}

/// Whether the own network has no way there; a refusal comes from the host.
fn is_no_way(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::ConnectionRefused
}
