//! What an acknowledgement is worth, and what a disk that fails or fills up makes of it.

use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;

use super::*;
use crate::{AppendError, Outcome};

#[test]
fn a_power_cut_after_the_acknowledgement_loses_nothing() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    for number in 1..=40 {
        wait(queue.append(plain(number))).unwrap();
        let after = Bench::on(bench.disk.power_cut());
        let (copy, recovery) = after.open();
        assert_eq!(recovery.messages, number);
        assert_eq!(recovery.damaged_records, 0);
        assert_eq!(numbers(&copy), (1..=number).collect());
        assert_eq!(content(&copy, id(number)), text(number));
    }
}

#[test]
fn a_large_content_is_durable_before_its_record() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let large: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
    wait(queue.append(message(1, &["ann@dest.example"], large.clone()))).unwrap();
    let after = Bench::on(bench.disk.power_cut());
    let (copy, recovery) = after.open();
    assert_eq!((recovery.messages, recovery.damaged_records), (1, 0));
    assert_eq!(content(&copy, id(1)), large);
    let work = copy.take(LATE, &mut |_| true).unwrap();
    wait(copy.settle(work, &[Outcome::Delivered], LATE, None)).unwrap();
    copy.close();
    assert!(Bench::on(after.disk.kill()).open().1 == Recovery::default());
}

#[test]
fn an_append_is_not_acknowledged_before_the_sync() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let gate = bench.disk.faults(|faults| faults.gate.clone());
    let held = gate.lock();
    let mut append = pin!(queue.append(plain(1)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(append.as_mut().poll(&mut context).is_pending());
    // The writer has written when the octets are there, and then stands at the gate.
    while bench
        .disk
        .files("/queue/log")
        .values()
        .all(|content| content.len() < 100)
    {
        thread::yield_now();
    }
    assert!(append.as_mut().poll(&mut context).is_pending());
    assert!(
        queue.take(LATE, &mut |_| true).is_none(),
        "not durable, so not to be delivered"
    );
    drop(held);
    wait(append).unwrap();
    assert_eq!(numbers(&queue), [1].into());
}

#[test]
fn one_sync_covers_all_that_wait() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let gate = bench.disk.faults(|faults| faults.gate.clone());
    let before = bench.disk.faults(|faults| faults.syncs);
    let held = gate.lock();
    let mut context = Context::from_waker(Waker::noop());
    let mut appends: Vec<_> = (2..=30)
        .map(|number| Box::pin(queue.append(plain(number))))
        .collect();
    for append in &mut appends {
        assert!(append.as_mut().poll(&mut context).is_pending());
    }
    drop(held);
    for append in appends {
        wait(append).unwrap();
    }
    let syncs = bench.disk.faults(|faults| faults.syncs) - before;
    // The first may have gone alone; small segments add one sync for each that was filled.
    assert!(
        syncs <= 2 + queue.counters().segments,
        "{syncs} syncs for 29 messages"
    );
}

#[test]
fn after_a_failed_sync_everything_is_refused_and_no_sync_is_tried_again() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    let changed = queue.changed();
    bench.disk.faults(|faults| faults.fail_syncs = true);
    let error = wait(queue.append(plain(2))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the queue cannot write: syncing the log: the disk is gone"
    );
    assert!(queue.failed());
    wait(changed);
    let syncs = bench.disk.faults(|faults| {
        faults.fail_syncs = false;
        faults.syncs
    });
    assert!(matches!(
        wait(queue.append(plain(3))),
        Err(AppendError::Failed(_))
    ));
    let settled = wait(queue.settle(work, &[Outcome::Delivered], LATE, None));
    assert!(matches!(settled, Err(AppendError::Failed(_))));
    assert!(queue.take(LATE, &mut |_| true).is_none());
    queue.close();
    assert_eq!(bench.disk.faults(|faults| faults.syncs), syncs);
    let (copy, _) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!(numbers(&copy), [1].into());
}

#[test]
fn a_failed_write_latches_too_and_all_who_wait_are_told() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let gate = bench.disk.faults(|faults| faults.gate.clone());
    let held = gate.lock();
    let mut context = Context::from_waker(Waker::noop());
    let mut appends: Vec<_> = (2..=9)
        .map(|number| Box::pin(queue.append(plain(number))))
        .collect();
    for append in &mut appends {
        assert!(append.as_mut().poll(&mut context).is_pending());
    }
    bench.disk.faults(|faults| {
        faults.fail_writes = Some(ErrorKind::Other);
        faults.fail_syncs = true;
    });
    drop(held);
    for append in appends {
        assert!(matches!(wait(append), Err(AppendError::Failed(_))));
    }
    assert!(queue.failed());
}

