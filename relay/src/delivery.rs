//! Messages on their way out: from the queue to the recipients' servers, or back as a report.
//!
//! [`run`] takes work that is due and gives each piece to a task that holds one connection. An
//! attempt goes through the hosts of a route (`route`, `plan`, `resolve`), opens or reuses a connection
//! (`connection`, `pool`) and judges the replies (`outcome`, pure). What failed for good is reported
//! to the sender (`bounce`) in the same record group of the queue; what may pass waits (`retry`).
//!
//! Limits: connections in all and per destination, messages per connection, addresses tried per
//! attempt, and a time for each wait; all but the third are settings.

mod attempt;
mod bounce;
mod connection;
mod dane;
mod egress;
mod engine;
mod families;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod logins;
mod outcome;
mod plan;
mod policy;
mod pool;
mod record;
mod resolve;
mod retry;
mod route;
mod slots;
mod sts;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
mod token;

use std::sync::Arc;

use arc_swap::ArcSwap;
pub(crate) use egress::Egress;
pub(crate) use outcome::{Category, Said};
use relay_queue::{Destination, Envelope};
use relay_smtp::Address;

use crate::context::SharedContext;
use crate::snapshot::Snapshot;

pub(crate) use resolve::check_anchors;
pub(crate) use route::Routes;
pub(crate) use tls::Web;

/// Delivers until shutdown; ends when all attempts are settled or the grace period is over.
pub(crate) async fn run(context: SharedContext) {
    engine::run(context).await;
}

/// Names the destination of a recipient by the routes in force: the domain, or one destination for
/// all mail that goes to the same smarthosts. A change of the configuration harms nothing that is
/// queued: an attempt routes by the configuration in force, and a destination only says what shares
/// connections and limits.
pub(crate) fn destination_of(
    snapshot: &Arc<ArcSwap<Snapshot>>,
) -> impl Fn(&Envelope, &Address) -> Destination + Send + Sync + 'static {
    let snapshot = Arc::clone(snapshot);
    move |envelope, recipient| {
        let asked = route::Asked::of(envelope, recipient);
        snapshot.load().routes.destination(asked)
    }
}
