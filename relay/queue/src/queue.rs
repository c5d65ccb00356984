//! The public face of the queue, and its beginning and end.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::cache::Cache;
use crate::disk::{Disk, SystemDisk};
use crate::inbox::{Inbox, Pool};
use crate::recovery::{self, Recovered};
use crate::shared::{APPENDS_IN_FLIGHT, Directories, FILE_THREADS, Shared, Sums, Tuning};
use crate::space::Space;
use crate::writer::Writer;
use crate::{
    AppendError, Counters, Destination, MessageId, NewMessage, OpenError, Outcome, Recovery, Route,
    Settings, Timestamp, Work,
};

/// A queue. Cheap to clone; all methods may be called from any thread. When the last clone goes,
/// the queue is closed.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(crate) shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// What ends with the queue: the writer's thread and the lock of the directory.
struct Owner {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    writer: JoinHandle<()>,
    _lock: Lock,
}

/// Keeps other processes out while it lives.
type Lock = Box<dyn Send + Sync>;

impl std::fmt::Debug for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Owner").finish_non_exhaustive()
    }
}

impl Owner {
    fn close(&self) {
        // Held to the end, so that a second caller returns only when the queue is closed.
        let mut running = self.running.lock();
        self.shared.permits.close();
        // First the files, whose records then still find the log open.
        self.shared.pool.close();
        self.shared.closed.store(true, Ordering::Release);
        self.shared.inbox.close();
        if let Some(Running { writer, _lock }) = running.take() {
            // Should it have panicked, its waiters saw their channels close.
            let _ = writer.join();
        }
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    /// Opens or creates the queue and replays its log. `route` names the destination of a
    /// recipient of a message; it must not call the queue. Work that was taken or waiting when the last process
    /// ended is due at its recorded time.
    pub fn open(
        settings: Settings,
        now: Timestamp,
        route: Route,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(
            Arc::new(SystemDisk),
            settings,
            Tuning::default(),
            now,
            route,
        )
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        settings: Settings,
        tuning: Tuning,
        now: Timestamp,
        route: Route,
    ) -> Result<(Self, Recovery), OpenError> {
        let root = settings.directory.clone();
        let (queue, writer, lock, report) = Self::prepare(disk, settings, tuning, now, route)?;
        let started = queue.shared.pool.start(FILE_THREADS).and_then(|()| {
            std::thread::Builder::new()
                .name("queue-writer".into())
                .spawn(move || writer.run())
        });
        let writer = started.map_err(|source| OpenError::Io { path: root, source })?;
        *queue.owner.running.lock() = Some(Running {
            writer,
            _lock: lock,
        });
        Ok((queue, report))
    }

    /// A queue without its threads: what they would do is left to the caller.
    pub(crate) fn prepare(
        disk: Arc<dyn Disk>,
        settings: Settings,
        tuning: Tuning,
        now: Timestamp,
        route: Route,
    ) -> Result<(Self, Writer, Lock, Recovery), OpenError> {
        let root = settings.directory.clone();
        let refused = |source| OpenError::Io {
            path: root.clone(),
            source,
        };
        disk.create_directory(&root).map_err(refused)?;
        let lock = root.join("lock");
        let lock = disk
            .lock(&lock)
            .map_err(|source| OpenError::Io {
                path: lock.clone(),
                source,
            })?
            .ok_or_else(|| OpenError::InUse(root.clone()))?;
        let directories = Directories::new(&root);
        let recovered = recovery::recover(&*disk, &directories, &route, now)?;
        disk.sync_directory(&root).map_err(refused)?;
        let Recovered {
            state,
            marker,
            next,
            report,
        } = recovered;
        let shared = Arc::new(Shared {
            cache: Mutex::new(Cache::new(settings.cache_bytes)),
            space: Space::new(
                disk.clone(),
                root.clone(),
                settings.minimum_free_bytes,
                tuning.clock,
            ),
            settings,
            tuning,
            directories,
            disk,
            marker,
            route,
            state: Mutex::new(state),
            changed: Arc::new(Notify::new()),
            inbox: Inbox::default(),
            pool: Pool::default(),
            permits: Arc::new(Semaphore::new(APPENDS_IN_FLIGHT)),
            incoming: Arc::default(),
            failure: OnceLock::new(),
            stalled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            sums: Sums::default(),
        });
        shared
            .sums
            .damaged
            .store(report.damaged_records, Ordering::Relaxed);
        let writer = Writer::new(shared.clone(), next);
        let owner = Arc::new(Owner {
            shared: shared.clone(),
            running: Mutex::default(),
        });
        Ok((Self { shared, owner }, writer, lock, report))
    }

    /// Appends a message; ready when it is durable. Its work is due at once. Nothing happens before
    /// the first poll; a future dropped later may leave the message in the queue. Writing and
    /// syncing is done on threads of the queue, never on the caller's.
    pub fn append(
        &self,
        message: NewMessage,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        self.shared.clone().append(message, None)
    }

    /// Takes the next due work whose destination `admit` lets through. Work of one destination
    /// comes oldest due first; destinations take turns. A destination that `admit` refuses is not
    /// asked again before [`Self::readmit`]. `admit` must not call the queue. Gives
    /// nothing when the queue has failed or is closed, or while more than a thousand settles wait
    /// for room on a full disk: no outcome could be recorded. The envelope of a message that is no
    /// longer cached is read from the disk, in the caller's thread.
    pub fn take(
        &self,
        now: Timestamp,
        admit: &mut dyn FnMut(&Destination) -> bool,
    ) -> Option<Work> {
        self.shared.take(now, admit)
    }

    /// As [`Self::take`] for one destination only: what a connection asks that has just finished a
    /// message.
    pub fn take_for(&self, now: Timestamp, destination: &Destination) -> Option<Work> {
        self.shared.take_for(now, destination)
    }

    /// Lets [`Self::take`] ask about a destination again that was refused: it might be admitted now.
    pub fn readmit(&self, destination: &Destination) {
        self.shared.state.lock().index.readmit(destination);
    }

    /// The same for all destinations.
    pub fn readmit_all(&self) {
        self.shared.state.lock().index.readmit_all();
    }

    /// When the next waiting (not taken) work is due; `None` when nothing waits, or when
    /// [`Self::take`] gives nothing for now. In the past when due work waits that `take` was not
    /// let through to.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.shared.holds_back() {
            return None;
        }
        self.shared.state.lock().index.next_due()
    }

    /// When work becomes due for a destination that has none at `now` and was not refused by `admit`:
    /// how long to sleep after [`Self::take`] gave nothing.
    pub fn next_due_after(&self, now: Timestamp) -> Option<Timestamp> {
        if self.shared.holds_back() {
            return None;
        }
        self.shared.state.lock().index.next_due_after(now)
    }

    /// Ready when work became due earlier than [`Self::next_due`] said when this was called: after
    /// an append or a settle. May be ready without cause. Call it before [`Self::take`], so that
    /// nothing is missed between the two.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.changed.clone().notified_owned()
    }

    /// The content of a message if it is still in memory. Never touches the disk.
    pub fn cached(&self, id: MessageId) -> Option<Vec<Bytes>> {
        self.shared.cache.lock().content(id)
    }

    /// The content of a message: from memory when it is still cached, else read from the disk.
    /// Blocking I/O of the page cache kind; large content (a file of its own) is read whole.
    /// `NotFound` for a message that is not in the queue; `InvalidData` when it is damaged: it
    /// will not get better, so settle its work as failed.
    pub fn content(&self, id: MessageId) -> Result<Vec<Bytes>, std::io::Error> {
        self.shared.content(id)
    }

    /// Records the outcomes of taken work, parallel to [`Work::recipients`], and appends `report`
    /// (a bounce) in the same atomic record group. Deferred recipients are due at `retry_at`
    /// together; a recipient without an outcome counts as deferred. Written at once and synced with
    /// the next group, at the latest after 50 ms: a power cut in between delivers a message twice,
    /// never loses one. The returned future is for those who want to wait until it is durable;
    /// nothing depends on its being polled. A report is accepted beyond the limits of the
    /// [`Settings`]; if a large one finds the disk full nothing is recorded, the result is
    /// [`AppendError::Full`], and the work is due again at `retry_at`.
    pub fn settle(
        &self,
        work: Work,
        outcomes: &[Outcome],
        retry_at: Timestamp,
        report: Option<NewMessage>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let (reply, result) = oneshot::channel();
        self.shared.settle(work, outcomes, retry_at, report, reply);
        async move { result.await.unwrap_or(Err(AppendError::Closed)) }
    }

    /// Makes `work` the one that tells the sender that the message is late, which happens once per
    /// message: gives all recipients of the message that are open and were tried at least once, in
    /// order, or `None` when the sender was told or is being told by other work. It counts only with
    /// a settle of `work` that has a report; the two are one record, so that after a crash there are
    /// both or neither.
    pub fn claim_delay(&self, work: &mut Work) -> Option<Vec<u32>> {
        let mut state = self.shared.state.lock();
        let open = state.index.claim_delay(work.id, &work.destination);
        work.delay_told = true;
        work.tells_delay = open.is_some();
        open
    }

    /// Live messages, and when the oldest of them was accepted.
    pub fn status(&self) -> (u64, Option<Timestamp>) {
        let state = self.shared.state.lock();
        (state.index.len(), state.index.oldest())
    }

    /// Whether a message would be refused for want of space or because too many wait.
    pub fn is_full(&self) -> bool {
        let live = self.shared.state.lock().index.len();
        live >= self.shared.settings.messages || !self.shared.space.allows(0)
    }

    /// Sums since the start.
    pub fn counters(&self) -> Counters {
        let sums = &self.shared.sums;
        Counters {
            appended: sums.appended.load(Ordering::Relaxed),
            settled: sums.settled.load(Ordering::Relaxed),
            syncs: sums.syncs.load(Ordering::Relaxed),
            written_bytes: sums.written.load(Ordering::Relaxed),
            moved: sums.moved.load(Ordering::Relaxed),
            damaged_records: sums.damaged.load(Ordering::Relaxed),
            segments: self.shared.state.lock().segments.len() as u64,
        }
    }

    /// Whether a write or sync failed; then the process should report itself not ready and end.
    pub fn failed(&self) -> bool {
        self.shared.failure.get().is_some()
    }

    /// Syncs, ends the queue's threads and gives the directory free. Blocks for as long as a sync
    /// takes. Later appends and settles are [`AppendError::Closed`], so settle first.
    pub fn close(&self) {
        self.owner.close();
    }
}
