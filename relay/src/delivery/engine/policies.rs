//! MTA-STS policies are renewed before they run out.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::delivery::sts;
use crate::snapshot::Snapshot;

/// Between two looks at all policies.
const INTERVAL: Duration = Duration::from_mins(10);
/// Between two domains, so that thousands of policies of one age cause no wave.
const PACE: Duration = Duration::from_millis(100);

impl Engine {
    /// How policies are found and fetched; `None` when they are not used.
    pub(in crate::delivery) fn policy_way<'a>(
        &self,
        snapshot: &'a Snapshot,
    ) -> Option<sts::Way<'a>> {
        let enabled = snapshot.config.delivery.mta_sts.enabled;
        enabled.then(|| self.web_way(snapshot))?
    }

    /// How hosts that strangers name are spoken to over HTTPS.
    pub(super) fn web_way<'a>(&self, snapshot: &'a Snapshot) -> Option<sts::Way<'a>> {
        let config = &snapshot.config;
        Some(sts::Way {
            resolver: self.resolvers.get(&config.dns).ok()?,
            tls: Arc::clone(&self.tls.web(snapshot.web.as_ref()).https),
            port: config.delivery.mta_sts.port,
            permitted: &config.delivery.permitted_networks,
            limit: sts::LIMIT,
        })
    }

    /// Renews for as long as it is let.
    pub(super) async fn renew_policies(self: Arc<Self>) {
        loop {
            for entry in self.sts.stale() {
                let snapshot = self.context.snapshot.load_full();
                if let Some(way) = self.policy_way(&snapshot) {
                    self.sts.renew(&way, &entry).await;
                }
                tokio::time::sleep(PACE).await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
