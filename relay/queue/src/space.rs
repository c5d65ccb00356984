//! Whether the file system has room. Asked of the system once per some octets or some time, and
//! counted in between, so that a flood of messages costs few calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::disk::Disk;

/// Octets written between two looks.
const LOOK_BYTES: u64 = 4 << 20;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    minimum: u64,
    clock: fn() -> Instant,
    state: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    free: u64,
    granted: u64,
}

impl Space {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        minimum: u64,
        clock: fn() -> Instant,
    ) -> Self {
        Self {
            disk,
            directory,
            minimum,
            clock,
            state: Mutex::new(None),
        }
    }

    /// Whether so many octets may be written and leave the minimum free. What the system does not
    /// tell is taken as room: a write then says the truth.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        let now = (self.clock)();
        let mut state = self.state.lock();
        let outdated = state.as_ref().is_none_or(|seen| {
            seen.granted + bytes > LOOK_BYTES || now.duration_since(seen.at) >= LOOK_EVERY
        });
        if outdated {
            let free = self.disk.free_bytes(&self.directory).unwrap_or(u64::MAX);
            *state = Some(Seen {
                at: now,
                free,
                granted: 0,
            });
        }
        let Some(seen) = state.as_mut() else {
            return true;
        };
        let needed = self
            .minimum
            .saturating_add(seen.granted)
            .saturating_add(bytes);
        let allowed = needed <= seen.free;
        if allowed {
            seen.granted += bytes;
        }
        allowed
    }

    /// A write found the disk full: no room until the next look.
    pub(crate) fn exhausted(&self) {
        *self.state.lock() = Some(Seen {
            at: (self.clock)(),
            free: 0,
            granted: 0,
        });
    }
}
