//! The public face. FIRST CUT: content is kept in memory; the log follows.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use relay_smtp::Address;
use tokio::sync::Notify;

use crate::index::{Index, Location, Settled};
use crate::{
    AppendError, Destination, Envelope, MessageId, NewMessage, OpenError, Outcome, Recovery,
    Settings, Timestamp, Work,
};

type Route = Box<dyn Fn(&Address) -> Destination + Send + Sync>;

struct Shared {
    settings: Settings,
    route: Route,
    changed: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: Index,
    messages: HashMap<MessageId, (Arc<Envelope>, Vec<Bytes>)>,
    closed: bool,
}

/// A queue. Cheap to clone; all methods may be called from any thread.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Shared {
    fn append(&self, message: NewMessage) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        if state.index.len() >= self.settings.messages {
            return Err(AppendError::Full);
        }
        let location = Location {
            segment: 0,
            offset: 0,
            envelope_length: 0,
            content_length: 0,
            in_file: false,
        };
        let routes: Vec<Destination> = message
            .envelope
            .recipients
            .iter()
            .map(|one| (self.route)(one))
            .collect();
        state
            .index
            .insert(message.id, message.envelope.accepted_at, location, &routes);
        if state.index.start(message.id, Timestamp(u64::MAX)).is_none() {
            state
                .messages
                .insert(message.id, (Arc::new(message.envelope), message.content));
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }
}

impl Queue {
    /// Opens or creates the queue and replays its log. `route` names the destination of a
    /// recipient. Work that was taken or waiting when the last process ended is due at its
    /// recorded time.
    pub fn open(
        settings: Settings,
        _now: Timestamp,
        route: Route,
    ) -> Result<(Self, Recovery), OpenError> {
        let shared = Arc::new(Shared {
            settings,
            route,
            changed: Arc::new(Notify::new()),
            state: Mutex::default(),
        });
        Ok((Self { shared }, Recovery::default()))
    }

    /// Appends a message; ready when it is durable. Its work is due at once.
    pub fn append(
        &self,
        message: NewMessage,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let shared = self.shared.clone();
        async move { shared.append(message) }
    }

    /// Takes the next due work whose destination `admit` lets through. Work of one destination
    /// comes oldest due first; destinations take turns, and a destination that `admit` refuses is
    /// asked once per call, however much waits for it. `admit` must not call the queue.
    pub fn take(
        &self,
        now: Timestamp,
        admit: &mut dyn FnMut(&Destination) -> bool,
    ) -> Option<Work> {
        let mut state = self.shared.state.lock();
        let taken = state.index.take(now, admit)?;
        let envelope = state.messages.get(&taken.id)?.0.clone();
        Some(Work {
            id: taken.id,
            destination: taken.destination,
            attempts: taken.attempts,
            recipients: taken.recipients,
            envelope,
        })
    }

    /// As [`Self::take`] for one destination only: what a connection asks that has just finished a
    /// message.
    pub fn take_for(&self, now: Timestamp, destination: &Destination) -> Option<Work> {
        let mut state = self.shared.state.lock();
        let taken = state.index.take_for(now, destination)?;
        let envelope = state.messages.get(&taken.id)?.0.clone();
        Some(Work {
            id: taken.id,
            destination: taken.destination,
            attempts: taken.attempts,
            recipients: taken.recipients,
            envelope,
        })
    }

    /// When the next waiting (not taken) work is due; `None` when nothing waits. In the past when
    /// due work waits that no call of [`Self::take`] was let through to.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.shared.state.lock().index.next_due()
    }

    /// When work becomes due for a destination that has none at `now`: how long to sleep after
    /// [`Self::take`] gave nothing, since what is due already was refused by `admit`.
    pub fn next_due_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.shared.state.lock().index.next_due_after(now)
    }

    /// Ready when work became due earlier than [`Self::next_due`] said when this was called: after
    /// an append or a settle. May be ready without cause. Call it before [`Self::take`], so that
    /// nothing is missed between the two.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.changed.clone().notified_owned()
    }

    /// The content of a message: from memory when it is still cached, else read from the disk.
    /// Blocking I/O of the page cache kind; large content (a file of its own) is read whole.
    pub fn content(&self, id: MessageId) -> Result<Vec<Bytes>, std::io::Error> {
        let state = self.shared.state.lock();
        let found = state.messages.get(&id).map(|(_, content)| content.clone());
        found.ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// Records the outcomes of taken work, parallel to [`Work::recipients`], and appends `report`
    /// (a bounce) in the same atomic record group. Deferred recipients are due at `retry_at`
    /// together. Written at once and synced with the next group, at the latest after 50 ms: a
    /// power cut in between delivers a message twice, never loses one. The returned future is for
    /// those who want to wait until it is durable.
    pub fn settle(
        &self,
        work: Work,
        outcomes: &[Outcome],
        retry_at: Timestamp,
        report: Option<NewMessage>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let given: HashMap<u32, &Outcome> = work.recipients.iter().copied().zip(outcomes).collect();
        let outcome = |one: u32| {
            given
                .get(&one)
                .map_or(Outcome::Deferred, |outcome| (*outcome).clone())
        };
        let mut state = self.shared.state.lock();
        let attempts = work.attempts + 1;
        let settled = state
            .index
            .settle(work.id, &work.destination, &outcome, attempts, retry_at);
        if let Settled::Done(_) = settled {
            state.messages.remove(&work.id);
        }
        drop(state);
        let result = report.map_or(Ok(()), |report| self.shared.append(report));
        self.shared.changed.notify_waiters();
        async move { result }
    }

    /// Live messages, and when the oldest of them was accepted.
    pub fn status(&self) -> (u64, Option<Timestamp>) {
        let state = self.shared.state.lock();
        (state.index.len(), state.index.oldest())
    }

    /// Whether a write or sync failed; then the process should report itself not ready and end.
    pub fn failed(&self) -> bool {
        false
    }

    /// Syncs, ends the writer thread and gives the directory free. Later appends are
    /// [`AppendError::Closed`].
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
    }
}
