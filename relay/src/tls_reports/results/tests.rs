//! Counting, within its bounds.

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn failure(reason: &str) -> Failure {
    Failure {
        failure_reason_code: Some(reason.to_owned()),
        ..Failure::of(ResultType::ValidationFailure)
    }
}

#[test]
fn a_day_is_one_of_utc() {
    let day = Day::of(NOW);
    assert_eq!(day.start().0 % DAY, 0);
    assert_eq!(day.end().0 - day.start().0, DAY);
    assert!(day.start() <= NOW && NOW < day.end());
    assert_eq!(Day::of(Timestamp(day.end().0 - 1)), day);
    assert_ne!(Day::of(day.end()), day);
}

#[test]
fn what_is_taken_out_and_merged_elsewhere_adds_up() {
    let day = Day::of(NOW);
    let policy = Policy::none("a.test");
    let (mut one, mut other) = (Results::default(), Results::default());
    for results in [&mut one, &mut other] {
        results.note(day, "a.test", &policy, None);
        results.note(day, "a.test", &policy, Some(failure("x")));
        results.note(day, "b.test", &Policy::none("b.test"), None);
    }
    while let Some(counted) = one.take_one() {
        for counted in counted {
            other.merge(counted);
        }
    }
    assert!(one.is_empty());
    let tally = &other.of(day, "a.test").unwrap()[&policy];
    assert_eq!((tally.successful, tally.failed), (2, 2));
    assert_eq!(tally.failures[&failure("x")], 2);
    assert_eq!(other.keys().count(), 2);
}

#[test]
fn servers_cannot_make_it_grow_without_bound() {
    let day = Day::of(NOW);
    let mut results = Results::default();
    let long = "x".repeat(100_000);
    let policy = |number: usize| Policy {
        policy_string: vec![long.clone(); 1000],
        mx_host: vec![format!("mx{number}.test"); 1000],
        ..Policy::none("a.test")
    };
    for number in 0..100 {
        results.note(
            day,
            "a.test",
            &policy(0),
            Some(failure(&format!("{number}{long}"))),
        );
        results.note(day, "a.test", &policy(number), None);
    }
    let policies = results.of(day, "a.test").unwrap();
    assert_eq!(policies.len(), POLICIES);
    let (first, tally) = policies
        .iter()
        .find(|(one, _)| one.mx_host[0] == "mx0.test")
        .unwrap();
    // None is lost of the sum, whatever is not told apart.
    assert_eq!((tally.failed, tally.failures.len()), (100, FAILURES));
    assert_eq!(
        (first.policy_string.len(), first.mx_host.len()),
        (LINES, LINES)
    );
    let longest = tally
        .failures
        .keys()
        .filter_map(|one| one.failure_reason_code.as_ref());
    assert_eq!(longest.map(String::len).max(), Some(LONGEST));
    for number in 0..DOMAINS + 10 {
        results.note(day, &format!("{number}.test"), &Policy::none("x"), None);
    }
    assert_eq!(results.keys().count(), DOMAINS);
}

#[test]
fn what_is_too_old_for_a_report_is_forgotten() {
    let day = Day::of(NOW);
    let mut results = Results::default();
    results.note(day, "a.test", &Policy::none("a.test"), None);
    results.forget_before(day.end().after(std::time::Duration::from_hours(71)));
    assert!(!results.is_empty());
    results.forget_before(day.end().after(MEMORY));
    assert!(results.is_empty());
}
