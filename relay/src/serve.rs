//! `relay serve`: starts the parts in order, waits for the end, stops them in order.
//!
//! Start: telemetry, configuration, queue (so that nothing is accepted that could not be kept),
//! sockets, delivery, listeners, HTTP, reload. Stop: no new sessions and no new deliveries, open
//! transactions get `limits.shutdownGrace`, attempts under way the same, then the queue is synced
//! and closed, and collectors get the last spans. The health port answers until the queue is
//! closed, so that the kubelet sees "not ready" and not "gone".

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use relay_config::{QueueSettings, SHARD_VARIABLE};
use relay_queue::{OpenError, Queue, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{ConfigState, Context, SharedContext, now};
use crate::handover::{self, HandOver};
use crate::metrics::Metrics;
use crate::returns::Senders;
use crate::snapshot::{Snapshot, SnapshotError};
use crate::suppression::Suppressions;
use crate::table::TableError;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::tls_reports::TlsReports;
use crate::{delivery, descriptors, http, listener, reload, siblings, table};

/// Content of accepted messages kept in memory for the first attempt, in octets.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// What attempts and sessions get to notice that their grace is over.
const ABORT: Duration = Duration::from_secs(1);
/// Between two looks at whether the queue can still write.
const QUEUE_CHECK: Duration = Duration::from_millis(500);

/// Why the relay does not run (any more).
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Configuration(#[from] SnapshotError),
    #[error("{0}")]
    Shard(String),
    #[error("queue.directory: {0}")]
    Queue(#[from] OpenError),
    #[error("queue.directory: {0}")]
    Table(#[from] TableError),
    #[error("queue.directory: the TLS reports cannot be read: {0}")]
    TlsReports(std::io::Error),
    #[error("{field}: {address} cannot be bound: {source}")]
    Bind {
        field: String,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("the queue could not write to its disk; see the log, and check the disk")]
    QueueFailed,
}

impl ServeError {
    /// As in the head of the command line's module.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Telemetry(_) | Self::Shard(_) => 78,
            Self::Bind { .. } => 71,
            Self::Queue(_) | Self::Table(_) | Self::TlsReports(_) | Self::QueueFailed => 74,
            Self::Runtime(_) | Self::Signals(_) => 1,
        }
    }
}

/// Runs until SIGTERM or SIGINT, and to the end of the stop.
pub(crate) fn run(path: &Path) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let result = runtime.block_on(async {
        let telemetry = Telemetry::start()?;
        let result = serve(path, &telemetry).await;
        // The exporters wait on the runtime's own threads: not on one of them.
        let flushed = tokio::task::spawn_blocking(move || telemetry.finish()).await;
        if let Err(error) = flushed {
            tracing::warn!(%error, "telemetry did not end cleanly");
        }
        result
    });
    // Whatever blocking reads are left must not hold up the exit.
    runtime.shutdown_timeout(ABORT);
    result
}

