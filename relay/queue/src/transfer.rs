//! From one queue to another: a shard that goes hands what waits to one that stays.
//!
//! | step | giver | receiver | owner |
//! |---|---|---|---|
//! | | waits | – | giver |
//! | [`Queue::offer`], synced | offered | – | giver |
//! | [`Queue::hold`], synced | offered | held | giver |
//! | [`Queue::give_away`], synced | – | held | receiver |
//! | [`Queue::release`] | – | waits | receiver |
//!
//! Only what waits is delivered. After a crash between any two steps the side that has a mark asks the
//! other before it does anything: a giver whether the message is held ([`Queue::holds`]; if so it gives
//! it away, else it takes it back), a receiver what the giver says of it ([`Queue::claim`]). That the
//! answer "not held" stays true is the caller's part: no offer that was sent before the question may
//! be taken after it.

use std::future::Future;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::index::Open;
use crate::reading::is_damage;
use crate::record::Record;
use crate::shared::{Effect, Job, Shared};
use crate::{AppendError, Claim, Mark, MessageId, NewMessage, Queue, Transfer};

/// How far [`Queue::offer`] has come on its way through the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u32);

/// Bounds of one [`Queue::offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Messages.
    pub messages: usize,
    /// Octets of content and envelopes, roughly; a single message may have more.
    pub bytes: u64,
}

impl Queue {
    /// Marks messages that wait and that nobody works at as offered to `shard`, from `cursor` on, and
    /// gives them once that is durable; none at the end of the queue. They are delivered by nobody
    /// until [`Self::give_away`] or [`Self::take_back`]. Envelopes are read from the disk in the
    /// caller's thread.
    pub fn offer(
        &self,
        shard: u16,
        cursor: &mut Cursor,
        batch: Batch,
    ) -> impl Future<Output = Result<Vec<Transfer>, AppendError>> + Send + 'static + use<> {
        let found = self.shared.idle(cursor, batch);
        let mark = Mark::OfferedTo(shard);
        let mut state = self.shared.state.lock();
        // Some may have been taken while their envelopes were read.
        let tied: Vec<Transfer> = found
            .into_iter()
            .filter_map(|mut transfer| {
                if !state.index.tie(transfer.id, mark) {
                    return None;
                }
                let open = state.index.open(transfer.id);
                (transfer.pending, transfer.delay_told) = (open.pending, open.delay_told);
                Some(transfer)
            })
            .collect();
        let ids: Vec<MessageId> = tied.iter().map(|transfer| transfer.id).collect();
        let written = self.shared.write_mark(Some(mark), &ids);
        drop(state);
        async move {
            written.await?;
            Ok(tied)
        }
    }

    /// Messages that are tied to other shards.
    pub fn marked(&self) -> Vec<(MessageId, Mark)> {
        self.shared.state.lock().index.marked().collect()
    }

    /// Ends messages that were offered to `shard` and that it holds: they are its own once this is
    /// durable. Gives those that were so offered.
    pub fn give_away(
        &self,
        shard: u16,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<MessageId>, AppendError>> + Send + 'static + use<> {
        self.shared.part(Mark::OfferedTo(shard), ids)
    }

    /// Forgets copies that are held for `shard`, which delivers the messages itself.
    pub fn forget(
        &self,
        shard: u16,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<MessageId>, AppendError>> + Send + 'static + use<> {
        self.shared.part(Mark::HeldFor(shard), ids)
    }

    /// Delivers messages from here after all that were offered to `shard`, which does not hold them.
    /// Their work is there at once; the future is for those who wait until that is durable.
    pub fn take_back(
        &self,
        shard: u16,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<MessageId>, AppendError>> + Send + 'static + use<> {
        self.shared.untie(Mark::OfferedTo(shard), ids)
    }

    /// Delivers messages that were held for `shard`, which gave them away. As [`Self::take_back`].
    pub fn release(
        &self,
        shard: u16,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<MessageId>, AppendError>> + Send + 'static + use<> {
        self.shared.untie(Mark::HeldFor(shard), ids)
    }

    /// Appends a message that `shard` offers and holds it; ready when it is durable. It is delivered
    /// after [`Self::release`]. One that is here already is left as it is, and is as good as taken.
    pub fn hold(
        &self,
        shard: u16,
        transfer: Transfer,
        content: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static + use<> {
        let shared = self.shared.clone();
        async move {
            let Transfer {
                id,
                envelope,
                pending,
                delay_told,
            } = transfer;
            if shared.state.lock().index.contains(id) {
                return Ok(());
            }
            let message = NewMessage {
                id,
                envelope,
                content,
            };
            let open = Open {
                pending,
                delay_told,
                mark: Some(Mark::HeldFor(shard)),
            };
            shared.append(message, Some(open)).await
        }
    }

    /// Whether a message is here, held or not.
    pub fn holds(&self, id: MessageId) -> bool {
        self.shared.state.lock().index.contains(id)
    }

    /// What `shard`, which holds a copy, may do with it.
    pub fn claim(&self, shard: u16, id: MessageId) -> Claim {
        let state = self.shared.state.lock();
        match state.index.mark(id) {
            Some(Mark::OfferedTo(other)) if other == shard => Claim::Offered,
            // Should it never come to the disk, the next start finds it offered.
            None if state.parting.contains(&id) => Claim::Offered,
            _ if state.index.contains(id) => Claim::Mine,
            _ => Claim::Gone,
        }
    }
}

