//! Messages on their way from one queue to another: whatever crashes between which steps, exactly one
//! of the two delivers.

use super::*;
use crate::Outcome::{Deferred, Delivered};
use crate::{Batch, Claim, Cursor, Mark, Pending, Transfer};

const GIVER: u16 = 2;
const RECEIVER: u16 = 0;
const WHOLE: Batch = Batch {
    messages: 100,
    bytes: 1 << 20,
};

/// Three messages: one was tried for one of its recipients and has another delivered, one is large.
fn filled() -> (Bench, Queue) {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let to = ["a@slow.example", "b@slow.example", "c@other.example"];
    wait(queue.append(message(1, &to, text(1)))).unwrap();
    let slow = queue.take_for(LATE, &"slow.example".into()).unwrap();
    wait(queue.settle(slow, &[Deferred, Delivered], Timestamp(77_000), None)).unwrap();
    wait(queue.append(plain(2))).unwrap();
    wait(queue.append(message(3, &["ann@dest.example"], vec![b'x'; 5_000]))).unwrap();
    (bench, queue)
}

fn offer(queue: &Queue) -> Vec<Transfer> {
    wait(queue.offer(RECEIVER, &mut Cursor::default(), WHOLE)).unwrap()
}

fn ids(transfers: &[Transfer]) -> Vec<MessageId> {
    transfers.iter().map(|transfer| transfer.id).collect()
}

/// What a giver does that finds marks at its start.
fn giver_asks(giver: &Queue, receiver: &Queue) {
    for (id, mark) in giver.marked() {
        assert_eq!(mark, Mark::OfferedTo(RECEIVER));
        if receiver.holds(id) {
            wait(giver.give_away(RECEIVER, &[id])).unwrap();
            wait(receiver.release(GIVER, &[id])).unwrap();
        } else {
            wait(giver.take_back(RECEIVER, &[id])).unwrap();
        }
    }
}

/// What a receiver does that finds marks at its start.
fn receiver_asks(giver: &Queue, receiver: &Queue) {
    for (id, mark) in receiver.marked() {
        assert_eq!(mark, Mark::HeldFor(GIVER));
        match giver.claim(RECEIVER, id) {
            Claim::Offered => {}
            Claim::Mine => assert_eq!(wait(receiver.forget(GIVER, &[id])).unwrap(), [id]),
            Claim::Gone => assert_eq!(wait(receiver.release(GIVER, &[id])).unwrap(), [id]),
        }
    }
}

/// The first steps of the protocol, all synced.
fn steps(number: usize, giver: &Queue, receiver: &Queue) {
    if number == 0 {
        return;
    }
    let offered = offer(giver);
    let ids = ids(&offered);
    assert_eq!(ids.len(), 3);
    assert!(take_all(giver).is_empty(), "what is offered is not taken");
    if number > 1 {
        for transfer in offered {
            let content = giver.content(transfer.id).unwrap();
            wait(receiver.hold(GIVER, transfer, content)).unwrap();
        }
        assert!(take_all(receiver).is_empty(), "what is held is not taken");
    }
    if number > 2 {
        assert_eq!(wait(giver.give_away(RECEIVER, &ids)).unwrap(), ids);
    }
    if number > 3 {
        assert_eq!(wait(receiver.release(GIVER, &ids)).unwrap(), ids);
    }
}

/// Number, destination, attempts, recipients, content.
type Rest = (u64, String, u32, Vec<u32>, Vec<u8>);

/// All that is left to do at one of the two, with what it takes to do it.
fn rest(queue: &Queue) -> Vec<Rest> {
    let mut rest: Vec<_> = take_all(queue)
        .iter()
        .map(|work| {
            let number = work.id.timestamp().0 - 1_000_000;
            let text = content(queue, work.id);
            (
                number,
                work.destination.to_string(),
                work.attempts,
                work.recipients.clone(),
                text,
            )
        })
        .collect();
    rest.sort();
    rest
}

#[test]
fn whoever_crashes_after_whichever_step_exactly_one_queue_delivers() {
    let expected = rest(&filled().1);
    assert_eq!(expected.len(), 4);
    for number in 0..=4 {
        for case in 0..12 {
            let (giver_crashes, receiver_crashes) =
                [(true, false), (false, true), (true, true)][case % 3];
            let (giver_first, power) = (case / 3 % 2 == 0, case / 6 == 0);
            let (giver_bench, mut giver) = filled();
            let receiver_bench = Bench::new();
            let (mut receiver, _) = receiver_bench.open();
            steps(number, &giver, &receiver);
            let again = |bench: &Bench| {
                let disk = &bench.disk;
                let disk = if power { disk.power_cut() } else { disk.kill() };
                let (queue, recovery) = Bench::on(disk).open();
                assert_eq!(recovery.damaged_records, 0);
                queue
            };
            if giver_crashes {
                giver = again(&giver_bench);
            }
            if receiver_crashes {
                receiver = again(&receiver_bench);
            }
            for turn in 0..2 {
                if giver_first == (turn == 0) {
                    giver_asks(&giver, &receiver);
                } else {
                    receiver_asks(&giver, &receiver);
                }
            }
            // Who asked too early asks again.
            receiver_asks(&giver, &receiver);
            let what = format!("step {number}, case {case}");
            assert_eq!(
                (giver.marked(), receiver.marked()),
                (vec![], vec![]),
                "{what}"
            );
            let (kept, given) = (rest(&giver), rest(&receiver));
            assert_eq!([&kept[..], &given[..]].concat(), expected, "{what}");
            assert_eq!(given.is_empty(), number < 2, "{what}");
        }
    }
}

