//! The writer thread: takes whatever waits, writes it with few calls, syncs once, and only then
//! lets it become true.
//!
//! A settle is written at once, so that a killed process repeats no delivery, but it brings about
//! no sync of its own before [`crate::shared::Tuning::sync_delay`].
//!
//! After a failed write or sync nothing is known about the disk: the kernel may have dropped the
//! pages and report success to the next sync. So the failure is latched and nothing more is tried.
//! A full disk is different: the write says so before anything counts on it, the file is cut back
//! to where it was, and appends are refused. Settles wait for room, since what they say happened.

mod commit;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::AppendError;
use crate::disk::{self, DiskFile, write_all};
use crate::inbox::Batch;
use crate::reclaim::Reclaim;
use crate::record::Record;
use crate::segment::{self, FILE_HEADER, RECORD_HEADER, RecordHeader};
use crate::shared::{Effect, Job, Reply, SETTLES_HELD_UP, Shared};
use commit::Commit;

/// Records per group.
const GROUP_RECORDS: usize = 1024;

/// Octets per write; a group may take several.
const WRITE_BYTES: u64 = 8 << 20;

/// Pause before settles that found the disk full are tried again.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// A written record that is not durable yet.
#[derive(Debug)]
struct Written {
    effect: Effect,
    reply: Option<Reply>,
}

/// The segment being written.
#[derive(Debug)]
struct Current {
    segment: u32,
    file: Box<dyn DiskFile>,
    length: u64,
}

