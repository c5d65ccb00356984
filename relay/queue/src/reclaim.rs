//! Gives segments back: removes dead ones, and copies the few live messages of a mostly dead one
//! forward, so that one long-deferred message does not keep old segments for ever.
//!
//! Runs in the writer's thread in small steps, so that no append waits long. A copied message
//! counts only when its copy is durable; until then the original stays, and with it its segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::index::Location;
use crate::quarantine;
use crate::record::{Item, Record, items};
use crate::segment::{self, Found, Scanner};
use crate::segments::Advice;
use crate::shared::{Effect, Job, Shared};

/// Octets of a segment looked at per step.
const STEP_BYTES: u64 = 256 << 10;

/// Passes over a segment before it is left alone until the next start.
const PASSES: u32 = 3;

/// Pause between looks at a removal under way, or a copy that waits for its sync.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Pause after copies that found the disk full.
const FULL_PAUSE: Duration = Duration::from_secs(1);

const REMOVING: u8 = 0;
const REMOVED: u8 = 1;

/// Progress of reclaiming.
#[derive(Debug, Default)]
pub(crate) struct Reclaim {
    scan: Option<Scan>,
    removal: Option<(u32, Arc<AtomicU8>)>,
    /// Something could not be read or removed. Removing a later segment would bring messages back,
    /// so all stay until the next start.
    stuck: bool,
    wake: Option<Instant>,
}

#[derive(Debug)]
struct Scan {
    segment: u32,
    passes: u32,
    /// `None` when the pass is over and its copies wait for their sync.
    scanner: Option<Scanner>,
    /// A message was left out of this pass, whose reports are not durable yet.
    left_out: bool,
}

impl Reclaim {
    /// When the next step should come, whatever else happens.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// A commit may have changed what is alive.
    pub(crate) fn look(&mut self, now: Instant) {
        self.wake = Some(now);
    }

    /// Copies were not written, since the disk is full: another pass is needed.
    pub(crate) fn interrupted(&mut self, now: Instant) {
        if let Some(scan) = &mut self.scan {
            scan.scanner = None;
            scan.passes = 0;
        }
        self.wake = Some(now + FULL_PAUSE);
    }

    /// One step; returns copies to write. `quiet` says that no copy waits for its sync.
    pub(crate) fn step(
        &mut self,
        shared: &Arc<Shared>,
        current: Option<u32>,
        quiet: bool,
    ) -> Vec<Job> {
        if self.wake.is_some_and(|wake| wake > shared.now()) {
            return Vec::new();
        }
        self.wake = None;
        if self.stuck || self.removing(shared) {
            return Vec::new();
        }
        let advice = shared
            .state
            .lock()
            .segments
            .advice(current, shared.tuning.segment_bytes);
        match advice {
            Advice::Remove(segment) => {
                self.scan = None;
                self.remove(shared, segment);
                Vec::new()
            }
            Advice::CopyForward(segment) => self.copy(shared, segment, quiet),
            Advice::Keep => match &self.scan {
                // What was begun is finished: the copies made so far are waste otherwise.
                Some(scan) => {
                    let segment = scan.segment;
                    self.copy(shared, segment, quiet)
                }
                None => Vec::new(),
            },
        }
    }

    /// Whether a removal is under way.
    fn removing(&mut self, shared: &Shared) -> bool {
        let Some((segment, state)) = &self.removal else {
            return false;
        };
        match state.load(Ordering::Acquire) {
            REMOVING => {
                self.wake = Some(shared.after(LOOK_AGAIN));
                true
            }
            REMOVED => {
                shared.state.lock().segments.remove(*segment);
                self.removal = None;
                false
            }
            _ => {
                self.stuck = true;
                true
            }
        }
    }

    /// Removes a segment on a thread of the pool, and makes that durable before the next may go: a
    /// segment that came back without the one after it would bring its messages back.
    fn remove(&mut self, shared: &Shared, segment: u32) {
        let state = Arc::new(AtomicU8::new(REMOVING));
        self.removal = Some((segment, state.clone()));
        self.wake = Some(shared.after(LOOK_AGAIN));
        let (disk, directory) = (shared.disk.clone(), shared.directories.log.clone());
        shared.pool.run(move || {
            const FAILED: u8 = 2;
            let removed = disk.remove(&segment::path(&directory, segment));
            let removed = removed.and_then(|()| disk.sync_directory(&directory));
            state.store(
                if removed.is_ok() { REMOVED } else { FAILED },
                Ordering::Release,
            );
        });
    }

