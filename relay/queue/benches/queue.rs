//! Figures of the queue on a real disk: `cargo bench -p relay-queue -- [DIRECTORY]`.
//!
//! Prints appends per second and syncs per message for 1, 20 and 64 concurrent callers, the same
//! with every message taken, read and settled, and recovery time and memory for 100,000 messages.

#![expect(clippy::print_stdout, reason = "printing figures is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first error")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the low half of a number will do"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_queue::{
    Destination, Envelope, MessageId, NewMessage, Outcome, Queue, Settings, Timestamp,
};
use relay_smtp::Address;

const SECONDS: u64 = 4;
const CONTENT: usize = 4096;

fn open(directory: &Path) -> Queue {
    let settings = Settings {
        directory: directory.into(),
        messages: 10_000_000,
        minimum_free_bytes: 0,
        cache_bytes: 16 << 20,
    };
    let route = Box::new(|_: &Envelope, address: &Address| Destination::from(address.domain()));
    Queue::open(settings, Timestamp(0), route).unwrap().0
}

fn message(number: u128) -> NewMessage {
    let recipient = format!("user{number}@dest{}.example", number % 50);
    NewMessage {
        id: MessageId(number),
        envelope: Envelope {
            sender: Some(Address::parse("sender@origin.example").unwrap()),
            recipients: vec![Address::parse(&recipient).unwrap()],
            accepted_at: Timestamp(number as u64 / 20),
            eight_bit: false,
            smtputf8: false,
            identity: Some("payroll".into()),
            trace_parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            options: relay_queue::Options::default(),
        },
        content: vec![
            Bytes::from(vec![b'x'; 300]),
            Bytes::from(vec![b'y'; CONTENT - 300]),
        ],
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

async fn load(queue: &Queue, callers: u128, settle: bool, run: u128) {
    let before = queue.counters();
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut number = (run << 96) | (caller << 64);
                while Instant::now() < end {
                    number += 1;
                    let begun = Instant::now();
                    queue.append(message(number)).await.unwrap();
                    times.push(begun.elapsed());
                    if settle {
                        let work = queue.take(Timestamp(u64::MAX), &mut |_| true).unwrap();
                        queue.content(work.id).unwrap();
                        drop(queue.settle(work, &[Outcome::Delivered], Timestamp(0), None));
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let elapsed = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let count = times.len();
    let syncs = queue.counters().syncs - before.syncs;
    println!(
        "{callers:>3} callers{}: {:>7.0} messages/s, {:.3} syncs/message, p50 {:?}, p99 {:?}",
        if settle { ", settled" } else { "         " },
        count as f64 / elapsed,
        syncs as f64 / count as f64,
        times[count / 2],
        times[count * 99 / 100],
    );
}

fn recovery(directory: &Path, count: u128) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queue = open(directory);
    runtime.block_on(async {
        let queue = Arc::new(queue.clone());
        let tasks: Vec<_> = (0..100)
            .map(|task| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    for number in 0..count / 100 {
                        queue.append(message((task << 64) | number)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let filled = resident();
    drop(queue);
    drop(runtime);
    let begun = Instant::now();
    let queue = open(directory);
    println!(
        "{count} messages: recovered in {:?}; resident {filled} MiB filled (16 MiB of it cache), {} MiB now",
        begun.elapsed(),
        resident()
    );
    assert_eq!(u128::from(queue.status().0), count);
    let begun = Instant::now();
    let mut taken = 0;
    while let Some(work) = queue.take(Timestamp(u64::MAX), &mut |_| true) {
        queue.content(work.id).unwrap();
        drop(queue.settle(work, &[Outcome::Delivered], Timestamp(0), None));
        taken += 1;
    }
    println!(
        "taken, read from disk and settled: {:.0}/s",
        f64::from(taken) / begun.elapsed().as_secs_f64()
    );
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let parent = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let count = arguments
        .next()
        .map_or(100_000, |count| count.parse().unwrap());
    let directory = tempfile::tempdir_in(&parent).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for settle in [false, true] {
        let queue = open(&directory.path().join(format!("load-{settle}")));
        for (run, callers) in (0..).zip([1, 20, 64]) {
            runtime.block_on(load(&queue, callers, settle, run));
        }
        println!("    {:?}, resident {} MiB", queue.counters(), resident());
    }
    drop(runtime);
    recovery(&directory.path().join("recovery"), count);
}
