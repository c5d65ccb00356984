//! Keeps the tables of all shards the same.
//!
//! A change goes to the other shards as soon as it is durable here; who cannot be reached is not waited
//! for. At its start, and once in [`ROUND`], each shard asks each other for what it holds and takes over
//! what is newer there, so nobody has to remember whom it could not tell, and what reached only some
//! goes on from them. What is taken over is told to nobody: no change goes round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Ask, Change, Changes, Digest, Page, Row, Table, TableError, Want, messages, path};
use crate::context::{SharedContext, now};
use crate::siblings::{Channel, SiblingError};

/// Between two comparisons with the same shard.
const ROUND: Duration = Duration::from_mins(1);
/// After one that failed, at first; twice as long after each more.
const AGAIN: Duration = Duration::from_secs(1);
/// A wait is up to this share longer, so that shards do not ask all at once.
const JITTER: f64 = 0.2;
/// For one question, and the octets of its answer.
const ANSWER: Duration = Duration::from_secs(20);
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Why tables could not be compared, or a change not told.
#[derive(Debug, thiserror::Error)]
enum ShareError {
    #[error(transparent)]
    Sibling(#[from] SiblingError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("what was said cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    #[error("the answer has no end")]
    Endless,
}

/// Shares all tables with all other shards, until the relay stops.
pub(crate) async fn share(context: SharedContext) {
    let mut reloaded = context.reloaded.subscribe();
    let mut others: HashMap<u32, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let existing: Vec<u32> = {
            let siblings = &context.snapshot.load().config.siblings;
            siblings
                .iter()
                .flat_map(relay_config::Siblings::existing)
                .collect()
        };
        others.retain(|shard, _| existing.contains(shard));
        for shard in existing.into_iter().filter(|shard| *shard != context.shard) {
            others.entry(shard).or_insert_with(|| {
                AbortOnDropHandle::new(tokio::spawn(with_shard(Arc::clone(&context), shard)))
            });
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            changed = reloaded.changed() => if changed.is_err() { return },
        }
    }
}

async fn with_shard(context: SharedContext, shard: u32) {
    let suppressions = Arc::clone(&context.suppressions);
    let senders = Arc::clone(&context.senders.table);
    tokio::join!(
        with_table(&context, shard, suppressions),
        with_table(&context, shard, senders),
    );
}

async fn with_table<R: Row>(context: &SharedContext, shard: u32, table: Arc<Table<R>>) {
    let mut changes = table.changes();
    let mut next = Instant::now();
    let mut wait = ROUND;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let compared = compare(context, shard, &table).await;
                let result = match &compared {
                    Ok(0) => "same",
                    Ok(_) => "merged",
                    Err(_) => "failed",
                };
                context.metrics.table(R::NAME, result);
                wait = match compared {
                    Ok(merged) => {
                        tracing::debug!(table = R::NAME, shard, merged, "tables compared");
                        ROUND
                    }
                    Err(error) => {
                        tracing::info!(table = R::NAME, shard, %error, "tables cannot be compared now");
                        if wait == ROUND { AGAIN } else { (wait * 2).min(ROUND / 2) }
                    }
                };
                next = Instant::now() + wait.mul_f64(1.0 + JITTER * fastrand::f64());
            }
            change = changes.recv() => {
                let Some(batch) = batch(change, &mut changes) else { return };
                let result = match tell(context, shard, batch).await {
                    Ok(()) => "told",
                    Err(error) => {
                        tracing::info!(table = R::NAME, shard, %error, "a change cannot be told now");
                        "untold"
                    }
                };
                context.metrics.table(R::NAME, result);
            }
        }
    }
}

/// A change with those that were made meanwhile; `None` at the end. Those that were missed are found
/// when tables are compared.
fn batch<R: Row>(
    first: Result<Change<R>, RecvError>,
    changes: &mut Receiver<Change<R>>,
) -> Option<Vec<Change<R>>> {
    let mut batch = match first {
        Ok(change) => vec![change],
        Err(RecvError::Lagged(_)) => Vec::new(),
        Err(RecvError::Closed) => return None,
    };
    while batch.len() < messages::MOST {
        match changes.try_recv() {
            Ok(change) => batch.push(change),
            Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    Some(batch)
}

async fn tell<R: Row>(
    context: &SharedContext,
    shard: u32,
    changes: Vec<Change<R>>,
) -> Result<(), ShareError> {
    let mut channel = Channel::open(context, shard).await?;
    let _: usize = ask::<R, _, _>(&mut channel, "changes", &Changes { changes }).await?;
    Ok(())
}

/// Takes over what the other shard has that is newer; how many changes.
async fn compare<R: Row>(
    context: &SharedContext,
    shard: u32,
    table: &Arc<Table<R>>,
) -> Result<usize, ShareError> {
    let mut channel = Channel::open(context, shard).await?;
    let at = now();
    let theirs: Digest = ask::<R, _, _>(&mut channel, "digest", &Ask { at }).await?;
    let here = Arc::clone(table);
    let ours = tokio::task::spawn_blocking(move || here.digest(at));
    let ours = ours.await.map_err(|_| TableError::Stopping)?;
    let mut want = Want {
        at,
        buckets: ours.differences(&theirs),
        after: None,
    };
    if !want.buckets.contains(&true) {
        return Ok(0);
    }
    let mut merged = 0;
    for _ in 0..=R::MOST / messages::MOST {
        let page: Page<R> = ask::<R, _, _>(&mut channel, "page", &want).await?;
        merged += table.merge(page.changes, now()).await?;
        want.after = page.next;
        if want.after.is_none() {
            return Ok(merged);
        }
    }
    Err(ShareError::Endless)
}

async fn ask<R: Row, Question: Serialize + Sync, Answer: DeserializeOwned>(
    channel: &mut Channel,
    name: &str,
    question: &Question,
) -> Result<Answer, ShareError> {
    let body = serde_json::to_vec(question)?;
    let answer = channel
        .post(&path::<R>(name), vec![body.into()], ANSWER, LONGEST_ANSWER)
        .await?;
    Ok(serde_json::from_slice(&answer)?)
}