#[test]
fn short_writes_are_continued() {
    let bench = Bench::new();
    bench.disk.faults(|faults| faults.short_writes = 7);
    let (queue, _) = bench.open();
    for number in 1..=5 {
        wait(queue.append(plain(number))).unwrap();
    }
    let (copy, recovery) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!((recovery.messages, recovery.damaged_records), (5, 0));
    assert_eq!(content(&copy, id(5)), text(5));
}

#[test]
fn a_full_disk_refuses_appends_and_accepts_again_when_there_is_room() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    let work = queue.take(LATE, &mut |_| true).unwrap();
    let used: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    // The system says that there is room, and the write finds that there is not.
    bench.disk.faults(|faults| {
        faults.capacity = used as u64 + 30;
        faults.boast = 1 << 40;
    });
    assert!(matches!(
        wait(queue.append(plain(2))),
        Err(AppendError::Full)
    ));
    assert!(matches!(
        wait(queue.append(plain(3))),
        Err(AppendError::Full)
    ));
    let large = message(4, &["ann@dest.example"], vec![b'x'; 5000]);
    bench.disk.faults(|faults| faults.boast = 1 << 41);
    assert!(matches!(wait(queue.append(large)), Err(AppendError::Full)));
    assert!(!queue.failed());
    let left: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    assert_eq!(left, used, "what did not fit was cut off again");
    // A settle waits for room instead, since what it says happened.
    let settled = queue.settle(work, &[Outcome::Delivered], LATE, None);
    let (copy, _) = Bench::on(bench.disk.kill()).open();
    assert_eq!(numbers(&copy), [1].into());
    bench.disk.faults(|faults| faults.capacity = u64::MAX / 4);
    wait(settled).unwrap();
    let accepted = (0..1000).any(|_| {
        thread::sleep(std::time::Duration::from_millis(1));
        wait(queue.append(plain(5))).is_ok()
    });
    assert!(accepted);
    let (copy, recovery) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!(
        recovery,
        Recovery {
            messages: 1,
            ..Recovery::default()
        }
    );
    assert_eq!(numbers(&copy), [5].into());
}

#[test]
fn settles_that_wait_for_room_keep_their_order() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let to = ["a@dest.example", "b@dest.example"];
    wait(queue.append(message(1, &to, "x"))).unwrap();
    let used: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    bench.disk.faults(|faults| faults.capacity = used as u64);
    let work = queue.take(LATE, &mut |_| true).unwrap();
    let first = queue.settle(
        work,
        &[Outcome::Deferred, Outcome::Delivered],
        Timestamp(7_000),
        None,
    );
    // Refused, so the settle before it was refused too and waits.
    assert!(matches!(
        wait(queue.append(plain(2))),
        Err(AppendError::Full)
    ));
    bench.disk.faults(|faults| faults.capacity = u64::MAX / 4);
    let work = queue.take(Timestamp(7_000), &mut |_| true).unwrap();
    let second = queue.settle(work, &[Outcome::Deferred], Timestamp(9_000), None);
    wait(first).unwrap();
    wait(second).unwrap();
    let (copy, _) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!(copy.next_due(), Some(Timestamp(9_000)));
    assert_eq!(copy.take(LATE, &mut |_| true).unwrap().attempts, 2);
}

#[test]
fn when_too_many_settles_wait_for_room_nothing_more_is_taken() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let count = crate::shared::SETTLES_HELD_UP as u64 + 2;
    let appends: Vec<_> = (1..=count)
        .map(|number| Box::pin(queue.append(plain(number))))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = appends
            .into_iter()
            .map(|append| tokio::spawn(append))
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    wait(queue.append(message(5000, &["z@other.example"], "x"))).unwrap();
    let used: usize = bench.disk.files("/queue").values().map(Vec::len).sum();
    bench.disk.faults(|faults| faults.capacity = used as u64);
    let dest: Destination = "dest.example".into();
    let mut settles = Vec::new();
    let stalled = (0..10_000).any(|_| {
        match queue.take_for(LATE, &dest) {
            Some(work) => settles.push(queue.settle(work, &[Outcome::Delivered], LATE, None)),
            None => thread::sleep(std::time::Duration::from_millis(1)),
        }
        queue.next_due().is_none()
    });
    assert!(stalled);
    assert!(queue.take(LATE, &mut |_| true).is_none());
    assert!(queue.next_due_after(Timestamp(0)).is_none());
    let changed = queue.changed();
    bench.disk.faults(|faults| faults.capacity = u64::MAX / 4);
    for settle in settles {
        wait(settle).unwrap();
    }
    wait(changed);
    assert_eq!(
        &*queue.take(LATE, &mut |_| true).unwrap().destination,
        "other.example"
    );
}