impl Shared {
    /// Idle messages with their envelopes.
    fn idle(&self, cursor: &mut Cursor, batch: Batch) -> Vec<Transfer> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let state = self.state.lock();
        for (next, id, location) in state.index.idle(cursor.0) {
            // An envelope is sent as text, and what is known of each recipient with it.
            let envelope = 3 * u64::from(location.envelope_length);
            let content = u64::from(location.content_length) + envelope;
            let full = found.len() >= batch.messages || bytes + content > batch.bytes;
            if full && !found.is_empty() {
                break;
            }
            bytes += content;
            cursor.0 = next;
            found.push((id, location));
        }
        drop(state);
        let read = |(id, location)| match self.envelope(id, location) {
            Ok(envelope) => Some(Transfer {
                id,
                envelope: envelope.as_ref().clone(),
                pending: Vec::new(),
                delay_told: false,
            }),
            Err(error) => {
                if is_damage(&error) {
                    self.lose(id);
                }
                None
            }
        };
        found.into_iter().filter_map(read).collect()
    }

    fn part(
        &self,
        mark: Mark,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<MessageId>, AppendError>> + Send + 'static + use<> {
        let mut state = self.state.lock();
        let mut record = Record::default();
        let mut parted = Vec::new();
        for id in ids {
            if let Some((settle, location)) = state.index.part(*id, mark) {
                record.settle(&settle);
                parted.push((*id, location));
                if matches!(mark, Mark::OfferedTo(_)) {
                    state.parting.insert(*id);
                }
            }
        }
        let ids: Vec<MessageId> = parted.iter().map(|(id, _)| *id).collect();
        let written = self.write_change(record, Effect::Parted(parted));
        drop(state);
        let mut cache = self.cache.lock();
        for id in &ids {
            cache.remove(*id);
        }
        drop(cache);
        async move {
            written.await?;
            Ok(ids)
        }
    }

    fn untie(
        &self,
        mark: Mark,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<Vec<MessageId>, AppendError>> + Send + 'static + use<> {
        let mut state = self.state.lock();
        let mut untied = ids.to_vec();
        untied.retain(|id| state.index.untie(*id, mark));
        let written = self.write_mark(None, &untied);
        drop(state);
        self.changed.notify_waiters();
        async move {
            written.await?;
            Ok(untied)
        }
    }

    fn write_mark(
        &self,
        mark: Option<Mark>,
        ids: &[MessageId],
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static + use<> {
        let mut record = Record::default();
        if !ids.is_empty() {
            record.mark(mark, ids);
        }
        self.write_change(record, Effect::Marked)
    }

    /// Writes what has changed in the index. To be called under its lock, so that the log has the
    /// order of the index. Ready at once where nothing did.
    fn write_change(
        &self,
        record: Record,
        effect: Effect,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + 'static + use<> {
        let (reply, result) = oneshot::channel();
        if record.length == 0 {
            let _ = reply.send(self.ended());
        } else {
            self.send(Job {
                record,
                effect,
                reply: Some(reply),
            });
        }
        async move { result.await.unwrap_or(Err(AppendError::Closed)) }
    }
}
