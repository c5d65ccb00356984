//! The loop that takes due work and the tasks that do it.
//!
//! The loop sleeps until work is due, something was appended or settled, a permit came back, an idle
//! connection's time is over, or the relay stops; it asks the queue for nothing while no permit is
//! free, and asks about a destination that was refused only when something changed for it. A task
//! holds one permit and at most one connection, and goes on with the next message for the same
//! destination at once; after `messages_per_connection` it ends, so that destinations take turns.

mod policies;
mod reports;
mod settle;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_config::ConfigHash;
use relay_queue::{MessageId, Outcome, Timestamp, Work};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::attempt::{Attempt, Content, Ended};
use super::connection::Connection;
use super::families::Families;
use super::pool::Pool;
use super::resolve::Resolvers;
use super::slots::{Limits, Slot, Slots};
use super::sts::Sts;
use super::tls::Tls;
use crate::context::{SharedContext, now};
use crate::descriptors;
use crate::snapshot::Snapshot;

/// The longest sleep, since the wall clock, by which work is due, may be set anew.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Milliseconds until the next attempt after a fault of our own.
const AFTER_FAULT: u64 = 3_600_000;
/// KiB of content held by attempts at one time, over all; a message that does not fit waits.
const CONTENT_KIB: u32 = 128 * 1024;

/// What all attempts share.
pub(super) struct Engine {
    pub(super) context: SharedContext,
    pub(super) tls: Tls,
    pub(super) resolvers: Resolvers,
    pub(super) families: Families,
    pub(super) sts: Sts,
    slots: Arc<Slots>,
    pool: Pool<Connection>,
    memory: Semaphore,
}

/// Delivers until shutdown.
pub(super) async fn run(context: SharedContext) {
    let engine = match Engine::new(context.clone()) {
        Ok(engine) => Arc::new(engine),
        Err(error) => {
            tracing::error!(%error, "TLS cannot be set up; nothing is delivered");
            context.shutdown.cancel();
            return;
        }
    };
    let renewing = tokio::spawn(engine.clone().renew_policies());
    let reporting = tokio::spawn(engine.clone().report_tls());
    let mut tasks = JoinSet::new();
    let mut hash = engine.context.snapshot.load().hash;
    while !engine.context.shutdown.is_cancelled() {
        engine.turn(&mut tasks, &mut hash).await;
    }
    engine.stop(tasks).await;
    renewing.abort();
    reporting.abort();
    engine.finish_tls_reports().await;
}

impl Engine {
    fn new(context: SharedContext) -> Result<Self, rustls::Error> {
        let tls = Tls::new()?;
        let egress = context.clone();
        let heard = Arc::new(move || egress.egress.answered(now()));
        Ok(Self {
            families: Families::default(),
            resolvers: Resolvers::new(tls.clone(), context.metrics.clone(), heard),
            sts: Sts::open(context.state.join("mta-sts"), context.metrics.clone()),
            context,
            tls,
            slots: Arc::new(Slots::new(descriptors::available())),
            pool: Pool::default(),
            memory: Semaphore::new(CONTENT_KIB as usize),
        })
    }

    /// Starts what can be started, then sleeps. `hash` is that of the configuration of the last turn.
    async fn turn(self: &Arc<Self>, tasks: &mut JoinSet<()>, hash: &mut ConfigHash) {
        while let Some(ended) = tasks.try_join_next() {
            report_panic(ended);
        }
        let snapshot = self.context.snapshot.load_full();
        let limits = limits(&snapshot);
        let queue = &self.context.queue;
        let changed = queue.changed();
        for destination in self.slots.changed() {
            queue.readmit(&destination);
        }
        if std::mem::replace(hash, snapshot.hash) != snapshot.hash {
            queue.readmit_all();
            self.context.egress.tokens.keep(&snapshot.config);
            self.context.egress.logins.keep(&snapshot.config);
        }
        let now = now();
        while let Some(permit) = self.slots.permit(limits) {
            let instant = Instant::now();
            let mut admit = |destination: &_| self.slots.admits(destination, limits, instant);
            let Some(work) = queue.take(now, &mut admit) else {
                break;
            };
            let Some(slot) = permit.assign(&work.destination) else {
                break;
            };
            tasks.spawn(self.clone().work_off(work, slot));
        }
        let full = self.slots.is_full(limits);
        let due = queue.next_due_after(now).map_or(LONGEST_SLEEP, |due| {
            Duration::from_millis(due.0.saturating_sub(now.0)).min(LONGEST_SLEEP)
        });
        let idle = self.pool.next_deadline();
        tokio::select! {
            () = self.context.shutdown.cancelled() => {}
            () = self.slots.freed() => {}
            () = changed, if !full => {}
            () = tokio::time::sleep(due), if !full => {}
            () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => {
                for connection in self.pool.expired(Instant::now()) {
                    tasks.spawn(connection.close());
                }
            }
        }
    }