/// The writer.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// Number of the next segment.
    next: u32,
    /// Created with the first record, so that restarts leave no empty files.
    current: Option<Current>,
    unsynced: Vec<Written>,
    /// When the first unsynced settle must be durable.
    deadline: Option<Instant>,
    /// Settles that found the disk full.
    held_up: Vec<Job>,
    retry: Option<Instant>,
    reclaim: Reclaim,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, next: u32) -> Self {
        Self {
            shared,
            next,
            current: None,
            unsynced: Vec::new(),
            deadline: None,
            held_up: Vec::new(),
            retry: None,
            reclaim: Reclaim::default(),
        }
    }

    /// Works until the inbox is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            let wake = [self.deadline, self.retry, self.reclaim.wake()];
            let batch = self
                .shared
                .inbox
                .take(GROUP_RECORDS, wake.into_iter().flatten().min());
            let ended = batch.ended;
            self.turn(batch);
            if ended {
                return;
            }
        }
    }

    /// What is to be done now: with what arrived, with what waited, and with old segments.
    pub(crate) fn turn(&mut self, batch: Batch<Job>) {
        if self.shared.failure.get().is_some() {
            self.refuse(batch.jobs);
            // The reclaimer's wishes must not keep a failed queue awake.
            self.reclaim = Reclaim::default();
            return;
        }
        let jobs = self.order(batch.jobs, batch.ended);
        let urgent = self.write_group(jobs);
        let late = self
            .deadline
            .is_some_and(|deadline| deadline <= self.shared.now());
        if urgent || late || batch.ended {
            self.sync();
        }
        if batch.ended {
            let held_up = std::mem::take(&mut self.held_up);
            answer_all(held_up.into_iter().filter_map(|job| job.reply), || {
                AppendError::Full
            });
        }
    }

    /// What to write now: settles that were held up first, then copies, then what arrived.
    fn order(&mut self, mut arrived: Vec<Job>, ended: bool) -> Vec<Job> {
        let mut jobs = Vec::new();
        if ended || self.retry.is_none_or(|retry| retry <= self.shared.now()) {
            self.retry = None;
            jobs.append(&mut self.held_up);
        } else {
            // Settles keep their order among each other, so these wait behind those.
            let settles = arrived.extract_if(.., |job| job.effect.waits_for_room());
            self.held_up.extend(settles);
            self.hold_back();
        }
        if !ended {
            let quiet = self.unsynced.is_empty() && self.held_up.is_empty() && jobs.is_empty();
            let current = self.current.as_ref().map(|current| current.segment);
            jobs.extend(self.reclaim.step(&self.shared, current, quiet));
        }
        jobs.append(&mut arrived);
        jobs
    }

    /// Writes jobs, in order; says whether somebody waits for the sync.
    fn write_group(&mut self, jobs: Vec<Job>) -> bool {
        let mut urgent = false;
        let mut chunk = Vec::new();
        let mut size = 0;
        for job in jobs {
            let length = RECORD_HEADER as u64 + u64::from(job.record.length);
            if size > 0 && size + length > WRITE_BYTES {
                self.write(std::mem::take(&mut chunk));
                size = 0;
            }
            urgent |= job.effect.is_urgent();
            size += length;
            chunk.push(job);
        }
        self.write(chunk);
        if !self.unsynced.is_empty() && self.deadline.is_none() {
            self.deadline = Some(self.shared.after(self.shared.tuning.sync_delay));
        }
        urgent && !self.unsynced.is_empty()
    }

    fn write(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        if self.shared.failure.get().is_some() {
            return self.refuse(jobs);
        }
        let mut current = match self.segment() {
            Ok(current) => current,
            Err(error) => return self.not_written(jobs, &error),
        };
        let start = current.length;
        match append_records(&self.shared, &mut current, &jobs) {
            Ok(()) => {
                let (segment, mut offset) = (current.segment, start);
                for Job {
                    record,
                    mut effect,
                    reply,
                } in jobs
                {
                    place(&mut effect, segment, offset + RECORD_HEADER as u64);
                    offset += RECORD_HEADER as u64 + u64::from(record.length);
                    self.unsynced.push(Written { effect, reply });
                }
                self.shared
                    .sums
                    .written
                    .fetch_add(offset - start, Ordering::Relaxed);
                self.current = Some(current);
            }
            Err(error) if disk::is_full(&error) => {
                // Nothing of it counts yet, and what lies before is untouched.
                if let Err(error) = current.file.truncate(start) {
                    self.shared.fail("cutting a segment back", &error);
                }
                current.length = start;
                self.current = Some(current);
                self.not_written(jobs, &error);
            }
            Err(error) => {
                self.current = Some(current);
                self.not_written(jobs, &error);
            }
        }
    }

    /// The segment to write to, taken out; a full one is synced and followed by another.
    fn segment(&mut self) -> io::Result<Current> {
        if let Some(current) = self.current.take() {
            if current.length < self.shared.tuning.segment_bytes {
                return Ok(current);
            }
            self.current = Some(current);
            self.sync();
            if self.shared.failure.get().is_some() {
                return Err(io::Error::other("a sync failed"));
            }
            self.current = None;
        }
        let segment = self.next;
        let path = segment::path(&self.shared.directories.log, segment);
        let file = self.shared.disk.create(&path)?;
        let prepared = segment::write_header(&*file, segment, self.shared.marker).and_then(|()| {
            self.shared
                .disk
                .sync_directory(&self.shared.directories.log)
        });
        if let Err(error) = prepared {
            // A leftover is an empty segment, which recovery knows; but its name must go.
            if let Err(error) = self.shared.disk.remove(&path) {
                self.shared.fail("removing an unfinished segment", &error);
            }
            return Err(error);
        }
        self.next += 1;
        let mut state = self.shared.state.lock();
        state.segments.add(segment);
        state.segments.set_length(segment, FILE_HEADER);
        drop(state);
        Ok(Current {
            segment,
            file,
            length: FILE_HEADER,
        })
    }

    fn not_written(&mut self, jobs: Vec<Job>, error: &io::Error) {
        if !disk::is_full(error) {
            self.shared.fail("writing the log", error);
        }
        if self.shared.failure.get().is_some() {
            return self.refuse(jobs);
        }
        self.shared.space.exhausted();
        for job in jobs {
            match job.effect {
                Effect::Append(_) => {
                    let Job { effect, reply, .. } = job;
                    // The place is free before the caller knows.
                    drop(effect);
                    answer_all(reply, || AppendError::Full);
                }
                Effect::Settle { .. } | Effect::Marked | Effect::Parted(_) => {
                    self.held_up.push(job);
                }
                Effect::Moved { .. } => self.reclaim.interrupted(self.shared.now()),
            }
        }
        if !self.held_up.is_empty() {
            self.retry = Some(self.shared.after(FULL_PAUSE));
        }
        self.hold_back();
    }

    fn hold_back(&self) {
        let stalled = self.held_up.len() > SETTLES_HELD_UP;
        if self.shared.stalled.swap(stalled, Ordering::Relaxed) && !stalled {
            self.shared.changed.notify_waiters();
        }
    }

    /// Makes what was written durable and true.
    fn sync(&mut self) {
        self.deadline = None;
        let Some(current) = self.current.as_ref() else {
            return;
        };
        if self.unsynced.is_empty() || self.shared.failure.get().is_some() {
            return;
        }
        if let Err(error) = current.file.sync() {
            self.shared.fail("syncing the log", &error);
            return self.refuse(Vec::new());
        }
        self.shared.sums.syncs.fetch_add(1, Ordering::Relaxed);
        let (segment, length) = (current.segment, current.length);
        let written = std::mem::take(&mut self.unsynced);
        let mut commit = Commit::default();
        commit::fill_cache(&self.shared, &written);
        let mut state = self.shared.state.lock();
        state.segments.set_length(segment, length);
        for Written { effect, reply } in written {
            commit.apply(&mut state, effect, reply);
        }
        drop(state);
        self.reclaim.look(self.shared.now());
        self.hold_back();
        commit.finish(&self.shared);
    }

    /// Tells everybody that the queue has failed.
    fn refuse(&mut self, jobs: Vec<Job>) {
        self.deadline = None;
        self.retry = None;
        let written = std::mem::take(&mut self.unsynced);
        let held_up = std::mem::take(&mut self.held_up);
        let written = written.into_iter().map(|one| (one.effect, one.reply));
        let jobs = held_up.into_iter().chain(jobs);
        let all = written.chain(jobs.map(|job| (job.effect, job.reply)));
        for (effect, reply) in all {
            // Its record may be on the disk and stand at the next start, which would then miss the
            // content: a settle without its report. If it is not, this is an orphan.
            effect.keep_file();
            answer_all(reply, || self.shared.failure());
        }
    }
}

