//! From the callers to the log: appends and settles.
//!
//! A settle changes the index and sends its record under one hold of the state's lock, so that the
//! log has the order of the index.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::content::ContentFile;
use crate::disk;
use crate::index::{Open, Settled};
use crate::record::{EncodedMessage, Record, Settle};
use crate::shared::{Effect, Fresh, Job, Place, Reply, Shared};
use crate::{AppendError, Destination, MessageId, NewMessage, Outcome, Timestamp, Work};

impl Shared {
    /// With the state of a message that comes from another queue.
    pub(crate) async fn append(
        self: Arc<Self>,
        message: NewMessage,
        state: Option<Open>,
    ) -> Result<(), AppendError> {
        self.ended()?;
        let (place, others) = Place::take(&self.incoming);
        let live = self.state.lock().index.len();
        if live + others >= self.settings.messages {
            return Err(AppendError::Full);
        }
        let permit = self.permits.clone().acquire_owned().await;
        let _permit = permit.map_err(|_| AppendError::Closed)?;
        let length: usize = message.content.iter().map(Bytes::len).sum();
        if !self.space.allows(length as u64) {
            return Err(AppendError::Full);
        }
        if self.state.lock().index.contains(message.id) {
            return Err(duplicate(message.id));
        }
        let (reply, result) = oneshot::channel();
        if length > self.tuning.inline_bytes {
            let this = self.clone();
            self.pool
                .run(move || this.submit(message, state, place, true, reply));
        } else {
            self.submit(message, state, place, false, reply);
        }
        // The channel closes without a word only when the threads end.
        result
            .await
            .unwrap_or_else(|_| self.ended().and(Err(AppendError::Closed)))
    }

    fn submit(
        &self,
        message: NewMessage,
        state: Option<Open>,
        place: Place,
        in_file: bool,
        reply: Reply,
    ) {
        let mut record = Record::default();
        match self.write_down(&mut record, message, in_file) {
            Ok(mut fresh) => {
                fresh.place = Some(place);
                if let Some(open) = &state {
                    record.state(fresh.id, open);
                }
                fresh.state = state;
                let effect = Effect::Append(Box::new(fresh));
                self.send(Job {
                    record,
                    effect,
                    reply: Some(reply),
                });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    pub(crate) fn send(&self, job: Job) {
        let refused = match self.ended() {
            Ok(()) => self
                .inbox
                .push(job)
                .map_err(|job| (job, AppendError::Closed)),
            Err(error) => Err((job, error)),
        };
        if let Err((
            Job {
                reply: Some(reply), ..
            },
            error,
        )) = refused
        {
            let _ = reply.send(Err(error));
        }
    }

    /// Adds a message to a record, and writes its content to a file of its own if it is large.
    fn write_down(
        &self,
        record: &mut Record,
        message: NewMessage,
        in_file: bool,
    ) -> Result<Fresh, AppendError> {
        let NewMessage {
            id,
            envelope,
            content,
        } = message;
        let encoded = EncodedMessage::new(id, &envelope, &content, in_file)
            .map_err(|error| AppendError::Failed(error.to_string()))?;
        let file = if in_file {
            Some(self.write_content(id, &content)?)
        } else {
            None
        };
        Ok(Fresh {
            id,
            location: record.message(&encoded),
            routes: envelope
                .recipients
                .iter()
                .map(|one| (self.route)(&envelope, one))
                .collect(),
            envelope: Arc::new(envelope),
            content,
            file,
            state: None,
            place: None,
        })
    }

    fn write_content(&self, id: MessageId, content: &[Bytes]) -> Result<ContentFile, AppendError> {
        match ContentFile::write(&self.disk, &self.directories.content, id, content) {
            Ok(file) => Ok(file),
            Err(error) if disk::is_full(&error) => {
                self.space.exhausted();
                Err(AppendError::Full)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(duplicate(id)),
            Err(error) => {
                self.fail("a content file", &error);
                Err(self.failure())
            }
        }
    }

    pub(crate) fn settle(
        self: &Arc<Self>,
        work: Work,
        outcomes: &[Outcome],
        retry_at: Timestamp,
        report: Option<NewMessage>,
        reply: Reply,
    ) {
        let outcomes = work
            .recipients
            .iter()
            .enumerate()
            .map(|(number, &recipient)| {
                // A recipient that was given no outcome is still to be tried.
                (
                    recipient,
                    outcomes.get(number).cloned().unwrap_or(Outcome::Deferred),
                )
            });
        let settle = Settle {
            id: work.id,
            attempts: work.attempts.saturating_add(1),
            retry_at,
            outcomes: outcomes.collect(),
            delay_told: work.tells_delay && report.is_some(),
        };
        if work.tells_delay && report.is_none() {
            self.state.lock().index.unclaim_delay(work.id);
        }
        let pieces = report.iter().flat_map(|report| &report.content);
        let in_file = pieces.map(Bytes::len).sum::<usize>() > self.tuning.inline_bytes;
        if in_file {
            let this = self.clone();
            let destination = work.destination;
            self.pool
                .run(move || this.record_settle(&settle, &destination, report, true, reply));
        } else {
            self.record_settle(&settle, &work.destination, report, false, reply);
        }
    }

    fn record_settle(
        &self,
        settle: &Settle,
        destination: &Destination,
        report: Option<NewMessage>,
        in_file: bool,
        reply: Reply,
    ) {
        let mut record = Record::default();
        record.settle(settle);
        let report = report
            .map(|report| self.write_down(&mut record, report, in_file))
            .transpose();
        let report = match report {
            Ok(report) => report.map(Box::new),
            Err(error) => {
                // Without its report the outcome must not stand: the work comes again.
                let mut state = self.state.lock();
                state
                    .index
                    .put_back(settle.id, destination, settle.retry_at);
                if settle.delay_told {
                    state.index.unclaim_delay(settle.id);
                }
                drop(state);
                self.changed.notify_waiters();
                return drop(reply.send(Err(error)));
            }
        };
        let mut state = self.state.lock();
        if let Err(error) = self.ended() {
            return drop(reply.send(Err(error)));
        }
        let id = settle.id;
        let settled = state.index.settle(settle, destination);
        let done = match settled {
            Settled::Done(location) => Some((id, location)),
            Settled::Open { .. } | Settled::Unknown => None,
        };
        if report.is_some() {
            *state.reporting.entry(id).or_default() += 1;
        }
        self.send(Job {
            record,
            effect: Effect::Settle { id, done, report },
            reply: Some(reply),
        });
        drop(state);
        if matches!(settled, Settled::Done(_) | Settled::Open { tried: true }) {
            self.cache.lock().remove(id);
        }
        self.changed.notify_waiters();
    }
}

fn duplicate(id: MessageId) -> AppendError {
    AppendError::Failed(format!("message {id} is in the queue already"))
}