async fn serve(path: &Path, telemetry: &Telemetry) -> Result<(), ServeError> {
    let mut stop = StopSignals::new()?;
    let files = descriptors::raise();
    let snapshot = Snapshot::load(path, None)?;
    reload::warn_of_expiry(&snapshot, now());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        relay = snapshot.config.relay,
        hash = %snapshot.hash,
        domains = snapshot.domains.len(),
        credentials = snapshot.credentials.len(),
        files,
        "starting"
    );
    let variable = std::env::var(SHARD_VARIABLE).ok();
    let shard =
        siblings::own_number(&snapshot.config, variable.as_deref()).map_err(ServeError::Shard)?;
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    let Some(queue) = open_queue(path, &snapshot, &mut stop).await? else {
        return Ok(());
    };
    let directory = beside(path, &snapshot.load().config.queue.directory);
    let state = directory
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    // In the queue's directory, which is this process's alone once the queue is open.
    let suppressions = count_damage(
        "suppressions",
        Suppressions::open(&directory, shard, now())?,
    );
    let senders = count_damage("senders", Senders::open(&directory, shard, now())?);
    let opened = TlsReports::open(&directory, now()).map_err(ServeError::TlsReports)?;
    let tls_reports = count_damage("tls-reports", opened);
    let context = Arc::new(Context {
        snapshot,
        queue: queue.clone(),
        state,
        suppressions: Arc::new(suppressions),
        senders,
        tls_reports: Arc::new(tls_reports),
        egress: delivery::Egress::default(),
        metrics: Metrics::new(&telemetry.meter()),
        shutdown: CancellationToken::new(),
        instance: instance(),
        shard,
        hand_over: HandOver::default(),
        listening: AtomicBool::new(false),
        config: Mutex::new(ConfigState {
            since: now(),
            ..ConfigState::default()
        }),
        reloaded: tokio::sync::watch::Sender::default(),
    });
    context.metrics.observe(&Arc::downgrade(&context));
    let result = run_parts(&context, path, telemetry, &mut stop).await;
    let closed = tokio::task::spawn_blocking(move || queue.close()).await;
    if let Err(error) = closed {
        tracing::error!(%error, "the queue did not close cleanly");
    }
    result?;
    tracing::info!("stopped");
    Ok(())
}

/// Starts everything that needs the queue, waits for the end, stops it again.
async fn run_parts(
    context: &SharedContext,
    path: &Path,
    telemetry: &Telemetry,
    stop: &mut StopSignals,
) -> Result<(), ServeError> {
    let config = context.snapshot.load().config.clone();
    let health = bind("health.address", config.health.address).await?;
    let admin = match &config.admin {
        Some(admin) => Some(bind("admin.address", admin.address).await?),
        None => None,
    };
    let mut sockets = Vec::with_capacity(config.listeners.len());
    for (index, listener) in config.listeners.iter().enumerate() {
        let field = format!("listeners[{index}].address");
        sockets.push(bind(&field, listener.address).await?);
    }
    let http_stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let router = http::health(Arc::clone(context), telemetry.registry.clone());
    tasks.spawn(http::serve_plain(health, router, http_stop.clone()));
    if let Some(admin) = admin {
        let router = http::admin(Arc::clone(context));
        let shared = Arc::clone(context);
        tasks.spawn(http::serve_mutual_tls(
            admin,
            router,
            shared,
            http_stop.clone(),
        ));
    }
    tasks.spawn(table::share(Arc::clone(context)));
    tasks.spawn(handover::run(Arc::clone(context)));
    tasks.spawn(reload::run(Arc::clone(context), path.to_path_buf()));
    let delivery = tokio::spawn(delivery::run(Arc::clone(context)));
    let listeners = tokio::spawn(listener::run(Arc::clone(context), sockets));
    context.listening.store(true, Ordering::Release);
    tracing::info!("ready");

    let queue_failed = tokio::select! {
        () = stop_in_time(context, stop) => false,
        () = queue_failure(context) => true,
    };
    let grace = context.snapshot.load().config.limits.shutdown_grace.get();
    tracing::info!(grace_seconds = grace.as_secs(), "stopping");
    context.shutdown.cancel();
    let finished = async {
        // Sessions first: what they accept in their last moments may still be delivered or waits
        // in the queue for the next start.
        let (sessions, attempts) = tokio::join!(listeners, delivery);
        for result in [sessions, attempts] {
            if let Err(error) = result {
                tracing::error!(%error, "a part of the relay ended badly");
            }
        }
    };
    tokio::select! {
        () = finished => {}
        () = tokio::time::sleep(grace + ABORT) => {
            tracing::warn!("the grace is over; sessions and attempts that are left are cut off");
        }
        () = stop.received() => {
            tracing::warn!("second signal; sessions and attempts that are left are cut off");
        }
    }
    http_stop.cancel();
    tasks.close();
    let _ = tokio::time::timeout(ABORT, tasks.wait()).await;
    if queue_failed || context.queue.failed() {
        return Err(ServeError::QueueFailed);
    }
    Ok(())
}

