//! Which shards stay, while claims move to another storage class. Pure.
//!
//! A claim keeps its class for life, so a shard moves by going and coming back: it leaves the Service,
//! hands its mail to the others and goes with its claim, as at a scale-down, and is made anew with a claim of
//! the new class. One shard at a time, and only while all others are ready. The relay gets one more shard for
//! the time: it shows that the new class works before a shard that works goes, and a relay of one shard goes
//! on. A claim of another class that never got a volume holds nothing and is made anew at once. A shard that
//! is no longer wanted stays as long as none of the wanted ones is ready, so that somebody serves the clients
//! and takes its mail. Whatever is interrupted is decided anew from what is there: a shard that is on its way
//! out goes on going, unless the spec asks for its class again.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::dereference::Shard;
use super::scale::{Scale, is_accepting};

/// How a shard's claim is against the class that the spec asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It has that class, or there is none yet.
    Fits,
    /// It has another one.
    Differs,
    /// It has another one, and nothing ever lay there.
    Unused,
}

/// What is known of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    index: i32,
    claim: Claim,
    /// It is out of the Service, or about to be.
    going: bool,
    ready: bool,
}

impl State {
    /// Nobody else may serve the clients.
    fn serves(self) -> bool {
        self.ready && !self.going
    }
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// Shards that are to be there and in the Service.
    pub(super) staying: BTreeSet<i32>,
    /// The one that goes to be made anew.
    pub(super) moving: Option<i32>,
}

impl Moves {
    /// Why a shard that goes is still there, with the reason why it goes.
    pub(super) fn explain(&self, index: i32, why: String) -> String {
        if self.moving == Some(index) {
            return format!("its claim moves to spec.queue.storageClassName; {why}");
        }
        why
    }
}

/// `class`: the class that the spec names, if any; a spec that names none is content with whatever class a claim
/// has. So is a relay that is to have no shards and keeps some for their mail: nothing is made anew there.
pub(super) fn decide(scale: &Scale, class: Option<&str>, shards: &[Shard]) -> Moves {
    let class = class.filter(|_| scale.refused.is_none());
    let states = shards.iter().map(|shard| State {
        index: shard.index,
        claim: match &shard.claim {
            Some(claim) if differs(claim, class) && shard.never_ran() => Claim::Unused,
            Some(claim) if differs(claim, class) => Claim::Differs,
            _ => Claim::Fits,
        },
        going: shard.exists() && !is_accepting(shard),
        ready: shard.is_ready(),
    });
    plan(&scale.wanted, &states.collect::<Vec<_>>())
}

/// Whether a claim is of another class than this one.
pub(super) fn differs(claim: &PersistentVolumeClaim, class: Option<&str>) -> bool {
    let live = claim.spec.as_ref();
    let live = live.and_then(|spec| spec.storage_class_name.as_deref());
    class.is_some_and(|class| live != Some(class))
}

fn plan(wanted: &BTreeSet<i32>, states: &[State]) -> Moves {
    let mut moves = without_care(wanted, states);
    let is_served = |index: &i32| states.iter().any(|one| one.index == *index && one.ready);
    if !moves.staying.is_empty() && !moves.staying.iter().any(is_served) {
        let others = states.iter().filter(|state| state.serves());
        moves.staying.extend(others.map(|state| state.index));
        moves.moving = moves
            .moving
            .filter(|moving| !moves.staying.contains(moving));
    }
    moves
}

/// The same as if the shards that stay were ready.
fn without_care(wanted: &BTreeSet<i32>, states: &[State]) -> Moves {
    let mut movers = states
        .iter()
        .filter(|state| state.claim != Claim::Fits && wanted.contains(&state.index));
    let Some(mover) = movers
        .clone()
        .find(|state| state.claim == Claim::Unused)
        .or_else(|| movers.clone().find(|state| state.going))
        .or_else(|| movers.next())
    else {
        return Moves {
            staying: wanted.clone(),
            moving: None,
        };
    };
    let mut others = wanted.clone();
    others.remove(&mover.index);
    others.extend(wanted.last().map(|last| last.saturating_add(1)));
    let is_ready = |index: &i32| {
        let state = states.iter().find(|state| state.index == *index);
        state.is_some_and(|state| state.ready)
    };
    if mover.going || mover.claim == Claim::Unused || others.iter().all(is_ready) {
        return Moves {
            staying: others,
            moving: Some(mover.index),
        };
    }
    others.insert(mover.index);
    Moves {
        staying: others,
        moving: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `new` and `old`: the class; `going`, `ready`.
    fn states(text: &[&str]) -> Vec<State> {
        (0..)
            .zip(text)
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(index, flags)| State {
                index,
                claim: match flags {
                    flags if flags.contains("unused") => Claim::Unused,
                    flags if flags.contains("old") => Claim::Differs,
                    _ => Claim::Fits,
                },
                going: flags.contains("going"),
                ready: flags.contains("ready"),
            })
            .collect()
    }

    /// Replicas, shards, and what is decided: who stays, and who moves.
    type Row<'a> = (i32, &'a [&'a str], &'a [i32], Option<i32>);

    #[test]
    fn one_shard_moves_at_a_time_while_the_others_are_ready() {
        let rows: [Row<'_>; 16] = [
            (2, &["new ready", "new ready"], &[0, 1], None),
            // One more comes first.
            (2, &["old ready", "old ready"], &[0, 1, 2], None),
            (2, &["old ready", "old ready", "new"], &[0, 1, 2], None),
            (
                2,
                &["old ready", "old ready", "new ready"],
                &[1, 2],
                Some(0),
            ),
            (
                2,
                &["old going", "old ready", "new ready"],
                &[1, 2],
                Some(0),
            ),
            // It is gone, and is made anew before the next one goes.
            (2, &["", "old ready", "new ready"], &[0, 1, 2], None),
            (
                2,
                &["new ready", "old ready", "new ready"],
                &[0, 2],
                Some(1),
            ),
            // Who has begun goes on, whatever becomes of the others.
            (2, &["old ready", "old going", "new"], &[0, 2], Some(1)),
            // A relay of one shard.
            (1, &["old ready"], &[0, 1], None),
            (1, &["old ready", "new ready"], &[1], Some(0)),
            (1, &["", "new ready"], &[0, 1], None),
            (1, &["new", "new ready"], &[0, 1], None),
            (1, &["new ready", "new ready"], &[0], None),
            // Nobody comes back from a way out for that.
            (1, &["new", "new ready going"], &[0], None),
            // A class that does not exist, corrected: what never ran is made anew at once.
            (2, &["old unused", "new ready"], &[1, 2], Some(0)),
            (0, &["old going"], &[], None),
        ];
        for (replicas, shards, staying, moving) in rows {
            let expected = Moves {
                staying: staying.iter().copied().collect(),
                moving,
            };
            let wanted = (0..replicas).collect();
            assert_eq!(plan(&wanted, &states(shards)), expected, "{shards:?}");
        }
    }

    #[test]
    fn a_spec_that_names_no_class_is_content_with_any() {
        let mut claim = PersistentVolumeClaim::default();
        assert!(!differs(&claim, None) && differs(&claim, Some("fast")));
        claim.spec.get_or_insert_default().storage_class_name = Some("fast".to_owned());
        assert!(!differs(&claim, None) && !differs(&claim, Some("fast")));
        assert!(differs(&claim, Some("slow")));
    }
}
