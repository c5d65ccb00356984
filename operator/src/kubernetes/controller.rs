//! Runs reconciles of one kind: several objects at once, one at a time for each object, a wait that
//! grows with each failure, and an Event at the first.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::ResourceExt as _;
use kube::runtime::controller::{self, Action, applier};
use kube::runtime::reflector::Store;
use tokio_util::sync::CancellationToken;

use super::apply::Owned;
use super::triggers::Triggers;
use super::{backoff, events};
use crate::context::Context;

/// Objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 8;
/// A reconcile that hangs is given up after this long and counts as a failure.
const LONGEST_RECONCILE: Duration = Duration::from_mins(2);

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

/// Reconciles until `stop`; reconciles that run then are finished.
pub async fn run<K, E, F>(
    context: Arc<Context>,
    store: Store<K>,
    triggers: Arc<Triggers<K>>,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + 'static,
) where
    K: Owned + Send + Sync + 'static,
    E: Failure,
    F: Future<Output = Result<Action, E>> + Send + 'static,
{
    let driver = move |object: Arc<K>, context: Arc<Context>| {
        let reconcile = reconcile.clone();
        Box::pin(async move { one(object, context, reconcile).await })
    };
    let policy = |object: Arc<K>, _: &Failed, context: Arc<Context>| {
        let (_, wait) = context.backoff.failed(key(object.as_ref()));
        Action::requeue(wait)
    };
    let config = controller::Config::default().concurrency(CONCURRENCY);
    applier(
        driver,
        policy,
        context,
        store,
        triggers.stream(stop),
        config,
    )
    .for_each(|_| async {})
    .await;
}

async fn one<K, E, F>(
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, Failed>
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
    match &result {
        Ok(_) => context.backoff.succeeded(&key),
        Err(error) => {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            tracing::warn!(%kind, namespace, name, reason, %error, "reconcile failed");
            // A conflict means that a newer version is on its way; nobody needs to hear of it.
            if reason != "Conflict" && context.backoff.count(&key) == 0 {
                events::warning(
                    &context.recorder,
                    object.as_ref(),
                    reason,
                    events::RECONCILE,
                    &error.to_string(),
                )
                .await;
            }
        }
    }
    result
}

fn key<K: Owned>(object: &K) -> backoff::Key {
    (
        K::kind(&()).into_owned(),
        object.namespace().unwrap_or_default(),
        object.name_any(),
    )
}