/// Waits for a signal, and then for `limits.shutdownDelay` or a second signal. Readiness stays: a cluster
/// leads clients to a pod that ends when it has no other one, as long as that one is ready.
async fn stop_in_time(context: &SharedContext, stop: &mut StopSignals) {
    stop.received().await;
    let delay = context.snapshot.load().config.limits.shutdown_delay.get();
    if delay.is_zero() {
        return;
    }
    tracing::info!(
        delay_seconds = delay.as_secs_f64(),
        "told to stop; clients are taken until limits.shutdownDelay is over"
    );
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = stop.received() => {}
    }
}

/// The queue, once nobody else uses it; `None` when the relay is told to stop meanwhile.
async fn open_queue(
    path: &Path,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    stop: &mut StopSignals,
) -> Result<Option<Queue>, ServeError> {
    let settings = snapshot.load().config.queue.clone();
    let end = tokio::time::Instant::now() + settings.lock_timeout.get();
    let mut waits = false;
    loop {
        let opened = try_queue(path, &settings, snapshot);
        match opened {
            Err(ServeError::Queue(error @ OpenError::InUse(_)))
                if tokio::time::Instant::now() < end =>
            {
                if !std::mem::replace(&mut waits, true) {
                    let seconds = settings.lock_timeout.get().as_secs();
                    tracing::info!(seconds, %error, "waiting for the queue, queue.lockTimeout at most");
                }
            }
            opened => return opened.map(Some),
        }
        tokio::select! {
            () = tokio::time::sleep(QUEUE_CHECK) => {}
            () = stop.received() => return Ok(None),
        }
    }
}

fn try_queue(
    path: &Path,
    settings: &QueueSettings,
    snapshot: &Arc<ArcSwap<Snapshot>>,
) -> Result<Queue, ServeError> {
    let directory = beside(path, &settings.directory);
    let destination = delivery::destination_of(snapshot);
    let (queue, recovery) = Queue::open(
        Settings {
            directory: directory.clone(),
            messages: settings.messages,
            minimum_free_bytes: settings.minimum_free_bytes,
            cache_bytes: CACHE_BYTES,
        },
        now(),
        Box::new(destination),
    )?;
    tracing::info!(
        directory = %directory.display(),
        messages = recovery.messages,
        truncated_bytes = recovery.truncated_bytes,
        damaged_records = recovery.damaged_records,
        "queue opened"
    );
    if recovery.damaged_records > 0 {
        tracing::error!(
            records = recovery.damaged_records,
            "damaged records were set aside below quarantine/ of the queue directory"
        );
    }
    Ok(queue)
}

/// What was opened of a table of this name, after a word about damaged records of its file.
fn count_damage<T>(table: &'static str, (opened, damaged): (T, u64)) -> T {
    if damaged > 0 {
        tracing::error!(
            table,
            records = damaged,
            "damaged records of a table were set aside beside its file in the queue directory"
        );
    }
    opened
}

/// `relative` beside the main file at `path`.
fn beside(path: &Path, relative: &Path) -> PathBuf {
    path.parent()
        .map_or_else(|| relative.to_path_buf(), |parent| parent.join(relative))
}

async fn bind(field: &str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let refused = |source| ServeError::Bind {
        field: field.to_owned(),
        address,
        source,
    };
    let listener = http::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    tracing::info!(field, address = %bound, "bound");
    Ok(listener)
}

/// Ready when the queue cannot write any more.
async fn queue_failure(context: &SharedContext) {
    while !context.queue.failed() {
        tokio::time::sleep(QUEUE_CHECK).await;
    }
    tracing::error!("the queue cannot write; stopping");
}

/// Who this process is in banners and logs.
fn instance() -> String {
    let pod = std::env::var("POD_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    pod.unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    })
}

struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> Result<Self, ServeError> {
        let listen = |kind| signal(kind).map_err(ServeError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
