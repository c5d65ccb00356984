//! What every task of the relay shares: configuration in force, queue, metrics, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use relay_queue::{Queue, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::snapshot::Snapshot;

/// Shared by all tasks; cloned as an `Arc`.
pub(crate) struct Context {
    /// Configuration in force; swapped whole by a reload. Load it once per session, message or
    /// attempt, not once per line, so that one decision is made under one configuration.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// The durable queue.
    pub(crate) queue: Queue,
    /// Instruments.
    pub(crate) metrics: Metrics,
    /// Cancelled when the process should stop: sessions answer 421 at their next idle moment,
    /// listeners close, delivery takes no new work.
    pub(crate) shutdown: CancellationToken,
    /// `POD_NAME`, or the host name without a cluster; for the banner (case O34) and logs.
    pub(crate) instance: String,
    /// Set once every listener is bound.
    pub(crate) listening: AtomicBool,
    /// Why the newest files on disk are not in force, as the status reports it.
    pub(crate) config_error: Mutex<Option<String>>,
}

/// The shared form.
pub(crate) type SharedContext = Arc<Context>;

impl Context {
    /// Why no new messages are accepted; `None` when they are.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if self.shutdown.is_cancelled() {
            Some("the relay is stopping")
        } else if self.queue.failed() {
            Some("the queue cannot write")
        } else if self.listening.load(Ordering::Acquire) {
            None
        } else {
            Some("the listeners are not bound yet")
        }
    }

    /// Age of the oldest queued message in whole seconds; 0 when the queue is empty.
    pub(crate) fn oldest_seconds(&self, now: Timestamp) -> u64 {
        let (_, oldest) = self.queue.status();
        oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0) / 1000)
    }
}

/// The wall clock, as the queue counts it. Only effects at the edge call this.
pub(crate) fn now() -> Timestamp {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
