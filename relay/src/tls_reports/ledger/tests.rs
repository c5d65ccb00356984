//! When reports are due.

use super::*;

const NOON: Timestamp = Timestamp(1_790_000_000_000);
const LONG_AGO: Timestamp = Timestamp(0);

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

#[test]
fn reports_are_due_between_half_an_hour_and_four_hours_after_the_day() {
    let day = Day::of(NOON);
    let ledger = Ledger::default();
    let mut moments = std::collections::BTreeSet::new();
    for number in 0..200 {
        let domain = format!("{number}.test");
        assert!(!ledger.is_due(day, &domain, LONG_AGO, day.end().after(minutes(29))));
        assert!(ledger.is_due(day, &domain, LONG_AGO, day.end().after(minutes(240))));
        moments.insert(falls_due(day, &domain));
    }
    assert!(moments.len() > 190, "they are spread");
}

#[test]
fn after_a_start_the_other_shards_get_time() {
    let day = Day::of(NOON);
    let start = day.end().after(minutes(600));
    let ledger = Ledger::default();
    assert!(!ledger.is_due(day, "a.test", start, start.after(minutes(1))));
    assert!(ledger.is_due(day, "a.test", start, start.after(SETTLE)));
}

#[test]
fn a_report_that_fails_is_tried_for_a_day_and_then_never_again() {
    let day = Day::of(NOON);
    let mut ledger = Ledger::default();
    let mut now = day.end().after(minutes(240));
    let mut tries = 0;
    while let Some(next) = ledger.failed(day, "a.test", now) {
        assert!(!ledger.is_due(day, "a.test", LONG_AGO, now));
        assert!(next > now && next <= now.after(LONGEST_WAIT));
        assert!(ledger.is_due(day, "a.test", LONG_AGO, next));
        now = next;
        tries += 1;
    }
    assert!((8..20).contains(&tries), "{tries}");
    assert!(now <= falls_due(day, "a.test").after(LIFE));
    let next_year = now.after(Duration::from_hours(24 * 365));
    assert!(!ledger.is_due(day, "a.test", LONG_AGO, next_year));
    assert!(ledger.is_closed(day, "a.test"));
}

#[test]
fn that_a_report_was_made_is_remembered_for_a_week() {
    let day = Day::of(NOON);
    let mut ledger = Ledger::default();
    let begun = |open: &[&str]| Progress {
        begun: true,
        open: open.iter().map(|place| (*place).to_owned()).collect(),
        ..Progress::default()
    };
    ledger.set(day, "a.test", begun(&[]));
    ledger.set(day, "b.test", begun(&["https://b.test/"]));
    ledger.sweep(day.end().after(Duration::from_hours(7 * 24 - 1)));
    assert!(ledger.is_closed(day, "a.test"));
    ledger.sweep(day.end().after(MEMORY));
    assert!(!ledger.is_closed(day, "a.test"));
    // One that is not done is not forgotten.
    assert!(ledger.is_closed(day, "b.test"));
    assert_eq!(ledger.all().count(), 1);
}
