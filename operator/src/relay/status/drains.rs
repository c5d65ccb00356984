//! Begin and end of a shard's drain, as Events. Pure.

use operator_api::{ShardPhase, ShardStatus};

/// A shard began to drain.
const BEGIN: &str = "ShardDraining";
/// A drained shard is gone.
const END: &str = "ShardRemoved";

/// Reason and note of what changed between two looks; one Event for all shards, since several of one
/// reason would be folded into the first.
pub(super) fn told(before: &[ShardStatus], now: &[ShardStatus]) -> Vec<(&'static str, String)> {
    let drains = |shards: &[ShardStatus], name: &str| {
        let shard = shards.iter().find(|shard| shard.name == name);
        shard.is_some_and(|shard| shard.phase == ShardPhase::Draining)
    };
    let of = |shards: &[ShardStatus], others: &[ShardStatus]| -> Vec<String> {
        let draining = shards.iter().filter(|shard| drains(shards, &shard.name));
        draining
            .filter(|shard| !drains(others, &shard.name))
            .map(|shard| shard.name.clone())
            .collect()
    };
    let begun = of(now, before);
    let mut ended = of(before, now);
    // One that stays after all has not gone.
    ended.retain(|name| now.iter().all(|shard| shard.name != *name));
    [
        (
            BEGIN,
            begun,
            "out of the Service, to hand over or deliver what waits",
        ),
        (END, ended, "gone; nothing waits there"),
    ]
    .into_iter()
    .filter(|(_, names, _)| !names.is_empty())
    .map(|(reason, names, what)| (reason, format!("{}: {what}", names.join(", "))))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(list: &[(&str, ShardPhase)]) -> Vec<ShardStatus> {
        list.iter()
            .map(|(name, phase)| ShardStatus {
                name: (*name).to_owned(),
                phase: *phase,
                ..ShardStatus::default()
            })
            .collect()
    }

    #[test]
    fn begin_and_end_of_a_drain_are_told_once() {
        use ShardPhase::{Draining, Running, Starting};
        let two = shards(&[("a-0", Running), ("a-1", Running)]);
        let drains = shards(&[("a-0", Running), ("a-1", Draining)]);
        let one = shards(&[("a-0", Running)]);
        let reasons = |before: &[ShardStatus], now: &[ShardStatus]| -> Vec<&str> {
            told(before, now)
                .into_iter()
                .map(|(reason, _)| reason)
                .collect()
        };
        assert_eq!(reasons(&two, &drains), [BEGIN]);
        assert_eq!(reasons(&drains, &drains), Vec::<&str>::new());
        assert_eq!(reasons(&drains, &one), [END]);
        assert_eq!(reasons(&one, &one), Vec::<&str>::new());
        // Called back, or made anew in its place.
        assert_eq!(reasons(&drains, &two), Vec::<&str>::new());
        let anew = shards(&[("a-0", Running), ("a-1", Starting)]);
        assert_eq!(reasons(&drains, &anew), Vec::<&str>::new());
        let three = shards(&[("a-0", Draining), ("a-1", Draining), ("a-2", Running)]);
        let (_, note) = &told(&[], &three)[0];
        assert!(note.starts_with("a-0, a-1: out of the Service"), "{note}");
    }
}
