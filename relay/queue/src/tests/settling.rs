//! Outcomes, retries and reports.

use super::*;
use crate::Outcome::{Deferred, Delivered, Failed};
use crate::{AppendError, Outcome};

fn reopen(bench: &Bench) -> (Bench, Queue) {
    let after = Bench::on(bench.disk.power_cut());
    let (queue, recovery) = after.open();
    assert_eq!(recovery.damaged_records, 0);
    (after, queue)
}

#[test]
fn deferred_recipients_come_again_together_and_the_others_never() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let to = [
        "a@dest.example",
        "b@dest.example",
        "c@dest.example",
        "d@dest.example",
    ];
    wait(queue.append(message(1, &to, "x"))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    assert_eq!(work.recipients, [0, 1, 2, 3]);
    // The last outcome is missing: that recipient is still to be tried.
    wait(queue.settle(work, &[Delivered, Deferred, Failed], Timestamp(7_000), None)).unwrap();
    let check = |queue: &Queue| {
        assert_eq!(queue.next_due(), Some(Timestamp(7_000)));
        assert!(queue.take(Timestamp(6_999), &mut |_| true).is_none());
        let work = queue.take(Timestamp(7_000), &mut |_| true).unwrap();
        assert_eq!((&work.recipients[..], work.attempts), (&[1, 3][..], 1));
        work
    };
    check(&queue);
    let (after, queue) = reopen(&bench);
    let work = check(&queue);
    wait(queue.settle(work, &[Delivered, Deferred], Timestamp(9_000), None)).unwrap();
    let (_, queue) = reopen(&after);
    let work = queue.take(Timestamp(9_000), &mut |_| true).unwrap();
    assert_eq!((&work.recipients[..], work.attempts), (&[3][..], 2));
    wait(queue.settle(work, &[Delivered], Timestamp(0), None)).unwrap();
    assert_eq!(queue.status().0, 0);
}

#[test]
fn each_destination_of_a_message_is_work_of_its_own() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let to = [
        "a@one.example",
        "b@two.example",
        "c@one.example",
        "d@three.example",
        "e@two.example",
    ];
    wait(queue.append(message(1, &to, "x"))).unwrap();
    let mut all = take_all(&queue);
    all.sort_by(|left, right| left.destination.cmp(&right.destination));
    let seen: Vec<_> = all
        .iter()
        .map(|work| (&*work.destination, &work.recipients[..]))
        .collect();
    assert_eq!(
        seen,
        [
            ("one.example", &[0, 2][..]),
            ("three.example", &[3][..]),
            ("two.example", &[1, 4][..])
        ]
    );
    assert!(all.iter().all(|work| work.id == id(1)));
    let two = all.pop().unwrap();
    let three = all.pop().unwrap();
    wait(queue.settle(two, &[Delivered, Failed], LATE, None)).unwrap();
    wait(queue.settle(three, &[Deferred], Timestamp(8_000), None)).unwrap();
    let (_, copy) = reopen(&bench);
    let mut all = take_all(&copy);
    all.sort_by(|left, right| left.destination.cmp(&right.destination));
    let seen: Vec<_> = all
        .iter()
        .map(|work| (&work.recipients[..], work.attempts))
        .collect();
    assert_eq!(seen, [(&[0, 2][..], 0), (&[3][..], 1)]);
    // Taken work is not given twice, by either way of asking.
    assert!(queue.take_for(LATE, &"one.example".into()).is_none());
    assert!(queue.take_for(LATE, &"three.example".into()).is_some());
    assert!(queue.take_for(LATE, &"nowhere.example".into()).is_none());
}

#[test]
fn a_settle_is_durable_after_its_delay_without_any_append() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    let syncs = bench.disk.faults(|faults| faults.syncs);
    let begun = std::time::Instant::now();
    wait(queue.settle(work, &[Delivered], LATE, None)).unwrap();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(40));
    assert_eq!(bench.disk.faults(|faults| faults.syncs), syncs + 1);
    assert_eq!(
        Bench::on(bench.disk.power_cut()).open().1,
        Recovery::default()
    );
}

