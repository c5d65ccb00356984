use super::*;

fn key(text: &str) -> Key {
    let (namespace, name) = text.split_once('/').unwrap();
    Key::new(namespace, name)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// All that can be taken at `now`, in order.
fn drain(queue: &mut Queue, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| queue.take(now))
        .map(|key| format!("{}/{}", key.namespace, key.name))
        .collect()
}

#[test]
fn an_object_that_is_asked_for_often_is_given_once() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for _ in 0..5 {
        queue.push(key("mail/outbox"), Urgency::Changed, now);
        queue.push(key("mail/outbox"), Urgency::New, now);
        queue.push(key("mail/outbox"), Urgency::Look, now);
    }
    assert_eq!(queue.waiting(), 1);
    assert_eq!(drain(&mut queue, now), ["mail/outbox"]);
}

#[test]
fn namespaces_take_turns_so_that_a_crowd_does_not_hold_up_a_single_object() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for number in 0..10_000 {
        queue.push(Key::new("crowd", format!("d{number}")), Urgency::New, now);
    }
    queue.push(key("shop/only"), Urgency::New, now);
    let taken: Vec<String> = (0..3)
        .filter_map(|_| queue.take(now))
        .map(|key| key.namespace.to_string())
        .collect();
    assert!(taken.contains(&"shop".to_owned()), "{taken:?}");
    assert_eq!(drain(&mut queue, now).len(), 10_001 - 3);
}

#[test]
fn an_object_added_to_a_bulk_import_does_not_wait_for_it_and_the_oldest_does_not_starve() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for number in 0..1000 {
        queue.push(Key::new("bulk", format!("d{number}")), Urgency::New, now);
    }
    let first = queue.take(now).unwrap();
    queue.push(key("bulk/urgent"), Urgency::New, now);
    let next: Vec<String> = (0..2)
        .filter_map(|_| queue.take(now))
        .map(|key| key.name.to_string())
        .collect();
    assert_eq!(&*first.name, "d999");
    assert_eq!(next, ["d0", "urgent"]);
}

#[test]
fn what_somebody_waits_for_comes_first_and_nothing_starves() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for number in 0..100 {
        queue.push(Key::new("a", format!("look{number}")), Urgency::Look, now);
        queue.push(
            Key::new("a", format!("changed{number}")),
            Urgency::Changed,
            now,
        );
        queue.push(Key::new("a", format!("new{number}")), Urgency::New, now);
    }
    let first: Vec<String> = drain(&mut queue, now).into_iter().take(16).collect();
    let of = |class: &str| first.iter().filter(|name| name.contains(class)).count();
    assert_eq!(
        (of("new"), of("changed"), of("look")),
        (12, 2, 2),
        "{first:?}"
    );
}

#[test]
fn one_object_is_worked_on_once_at_a_time_and_again_if_it_changed_meanwhile() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let relay = key("mail/outbox");
    queue.push(relay.clone(), Urgency::New, now);
    assert_eq!(queue.take(now), Some(relay.clone()));
    queue.push(relay.clone(), Urgency::Changed, now);
    assert_eq!(queue.take(now), None);
    queue.done(&relay, now, now + millis(10), None);
    // It settles first.
    assert_eq!(queue.take(now + millis(20)), None);
    assert_eq!(queue.next_due(), Some(now + millis(110)));
    assert_eq!(queue.take(now + millis(110)), Some(relay.clone()));
    queue.done(&relay, now, now + millis(110), None);
    assert_eq!(
        (queue.take(now + millis(9999)), queue.next_due()),
        (None, None)
    );
}

#[test]
fn the_pause_grows_with_what_a_look_costs_unless_somebody_waits() {
    let rows = [
        (1, Urgency::Changed, 100),
        (1000, Urgency::Changed, 3000),
        (60_000, Urgency::Changed, 5000),
        (60_000, Urgency::New, 100),
    ];
    for (took, urgency, pause) in rows {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.push(key("mail/outbox"), Urgency::New, start);
        let relay = queue.take(start).unwrap();
        let end = start + millis(took);
        queue.done(&relay, start, end, None);
        queue.push(relay, urgency, end);
        assert_eq!(
            queue.next_due(),
            Some(end + millis(pause)),
            "{took} {urgency:?}"
        );
    }
}

#[test]
fn a_periodic_look_comes_when_due_and_a_change_before_it_replaces_it() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let relay = key("mail/outbox");
    queue.push(relay.clone(), Urgency::New, now);
    queue.take(now);
    queue.done(&relay, now, now, Some(millis(60_000)));
    assert_eq!(queue.take(now + millis(59_999)), None);
    queue.push(relay.clone(), Urgency::Changed, now + millis(30_000));
    assert_eq!(queue.take(now + millis(30_000)), Some(relay.clone()));
    assert_eq!(queue.next_due(), None);
    queue.done(&relay, now, now + millis(30_000), Some(millis(60_000)));
    assert_eq!(queue.take(now + millis(90_000)), Some(relay));
}

#[test]
fn nothing_is_kept_of_what_is_gone_unless_it_was_made_anew() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let relay = key("mail/outbox");
    queue.push(relay.clone(), Urgency::New, now);
    queue.take(now);
    queue.done(&relay, now, now, Some(millis(60_000)));
    queue.push(relay.clone(), Urgency::Changed, now + millis(200));
    queue.take(now + millis(200));
    queue.gone(&relay, now);
    assert!(
        queue.entries.is_empty() && queue.later.is_empty(),
        "{queue:?}"
    );
    queue.push(relay.clone(), Urgency::New, now);
    queue.take(now);
    queue.push(relay.clone(), Urgency::New, now);
    queue.gone(&relay, now);
    assert_eq!(drain(&mut queue, now), ["mail/outbox"]);
}