#[test]
fn too_little_free_space_refuses_before_anything_is_written() {
    let mut bench = Bench::new();
    bench.settings.minimum_free_bytes = 100_000;
    bench.disk.faults(|faults| faults.capacity = 100_000);
    let (queue, _) = bench.open();
    assert!(matches!(
        wait(queue.append(plain(1))),
        Err(AppendError::Full)
    ));
    assert_eq!(bench.disk.faults(|faults| faults.writes), 0);
}

#[test]
fn one_message_too_many_is_refused_and_a_delivery_makes_room() {
    let mut bench = Bench::new();
    bench.settings.messages = 3;
    let (queue, _) = bench.open();
    for number in 1..=3 {
        wait(queue.append(plain(number))).unwrap();
    }
    assert!(matches!(
        wait(queue.append(plain(4))),
        Err(AppendError::Full)
    ));
    let work = queue.take(LATE, &mut |_| true).unwrap();
    // A report is accepted beyond the limit: its original leaves.
    let settled = queue.settle(work, &[Outcome::Failed], LATE, Some(plain(9)));
    wait(settled).unwrap();
    assert!(matches!(
        wait(queue.append(plain(5))),
        Err(AppendError::Full)
    ));
    let work = queue.take(LATE, &mut |_| true).unwrap();
    wait(queue.settle(work, &[Outcome::Delivered], LATE, None)).unwrap();
    wait(queue.append(plain(6))).unwrap();
    assert_eq!(queue.status().0, 3);
}

#[test]
fn a_dropped_append_gives_its_place_back() {
    let mut bench = Bench::new();
    bench.settings.messages = 1;
    let (queue, _) = bench.open();
    for number in 0..10 {
        let mut append = Box::pin(queue.append(plain(number)));
        drop(queue.append(plain(100 + number)));
        // Written or refused, and nobody waits for the answer.
        let _ = append
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
    }
    // Whichever of them came through, it is exactly one.
    queue.close();
    assert_eq!(Bench::on(bench.disk.kill()).open().1.messages, 1);
}

#[test]
fn an_id_in_use_is_refused() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    wait(queue.append(plain(1))).unwrap();
    assert!(matches!(
        wait(queue.append(plain(1))),
        Err(AppendError::Failed(_))
    ));
    assert!(!queue.failed());
    let mut context = Context::from_waker(Waker::noop());
    let gate = bench.disk.faults(|faults| faults.gate.clone());
    let held = gate.lock();
    let mut twice: Vec<_> = (0..2).map(|_| Box::pin(queue.append(plain(2)))).collect();
    for append in &mut twice {
        assert!(append.as_mut().poll(&mut context).is_pending());
    }
    drop(held);
    let results: Vec<bool> = twice
        .into_iter()
        .map(|append| wait(append).is_ok())
        .collect();
    assert_eq!(results, [true, false]);
    let (copy, recovery) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!((recovery.messages, recovery.damaged_records), (2, 0));
    assert_eq!(numbers(&copy), [1, 2].into());
}

#[test]
fn a_killed_process_loses_nothing_acknowledged_on_the_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let open = |path| Queue::open(settings(path), Timestamp(0), Box::new(by_domain)).unwrap();
    let (queue, _) = open(directory.path());
    let (report, acknowledged) = std::sync::mpsc::channel();
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for caller in 0..8 {
            let (queue, report, stop) = (queue.clone(), report.clone(), &stop);
            scope.spawn(move || {
                for number in (caller * 100_000)..(caller * 100_000 + 100_000) {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    wait(queue.append(plain(number))).unwrap();
                    report.send(number).unwrap();
                }
            });
        }
        let mut seen: Vec<u64> = acknowledged.iter().take(200).collect();
        seen.extend(acknowledged.try_iter());
        for part in ["log", "content"] {
            std::fs::create_dir(copy.path().join(part)).unwrap();
            for entry in std::fs::read_dir(directory.path().join(part)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.path().join(part).join(entry.file_name()))
                    .unwrap();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (copy, recovery) = open(copy.path());
        assert_eq!(recovery.damaged_records, 0);
        let found = numbers(&copy);
        assert!(seen.iter().all(|number| found.contains(number)));
        assert!(
            seen.iter()
                .all(|&number| content(&copy, id(number)) == text(number))
        );
    });
}
