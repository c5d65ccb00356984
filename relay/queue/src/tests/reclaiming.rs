//! Old segments go, and nothing comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::Outcome::{Deferred, Delivered};

/// Appends and delivers messages, in groups, so that segments fill and die.
fn traffic(queue: &Queue, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = vec![b'x'; 700];
        wait(queue.append(message(number, &["ann@quick.example"], body))).unwrap();
        let work = queue.take_for(LATE, &"quick.example".into()).unwrap();
        drop(queue.settle(work, &[Delivered], LATE, None));
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn dead_segments_are_removed() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    traffic(&queue, 0..100);
    // The last settles may still begin a segment, whose file is there before it is counted.
    until("all but the last segment go", || {
        queue.counters().segments <= 2 && bench.disk.files("/queue/log").len() <= 2
    });
    assert_eq!(queue.counters().moved, 0);
    assert_eq!(
        Bench::on(bench.disk.power_cut()).open().1.damaged_records,
        0
    );
}

#[test]
fn a_long_deferred_message_is_copied_forward_with_its_state() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let to = [
        "a@slow.example",
        "b@slow.example",
        "c@other.example",
        "d@slow.example",
    ];
    wait(queue.append(message(900, &to, "held back"))).unwrap();
    let mut slow = queue.take_for(LATE, &"slow.example".into()).unwrap();
    let retry = Timestamp(77_000);
    assert_eq!(queue.claim_delay(&mut slow), Some(vec![0, 1, 3]));
    let late = Some(message(902, &["to@quick.example"], "late"));
    wait(queue.settle(slow, &[Deferred, Delivered, Deferred], retry, late)).unwrap();
    let late = queue.take_for(LATE, &"quick.example".into()).unwrap();
    wait(queue.settle(late, &[Delivered], LATE, None)).unwrap();
    let large = vec![7; 3000];
    wait(queue.append(message(901, &["e@slow.example"], large.clone()))).unwrap();
    let first = Path::new("/queue/log/0000000001.segment");
    traffic(&queue, 0..200);
    until("the first segment goes", || {
        !bench.disk.files("/queue/log").contains_key(first)
    });
    assert!(queue.counters().moved >= 2);
    // While it is copied forward time and again, work that is out can be settled.
    let other = queue.take_for(LATE, &"other.example".into()).unwrap();
    traffic(&queue, 200..300);
    wait(queue.settle(other, &[Delivered], LATE, None)).unwrap();
    until("few segments stay", || queue.counters().segments <= 6);
    for disk in [bench.disk.power_cut(), bench.disk.kill()] {
        let (copy, recovery) = Bench::on(disk).open();
        assert_eq!((recovery.messages, recovery.damaged_records), (2, 0));
        let early = copy.take(Timestamp(10_000), &mut |_| true).unwrap();
        assert_eq!((early.id, early.attempts), (id(901), 0));
        assert!(copy.take(Timestamp(76_999), &mut |_| true).is_none());
        let work = copy.take(retry, &mut |_| true).unwrap();
        assert_eq!(
            (work.id, &work.recipients[..], work.attempts),
            (id(900), &[0, 3][..], 1)
        );
        assert!(work.delay_told);
        assert_eq!(content(&copy, id(900)), b"held back");
        assert_eq!(content(&copy, id(901)), large);
        wait(copy.settle(work, &[Delivered, Delivered], LATE, None)).unwrap();
        wait(copy.settle(early, &[Delivered], LATE, None)).unwrap();
        assert_eq!(copy.status().0, 0);
    }
}

#[test]
fn at_no_moment_does_a_kill_or_a_power_cut_lose_or_revive_a_message() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    for number in 900..905 {
        wait(queue.append(message(number, &["a@slow.example"], text(number)))).unwrap();
    }
    for work in
        std::iter::from_fn(|| queue.take_for(LATE, &"slow.example".into())).collect::<Vec<_>>()
    {
        wait(queue.settle(work, &[Deferred], Timestamp(50_000), None)).unwrap();
    }
    for round in 0..60 {
        traffic(&queue, round * 4..round * 4 + 3);
        // This one is acknowledged, delivered, and known to be: it must never come back.
        wait(queue.append(message(2000 + round, &["ann@quick.example"], "x"))).unwrap();
        let work = queue.take_for(LATE, &"quick.example".into()).unwrap();
        wait(queue.settle(work, &[Delivered], LATE, None)).unwrap();
        for disk in [
            bench.disk.power_cut(),
            bench.disk.kill(),
            bench.disk.torn(|more| more / 2),
        ] {
            let (copy, recovery) = Bench::on(disk).open();
            assert_eq!(recovery.damaged_records, 0);
            assert_eq!(numbers(&copy), (900..905).collect(), "round {round}");
            for number in 900..905 {
                assert_eq!(content(&copy, id(number)), text(number));
            }
        }
    }
    until("the messages were moved", || queue.counters().moved >= 5);
}

#[test]
fn reading_goes_on_while_messages_move() {
    let mut bench = Bench::new();
    bench.settings.cache_bytes = 0;
    let (queue, _) = bench.open();
    for number in 900..910 {
        wait(queue.append(message(number, &["a@slow.example"], text(number)))).unwrap();
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while queue.counters().moved < 30 {
                for number in 900..910 {
                    assert_eq!(content(&queue, id(number)), text(number));
                }
            }
        });
        let mut round = 0;
        while !reader.is_finished() {
            traffic(&queue, round..round + 10);
            round += 10;
        }
        reader.join().unwrap();
    });
    assert_eq!(queue.counters().damaged_records, 0);
}

#[test]
fn copying_forward_that_finds_the_disk_full_goes_on_when_there_is_room() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(message(900, &["a@slow.example"], "held back"))).unwrap();
    traffic(&queue, 0..40);
    let used: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    bench.disk.faults(|faults| faults.capacity = used as u64);
    assert!(wait(queue.append(plain(5000))).is_err());
    bench.disk.faults(|faults| faults.capacity = u64::MAX / 4);
    until("there is room again", || {
        wait(queue.append(plain(5001))).is_ok()
    });
    traffic(&queue, 100..200);
    let first = Path::new("/queue/log/0000000001.segment");
    until("the first segment goes", || {
        !bench.disk.files("/queue/log").contains_key(first)
    });
    queue.close();
    let (copy, recovery) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!(
        (recovery.damaged_records, numbers(&copy)),
        (0, [900, 5001].into())
    );
}

#[test]
fn many_starts_leave_no_many_files() {
    let bench = Bench::new();
    for number in 0..60 {
        let (queue, _) = bench.open();
        wait(queue.append(plain(number))).unwrap();
        queue.close();
    }
    let (queue, recovery) = bench.open();
    assert_eq!(recovery.messages, 60);
    wait(queue.append(plain(60))).unwrap();
    until("files are merged", || {
        bench.disk.files("/queue/log").len() < 24
    });
    queue.close();
    assert_eq!(
        numbers(&Bench::on(bench.disk.power_cut()).open().0),
        (0..=60).collect()
    );
}
