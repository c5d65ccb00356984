//! Hand-ins, and what a restart leaves.

use super::*;
use crate::tls_reports::results::Policy;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn counted(domain: &str, successful: u64) -> Counted {
    Counted {
        day: Day::of(NOW),
        domain: domain.to_owned(),
        policy: Policy::none(domain),
        successful,
        failed: 0,
        failures: Vec::new(),
    }
}

fn successful(state: &State, domain: &str) -> u64 {
    let policies = state.results.of(Day::of(NOW), domain);
    policies.map_or(0, |policies| {
        policies.values().map(|tally| tally.successful).sum()
    })
}

#[test]
fn a_hand_in_counts_once_and_not_when_the_report_is_made() {
    let mut state = State::default();
    let batch = Batch {
        id: "1".into(),
        counted: vec![counted("a.test", 3), counted("b.test", 4)],
    };
    assert_eq!(state.take_in(batch.clone()), Some(0));
    assert_eq!(state.take_in(batch), None);
    assert_eq!(successful(&state, "a.test"), 3);
    let made = Progress {
        begun: true,
        ..Progress::default()
    };
    state.ledger.set(Day::of(NOW), "a.test", made);
    let late = Batch {
        id: "2".into(),
        counted: vec![counted("a.test", 1), counted("b.test", 1)],
    };
    assert_eq!(state.take_in(late), Some(1));
    assert_eq!(
        (successful(&state, "a.test"), successful(&state, "b.test")),
        (3, 5)
    );
}

#[test]
fn everything_outlives_a_restart_before_and_after_a_rewrite() {
    let directory = tempfile::tempdir().unwrap();
    let batch = Batch {
        id: "1".into(),
        counted: vec![counted("a.test", 3), counted("b.test", 4)],
    };
    let made = Progress {
        begun: true,
        ..Progress::default()
    };
    let (mut store, _, _) = Store::open(directory.path()).unwrap();
    store.add_batch(&batch).unwrap();
    store.add_report(Day::of(NOW), "a.test", &made).unwrap();
    drop(store);
    for _ in 0..2 {
        let (mut store, mut state, damaged) = Store::open(directory.path()).unwrap();
        assert_eq!(damaged, 0);
        assert_eq!(
            (successful(&state, "a.test"), successful(&state, "b.test")),
            (0, 4)
        );
        assert!(state.ledger.is_closed(Day::of(NOW), "a.test"));
        assert_eq!(state.take_in(batch.clone()), None, "it is known");
        store.rewrite(&state.records()).unwrap();
    }
}

#[test]
fn what_goes_out_stays_the_same_until_it_is_in() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut state, _) = Store::open(directory.path()).unwrap();
    assert_eq!(state.next_outgoing(1000, || "0".into()), None);
    for number in 0..100 {
        state.results.merge(counted(&format!("{number}.test"), 1));
    }
    let first = state.next_outgoing(1000, || "1".into()).unwrap();
    assert!(
        (1..10).contains(&first.counted.len()),
        "about as much as was asked for"
    );
    assert_eq!(
        state.next_outgoing(1000, || "2".into()).as_ref(),
        Some(&first)
    );
    store.rewrite(&state.records()).unwrap();
    drop(store);
    let (_, mut state, _) = Store::open(directory.path()).unwrap();
    assert_eq!(
        state.next_outgoing(1000, || "3".into()).as_ref(),
        Some(&first)
    );
    let mut sum = first.counted.len();
    state.outgoing = None;
    while let Some(batch) = state.next_outgoing(1000, || "4".into()) {
        sum += batch.counted.len();
        state.outgoing = None;
    }
    assert_eq!(sum, 100);
}

#[test]
fn a_damaged_record_costs_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _, _) = Store::open(directory.path()).unwrap();
    for (id, domain) in [("1", "a.test"), ("2", "b.test")] {
        let batch = Batch {
            id: id.into(),
            counted: vec![counted(domain, 1)],
        };
        store.add_batch(&batch).unwrap();
    }
    drop(store);
    let path = directory.path().join(FILE);
    let mut octets = std::fs::read(&path).unwrap();
    octets[20] ^= 1;
    std::fs::write(&path, octets).unwrap();
    let (_, state, damaged) = Store::open(directory.path()).unwrap();
    assert_eq!(damaged, 1);
    assert_eq!(
        (successful(&state, "a.test"), successful(&state, "b.test")),
        (0, 1)
    );
}
