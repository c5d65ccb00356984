//! Turns, order and cost.

use proptest::prelude::*;

use super::*;

fn name(number: usize) -> Destination {
    format!("dest{number}.example").into()
}

fn ticket(slot: u32) -> Ticket {
    Ticket { slot, unit: 0 }
}

fn add(schedule: &mut Schedule, destination: usize, due: u64, slot: u32) -> DestinationKey {
    let key = schedule.intern(&name(destination));
    schedule.push(key, Timestamp(due), 0, ticket(slot));
    key
}

fn take(schedule: &mut Schedule, now: u64) -> Option<u32> {
    schedule
        .take(Timestamp(now), &mut |_| true, &mut |_| true)
        .map(|next| next.ticket.slot)
}

#[test]
fn destinations_take_turns_and_each_gives_its_oldest_due_first() {
    let mut schedule = Schedule::default();
    for (destination, due, slot) in [
        (1, 30, 13),
        (1, 10, 11),
        (1, 20, 12),
        (2, 10, 21),
        (2, 20, 22),
        (3, 40, 31),
    ] {
        add(&mut schedule, destination, due, slot);
    }
    let order: Vec<u32> = std::iter::from_fn(|| take(&mut schedule, 100)).collect();
    assert_eq!(order, [11, 21, 31, 12, 22, 13]);
}

#[test]
fn nothing_is_given_before_it_is_due() {
    let mut schedule = Schedule::default();
    add(&mut schedule, 1, 50, 1);
    assert_eq!(take(&mut schedule, 49), None);
    assert_eq!(schedule.next_due(), Some(Timestamp(50)));
    assert_eq!(take(&mut schedule, 50), Some(1));
    assert_eq!(schedule.next_due(), None);
}

#[test]
fn a_refused_destination_is_asked_once_whatever_waits_for_it_and_others_get_through() {
    let mut schedule = Schedule::default();
    for slot in 0..1000 {
        add(&mut schedule, 1, 1, slot);
    }
    add(&mut schedule, 2, 5, 5000);
    add(&mut schedule, 3, 5, 6000);
    let mut asked = Vec::new();
    let mut looked_at = 0;
    let mut admit = |destination: &Destination| {
        asked.push(destination.to_string());
        &**destination != "dest1.example"
    };
    let mut valid = |_: &Next| {
        looked_at += 1;
        true
    };
    assert_eq!(
        schedule
            .take(Timestamp(9), &mut admit, &mut valid)
            .map(|next| next.ticket.slot),
        Some(5000)
    );
    assert_eq!(
        schedule
            .take(Timestamp(9), &mut admit, &mut valid)
            .map(|next| next.ticket.slot),
        Some(6000)
    );
    assert_eq!(schedule.take(Timestamp(9), &mut admit, &mut valid), None);
    assert_eq!(asked, ["dest1.example", "dest2.example", "dest3.example"]);
    assert!(looked_at <= 5, "{looked_at} tickets looked at");
    assert_eq!(schedule.next_due(), Some(Timestamp(1)));
    assert_eq!(schedule.next_due_after(Timestamp(9)), None);
    add(&mut schedule, 4, 70, 7000);
    assert_eq!(schedule.next_due_after(Timestamp(9)), Some(Timestamp(70)));
}

#[test]
fn a_refused_destination_is_asked_again_once_it_is_readmitted() {
    let mut schedule = Schedule::default();
    let key = add(&mut schedule, 1, 1, 11);
    add(&mut schedule, 2, 1, 21);
    let refuse =
        |schedule: &mut Schedule| schedule.take(Timestamp(9), &mut |_| false, &mut |_| true);
    assert_eq!(refuse(&mut schedule), None);
    assert_eq!(take(&mut schedule, 9), None);
    schedule.readmit(key);
    // Work that comes meanwhile waits with the rest.
    add(&mut schedule, 2, 1, 22);
    assert_eq!(take(&mut schedule, 9), Some(11));
    assert_eq!(take(&mut schedule, 9), None);
    assert_eq!(schedule.next_due(), Some(Timestamp(1)));
    schedule.readmit_all();
    let order: Vec<u32> = std::iter::from_fn(|| take(&mut schedule, 9)).collect();
    assert_eq!(order, [21, 22]);
    schedule.release(key);
    assert_eq!(refuse(&mut schedule), None);
    assert!(schedule.parked.is_empty());
}

#[test]
fn a_million_messages_for_a_dead_destination_cost_the_others_nothing() {
    let mut schedule = Schedule::default();
    for slot in 0..1_000_000 {
        add(&mut schedule, 0, 1, slot);
    }
    let mut looked_at = 0;
    for slot in 0..10_000_u32 {
        add(&mut schedule, 1 + slot as usize % 10, 2, 2_000_000 + slot);
    }
    for _ in 0..10_000 {
        let mut admit = |destination: &Destination| &**destination != "dest0.example";
        let mut valid = |_: &Next| {
            looked_at += 1;
            true
        };
        assert!(
            schedule
                .take(Timestamp(9), &mut admit, &mut valid)
                .is_some()
        );
    }
    assert!(
        looked_at <= 30_000,
        "{looked_at} tickets looked at for 10,000 takes"
    );
}

