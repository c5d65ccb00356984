//! What every task of the relay shares: configuration in force, queue, metrics, shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use relay_queue::{Queue, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::delivery::Egress;
use crate::handover::HandOver;
use crate::metrics::Metrics;
use crate::returns::Senders;
use crate::snapshot::Snapshot;
use crate::suppression::Suppressions;
use crate::tls_reports::TlsReports;

/// Shared by all tasks; cloned as an `Arc`.
pub(crate) struct Context {
    /// Configuration in force; swapped whole by a reload. Load it once per session, message or
    /// attempt, not once per line, so that one decision is made under one configuration.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// The durable queue.
    pub(crate) queue: Queue,
    /// Directory that holds the queue's; what else has to last lies beside it.
    pub(crate) state: PathBuf,
    /// Recipients that must not be written to.
    pub(crate) suppressions: Arc<Suppressions>,
    /// Who is told of bounces that come back by mail.
    pub(crate) senders: Senders,
    /// What is told of TLS to the domains that ask for it.
    pub(crate) tls_reports: Arc<TlsReports>,
    /// What is known of the way out.
    pub(crate) egress: Egress,
    /// Instruments.
    pub(crate) metrics: Metrics,
    /// Cancelled when the process should stop: sessions answer 421 at their next idle moment,
    /// listeners close, delivery takes no new work.
    pub(crate) shutdown: CancellationToken,
    /// `POD_NAME`, or the host name without a cluster; for the banner (case O34) and logs.
    pub(crate) instance: String,
    /// Number of this shard; see [`Context::place`].
    pub(crate) shard: u32,
    /// Mail on its way between shards.
    pub(crate) hand_over: HandOver,
    /// Set once every listener is bound.
    pub(crate) listening: AtomicBool,
    /// How the last look at the configuration's files ended.
    pub(crate) config: Mutex<ConfigState>,
    /// Changes with every configuration that is put in force: wakes whoever holds a decision that
    /// the new one may revoke.
    pub(crate) reloaded: watch::Sender<u64>,
}

/// Whether the newest files on disk are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigState {
    /// Why the files cannot be used; the last good ones are in force.
    pub(crate) refused: Option<String>,
    /// Which changes of the files in force wait for a restart.
    pub(crate) restart: Option<String>,
    /// When the configuration in force was put in force.
    pub(crate) since: Timestamp,
}

impl ConfigState {
    /// What the status reports: why not everything in the files is in force.
    pub(crate) fn error(&self) -> Option<&str> {
        self.refused.as_deref().or(self.restart.as_deref())
    }
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

#[cfg(test)]
impl Context {
    /// A context for tests: `config` is the main file as YAML, with PEM files inline nowhere, so
    /// without TLS; the queue lies below `directory`.
    pub(crate) fn for_test(config: &str, directory: &std::path::Path) -> SharedContext {
        Self::for_test_with(config, &[], directory)
    }

    /// The same with files that the configuration names.
    pub(crate) fn for_test_with(
        config: &str,
        files: &[(&str, &str)],
        directory: &std::path::Path,
    ) -> SharedContext {
        Self::for_shard(config, files, directory, 0)
    }

    /// The same for a shard among others.
    pub(crate) fn for_shard(
        config: &str,
        files: &[(&str, &str)],
        directory: &std::path::Path,
        shard: u32,
    ) -> SharedContext {
        let name = std::path::Path::new("relay.yaml");
        let mut source = std::collections::BTreeMap::from([(name.to_path_buf(), config.into())]);
        source.extend(
            files
                .iter()
                .map(|(path, text)| (path.into(), (*text).into())),
        );
        let files = relay_config::parse_files(name, &source).unwrap();
        let snapshot = Snapshot::build(files, None).unwrap();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let destination = crate::delivery::destination_of(&snapshot);
        let settings = snapshot.load().config.queue.clone();
        let (queue, _) = Queue::open(
            relay_queue::Settings {
                directory: directory.join("queue"),
                messages: settings.messages,
                minimum_free_bytes: 0,
                cache_bytes: 1 << 20,
            },
            now(),
            Box::new(destination),
        )
        .unwrap();
        let (suppressions, _) = Suppressions::open(&directory.join("queue"), shard, now()).unwrap();
        let (senders, _) = Senders::open(&directory.join("queue"), shard, now()).unwrap();
        let (tls_reports, _) = TlsReports::open(&directory.join("queue"), now()).unwrap();
        Arc::new(Self {
            snapshot,
            queue,
            state: directory.to_path_buf(),
            suppressions: Arc::new(suppressions),
            senders,
            tls_reports: Arc::new(tls_reports),
            egress: Egress::default(),
            metrics: Metrics::unread(),
            shutdown: CancellationToken::new(),
            instance: "test-0".into(),
            shard,
            hand_over: HandOver::default(),
            listening: AtomicBool::new(true),
            config: Mutex::default(),
            reloaded: tokio::sync::watch::Sender::default(),
        })
    }
}