#[test]
fn a_killed_process_keeps_the_settles_that_were_written_and_not_synced() {
    let mut bench = Bench::new();
    bench.tuning.sync_delay = std::time::Duration::from_hours(1);
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    let writes = bench.disk.faults(|faults| faults.writes);
    drop(queue.settle(work, &[Delivered], LATE, None));
    while bench.disk.faults(|faults| faults.writes) == writes {
        std::thread::yield_now();
    }
    assert_eq!(Bench::on(bench.disk.kill()).open().1, Recovery::default());
    // A power cut delivers twice, and loses nothing.
    assert_eq!(Bench::on(bench.disk.power_cut()).open().1.messages, 1);
    queue.close();
    assert_eq!(
        Bench::on(bench.disk.power_cut()).open().1,
        Recovery::default()
    );
}

#[test]
fn an_outcome_and_its_report_hold_together_wherever_the_log_ends() {
    for large in [false, true] {
        let bench = Bench::new();
        let (queue, _) = bench.open();
        wait(queue.append(plain(1))).unwrap();
        let before = bench.disk.files("/queue/log");
        let (path, start) = before.iter().next().unwrap();
        let work = queue.take(LATE, &mut |_| true).unwrap();
        let size = if large { 3000 } else { 300 };
        let report = message(2, &["sender@origin.example"], vec![b'r'; size]);
        wait(queue.settle(work, &[Failed], LATE, Some(report))).unwrap();
        assert_eq!(queue.status().0, 1);
        queue.close();
        let whole = bench.disk.files("/queue/log")[path].clone();
        for end in start.len()..=whole.len() {
            let disk = bench.disk.kill();
            disk.put(path, whole[..end].to_vec());
            let (copy, recovery) = Bench::on(disk).open();
            let expected = if end == whole.len() { 2 } else { 1 };
            assert_eq!(recovery.damaged_records, 0);
            assert_eq!(
                numbers(&copy),
                [expected].into(),
                "log cut at {end} of {}",
                whole.len()
            );
            if expected == 2 {
                assert_eq!(content(&copy, id(2)), vec![b'r'; size]);
            }
        }
    }
}

#[test]
fn a_report_that_finds_the_disk_full_leaves_the_work_to_be_done_again() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    let used: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    bench
        .disk
        .faults(|faults| faults.capacity = used as u64 + 500);
    let report = message(2, &["sender@origin.example"], vec![b'r'; 3000]);
    let settled = wait(queue.settle(work, &[Failed], Timestamp(8_000), Some(report)));
    assert!(matches!(settled, Err(AppendError::Full)));
    assert!(bench.disk.files("/queue/content").is_empty());
    let work = queue.take(Timestamp(8_000), &mut |_| true).unwrap();
    assert_eq!((work.id, work.attempts), (id(1), 0));
}

#[test]
fn a_message_without_recipients_is_done_at_once() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(message(1, &[], "x"))).unwrap();
    assert_eq!(queue.status(), (0, None));
    assert_eq!(Bench::on(bench.disk.kill()).open().1, Recovery::default());
}

#[test]
fn routes_may_change_between_two_starts() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let to = ["a@one.example", "b@two.example", "c@one.example"];
    wait(queue.append(message(1, &to, "x"))).unwrap();
    let one = queue.take_for(LATE, &"one.example".into()).unwrap();
    wait(queue.settle(one, &[Delivered, Deferred], Timestamp(8_000), None)).unwrap();
    queue.close();
    let disk = Arc::new(bench.disk.kill());
    let smarthost = Box::new(|_: &Envelope, _: &Address| Destination::from("smarthost.example"));
    let (queue, _) =
        Queue::open_on(disk, bench.settings, bench.tuning, Timestamp(0), smarthost).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    assert_eq!(
        (&*work.destination, &work.recipients[..]),
        ("smarthost.example", &[1, 2][..])
    );
    wait(queue.settle(work, &[Delivered, Delivered], LATE, None)).unwrap();
    assert_eq!(queue.status().0, 0);
}

