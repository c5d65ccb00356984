//! Runs reconciles of one kind: several objects at once, one at a time for each object, a wait that
//! grows with each failure, and an Event at the first.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::apply::Owned;
use super::queue::Key;
use super::store::Store;
use super::triggers::Triggers;
use super::{backoff, events};
use crate::context::Context;

/// A reconcile that hangs is given up after this long and counts as a failure.
const LONGEST_RECONCILE: Duration = Duration::from_mins(2);
/// The next look comes later than asked for by up to this share, so that what was looked at together,
/// such as all objects after a start, is not for ever.
const JITTER: f64 = 0.2;

/// When to reconcile an object again if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action(Option<Duration>);

impl Action {
    /// After `wait`.
    pub const fn requeue(wait: Duration) -> Self {
        Self(Some(wait))
    }

    /// Not before something changes.
    pub const fn await_change() -> Self {
        Self(None)
    }
}

/// What is run, and how much of it.
pub struct Controller<K> {
    /// The objects.
    pub store: Store<K>,
    /// Which of them to look at.
    pub triggers: Arc<Triggers<K>>,
    /// How many are reconciled at the same time. Reconciles mostly wait: for the API server, for DNS.
    pub concurrency: usize,
}

/// An error of a reconcile.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// Name of the variant: the Event's reason and the metric's label.
    fn reason(&self) -> &'static str;
}

/// What the driver sees of a failed reconcile.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{message}")]
    Reconcile {
        reason: &'static str,
        message: String,
    },
    #[error("the reconcile took longer than {} s", LONGEST_RECONCILE.as_secs())]
    TimedOut,
}

impl Failed {
    fn reason(&self) -> &'static str {
        match self {
            Self::Reconcile { reason, .. } => reason,
            Self::TimedOut => "TimedOut",
        }
    }
}

/// Reconciles until `stop`; reconciles that run then are finished. Dropped, it ends them. `gone` is told
/// of objects that do not exist any more.
pub async fn run<K, E, F>(
    context: Arc<Context>,
    controller: Controller<K>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + Sync + 'static,
    gone: impl Fn(&Key, &Context),
) where
    K: Owned + Send + Sync + 'static,
    E: Failure,
    F: Future<Output = Result<Action, E>> + Send + 'static,
{
    let Controller {
        store,
        triggers,
        concurrency,
    } = controller;
    let mut running = JoinSet::new();
    let mut taken: std::collections::HashMap<task::Id, (Key, Instant)> =
        std::collections::HashMap::new();
    loop {
        while running.len() < concurrency
            && !stop.is_cancelled()
            && let Some(key) = triggers.take()
        {
            let Some(object) = store.named(&key) else {
                context.backoff.succeeded(&failing::<K>(&key));
                gone(&key, &context);
                triggers.gone(&key);
                continue;
            };
            let (context, reconcile) = (Arc::clone(&context), reconcile.clone());
            let task = running.spawn(async move { one(object, context, reconcile).await });
            taken.insert(task.id(), (key, Instant::now()));
        }
        if running.is_empty() && stop.is_cancelled() {
            return;
        }
        let Some(ended) = wait(&mut running, concurrency, &triggers, &stop).await else {
            continue;
        };
        let (id, wait) = match ended {
            Ok((id, action)) => (id, action.0.map(later)),
            // It panicked, of which the runtime has told; the object is not forgotten for it.
            Err(error) => (error.id(), Some(LONGEST_RECONCILE)),
        };
        if let Some((key, began)) = taken.remove(&id) {
            triggers.done(&key, began, wait);
            context.metrics.waiting(&K::kind(&()), triggers.waiting());
        }
    }
}

/// Waits for the next thing to do; a reconcile that has ended, if that is it.
///
/// Without room nothing is taken, and what is due stays due: only the end of a reconcile counts then.
async fn wait<K: Owned>(
    running: &mut JoinSet<Action>,
    concurrency: usize,
    triggers: &Triggers<K>,
    stop: &CancellationToken,
) -> Option<Result<(task::Id, Action), JoinError>> {
    let takes = !stop.is_cancelled() && running.len() < concurrency;
    tokio::select! {
        Some(ended) = running.join_next_with_id() => Some(ended),
        () = triggers.changed(), if takes => None,
        () = stop.cancelled(), if !stop.is_cancelled() => None,
    }
}

fn later(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + JITTER * fastrand::f64())
}

async fn one<K, E, F>(
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) -> Action
where
    K: Owned,
    E: Failure,
    F: Future<Output = Result<Action, E>>,
{
    let started = Instant::now();
    let future = reconcile(Arc::clone(&object), Arc::clone(&context));
    let result = match tokio::time::timeout(LONGEST_RECONCILE, future).await {
        Ok(Ok(action)) => Ok(action),
        Ok(Err(error)) => Err(Failed::Reconcile {
            reason: error.reason(),
            message: error.to_string(),
        }),
        Err(_) => Err(Failed::TimedOut),
    };
    let kind = K::kind(&());
    let reason = result.as_ref().err().map_or("", Failed::reason);
    context.metrics.reconciled(&kind, reason, started.elapsed());
    let key = key(object.as_ref());
    let error = match result {
        Ok(action) => {
            context.backoff.succeeded(&key);
            return action;
        }
        Err(error) => error,
    };
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::warn!(%kind, namespace, name, reason, %error, "reconcile failed");
    let (count, wait) = context.backoff.failed(key);
    // A conflict means that a newer version is on its way; nobody needs to hear of it.
    if reason != "Conflict" && count == 1 {
        events::warning(
            &context.recorder,
            object.as_ref(),
            reason,
            events::RECONCILE,
            &error.to_string(),
        )
        .await;
    }
    Action::requeue(wait)
}

fn failing<K: Owned>(key: &Key) -> backoff::Key {
    (
        K::kind(&()).into_owned(),
        key.namespace.to_string(),
        key.name.to_string(),
    )
}

fn key<K: Owned>(object: &K) -> backoff::Key {
    failing::<K>(&super::store::key(object))
}

#[cfg(test)]
mod tests;
