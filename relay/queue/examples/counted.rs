//! One step of the queue again and again, for counting what it costs: `counted append|schedule NUMBER`.

use std::process::exit;

use bytes::Bytes;
use relay_queue::{
    Destination, Envelope, MessageId, NewMessage, Options, Queue, Settings, Timestamp,
};
use relay_smtp::Address;

#[expect(dead_code, reason = "a part of it is counted")]
#[path = "../src/schedule.rs"]
mod schedule;

/// What the schedule uses of its crate.
mod record {
    pub(crate) fn count(length: usize) -> u32 {
        u32::try_from(length).unwrap_or(u32::MAX)
    }
}

use schedule::{Schedule, Ticket};

const OCTETS: usize = 4096;
/// Destinations that have mail, and messages that wait for each.
const DESTINATIONS: u32 = 1000;
const WAITING: u32 = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let way = arguments.next().unwrap_or_default();
    let number: u32 = arguments.next().unwrap_or_default().parse()?;
    match way.as_str() {
        "append" => append(number).await,
        "schedule" => schedule(number),
        _ => exit(2),
    }
}

/// Messages one after the other, each on the disk before the next.
async fn append(number: u32) -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let settings = Settings {
        directory: directory.path().into(),
        messages: 1_000_000,
        minimum_free_bytes: 0,
        cache_bytes: 1 << 20,
    };
    let route = Box::new(|_: &Envelope, address: &Address| Destination::from(address.domain()));
    let (queue, _) = Queue::open(settings, Timestamp(0), route)?;
    let content = Bytes::from(vec![b'x'; OCTETS]);
    for id in 0..number {
        let recipient = format!("user@d{}.example", id % DESTINATIONS);
        let message = NewMessage {
            id: MessageId(id.into()),
            envelope: Envelope {
                sender: Some(Address::parse("sender@origin.example")?),
                recipients: vec![Address::parse(&recipient)?],
                accepted_at: Timestamp(id.into()),
                eight_bit: false,
                smtputf8: false,
                identity: Some("payroll".into()),
                trace_parent: None,
                options: Options::default(),
            },
            content: vec![content.clone()],
        };
        queue.append(message).await?;
    }
    Ok(())
}

/// The next work of many destinations, and each put back to a later time.
fn schedule(number: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut schedule = Schedule::default();
    let mut slot = 0;
    for destination in 0..DESTINATIONS {
        let name = Destination::from(format!("d{destination}.example").as_str());
        for _ in 0..WAITING {
            let key = schedule.intern(&name);
            schedule.push(key, Timestamp(slot.into()), 0, Ticket { slot, unit: 0 });
            slot += 1;
        }
    }
    let mut now = u64::from(slot);
    for _ in 0..number {
        let next = schedule.take(Timestamp(now), &mut |_| true, &mut |_| true);
        let next = next.ok_or("nothing is due")?;
        now += 1;
        schedule.push(next.destination, Timestamp(now), 0, next.ticket);
    }
    Ok(())
}