#[test]
fn work_recorded_as_due_in_a_far_future_is_not_hidden() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    wait(queue.settle(work, &[Deferred], Timestamp(u64::MAX), None)).unwrap();
    let (copy, _) = Bench::on(bench.disk.kill()).open();
    assert_eq!(
        copy.next_due(),
        Some(Timestamp(5_000 + 90 * 24 * 3_600_000))
    );
}

#[test]
fn those_who_wait_hear_of_an_append_and_of_a_retry() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let changed = queue.changed();
    wait(queue.append(plain(1))).unwrap();
    wait(changed);
    let work = queue.take(LATE, &mut |_| true).unwrap();
    assert_eq!(queue.next_due(), None);
    let changed = queue.changed();
    drop(queue.settle(work, &[Outcome::Deferred], Timestamp(6_000), None));
    wait(changed);
    assert_eq!(queue.next_due(), Some(Timestamp(6_000)));
    assert_eq!(
        queue.next_due_after(Timestamp(5_999)),
        Some(Timestamp(6_000))
    );
    assert_eq!(queue.next_due_after(Timestamp(6_000)), None);
}

const SLOW: [&str; 3] = ["a@one.example", "b@two.example", "c@three.example"];

fn report(number: u64) -> crate::NewMessage {
    message(number, &["sender@origin.example"], "it is late")
}

#[test]
fn the_sender_is_told_of_a_delay_once_over_all_destinations_and_restarts() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(message(1, &SLOW, "x"))).unwrap();
    let one = queue.take_for(LATE, &"one.example".into()).unwrap();
    wait(queue.settle(one, &[Deferred], Timestamp(6_000), None)).unwrap();
    let mut one = queue.take_for(LATE, &"one.example".into()).unwrap();
    let mut two = queue.take_for(LATE, &"two.example".into()).unwrap();
    assert!(!one.delay_told && !two.delay_told);
    // The third has not been tried, so there is nothing to tell of it.
    assert_eq!(queue.claim_delay(&mut two), Some(vec![0, 1]));
    assert_eq!(queue.claim_delay(&mut one), None);
    wait(queue.settle(one, &[Deferred], Timestamp(7_000), Some(report(2)))).unwrap();
    wait(queue.settle(two, &[Deferred], Timestamp(7_000), Some(report(3)))).unwrap();
    let check = |queue: &Queue| {
        let mut all = take_all(queue);
        all.retain(|work| work.id == id(1));
        assert_eq!(all.len(), 3);
        for mut work in all {
            assert!(work.delay_told);
            assert_eq!(queue.claim_delay(&mut work), None);
        }
    };
    check(&queue);
    check(&reopen(&bench).1);
}

#[test]
fn a_delay_that_was_claimed_and_not_told_is_told_after_a_restart() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let mut work = queue.take(LATE, &mut |_| true).unwrap();
    assert_eq!(queue.claim_delay(&mut work), Some(vec![0]));
    let (_, copy) = reopen(&bench);
    assert!(!copy.take(LATE, &mut |_| true).unwrap().delay_told);
    // Nor does a settle count that has no report after all.
    wait(queue.settle(work, &[Deferred], Timestamp(7_000), None)).unwrap();
    let mut work = queue.take(LATE, &mut |_| true).unwrap();
    assert!(!work.delay_told);
    assert_eq!(queue.claim_delay(&mut work), Some(vec![0]));
}

#[test]
fn a_delay_whose_report_found_the_disk_full_is_still_to_be_told() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let mut work = queue.take(LATE, &mut |_| true).unwrap();
    queue.claim_delay(&mut work).unwrap();
    let used: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    bench
        .disk
        .faults(|faults| faults.capacity = used as u64 + 500);
    let report = message(2, &["sender@origin.example"], vec![b'r'; 3000]);
    let settled = wait(queue.settle(work, &[Deferred], Timestamp(8_000), Some(report)));
    assert!(matches!(settled, Err(AppendError::Full)));
    assert!(!queue.take(LATE, &mut |_| true).unwrap().delay_told);
}