#[test]
fn work_for_one_destination_can_be_asked_for_and_its_turn_finds_it_gone() {
    let mut schedule = Schedule::default();
    let key = add(&mut schedule, 1, 10, 1);
    add(&mut schedule, 1, 500, 2);
    add(&mut schedule, 2, 10, 3);
    assert_eq!(take(&mut schedule, 0), None);
    let next = schedule.take_for(Timestamp(9), key, &mut |_| true);
    assert_eq!(next, None);
    assert_eq!(schedule.next_due_after(Timestamp(10)), None);
    let next = schedule.take_for(Timestamp(10), key, &mut |_| true);
    assert_eq!(next.map(|next| next.ticket.slot), Some(1));
    assert_eq!(schedule.next_due_after(Timestamp(10)), Some(Timestamp(500)));
    let mut asked = Vec::new();
    let mut admit = |destination: &Destination| {
        asked.push(destination.to_string());
        false
    };
    assert_eq!(
        schedule.take(Timestamp(10), &mut admit, &mut |_| true),
        None
    );
    assert_eq!(asked, ["dest2.example"]);
    assert_eq!(schedule.next_due(), Some(Timestamp(10)));
    schedule.readmit_all();
    assert_eq!(take(&mut schedule, 500), Some(3));
    assert_eq!(take(&mut schedule, 500), Some(2));
}

#[test]
fn tickets_that_no_longer_stand_are_dropped_without_asking() {
    let mut schedule = Schedule::default();
    add(&mut schedule, 1, 10, 1);
    add(&mut schedule, 2, 10, 2);
    let mut asked = Vec::new();
    let mut admit = |destination: &Destination| {
        asked.push(destination.to_string());
        true
    };
    let next = schedule.take(Timestamp(10), &mut admit, &mut |next| next.ticket.slot != 1);
    assert_eq!(next.map(|next| next.ticket.slot), Some(2));
    assert_eq!(asked, ["dest2.example"]);
    assert_eq!(schedule.next_due(), None);
}

#[test]
fn destinations_without_users_are_forgotten() {
    let mut schedule = Schedule::default();
    for round in 0..1000 {
        let key = add(&mut schedule, round, 10, 1);
        assert_eq!(take(&mut schedule, 10), Some(1));
        schedule.release(key);
        // Its turn comes once more.
        assert_eq!(take(&mut schedule, 10), None);
    }
    assert!(schedule.keys.is_empty());
    assert!(schedule.lines.len() < 4);
    assert!(schedule.ring.is_empty() && schedule.ready.is_empty() && schedule.waiting.is_empty());
}

proptest! {
    #[test]
    fn gives_what_a_sorted_list_gives(
        work in prop::collection::vec((0_usize..5, 0_u64..50), 0..60),
        calls in prop::collection::vec((0_u64..60, 0_usize..6, any::<bool>()), 0..80),
    ) {
        let mut schedule = Schedule::default();
        let mut model = Vec::new();
        for (slot, (destination, due)) in (0..).zip(&work) {
            add(&mut schedule, *destination, *due, slot);
            model.push((*destination, *due, slot));
        }
        for (now, refused, one) in calls {
            model.sort_by_key(|(_, due, _)| *due);
            let next_due = model.first().map(|(_, due, _)| Timestamp(*due));
            prop_assert_eq!(schedule.next_due(), next_due);
            let next = if one {
                schedule.key(&name(refused)).and_then(|key| {
                    schedule.take_for(Timestamp(now), key, &mut |_| true)
                })
            } else {
                let refused = name(refused);
                let next = schedule.take(Timestamp(now), &mut |it| *it != refused, &mut |_| true);
                if let Some(key) = schedule.key(&refused) {
                    schedule.readmit(key);
                }
                next
            };
            let may = |destination: usize| (destination == refused) == one;
            match next {
                None => prop_assert!(
                    !model.iter().any(|(destination, due, _)| may(*destination) && *due <= now)
                ),
                Some(next) => {
                    let place = model.iter().position(|(_, _, slot)| *slot == next.ticket.slot);
                    let (destination, due, _) = model.remove(place.unwrap());
                    prop_assert!(may(destination) && due <= now);
                    let older = model.iter().any(|(other, before, _)| *other == destination && *before < due);
                    prop_assert!(!older);
                }
            }
        }
    }
}

#[test]
fn due_work_of_higher_priority_goes_first_within_its_destination_only() {
    let mut schedule = Schedule::default();
    let mut add = |destination: &str, due, priority, slot| {
        let key = schedule.intern(&destination.into());
        schedule.push(key, Timestamp(due), priority, ticket(slot));
    };
    add("a.test", 1, 0, 1);
    add("a.test", 2, -3, 2);
    add("a.test", 3, 9, 3);
    add("a.test", 3, 4, 4);
    add("a.test", 9, 9, 5);
    add("b.test", 5, -9, 6);
    assert_eq!(schedule.next_due(), Some(Timestamp(1)));
    // Not due yet, so its priority does not count.
    assert_eq!(take(&mut schedule, 2), Some(1));
    assert_eq!(schedule.next_due(), Some(Timestamp(2)));
    let order: Vec<_> = std::iter::from_fn(|| take(&mut schedule, 5)).collect();
    assert_eq!(order, [3, 6, 4, 2]);
    assert_eq!(schedule.next_due(), Some(Timestamp(9)));
    assert_eq!(take(&mut schedule, 9), Some(5));
}
