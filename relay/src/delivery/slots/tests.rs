use relay_smtp::EnhancedCode;

use super::super::outcome::Kind;
use super::*;

const LIMITS: Limits = Limits {
    total: 3,
    per_destination: 2,
};

fn start(slots: &Arc<Slots>, destination: &Destination) -> Slot {
    let permit = slots.permit(LIMITS).unwrap();
    permit.assign(destination).unwrap()
}

fn fate() -> Fate {
    Fate::local(Kind::Deferred, EnhancedCode::new(4, 4, 1), "unreachable")
}

/// Something that is owed until it is paid.
fn owed() -> (Arc<Notify>, impl Future<Output = ()>) {
    let paid = Arc::new(Notify::new());
    (paid.clone(), async move { paid.notified().await })
}

#[test]
fn both_limits_hold_and_permits_come_back() {
    let slots = Arc::new(Slots::new(u64::MAX));
    let now = Instant::now();
    let (first, second) = (Destination::from("a.test"), Destination::from("b.test"));
    let held = [start(&slots, &first), start(&slots, &first)];
    held[0].lives();
    assert!(!slots.admits(&first, LIMITS, now));
    assert!(slots.admits(&second, LIMITS, now));
    let other = start(&slots, &second);
    assert!(slots.is_full(LIMITS) && slots.permit(LIMITS).is_none());
    drop(held);
    assert!(slots.admits(&first, LIMITS, now));
    assert!(slots.changed().contains(&first));
    drop(other);
    drop(slots.permit(LIMITS).unwrap());
    assert_eq!(slots.busy(), 0);
}

#[test]
fn a_destination_gets_more_than_one_connection_once_it_is_known_to_live() {
    let slots = Arc::new(Slots::new(u64::MAX));
    let now = Instant::now();
    let destination = Destination::from("a.test");
    let slot = start(&slots, &destination);
    assert!(!slots.admits(&destination, LIMITS, now));
    slot.lives();
    assert_eq!(slots.changed(), std::slice::from_ref(&destination));
    assert!(slots.admits(&destination, LIMITS, now));
    // What was learnt outlives the task.
    drop(slot);
    let _slot = start(&slots, &destination);
    assert!(slots.admits(&destination, LIMITS, now));
}

#[test]
fn a_destination_that_cannot_be_reached_is_on_hold_until_its_time_is_over() {
    let slots = Arc::new(Slots::new(u64::MAX));
    let now = Instant::now();
    let until = now + Duration::from_secs(30);
    let destination = Destination::from("a.test");
    let slot = start(&slots, &destination);
    slot.lives();
    assert_eq!(slot.held(now), None);
    slot.hold(fate(), until);
    assert_eq!(slot.held(now), Some(fate()));
    // The others come to be deferred, not to connect.
    assert!(slots.admits(&destination, LIMITS, now));
    assert_eq!(slot.held(until), None);
    assert!(!slots.admits(&destination, LIMITS, until));
    slot.lives();
    assert_eq!(slot.held(now), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let slots = Arc::new(Slots::new(u64::MAX));
    let busy = Destination::from("busy.test");
    let _slot = start(&slots, &busy);
    for number in 0..=REMEMBERED {
        start(&slots, &Destination::from(format!("d{number}.test")));
        slots.changed();
    }
    let state = slots.state.lock();
    assert!(
        state.destinations.len() < 10,
        "{}",
        state.destinations.len()
    );
    assert!(state.destinations.contains_key(&busy));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_long_steps_aside_and_needs_a_permit_to_go_on() {
    let limits = Limits { total: 1, ..LIMITS };
    let slots = Arc::new(Slots::new(u64::MAX));
    let (dead, living) = (Destination::from("dead.test"), Destination::from("b.test"));
    let waiting = Arc::new(slots.permit(limits).unwrap().assign(&dead).unwrap());
    let (paid, debt) = owed();
    let task = tokio::spawn({
        let waiting = waiting.clone();
        async move {
            waiting.patiently(limits, debt).await;
            waiting.step_back(limits).await;
        }
    });
    tokio::time::sleep(PATIENCE / 2).await;
    assert!(slots.is_full(limits));
    tokio::time::sleep(PATIENCE).await;
    let other = slots.permit(limits).unwrap().assign(&living).unwrap();
    paid.notify_one();
    tokio::time::sleep(PATIENCE).await;
    assert!(!task.is_finished());
    drop(other);
    task.await.unwrap();
    assert!(slots.is_full(limits));
    drop(waiting);
    assert_eq!(slots.busy(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_step_aside_and_those_cut_off_are_not_counted() {
    let limits = Limits { total: 1, ..LIMITS };
    let slots = Arc::new(Slots::new(u64::MAX));
    let mut aside = Vec::new();
    for number in 0..ASIDE {
        let destination = Destination::from(format!("d{number}.test"));
        let slot = slots.permit(limits).unwrap().assign(&destination).unwrap();
        slot.step_aside(limits);
        aside.push(slot);
    }
    let last = slots
        .permit(limits)
        .unwrap()
        .assign(&"last.test".into())
        .unwrap();
    last.step_aside(limits);
    assert!(slots.is_full(limits));
    let cut = tokio::time::timeout(PATIENCE, aside[0].step_back(limits)).await;
    assert!(cut.is_err());
    assert_eq!(slots.state.lock().returning, 0);
    drop(aside);
    assert_eq!(slots.state.lock().aside, 0);
    drop(last);
    assert!(!slots.is_full(limits));
}

#[test]
fn those_aside_leave_half_of_the_sockets_to_others() {
    let slots = Arc::new(Slots::new(2));
    for (destination, expected) in [("a.test", 0), ("b.test", 1)] {
        let slot = start(&slots, &destination.into());
        slot.step_aside(LIMITS);
        assert_eq!(slots.busy(), expected);
        std::mem::forget(slot);
    }
}
