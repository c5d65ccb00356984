//! Hand-over: a shard that is to go hands what waits to those that stay, while it goes on delivering
//! what nobody took yet. Which shards stay stands in the configuration (`siblings.leaving`).
//!
//! The states of a message on its way are those of `relay_queue` (`Mark`): it is offered, held by the
//! receiver, given away, released, each step written down before the next, and exactly one of the two
//! shards owns it at every moment. Whoever finds a message half-way, after a crash or a broken
//! connection, asks the other side before anything is done with it; until there is an answer it waits.
//! A shard that the configuration says is gone, or does not name, has gone: the operator removes one only when its
//! queue is empty, what it holds for others included.
//!
//! Limits: a batch of [`give::BATCH`] at a time in memory on either side, one connection per shard that
//! stays, one look per [`LOOK`], or per [`RETRY`] while something is in the way.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod give;
mod receive;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use relay_config::HandOverStatus;
use relay_queue::{Claim, Mark, MessageId};

use crate::context::{Context, SharedContext};
use crate::siblings::{self, SiblingError};

pub(crate) use receive::{Offers, routes};
use wire::{Owned, Owner};

/// Between two looks at whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks after something did not work.
const RETRY: Duration = Duration::from_secs(5);
/// Ids in one request.
const IDS: usize = 4096;

/// What a process knows of hand-overs.
#[derive(Debug, Default)]
pub(crate) struct HandOver {
    /// What comes in.
    pub(crate) offers: Offers,
    status: parking_lot::Mutex<Option<HandOverStatus>>,
}

impl HandOver {
    /// For the operator; `None` unless this shard is to go.
    pub(crate) fn status(&self) -> Option<HandOverStatus> {
        self.status.lock().clone()
    }
}

/// Does what there is to do, until the relay stops.
pub(crate) async fn run(context: SharedContext) {
    let work = async {
        loop {
            let pause = if look(&context).await { LOOK } else { RETRY };
            tokio::time::sleep(pause).await;
        }
    };
    // Wherever it is cut off, the next start finds how far things came.
    tokio::select! {
        () = context.shutdown.cancelled() => {}
        () = work => {}
    }
}

/// Whether everything that was to do was done.
async fn look(context: &SharedContext) -> bool {
    let tied = Tied::of(context.queue.marked());
    for (shard, ids) in tied.held {
        for ids in ids.chunks(IDS) {
            ask_giver(context, shard, ids).await;
        }
    }
    let mut settled = true;
    let was_in_doubt = !tied.offered.is_empty();
    for (shard, ids) in tied.offered {
        for ids in ids.chunks(IDS) {
            if let Err(error) = give::settle_doubts(context, shard, ids).await {
                settled = false;
                tracing::warn!(%error, messages = ids.len(), "nobody knows yet who has these messages");
            }
        }
    }
    let place = context.place();
    // Where nobody stays everything is delivered from here.
    if !place.is_leaving() || place.staying.is_empty() {
        *context.hand_over.status.lock() = None;
        return settled;
    }
    // What was taken back just now gets time to be delivered from here: whatever was in the way may be
    // so again.
    if was_in_doubt {
        return false;
    }
    let error = give::everything(context, &place.staying).await;
    let mut status = context.hand_over.status.lock();
    let before = status.take().and_then(|status| status.error);
    if let Some(error) = error
        .as_ref()
        .filter(|error| before.as_ref() != Some(error))
    {
        tracing::warn!(
            error,
            "mail is not handed over; it is delivered from here meanwhile"
        );
    }
    let settled = settled && error.is_none();
    *status = Some(HandOverStatus { error });
    settled
}

/// Messages with marks, by the shard that they are tied to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tied {
    offered: BTreeMap<u16, Vec<MessageId>>,
    held: BTreeMap<u16, Vec<MessageId>>,
}

impl Tied {
    fn of(marked: Vec<(MessageId, Mark)>) -> Self {
        let mut tied = Self::default();
        for (id, mark) in marked {
            let (shards, shard) = match mark {
                Mark::OfferedTo(shard) => (&mut tied.offered, shard),
                Mark::HeldFor(shard) => (&mut tied.held, shard),
            };
            shards.entry(shard).or_default().push(id);
        }
        tied
    }
}

/// Asks the shard that offered messages what became of them, since it has not said so.
async fn ask_giver(context: &Context, shard: u16, ids: &[MessageId]) {
    // Meanwhile nothing of that shard is taken: it must not offer a message anew that is forgotten
    // by an older answer.
    let _offers = context.hand_over.offers.lock().await;
    let question = Owner {
        from: context.own_shard(),
        ids: ids.to_vec(),
    };
    let asked = siblings::ask(
        context,
        shard.into(),
        "/v1/siblings/hand-over/owner",
        &question,
    );
    let claims = match asked.await {
        Ok(Owned { claims }) if claims.len() == ids.len() => claims,
        Err(SiblingError::NoSuchShard(_)) => vec![Claim::Gone; ids.len()],
        Ok(_) => return,
        Err(error) => {
            tracing::info!(%error, messages = ids.len(), "held messages wait for the shard that offered them");
            return;
        }
    };
    let (gone, mine) = sort(ids, &claims);
    let released = context.queue.release(shard, &gone);
    let forgotten = context.queue.forget(shard, &mine);
    for written in [released.await, forgotten.await] {
        if let Err(error) = written {
            tracing::error!(%error, "the answer about held messages cannot be written down");
        }
    }
}

/// Those to release, and those to forget.
fn sort(ids: &[MessageId], claims: &[Claim]) -> (Vec<MessageId>, Vec<MessageId>) {
    let with = |wanted: Claim| {
        let claimed = ids.iter().zip(claims);
        let claimed = claimed.filter(move |(_, claim)| **claim == wanted);
        claimed.map(|(id, _)| *id).collect()
    };
    (with(Claim::Gone), with(Claim::Mine))
}

impl Context {
    /// The number of this shard as queues write it; configurations name 1024 shards at most.
    fn own_shard(&self) -> u16 {
        u16::try_from(self.shard).unwrap_or(Mark::MOST_SHARDS)
    }
}

#[cfg(test)]
mod tests;