#[test]
fn work_in_progress_is_not_offered_and_a_batch_has_bounds() {
    let (_, queue) = filled();
    let taken = queue.take_for(LATE, &"dest.example".into()).unwrap();
    let others: Vec<_> = ids(&offer(&queue));
    assert_eq!(others.len(), 2);
    assert!(!others.contains(&taken.id));
    wait(queue.take_back(RECEIVER, &others)).unwrap();
    wait(queue.settle(taken, &[Deferred], LATE, None)).unwrap();
    let mut cursor = Cursor::default();
    let mut sizes = Vec::new();
    let batch = Batch {
        messages: 2,
        bytes: 4_000,
    };
    loop {
        let offered = wait(queue.offer(RECEIVER, &mut cursor, batch)).unwrap();
        if offered.is_empty() {
            break;
        }
        sizes.push(offered.len());
    }
    // The large one is a batch of its own.
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn a_message_that_is_offered_twice_is_held_once() {
    let (_, giver) = filled();
    let receiver_bench = Bench::new();
    let (receiver, _) = receiver_bench.open();
    let offered = offer(&giver);
    for _ in 0..2 {
        for transfer in &offered {
            let content = giver.content(transfer.id).unwrap();
            wait(receiver.hold(GIVER, transfer.clone(), content)).unwrap();
        }
    }
    assert_eq!(receiver.status().0, 3);
    let before = receiver_bench.disk.files("/queue/log");
    assert_eq!(
        wait(receiver.release(RECEIVER, &ids(&offered))).unwrap(),
        []
    );
    assert_eq!(
        receiver_bench.disk.files("/queue/log"),
        before,
        "held for another"
    );
    assert!(take_all(&receiver).is_empty());
}

#[test]
fn a_copy_of_what_its_giver_delivers_itself_is_forgotten() {
    let (_, giver) = filled();
    let (receiver, _) = Bench::new().open();
    steps(2, &giver, &receiver);
    let all: Vec<_> = giver.marked().iter().map(|(id, _)| *id).collect();
    wait(giver.take_back(RECEIVER, &all)).unwrap();
    receiver_asks(&giver, &receiver);
    assert_eq!(receiver.status().0, 0);
    assert_eq!(rest(&giver).len(), 4);
}

#[test]
fn a_message_that_is_offered_moves_with_its_mark() {
    let (bench, queue) = filled();
    let offered = ids(&offer(&queue));
    // Segments around it fill and die.
    for number in 100..200 {
        let body = vec![b'x'; 700];
        wait(queue.append(message(number, &["ann@quick.example"], body))).unwrap();
        let work = queue.take_for(LATE, &"quick.example".into()).unwrap();
        drop(queue.settle(work, &[Delivered], LATE, None));
    }
    let begun = std::time::Instant::now();
    while queue.counters().moved == 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    queue.close();
    let (again, _) = Bench::on(bench.disk.power_cut()).open();
    let mut marked: Vec<_> = again.marked();
    marked.sort_unstable();
    let expected: Vec<_> = offered
        .iter()
        .map(|id| (*id, Mark::OfferedTo(RECEIVER)))
        .collect();
    assert_eq!(marked, expected);
    assert!(take_all(&again).is_empty());
}

#[test]
fn nothing_is_left_of_a_transfer_with_nothing_to_deliver() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let NewMessage {
        id,
        envelope,
        content,
    } = plain(1);
    let pending = vec![Pending {
        recipient: 9,
        attempts: 1,
        due: LATE,
    }];
    let transfer = Transfer {
        id,
        envelope,
        pending,
        delay_told: false,
    };
    wait(queue.hold(GIVER, transfer, content)).unwrap();
    assert_eq!((queue.status().0, queue.marked()), (0, vec![]));
    let (again, recovery) = Bench::on(bench.disk.power_cut()).open();
    assert_eq!((recovery.messages, again.marked()), (0, vec![]));
}

#[test]
fn what_is_given_away_is_gone_only_once_that_is_durable() {
    let (bench, giver) = filled();
    let ids = ids(&offer(&giver));
    let gate = bench.disk.faults(|faults| faults.gate.clone());
    let held = gate.lock();
    let given = giver.give_away(RECEIVER, &ids);
    assert!(
        ids.iter()
            .all(|id| giver.claim(RECEIVER, *id) == Claim::Offered)
    );
    drop(held);
    wait(given).unwrap();
    assert!(
        ids.iter()
            .all(|id| giver.claim(RECEIVER, *id) == Claim::Gone)
    );
}
