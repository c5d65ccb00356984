//! Tests of the whole queue, on the real file system and on one in memory that fails to order.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of tests are small"
)]

mod crash;
mod damage;
mod durability;
mod journal;
mod lifecycle;
mod memory;
mod model;
mod options;
mod reclaiming;
mod settling;
mod transfer;

use std::sync::Arc;

use bytes::Bytes;
use relay_smtp::Address;

use crate::shared::Tuning;
use crate::{
    Destination, Envelope, MessageId, NewMessage, Queue, Recovery, Settings, Timestamp, Work,
};
use memory::MemoryDisk;

/// Waits for a future of the queue, whose threads work without a runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn by_domain(_: &Envelope, address: &Address) -> Destination {
    address.domain().into()
}

fn settings(directory: &std::path::Path) -> Settings {
    Settings {
        directory: directory.into(),
        messages: 1_000_000,
        minimum_free_bytes: 0,
        cache_bytes: 1 << 20,
    }
}

fn message(number: u64, recipients: &[&str], content: impl Into<Bytes>) -> NewMessage {
    let recipients = recipients
        .iter()
        .map(|text| Address::parse(text).unwrap())
        .collect();
    NewMessage {
        id: MessageId::new(Timestamp(1_000_000 + number), u128::from(number)),
        envelope: Envelope {
            sender: Some(Address::parse("sender@origin.example").unwrap()),
            recipients,
            accepted_at: Timestamp(1_000 + number),
            eight_bit: number % 2 == 1,
            smtputf8: false,
            identity: Some("payroll".into()),
            trace_parent: None,
            options: crate::Options::default(),
        },
        content: vec![content.into()],
    }
}

fn id(number: u64) -> MessageId {
    MessageId::new(Timestamp(1_000_000 + number), u128::from(number))
}

/// Numbers of the messages that are due, each delivered to nobody.
fn numbers(queue: &Queue) -> std::collections::BTreeSet<u64> {
    take_all(queue)
        .iter()
        .map(|work| work.id.timestamp().0 - 1_000_000)
        .collect()
}

/// The text of message `number` in tests that tell messages apart by it.
fn text(number: u64) -> Vec<u8> {
    format!(
        "Subject: {number}\r\n\r\n{}\r\n",
        "body ".repeat(number as usize % 7)
    )
    .into_bytes()
}

fn plain(number: u64) -> NewMessage {
    message(number, &["ann@dest.example"], text(number))
}

/// A queue in memory, with small segments and small inline contents.
struct Bench {
    disk: MemoryDisk,
    settings: Settings,
    tuning: Tuning,
}

impl Bench {
    fn new() -> Self {
        Self {
            disk: MemoryDisk::default(),
            settings: settings(std::path::Path::new("/queue")),
            tuning: Tuning {
                segment_bytes: 4096,
                inline_bytes: 1024,
                ..Tuning::default()
            },
        }
    }

    fn on(disk: MemoryDisk) -> Self {
        Self {
            disk,
            ..Self::new()
        }
    }

    fn open(&self) -> (Queue, Recovery) {
        let disk = Arc::new(self.disk.clone());
        let settings = self.settings.clone();
        Queue::open_on(
            disk,
            settings,
            self.tuning,
            Timestamp(5_000),
            Box::new(by_domain),
        )
        .unwrap()
    }
}

const LATE: Timestamp = Timestamp(1_000_000_000);

/// Takes everything due.
fn take_all(queue: &Queue) -> Vec<Work> {
    std::iter::from_fn(|| queue.take(LATE, &mut |_| true)).collect()
}

fn content(queue: &Queue, id: MessageId) -> Vec<u8> {
    queue.content(id).unwrap().concat()
}
