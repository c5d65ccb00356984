//! The side that goes: offers what waits, in batches, to the shards that stay in turn.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use relay_queue::{AppendError, Batch, Cursor, MessageId, Transfer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{self, Given, Open, Opened, Taken};
use crate::context::{Context, SharedContext};
use crate::siblings::{Channel, SiblingError};

/// Bounds of what is under way at a time. Each batch costs three syncs here and there, and its content
/// lies in memory at both sides.
pub(super) const BATCH: Batch = Batch {
    messages: 512,
    bytes: 8 << 20,
};
/// For one exchange; a receiver's disk may be busy.
const WAIT: Duration = Duration::from_secs(65);
/// Octets of an answer.
const LONGEST_ANSWER: usize = 1 << 20;

/// Why a batch was not handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum GiveError {
    /// What was offered is in doubt until the other side is asked.
    #[error(transparent)]
    Sibling(#[from] SiblingError),
    #[error("shard {0} takes no mail: it is not ready, or is to go itself")]
    NotAccepting(u16),
    #[error("shard {0} has no room for more mail")]
    Full(u16),
    #[error("the queue: {0}")]
    Queue(#[from] AppendError),
    #[error("a message cannot be written down: {0}")]
    Message(#[from] serde_json::Error),
}

/// Finds out what became of messages that were offered, and does what follows from it.
pub(super) async fn settle_doubts(
    context: &Context,
    shard: u16,
    ids: &[MessageId],
) -> Result<(), GiveError> {
    match Session::open(context, shard, ids.to_vec()).await {
        Ok(mut session) => {
            let held = std::mem::take(&mut session.held);
            session.close_batch(context, ids, held).await.map(drop)
        }
        // Gone with an empty queue: it holds nothing of this.
        Err(GiveError::Sibling(SiblingError::NoSuchShard(_))) => {
            context.queue.take_back(shard, ids).await?;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Offers everything that waits to the shards that stay, one or more; why not everything was taken, if so.
pub(super) async fn everything(context: &SharedContext, staying: &[u32]) -> Option<String> {
    if context.queue.status().0 == 0 {
        return None;
    }
    let mut problem = None;
    let mut sessions = VecDeque::new();
    // Givers begin with different ones.
    let first = fastrand::usize(..staying.len().max(1));
    let turns = staying.iter().cycle().skip(first).take(staying.len());
    for shard in turns {
        let Ok(shard) = u16::try_from(*shard) else {
            continue;
        };
        match Session::open(context, shard, Vec::new()).await {
            Ok(session) if session.accepting => sessions.push_back(session),
            Ok(_) => problem = Some(GiveError::NotAccepting(shard).to_string()),
            Err(error) => problem = Some(error.to_string()),
        }
    }
    let mut cursor = Cursor::default();
    while let Some(mut session) = sessions.pop_front() {
        match session.give(context, &mut cursor).await {
            Ok(true) => sessions.push_back(session),
            // Others that are worse off do not matter: somebody took everything.
            Ok(false) => return None,
            Err(error) => problem = Some(error.to_string()),
        }
    }
    problem
}

/// A conversation with one receiver.
struct Session {
    shard: u16,
    channel: Channel,
    token: u64,
    accepting: bool,
    held: Vec<MessageId>,
}

impl Session {
    async fn open(
        context: &Context,
        shard: u16,
        offered: Vec<MessageId>,
    ) -> Result<Self, GiveError> {
        let mut channel = Channel::open(context, shard.into()).await?;
        let open = Open {
            from: context.own_shard(),
            offered,
        };
        let opened: Opened = tell(&mut channel, shard, "open", &open).await?;
        Ok(Self {
            shard,
            channel,
            token: opened.token,
            accepting: opened.accepting,
            held: opened.held,
        })
    }

    /// Hands over one batch; false when nothing waits any more.
    async fn give(
        &mut self,
        context: &SharedContext,
        cursor: &mut Cursor,
    ) -> Result<bool, GiveError> {
        let transfers = self.mark(context, cursor).await?;
        if transfers.is_empty() {
            return Ok(false);
        }
        let ids: Vec<MessageId> = transfers.iter().map(|transfer| transfer.id).collect();
        let (batch, sent) = load(context, transfers).await?;
        let path = format!(
            "/v1/siblings/hand-over/offer?from={}&token={}",
            context.own_shard(),
            self.token
        );
        let answer = self
            .channel
            .post(&path, batch, WAIT, LONGEST_ANSWER)
            .await?;
        let Taken { ids: taken } = parse(self.shard, &answer)?;
        let all = taken.len() == sent;
        let given = self.close_batch(context, &ids, taken).await?;
        if all || given > 0 {
            Ok(true)
        } else {
            Err(GiveError::Full(self.shard))
        }
    }

    /// The next batch, marked; its envelopes may have to be read from the disk.
    async fn mark(
        &self,
        context: &SharedContext,
        cursor: &mut Cursor,
    ) -> Result<Vec<Transfer>, GiveError> {
        let (queue, shard, mut place) = (context.queue.clone(), self.shard, *cursor);
        let marked = tokio::task::spawn_blocking(move || {
            let offered = queue.offer(shard, &mut place, BATCH);
            (offered, place)
        });
        let (offered, place) = marked
            .await
            .map_err(|error| AppendError::Failed(error.to_string()))?;
        *cursor = place;
        Ok(offered.await?)
    }

    /// What the receiver has is given away, the rest taken back; how many were given away.
    async fn close_batch(
        &mut self,
        context: &Context,
        offered: &[MessageId],
        taken: Vec<MessageId>,
    ) -> Result<usize, GiveError> {
        let taken: HashSet<MessageId> = taken.into_iter().collect();
        let (taken, left): (Vec<_>, Vec<_>) = offered.iter().partition(|id| taken.contains(*id));
        let left = context.queue.take_back(self.shard, &left);
        let given = context.queue.give_away(self.shard, &taken).await?;
        left.await?;
        for id in &given {
            tracing::info!(message_id = %id, to_shard = self.shard, "handed over to another shard");
        }
        context.metrics.handed_over("given", given.len());
        let count = given.len();
        if count > 0 {
            // Should this get lost, the receiver asks by itself.
            let word = Given {
                from: context.own_shard(),
                ids: given,
            };
            let _: Taken = tell(&mut self.channel, self.shard, "given", &word).await?;
        }
        Ok(count)
    }
}

/// The octets of a batch, and how many messages it has. What cannot be read stays out, and is taken back like all that the receiver
/// does not name.
async fn load(
    context: &SharedContext,
    transfers: Vec<Transfer>,
) -> Result<(Vec<Bytes>, usize), GiveError> {
    let queue = context.queue.clone();
    let loaded = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::new();
        let mut sent = 0;
        for transfer in transfers {
            match queue.content(transfer.id) {
                Ok(content) => {
                    wire::add(&mut batch, transfer, content)?;
                    sent += 1;
                }
                Err(error) => {
                    tracing::warn!(message_id = %transfer.id, %error, "a message cannot be read");
                }
            }
        }
        Ok((batch, sent))
    });
    loaded
        .await
        .map_err(|error| AppendError::Failed(error.to_string()))?
}

async fn tell<Word: Serialize + Sync, Answer: DeserializeOwned>(
    channel: &mut Channel,
    shard: u16,
    what: &str,
    word: &Word,
) -> Result<Answer, GiveError> {
    let body = serde_json::to_vec(word)?;
    let path = format!("/v1/siblings/hand-over/{what}");
    let answer = channel.post(&path, vec![body.into()], WAIT, LONGEST_ANSWER);
    parse(shard, &answer.await?)
}

fn parse<Answer: DeserializeOwned>(shard: u16, answer: &[u8]) -> Result<Answer, GiveError> {
    serde_json::from_slice(answer).map_err(|error| {
        GiveError::Sibling(SiblingError::Answer {
            shard: shard.into(),
            fault: error.to_string(),
        })
    })
}
