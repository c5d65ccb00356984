//! Mail that is thrown away because the spec says so: how much it was is told before it goes.

use kube::ResourceExt as _;
use operator_api::names;

use super::dereference::{Found, Shard};
use crate::context::Context;
use crate::kubernetes::events;

/// Reason of the Event.
const REASON: &str = "MailDiscarded";

/// Tells what is about to be thrown away; nothing when no shard is left.
pub(super) async fn tell(context: &Context, found: &Found, action: &str) {
    let Some((note, lost)) = note(&found.key.1, &found.shards) else {
        return;
    };
    let relay = found.relay.as_ref();
    tracing::warn!(
        namespace = found.key.0,
        relay = relay.name_any(),
        note,
        "shards go with what they hold"
    );
    if lost {
        events::warning(&context.recorder, relay, REASON, action, &note).await;
    } else {
        events::normal(&context.recorder, relay, REASON, action, &note).await;
    }
}

/// What the Event says, and whether mail is lost as far as anybody knows.
fn note(relay: &str, shards: &[Shard]) -> Option<(String, bool)> {
    let there: Vec<&Shard> = shards.iter().filter(|shard| shard.exists()).collect();
    if there.is_empty() {
        return None;
    }
    let known: u64 = there.iter().filter_map(|shard| shard.messages()).sum();
    let unknown: Vec<String> = there
        .iter()
        .filter(|shard| shard.messages().is_none())
        .map(|shard| names::shard(relay, shard.index))
        .collect();
    let mut note = format!("{known} messages of {} shards are thrown away", there.len());
    if !unknown.is_empty() {
        note = format!(
            "{note}, and those of {}, whose number is not known",
            unknown.join(", ")
        );
    }
    Some((note, known > 0 || !unknown.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::relay::dereference::fixtures;

    fn shard(index: i32, report: Result<u64, &str>) -> Shard {
        Shard {
            deployment: Some(Arc::new(Deployment::default())),
            pod: Some(Arc::new(Pod::default())),
            report: Some(report.map(fixtures::report).map_err(str::to_owned)),
            ..Shard::absent(index)
        }
    }

    #[test]
    fn what_is_thrown_away_is_told_with_its_number_or_that_nobody_knows_it() {
        let told = |shards: &[Shard]| note("outbox", shards);
        assert_eq!(told(&[Shard::absent(0)]), None);
        assert_eq!(
            told(&[shard(0, Ok(0))]),
            Some(("0 messages of 1 shards are thrown away".to_owned(), false))
        );
        assert_eq!(
            told(&[shard(0, Ok(5)), shard(1, Ok(7)), Shard::absent(2)]),
            Some(("12 messages of 2 shards are thrown away".to_owned(), true))
        );
        let (note, lost) = told(&[shard(0, Ok(5)), shard(1, Err("refused"))]).unwrap();
        assert_eq!(
            note,
            "5 messages of 2 shards are thrown away, and those of outbox-1, whose number is not known"
        );
        assert!(lost);
    }
}
