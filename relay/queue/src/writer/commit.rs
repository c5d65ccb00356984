//! What becomes true once a group is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Written;
use crate::index::{Location, Settled};
use crate::shared::{Effect, Fresh, Place, Reply, Shared, State};
use crate::{AppendError, MessageId};

/// Fills the cache, before the messages can be taken. Those that wait for their release would only
/// take the room of those that do not.
pub(super) fn fill_cache(shared: &Shared, written: &[Written]) {
    let mut cache = shared.cache.lock();
    for Written { effect, .. } in written {
        if let Effect::Append(fresh)
        | Effect::Settle {
            report: Some(fresh),
            ..
        } = effect
            && fresh.envelope.options.release_at.is_none()
            // What comes from another queue waits for its next attempt.
            && fresh.state.is_none()
        {
            cache.insert(fresh.id, fresh.envelope.clone(), fresh.content.clone());
        }
    }
}

/// What is left to do once the state's lock is free again.
#[derive(Default)]
pub(super) struct Commit {
    replies: Vec<(Reply, Result<(), AppendError>)>,
    places: Vec<Place>,
    /// Contents of messages that are done.
    dead: Vec<MessageId>,
    appended: u64,
    settled: u64,
    moved: u64,
}

impl Commit {
    pub(super) fn apply(&mut self, state: &mut State, effect: Effect, reply: Option<Reply>) {
        let mut result = Ok(());
        match effect {
            Effect::Append(fresh) => {
                self.appended += 1;
                result = self.begin(state, *fresh);
            }
            Effect::Settle { id, done, report } => {
                self.settled += 1;
                if let Some((id, location)) = done {
                    self.end(state, id, &location);
                }
                if let Some(report) = report {
                    state.reported(id);
                    result = self.begin(state, *report);
                }
            }
            Effect::Marked => {}
            Effect::Parted(parted) => {
                for (id, location) in parted {
                    state.parting.remove(&id);
                    self.end(state, id, &location);
                }
            }
            Effect::Moved { id, from, to } => {
                self.moved += 1;
                if state.index.relocate(id, from, to) {
                    state.segments.born(&to);
                    state.segments.died(&from);
                }
            }
        }
        if let Some(reply) = reply {
            self.replies.push((reply, result));
        }
    }

    fn begin(&mut self, state: &mut State, fresh: Fresh) -> Result<(), AppendError> {
        let Fresh {
            id,
            location,
            routes,
            envelope,
            file,
            place,
            state: open,
            ..
        } = fresh;
        self.places.extend(place);
        if !state.index.insert(id, &envelope, location, &routes) {
            // Two appends of one id at once; the log has the second as dead octets.
            return Err(AppendError::Failed(format!(
                "message {id} is in the queue already"
            )));
        }
        state.segments.born(&location);
        if let Some(file) = file {
            file.keep();
        }
        if let Some(open) = &open
            && let Settled::Done(location) = state.index.replay_state(id, open)
        {
            self.end(state, id, &location);
        }
        if let Some(location) = state.index.start(id, crate::Timestamp(u64::MAX)) {
            self.end(state, id, &location);
        }
        Ok(())
    }

    fn end(&mut self, state: &mut State, id: MessageId, location: &Location) {
        state.segments.died(location);
        if location.in_file {
            self.dead.push(id);
        }
    }

    pub(super) fn finish(self, shared: &Arc<Shared>) {
        drop(self.places);
        shared
            .sums
            .appended
            .fetch_add(self.appended, Ordering::Relaxed);
        shared
            .sums
            .settled
            .fetch_add(self.settled, Ordering::Relaxed);
        shared.sums.moved.fetch_add(self.moved, Ordering::Relaxed);
        if self.appended + self.settled > 0 {
            shared.changed.notify_waiters();
        }
        for (reply, result) in self.replies {
            let _ = reply.send(result);
        }
        if !self.dead.is_empty() {
            let (disk, directory) = (shared.disk.clone(), shared.directories.content.clone());
            let dead = self.dead;
            shared.pool.run(move || {
                for id in dead {
                    // What stays is an orphan, which the next start removes.
                    let _ = disk.remove(&crate::content::path(&directory, id));
                }
            });
        }
    }
}