    /// Waits for attempts in progress, for as long as the grace period allows. What is cut off is
    /// not settled: it is due again at the next start.
    async fn stop(&self, mut tasks: JoinSet<()>) {
        for connection in self.pool.trim(0) {
            tasks.spawn(connection.close());
        }
        let grace = self.context.snapshot.load().config.limits.shutdown_grace;
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                report_panic(ended);
            }
        };
        if tokio::time::timeout(grace.get(), all).await.is_err() {
            tracing::warn!(
                attempts = tasks.len(),
                "the grace period is over; attempts in progress are tried again after the next start"
            );
            tasks.shutdown().await;
        }
    }

    /// One task: this work, then what follows for the same destination.
    async fn work_off(self: Arc<Self>, work: Work, slot: Slot) {
        let destination = work.destination.clone();
        let mut next = Some(work);
        let mut hash = self.context.snapshot.load().hash;
        let mut connection = self.pool.take(&destination, &hash, Instant::now());
        if connection.is_none() {
            let connections = self.context.snapshot.load().config.delivery.connections;
            for idle in self.pool.trim(self.idle_limit(connections)) {
                idle.close().await;
            }
        }
        while let Some(work) = next {
            let snapshot = self.context.snapshot.load_full();
            if snapshot.hash != hash {
                hash = snapshot.hash;
                if let Some(connection) = connection.take() {
                    connection.close().await;
                }
            }
            let span = trace::span(&work);
            connection = self
                .deliver(&snapshot, work, connection, &slot)
                .instrument(span)
                .await;
            let limit = snapshot.config.delivery.messages_per_connection;
            next = match &connection {
                Some(open) if open.transactions() < limit && !self.stopping() => {
                    self.context.queue.take_for(now(), &destination)
                }
                _ => None,
            };
        }
        let snapshot = self.context.snapshot.load_full();
        let delivery = &snapshot.config.delivery;
        let mut surplus = Vec::new();
        match connection {
            Some(open)
                if open.transactions() < delivery.messages_per_connection && !self.stopping() =>
            {
                let until = Instant::now() + delivery.idle_timeout.get();
                self.pool.put(destination, hash, open, until);
            }
            other => surplus.extend(other),
        }
        drop(slot);
        surplus.extend(self.pool.trim(self.idle_limit(delivery.connections)));
        for connection in surplus {
            connection.close().await;
        }
    }

    /// How many idle connections may stay beside those in use.
    fn idle_limit(&self, connections: u32) -> usize {
        connections.saturating_sub(self.slots.busy()) as usize
    }

    fn stopping(&self) -> bool {
        self.context.shutdown.is_cancelled()
    }

    /// One attempt, from its beginning to settled outcomes.
    async fn deliver(
        &self,
        snapshot: &Snapshot,
        work: Work,
        connection: Option<Connection>,
        slot: &Slot,
    ) -> Option<Connection> {
        let started = Instant::now();
        let guard = Guard {
            engine: self,
            work: Some(work),
        };
        let Some(work) = guard.work.as_ref() else {
            return connection;
        };
        let attempt = Attempt::new(self, snapshot, work, slot, connection);
        let Ended {
            fates,
            loaded,
            connection,
        } = attempt.run().await;
        self.settle(snapshot, guard, fates, loaded, started.elapsed())
            .await;
        connection
    }

    /// The content of a message, for as long as it is held.
    pub(super) async fn load(&self, work: &Work) -> std::io::Result<Loaded<'_>> {
        let (pieces, memory) = self.content(work.id).await?;
        Ok(Loaded {
            content: Arc::new(Content::new(&work.envelope, pieces)),
            _memory: memory,
        })
    }

    /// The content of a message, and the memory that it takes. How much that is shows only when it
    /// was read; what does not fit is let go and read again when there is room.
    async fn content(
        &self,
        id: MessageId,
    ) -> std::io::Result<(Vec<Bytes>, Option<SemaphorePermit<'_>>)> {
        let pieces = self.read(id).await?;
        let octets: usize = pieces.iter().map(Bytes::len).sum();
        let kib = u32::try_from(octets / 1024).unwrap_or(u32::MAX);
        let kib = kib.clamp(1, CONTENT_KIB);
        if let Ok(permit) = self.memory.try_acquire_many(kib) {
            return Ok((pieces, Some(permit)));
        }
        drop(pieces);
        let permit = self.memory.acquire_many(kib).await.ok();
        Ok((self.read(id).await?, permit))
    }

    /// The content of a message: what is no longer in memory is read on a thread that may wait for
    /// the disk, so that a slow one holds up no session.
    async fn read(&self, id: MessageId) -> std::io::Result<Vec<Bytes>> {
        if let Some(pieces) = self.context.queue.cached(id) {
            return Ok(pieces);
        }
        let queue = self.context.queue.clone();
        tokio::task::spawn_blocking(move || queue.content(id))
            .await
            .map_err(std::io::Error::other)?
    }
}

/// The limits of a configuration.
pub(super) fn limits(snapshot: &Snapshot) -> Limits {
    Limits {
        total: snapshot.config.delivery.connections,
        per_destination: snapshot.config.delivery.connections_per_destination,
    }
}

/// A message's content in memory, counted.
pub(super) struct Loaded<'a> {
    pub(super) content: Arc<Content>,
    _memory: Option<SemaphorePermit<'a>>,
}

/// Holds the work of an attempt. Should the attempt panic, the work goes back to the queue, or it
/// would wait for the next start.
struct Guard<'a> {
    engine: &'a Engine,
    work: Option<Work>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(work) = self.work.take()
        {
            let outcomes = vec![Outcome::Deferred; work.recipients.len()];
            let retry_at = Timestamp(now().0.saturating_add(AFTER_FAULT));
            drop(
                self.engine
                    .context
                    .queue
                    .settle(work, &outcomes, retry_at, None),
            );
        }
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a delivery task panicked; its message is tried again later");
    }
}

#[cfg(test)]
mod tests;