fn append_records(shared: &Shared, current: &mut Current, jobs: &[Job]) -> io::Result<()> {
    let mut offset = current.length;
    let mut headers = Vec::with_capacity(jobs.len());
    for Job { record, .. } in jobs {
        let crc = record.crc.clone().finalize();
        let header = RecordHeader {
            length: record.length,
            crc,
        };
        headers.push(header.encode(shared.marker, current.segment, offset));
        offset += RECORD_HEADER as u64 + u64::from(record.length);
    }
    let mut pieces: Vec<IoSlice<'_>> = Vec::with_capacity(4 * jobs.len());
    for (
        header,
        Job {
            record: Record {
                pieces: payload, ..
            },
            ..
        },
    ) in headers.iter().zip(jobs)
    {
        pieces.push(IoSlice::new(header));
        pieces.extend(payload.iter().map(|piece: &Bytes| IoSlice::new(piece)));
    }
    write_all(&*current.file, &mut pieces, current.length)?;
    current.length = offset;
    Ok(())
}

/// Turns an effect's locations from the payload's into the file's.
fn place(effect: &mut Effect, segment: u32, payload: u64) {
    // Segments end soon after their 64 MiB, so offsets fit.
    let base = u32::try_from(payload).unwrap_or(u32::MAX);
    let location = match effect {
        Effect::Append(fresh) => &mut fresh.location,
        Effect::Settle {
            report: Some(report),
            ..
        } => &mut report.location,
        Effect::Settle { report: None, .. } | Effect::Marked | Effect::Parted(_) => return,
        Effect::Moved { to, .. } => to,
    };
    location.segment = segment;
    location.offset = location.offset.saturating_add(base);
}

fn answer_all(replies: impl IntoIterator<Item = Reply>, error: impl Fn() -> AppendError) {
    for reply in replies {
        // The caller may have given up waiting.
        let _ = reply.send(Err(error()));
    }
}
