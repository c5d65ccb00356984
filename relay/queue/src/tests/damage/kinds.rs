//! A small queue with every kind of record, and contents in files of their own.

use std::collections::BTreeMap;

use super::*;
use crate::disk::Disk as _;
use crate::index::Open;
use crate::record::{Item, items};
use crate::segment::{Found, Scanner, read_marker};
use crate::{Batch, Cursor, MessageId};

const SHARD: u16 = 3;

/// Several recipients, a bounce, a retry, one that is offered to another shard, one that is held for it, and one
/// that was copied forward with all its state.
fn every_kind() -> MemoryDisk {
    let mut bench = Bench::new();
    bench.tuning.segment_bytes = 1200;
    let (queue, _) = bench.open();
    let to = ["a@slow.example", "b@slow.example", "c@other.example"];
    wait(queue.append(message(1, &to, text(1)))).unwrap();
    let slow = queue.take_for(LATE, &"slow.example".into()).unwrap();
    let outcomes = [Outcome::Deferred, Outcome::Failed];
    wait(queue.settle(slow, &outcomes, Timestamp(77_000), Some(plain(2)))).unwrap();
    wait(queue.append(plain(3))).unwrap();
    let batch = Batch {
        messages: 1,
        bytes: 1 << 20,
    };
    let offered = wait(queue.offer(SHARD, &mut Cursor::default(), batch)).unwrap();
    assert_eq!(offered.len(), 1);
    let [mut transfer] = <[_; 1]>::try_from(offered).unwrap();
    transfer.id = id(4);
    wait(queue.hold(SHARD, transfer, vec![text(4).into()])).unwrap();
    // Enough that comes and goes, so that the first segment is nearly dead.
    for number in 10..40 {
        wait(queue.append(plain(number))).unwrap();
        let works = take_all(&queue);
        let (done, kept): (Vec<_>, Vec<_>) =
            works.into_iter().partition(|work| work.id == id(number));
        for work in done {
            wait(queue.settle(work, &[Outcome::Delivered], LATE, None)).unwrap();
        }
        for work in kept {
            let outcomes = vec![Outcome::Deferred; work.recipients.len()];
            wait(queue.settle(work, &outcomes, Timestamp(70_000), None)).unwrap();
        }
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while queue.counters().moved == 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            queue.counters()
        );
        std::thread::yield_now();
    }
    let again = wait(queue.offer(SHARD, &mut Cursor::default(), batch)).unwrap();
    assert_eq!(again.len(), 1);
    queue.close();
    bench.disk.kill()
}

/// A record: where it lies from its header to its end, and what it speaks of.
type Place = (PathBuf, std::ops::Range<usize>, BTreeSet<MessageId>);

/// All records, and which kinds of items are in them.
fn records(disk: &MemoryDisk) -> (Vec<Place>, BTreeSet<&'static str>) {
    let (mut records, mut kinds) = (Vec::new(), BTreeSet::new());
    for path in disk.files("/queue/log").into_keys() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let number = crate::segment::parse_name(name).unwrap();
        let file = disk.open(&path).unwrap();
        let marker = read_marker(&*file, number).unwrap().unwrap();
        let mut scanner = Scanner::new(file, number, marker).unwrap();
        loop {
            match scanner.next().unwrap() {
                Found::Record { offset, payload } => {
                    let start = offset as usize - RECORD_HEADER;
                    let items = items(payload).unwrap();
                    kinds.extend(items.iter().map(kind));
                    let ids = items.into_iter().flat_map(told_of);
                    let end = offset as usize + payload.len();
                    records.push((path.clone(), start..end, ids.collect()));
                }
                Found::End => break,
                damage => panic!("{damage:?}"),
            }
        }
    }
    (records, kinds)
}

fn kind(item: &Item<'_>) -> &'static str {
    match item {
        Item::Message(_, message) if message.moved => "moved",
        Item::Message(..) => "message",
        Item::Settle(_) => "settle",
        Item::State(..) => "state",
        Item::Mark(..) => "mark",
    }
}

fn told_of(item: Item<'_>) -> Vec<MessageId> {
    match item {
        Item::Message(_, message) => vec![message.id],
        Item::Settle(settle) => vec![settle.id],
        Item::State(id, _) => vec![id],
        Item::Mark(_, ids) => ids,
    }
}

fn states(disk: &MemoryDisk) -> (BTreeMap<MessageId, Open>, Recovery) {
    let directories = Directories::new(Path::new("/queue"));
    let route: Route = Box::new(by_domain);
    let recovered = recover(disk, &directories, &route, Timestamp(5_000)).unwrap();
    let index = &recovered.state.index;
    let open = index.iter().map(|(id, _)| (id, index.open(id))).collect();
    (open, recovered.report)
}

#[test]
fn any_damaged_octet_of_any_kind_of_record_changes_nothing_but_what_the_record_speaks_of() {
    let disk = every_kind();
    let files = disk.files("/queue/log");
    let newest = files.keys().next_back().unwrap();
    let (whole, recovery) = states(&disk.kill());
    assert_eq!(recovery.damaged_records, 0);
    for id in [id(1), id(2), id(3), id(4)] {
        assert!(whole.contains_key(&id), "{id}");
    }
    let (records, kinds) = records(&disk);
    assert_eq!(
        kinds,
        ["mark", "message", "moved", "settle", "state"].into()
    );
    for (path, place, told) in &records {
        for at in place.clone() {
            let disk = disk.kill();
            let mut damaged = files[path].clone();
            damaged[at] ^= 1 << (at % 8);
            disk.put(path, damaged);
            let (found, recovery) = states(&disk);
            let what = format!("octet {at} of {}, {recovery:?}", path.display());
            let torn = u64::from(path == newest && recovery.truncated_bytes > 0);
            assert_eq!(recovery.damaged_records + torn, 1, "{what}");
            let all: BTreeSet<&MessageId> = whole.keys().chain(found.keys()).collect();
            for id in all {
                assert!(
                    found.get(id) == whole.get(id) || told.contains(id),
                    "{id}: {:?} in place of {:?}, {what}",
                    found.get(id),
                    whole.get(id)
                );
            }
        }
    }
}

#[test]
fn any_damaged_octet_of_a_large_content_is_found_when_it_is_read_and_costs_its_message_alone() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let large = |number: u8| vec![number; 1500];
    for number in [1, 2] {
        let content = large(number);
        wait(queue.append(message(number.into(), &["ann@dest.example"], content))).unwrap();
    }
    queue.close();
    let path = PathBuf::from(format!("/queue/content/{}", id(1)));
    let disk = bench.disk.kill();
    let whole = disk.files("/queue/content")[&path].clone();
    for place in 0..whole.len() {
        let disk = disk.kill();
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        disk.put(&path, damaged);
        let (queue, recovery) = opened(&disk);
        assert_eq!((recovery.messages, recovery.damaged_records), (2, 0));
        let error = queue.content(id(1)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{place}");
        assert_eq!(content(&queue, id(2)), large(2));
    }
}
