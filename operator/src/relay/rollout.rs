//! Which shards get a new form now: shard by shard, the next only when the last is ready, so that at
//! most one of them is away. Pure.

/// What is known of a wanted shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) index: i32,
    /// Whether its Deployment exists.
    pub(super) exists: bool,
    /// Whether its Deployment differs from what it should be.
    pub(super) differs: bool,
    /// Whether its pod is ready.
    pub(super) ready: bool,
}

/// Shards to apply. A missing one is made at once, since nothing waits there; one that is not ready
/// is changed at once, since it serves nobody and the change may be its cure; a ready one is changed
/// only while all others are ready, and then alone. `others_leave`: other shards are on their way out of the
/// Service, so that the only one that stays serves everybody.
pub(super) fn plan(states: &[State], others_leave: bool) -> Vec<i32> {
    let mut plan: Vec<i32> = states
        .iter()
        .filter(|state| !state.exists || (state.differs && !state.ready))
        .map(|state| state.index)
        .collect();
    let alone = others_leave && states.len() == 1;
    if plan.is_empty() && !alone && states.iter().all(|state| state.ready) {
        plan.extend(
            states
                .iter()
                .find(|state| state.differs)
                .map(|state| state.index),
        );
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(text: &[&str]) -> Vec<State> {
        (0..)
            .zip(text)
            .map(|(index, flags)| State {
                index,
                exists: !flags.contains("missing"),
                differs: flags.contains("old"),
                ready: flags.contains("ready"),
            })
            .collect()
    }

    #[test]
    fn one_ready_shard_is_changed_at_a_time() {
        let rows: [(&[&str], &[i32]); 8] = [
            (&["missing", "missing"], &[0, 1]),
            (&["ready", "missing"], &[1]),
            (&["ready old", "ready old", "ready old"], &[0]),
            (&["starting", "ready old", "ready old"], &[]),
            (&["ready", "ready old", "ready old"], &[1]),
            (&["ready old", "starting old"], &[1]),
            (&["starting old", "starting old"], &[0, 1]),
            (&["ready", "ready"], &[]),
        ];
        for (shards, expected) in rows {
            assert_eq!(plan(&states(shards), false), expected, "{shards:?}");
        }
        // The last one in the Service is not taken out of it.
        assert!(plan(&states(&["ready old"]), true).is_empty());
        assert_eq!(plan(&states(&["starting old"]), true), [0]);
        assert_eq!(plan(&states(&["ready old", "ready"]), true), [0]);
    }
}
