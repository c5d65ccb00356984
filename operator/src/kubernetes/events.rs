//! Events: what changed, told once at the object that it concerns.
//!
//! An Event that cannot be written is logged and forgotten: it must never stop a reconcile.

use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};
use operator_api::conditions::READY;

use crate::conditions::{self, Conditioned, Verdict};

/// Longest note that the API server takes, in octets.
const LONGEST_NOTE: usize = 1024;
/// Action of what a reconcile does and finds.
pub const RECONCILE: &str = "Reconcile";

/// Tells that something went as asked for.
pub async fn normal<K>(recorder: &Recorder, object: &K, reason: &str, action: &str, note: &str)
where
    K: Resource<DynamicType = ()>,
{
    publish(recorder, object, EventType::Normal, reason, action, note).await;
}

/// Tells that somebody should look.
pub async fn warning<K>(recorder: &Recorder, object: &K, reason: &str, action: &str, note: &str)
where
    K: Resource<DynamicType = ()>,
{
    publish(recorder, object, EventType::Warning, reason, action, note).await;
}

/// Tells the verdicts that differ from what the object shows, each as `told` says, or not at all.
pub async fn transitions<K>(
    recorder: &Recorder,
    object: &K,
    verdicts: &[Verdict],
    told: impl Fn(&Verdict) -> Option<EventType>,
) where
    K: Resource<DynamicType = ()> + Conditioned,
{
    for verdict in conditions::transitions(object.conditions(), verdicts) {
        if let Some(type_) = told(verdict) {
            let note = format!("{}: {}", verdict.kind, verdict.message);
            publish(recorder, object, type_, verdict.reason, RECONCILE, &note).await;
        }
    }
}

/// How a verdict is told: what holds as normal, what does not as a warning. No Event is made of
/// `quiet` reasons, which pass by themselves or are told by another condition, nor of `Ready` when
/// it only repeats another condition.
pub fn unless_quiet(verdict: &Verdict, quiet: &[&str]) -> Option<EventType> {
    if verdict.holds() {
        return Some(EventType::Normal);
    }
    let told = verdict.kind != READY && !quiet.contains(&verdict.reason);
    told.then_some(EventType::Warning)
}

async fn publish<K: Resource<DynamicType = ()>>(
    recorder: &Recorder,
    object: &K,
    type_: EventType,
    reason: &str,
    action: &str,
    note: &str,
) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(shortened(note)),
        action: action.to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(%error, reason, "an Event could not be written");
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - 3;
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ä".repeat(1000));
        assert!(
            cut.len() <= LONGEST_NOTE && cut.ends_with("ä..."),
            "{}",
            cut.len()
        );
    }
}
