//! What the callers and the threads of a queue share.
//!
//! Lock order: `state`, then the writer's inbox.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::cache::Cache;
use crate::content::ContentFile;
use crate::disk::Disk;
use crate::inbox::{Inbox, Pool};
use crate::index::{Index, Location, Open};
use crate::record::Record;
use crate::segment::Marker;
use crate::segments::Segments;
use crate::space::Space;
use crate::{AppendError, Destination, Envelope, MessageId, Route, Settings};

/// Sizes and times that only tests change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// A segment with so many octets is followed by another.
    pub(crate) segment_bytes: u64,
    /// Larger contents go to files of their own.
    pub(crate) inline_bytes: usize,
    /// How long a settle may wait for a sync.
    pub(crate) sync_delay: Duration,
    /// What time it is, for delays and pauses.
    pub(crate) clock: fn() -> Instant,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            inline_bytes: 256 << 10,
            sync_delay: Duration::from_millis(50),
            clock: Instant::now,
        }
    }
}

/// Appends that may be on their way to the log at once; more wait.
pub(crate) const APPENDS_IN_FLIGHT: usize = 4096;

/// Settles that a full disk may hold up; then nothing more is taken.
pub(crate) const SETTLES_HELD_UP: usize = 1024;

/// Threads for files beside the log.
pub(crate) const FILE_THREADS: usize = 2;

pub(crate) type Reply = oneshot::Sender<Result<(), AppendError>>;

/// Something for the log.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) record: Record,
    pub(crate) effect: Effect,
    pub(crate) reply: Option<Reply>,
}

/// What becomes true when a record is durable. Locations count from the start of the record's
/// payload until it is written.
#[derive(Debug)]
pub(crate) enum Effect {
    Append(Box<Fresh>),
    Settle {
        id: MessageId,
        done: Option<(MessageId, Location)>,
        report: Option<Box<Fresh>>,
    },
    /// Messages were tied to another shard, or are so no more.
    Marked,
    /// Messages ended here, since they are another queue's now.
    Parted(Vec<(MessageId, Location)>),
    Moved {
        id: MessageId,
        from: Location,
        to: Location,
    },
}

impl Effect {
    /// Whether it says what happened, and is not refused for want of room.
    pub(crate) fn waits_for_room(&self) -> bool {
        matches!(self, Self::Settle { .. } | Self::Marked | Self::Parted(_))
    }

    /// Leaves the file of a message's content where it is, whatever becomes of its record.
    pub(crate) fn keep_file(self) {
        if let Self::Append(fresh)
        | Self::Settle {
            report: Some(fresh),
            ..
        } = self
            && let Some(file) = fresh.file
        {
            file.keep();
        }
    }

    /// Whether somebody waits for it to be durable.
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Self::Append(_) | Self::Marked | Self::Parted(_))
    }
}

/// A message on its way in.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) id: MessageId,
    pub(crate) location: Location,
    pub(crate) routes: Vec<Destination>,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) content: Vec<Bytes>,
    pub(crate) file: Option<ContentFile>,
    /// Its state, when it comes from another queue.
    pub(crate) state: Option<Open>,
    pub(crate) place: Option<Place>,
}

/// A message's place among [`Settings::messages`] while it is not in the index yet.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicU64>);

impl Place {
    /// Takes a place; also says how many others were taken.
    pub(crate) fn take(incoming: &Arc<AtomicU64>) -> (Self, u64) {
        let others = incoming.fetch_add(1, Ordering::Relaxed);
        (Self(incoming.clone()), others)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    /// Messages that are given away, which is not on the disk yet.
    pub(crate) parting: HashSet<MessageId>,
    /// Messages with outcomes in the index whose reports are not on the disk yet, and how many. Such a
    /// message is not copied forward: its copy would say what became of it without the report.
    pub(crate) reporting: HashMap<MessageId, u32>,
}

impl State {
    /// A settle with a report is durable.
    pub(crate) fn reported(&mut self, id: MessageId) {
        if let Some(count) = self.reporting.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.reporting.remove(&id);
            }
        }
    }
}

/// The directories of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    pub(crate) log: PathBuf,
    pub(crate) content: PathBuf,
    pub(crate) quarantine: PathBuf,
}

impl Directories {
    pub(crate) fn new(root: &std::path::Path) -> Self {
        Self {
            log: root.join("log"),
            content: root.join("content"),
            quarantine: root.join("quarantine"),
        }
    }
}

/// Sums since the start, as [`crate::Counters`].
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) appended: AtomicU64,
    pub(crate) settled: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) moved: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) tuning: Tuning,
    pub(crate) directories: Directories,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) marker: Marker,
    pub(crate) route: Route,
    pub(crate) state: Mutex<State>,
    pub(crate) cache: Mutex<Cache>,
    pub(crate) changed: Arc<Notify>,
    pub(crate) inbox: Inbox<Job>,
    pub(crate) pool: Pool,
    pub(crate) space: Space,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) incoming: Arc<AtomicU64>,
    pub(crate) failure: OnceLock<String>,
    /// Too many settles wait for room on the disk.
    pub(crate) stalled: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) sums: Sums,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("settings", &self.settings)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether the queue takes part no more.
    pub(crate) fn ended(&self) -> Result<(), AppendError> {
        if let Some(reason) = self.failure.get() {
            return Err(AppendError::Failed(reason.clone()));
        }
        if self.closed.load(Ordering::Acquire) {
            Err(AppendError::Closed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn now(&self) -> Instant {
        (self.tuning.clock)()
    }

    /// A moment from now.
    pub(crate) fn after(&self, delay: Duration) -> Instant {
        self.now() + delay
    }

    /// Latches a failure; the first reason stands.
    pub(crate) fn fail(&self, what: &str, error: &io::Error) {
        let _ = self.failure.set(format!("{what}: {error}"));
        self.changed.notify_waiters();
    }

    pub(crate) fn failure(&self) -> AppendError {
        AppendError::Failed(self.failure.get().cloned().unwrap_or_default())
    }

    /// Whether nothing may be taken: the outcome could not be recorded.
    pub(crate) fn holds_back(&self) -> bool {
        self.stalled.load(Ordering::Relaxed) || self.ended().is_err()
    }
}
