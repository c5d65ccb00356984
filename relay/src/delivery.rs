//! Messages on their way out: from the queue to the recipients' servers, or back as a report.
//!
//! [`run`] takes work that is due and gives each piece to a task that holds one connection. An
//! attempt goes through the hosts of a route (`plan`, `resolve`), opens or reuses a connection
//! (`connection`, `pool`) and judges the replies (`outcome`, pure). What failed for good is reported
//! to the sender (`bounce`) in the same record group of the queue; what may pass waits (`retry`).
//!
//! Limits: connections in all and per destination, messages per connection, addresses tried per
//! attempt, and a time for each wait; all but the third are settings.

mod attempt;
mod bounce;
mod connection;
mod dane;
mod engine;
mod outcome;
mod plan;
mod policy;
mod pool;
mod record;
mod resolve;
mod retry;
mod slots;
mod sts;
#[cfg(test)]
mod testing;
mod tls;

pub(crate) use outcome::{Category, Said};
use relay_config::Config;
use relay_queue::Destination;
use relay_smtp::Address;

use crate::context::SharedContext;

pub(crate) use resolve::check_anchors;
pub(crate) use tls::Web;

/// Name of the destination that all mail has when smarthosts are configured.
const SMARTHOST: &str = "smarthost";

/// Delivers until shutdown; ends when all attempts are settled or the grace period is over.
pub(crate) async fn run(context: SharedContext) {
    engine::run(context).await;
}

/// Names the destination of a recipient: the domain, or one destination for all mail when
/// smarthosts take it. A change of the configuration that this does not follow harms nothing: an
/// attempt routes by the configuration in force, and a destination only says what shares connections
/// and limits.
pub(crate) fn destination_of(
    config: &Config,
) -> impl Fn(&Address) -> Destination + Send + Sync + 'static {
    let all = (!config.delivery.smarthosts.is_empty()).then(|| Destination::from(SMARTHOST));
    move |recipient| all.clone().unwrap_or_else(|| recipient.domain().into())
}