    fn copy(&mut self, shared: &Shared, segment: u32, quiet: bool) -> Vec<Job> {
        if self
            .scan
            .as_ref()
            .is_none_or(|scan| scan.segment != segment)
        {
            self.scan = Some(Scan {
                segment,
                passes: 0,
                scanner: None,
                left_out: false,
            });
        }
        let Some(scan) = &mut self.scan else {
            return Vec::new();
        };
        if scan.scanner.is_none() {
            if !quiet {
                self.wake = Some(shared.after(LOOK_AGAIN));
                return Vec::new();
            }
            if std::mem::take(&mut scan.left_out) {
                scan.passes = 0;
            }
            scan.passes += 1;
            match open(shared, segment) {
                Ok(scanner) if scan.passes <= PASSES => scan.scanner = Some(scanner),
                _ => {
                    self.stuck = true;
                    return Vec::new();
                }
            }
        }
        let mut jobs = Vec::new();
        match scan
            .scanner
            .as_mut()
            .map(|scanner| advance(shared, segment, scanner, &mut jobs, &mut scan.left_out))
        {
            Some(Ok(true)) => self.wake = Some(shared.now()),
            Some(Ok(false)) | None => {
                scan.scanner = None;
                self.wake = Some(shared.after(LOOK_AGAIN));
            }
            Some(Err(_)) => self.stuck = true,
        }
        jobs
    }
}

fn open(shared: &Shared, segment: u32) -> std::io::Result<Scanner> {
    let file = shared
        .disk
        .open(&segment::path(&shared.directories.log, segment))?;
    let marker = segment::marker_of(&*file, segment, shared.marker)?;
    Scanner::new(file, segment, marker)
}

/// Looks at some octets of a segment; false at its end. Says whether a message was left out.
fn advance(
    shared: &Shared,
    segment: u32,
    scanner: &mut Scanner,
    jobs: &mut Vec<Job>,
    left_out: &mut bool,
) -> std::io::Result<bool> {
    let stop = scanner.position() + STEP_BYTES;
    while scanner.position() < stop {
        match scanner.next()? {
            Found::Record { offset, payload } => {
                for item in items(payload).unwrap_or_default() {
                    if let Item::Message(at, message) = item {
                        let octets = payload.get(at..at + message.stored()).unwrap_or_default();
                        let offset = offset + at as u64;
                        let copy =
                            copy_message(shared, segment, offset, octets, message.id, left_out);
                        jobs.extend(copy);
                    }
                }
            }
            Found::Damaged { offset, length } | Found::Tail { offset, length } => {
                lose_range(shared, segment, offset, length)?;
            }
            Found::End => return Ok(false),
        }
    }
    Ok(true)
}

/// A copy of a message, if it is alive and lies here.
fn copy_message(
    shared: &Shared,
    segment: u32,
    offset: u64,
    octets: &[u8],
    id: crate::MessageId,
    left_out: &mut bool,
) -> Option<Job> {
    let state = shared.state.lock();
    let from = state.index.location(id)?;
    if from.segment != segment || u64::from(from.offset) != offset {
        return None;
    }
    if state.reporting.contains_key(&id) {
        *left_out = true;
        return None;
    }
    let open = state.index.open(id);
    drop(state);
    let mut record = Record::default();
    let to: Location = record.moved(octets, from, &open);
    Some(Job {
        record,
        effect: Effect::Moved { id, from, to },
        reply: None,
    })
}

/// Sets aside what was damaged since the start, and forgets the messages in it.
fn lose_range(shared: &Shared, segment: u32, offset: u64, length: u64) -> std::io::Result<()> {
    let state = shared.state.lock();
    let within = |location: &Location| {
        location.segment == segment
            && (offset..offset + length).contains(&u64::from(location.offset))
    };
    let lost: Vec<_> = state
        .index
        .iter()
        .filter(|(_, location)| within(location))
        .collect();
    drop(state);
    if lost.is_empty() {
        return Ok(());
    }
    quarantine::set_aside(&*shared.disk, &shared.directories, segment, offset, length)?;
    for (id, _) in lost {
        shared.lose(id);
    }
    Ok(())
}
