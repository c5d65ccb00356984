//! Torn tails, damaged octets, missing and foreign files.

mod kinds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::*;
use crate::recovery::recover;
use crate::segment::{FILE_HEADER, RECORD_HEADER};
use crate::shared::Directories;
use crate::{Outcome, Route};

const LOG: &str = "/queue/log/0000000001.segment";
const RECORDS: u64 = 6;

/// A log of some messages, the third delivered, and where each record ends.
fn log() -> (MemoryDisk, Vec<u8>, Vec<usize>) {
    let mut bench = Bench::new();
    bench.tuning.segment_bytes = 1 << 20;
    let (queue, _) = bench.open();
    let mut ends = Vec::new();
    let length = || bench.disk.files("/queue/log").values().map(Vec::len).sum();
    for number in 1..RECORDS {
        wait(queue.append(plain(number))).unwrap();
        ends.push(length());
    }
    let third = take_all(&queue).remove(2);
    wait(queue.settle(third, &[Outcome::Delivered], LATE, None)).unwrap();
    ends.push(length());
    queue.close();
    let disk = bench.disk.kill();
    let whole = disk.files("/queue/log")[Path::new(LOG)].clone();
    (disk, whole, ends)
}

fn opened(disk: &MemoryDisk) -> (Queue, Recovery) {
    Bench::on(disk.clone()).open()
}

/// As [`opened`], without the threads: for tests that do it thousands of times.
fn replayed(disk: &MemoryDisk) -> (BTreeSet<u64>, Recovery) {
    let directories = Directories::new(Path::new("/queue"));
    let route: Route = Box::new(by_domain);
    let recovered = recover(disk, &directories, &route, Timestamp(5_000)).unwrap();
    let ids = recovered.state.index.iter();
    let numbers = ids.map(|(id, _)| id.timestamp().0 - 1_000_000).collect();
    (numbers, recovered.report)
}

/// What is there without the records named.
fn expected(lost: &BTreeSet<usize>) -> BTreeSet<u64> {
    (1..RECORDS)
        .filter(|&number| !lost.contains(&(number as usize - 1)))
        .filter(|&number| number != 3 || lost.contains(&5))
        .collect()
}

fn check(queue: &Queue, numbers_expected: &BTreeSet<u64>, what: &str) {
    assert_eq!(&numbers(queue), numbers_expected, "{what}");
    for &number in numbers_expected {
        assert_eq!(content(queue, id(number)), text(number), "{what}");
    }
}

#[test]
fn a_tail_torn_anywhere_is_cut_and_what_lies_before_stands() {
    let (disk, whole, ends) = log();
    for end in 0..=whole.len() {
        let disk = disk.kill();
        disk.put(Path::new(LOG), whole[..end].to_vec());
        let lost: BTreeSet<usize> = (0..ends.len())
            .filter(|&record| ends[record] > end)
            .collect();
        let untouched = disk.kill();
        let (found, recovery) = replayed(&disk);
        let what = format!("cut at {end} of {}", whole.len());
        let whole_records = ends.iter().copied().filter(|&record| record <= end).max();
        let header = FILE_HEADER as usize;
        let stands = whole_records.unwrap_or(if end < header { 0 } else { header });
        assert_eq!(recovery.truncated_bytes, (end - stands) as u64, "{what}");
        assert_eq!(recovery.damaged_records, 0, "{what}");
        assert_eq!(found, expected(&lost), "{what}");
        if end % 31 != 0 && !ends.contains(&end) {
            continue;
        }
        let disk = untouched;
        let (queue, _) = opened(&disk);
        check(&queue, &expected(&lost), &what);
        // What is appended now stands at the next start, which finds nothing more to cut.
        wait(queue.append(plain(50))).unwrap();
        let (again, recovery) = opened(&disk.power_cut());
        assert_eq!(
            (recovery.truncated_bytes, recovery.damaged_records),
            (0, 0),
            "{what}"
        );
        let mut all = expected(&lost);
        all.insert(50);
        check(&again, &all, &what);
    }
}

#[test]
fn any_damaged_octet_costs_its_record_at_most_and_is_counted() {
    let (disk, whole, ends) = log();
    for place in 0..whole.len() {
        let octet = whole[place];
        for wrong in BTreeSet::from([octet ^ 0x01, octet ^ 0x80, !octet, 0x00, 0xff]) {
            if wrong == octet {
                continue;
            }
            let disk = disk.kill();
            let mut damaged = whole.clone();
            damaged[place] = wrong;
            disk.put(Path::new(LOG), damaged);
            let untouched = disk.kill();
            let (found, recovery) = replayed(&disk);
            let what = format!("octet {place} is {wrong:#x}: {recovery:?}");
            let counted = recovery.damaged_records + u64::from(recovery.truncated_bytes > 0);
            if place < FILE_HEADER as usize {
                // The header: its records find each other without it.
                let spare = place >= 24;
                assert_eq!(counted, u64::from(!spare), "{what}");
                assert_eq!(found, expected(&BTreeSet::new()), "{what}");
                continue;
            }
            let record = ends.iter().position(|&end| place < end).unwrap();
            assert_eq!(counted, 1, "{what}");
            assert_eq!(found, expected(&[record].into()), "{what}");
            if place % 31 == 0 {
                let (queue, _) = opened(&untouched);
                check(&queue, &expected(&[record].into()), &what);
            }
            let aside = disk.files("/queue/quarantine");
            assert_eq!(aside.len() as u64, recovery.damaged_records, "{what}");
            // Found again at the next start, it is neither counted nor kept twice.
            let (_, recovery) = replayed(&disk);
            assert_eq!(recovery.damaged_records, 0, "{what}");
        }
    }
}

#[test]
fn of_a_large_queue_any_record_may_be_damaged_and_costs_itself_alone() {
    const MESSAGES: u64 = 300;
    let bench = Bench::new();
    let (queue, _) = bench.open();
    let mut places = Vec::new();
    let mut before = BTreeMap::new();
    for number in 1..=MESSAGES {
        wait(queue.append(plain(number))).unwrap();
        let after = bench.disk.files("/queue/log");
        let lengths: BTreeMap<PathBuf, usize> = after
            .iter()
            .map(|(path, octets)| (path.clone(), octets.len()))
            .collect();
        // The newest is the one that grew.
        let (path, end) = lengths.last_key_value().unwrap();
        let start = before.get(path).copied().unwrap_or(FILE_HEADER as usize);
        places.push((path.clone(), start..*end));
        before = lengths;
    }
    queue.close();
    let disk = bench.disk.kill();
    let files = disk.files("/queue/log");
    assert!(files.len() > 10, "{} segments", files.len());
    let newest = files.keys().next_back().unwrap();
    for (number, (path, record)) in (1..).zip(&places) {
        // Header, envelope and content in turn.
        let place = record.start + record.len() * (number as usize % 7) / 7;
        let mut damaged = files[path].clone();
        damaged[place] ^= 0x10;
        let disk = disk.kill();
        disk.put(path, damaged);
        let (found, recovery) = replayed(&disk);
        let what = format!("octet {place} of message {number}: {recovery:?}");
        let expected: BTreeSet<u64> = (1..=MESSAGES).filter(|other| *other != number).collect();
        assert_eq!(found, expected, "{what}");
        // The last record of all may as well be a torn tail.
        let torn = u64::from(path == newest && recovery.truncated_bytes > 0);
        assert_eq!(recovery.damaged_records + torn, 1, "{what}");
    }
}

#[test]
fn damage_across_records_costs_those_only() {
    let (disk, whole, ends) = log();
    let mut damaged = whole.clone();
    let (from, to) = (ends[0] + 3, ends[2] + RECORD_HEADER / 2);
    damaged[from..to].fill(0);
    disk.put(Path::new(LOG), damaged);
    let (queue, recovery) = opened(&disk);
    assert_eq!((recovery.damaged_records, recovery.truncated_bytes), (1, 0));
    check(&queue, &expected(&[1, 2, 3].into()), "three records");
    let aside = disk.files("/queue/quarantine");
    assert_eq!(aside.values().next().unwrap().len(), ends[3] - ends[0]);
}

#[test]
fn a_group_written_back_in_part_costs_nothing_that_was_acknowledged() {
    let (disk, whole, ends) = log();
    // Records four to six were one group that no sync covered: any block of it may be missing.
    for from in ends[2]..whole.len() {
        for to in [from + 1, from + 40, whole.len()] {
            let mut torn = whole.clone();
            torn[from..to.min(whole.len())].fill(0);
            disk.put(Path::new(LOG), torn);
            let (found, _) = replayed(&disk.kill());
            assert!(
                found.is_superset(&[1, 2].into()),
                "zeros from {from} to {to}: {found:?}"
            );
        }
    }
}

#[test]
fn any_octets_at_all_are_survived() {
    proptest::proptest!(|(octets: Vec<u8>, keep in 0_usize..400)| {
        let (disk, whole, _) = log();
        let mut log = whole[..keep.min(whole.len())].to_vec();
        log.extend(octets);
        disk.put(Path::new(LOG), log.clone());
        disk.put(Path::new("/queue/log/0000000002.segment"), log);
        let (queue, _) = opened(&disk);
        take_all(&queue);
        wait(queue.append(plain(77))).unwrap();
    });
}

#[test]
fn octets_that_look_like_a_record_within_a_content_are_not_taken_for_one() {
    let (disk, whole, ends) = log();
    // A whole record of another queue, as an attacker could prepare it, and one of this queue, as
    // a backup could contain it: neither lies where it was written for.
    let (_, foreign, _) = log();
    let mut content = foreign[ends[0]..ends[1]].to_vec();
    content.extend_from_slice(&whole[ends[0]..ends[1]]);
    let bench = Bench::on(disk.kill());
    let (queue, _) = bench.open();
    wait(queue.append(message(60, &["ann@dest.example"], content.clone()))).unwrap();
    let settled = take_all(&queue).remove(1);
    wait(queue.settle(settled, &[Outcome::Delivered], LATE, None)).unwrap();
    wait(queue.append(plain(61))).unwrap();
    queue.close();
    let disk = bench.disk.kill();
    let path = Path::new("/queue/log/0000000002.segment");
    let mut damaged = disk.files("/queue/log")[path].clone();
    // The header of the record with that content.
    damaged[FILE_HEADER as usize + 9] ^= 1;
    disk.put(path, damaged);
    let (queue, recovery) = opened(&disk);
    assert_eq!(recovery.damaged_records, 1);
    let mut left = expected(&BTreeSet::new());
    left.remove(&2);
    left.insert(61);
    check(&queue, &left, "the message delivered stays so");
}

#[test]
fn b31_zero_length_and_damaged_files_are_set_aside_and_the_others_load() {
    let (disk, whole, _) = log();
    let at = |number: u32| PathBuf::from(format!("/queue/log/{number:010}.segment"));
    disk.put(&at(0), Vec::new());
    disk.put(&at(3), Vec::new());
    disk.put(
        &at(4),
        b"no segment at all, and longer than a header".repeat(3),
    );
    disk.put(Path::new("/queue/log/notes.txt"), b"left alone".to_vec());
    disk.put(
        Path::new("/queue/content/notes.txt"),
        b"left alone".to_vec(),
    );
    disk.put(&at(9), Vec::new());
    let (queue, recovery) = opened(&disk);
    assert!(recovery.damaged_records >= 1, "{recovery:?}");
    assert_eq!(recovery.truncated_bytes, 0);
    check(&queue, &expected(&BTreeSet::new()), "the others load");
    wait(queue.append(plain(70))).unwrap();
    queue.close();
    let files = disk.files("/queue");
    assert!(files.contains_key(Path::new("/queue/log/notes.txt")));
    assert!(files.contains_key(Path::new("/queue/content/notes.txt")));
    let aside: Vec<u8> = disk
        .files("/queue/quarantine")
        .into_values()
        .max_by_key(Vec::len)
        .unwrap();
    assert!(aside.ends_with(b"longer than a header"));
    assert_eq!(files[Path::new(LOG)], whole);
    let (queue, recovery) = opened(&disk);
    assert_eq!(recovery.messages, 5, "{:?}", numbers(&queue));
}

#[test]
fn large_contents_without_a_message_go_and_a_message_without_its_content_is_set_aside() {
    let bench = Bench::new();
    let (queue, _) = bench.open();
    for number in 1..=4 {
        let large = vec![number as u8; 2000 + number as usize];
        wait(queue.append(message(number, &["ann@dest.example"], large))).unwrap();
    }
    queue.close();
    let disk = bench.disk.kill();
    let path = |number| PathBuf::from(format!("/queue/content/{}", id(number)));
    disk.put(&path(9), b"an orphan".to_vec());
    disk.put(&path(2), vec![2; 1000]);
    crate::disk::Disk::remove(&disk, &path(3)).unwrap();
    let mut same_length = vec![4; 2004];
    same_length[77] = 5;
    disk.put(&path(4), same_length);
    let (queue, recovery) = opened(&disk);
    assert_eq!((recovery.messages, recovery.damaged_records), (2, 2));
    assert_eq!(content(&queue, id(1)), vec![1; 2001]);
    // Found when it is read: the caller learns that it will not get better.
    let error = queue.content(id(4)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(
        queue.content(id(3)).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
    let left: BTreeMap<_, _> = disk.files("/queue/content");
    assert_eq!(left.into_keys().collect::<Vec<_>>(), [path(1), path(4)]);
    let aside = disk.files("/queue/quarantine");
    assert!(aside.values().any(|content| *content == vec![2; 1000]));
    assert_eq!(aside.len(), 3);
}

#[test]
fn a_message_that_is_damaged_while_it_waits_is_set_aside_and_the_next_one_goes() {
    let mut bench = Bench::new();
    bench.settings.cache_bytes = 0;
    let (queue, _) = bench.open();
    for number in 1..=3 {
        wait(queue.append(plain(number))).unwrap();
    }
    let path = Path::new(LOG);
    let log = bench.disk.files("/queue/log")[path].clone();
    let needle = b"ann@dest.example";
    let place = log
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    let file = crate::disk::Disk::open(&bench.disk, path).unwrap();
    crate::disk::write_all(&*file, &mut [std::io::IoSlice::new(b"b")], place as u64).unwrap();
    assert_eq!(queue.status().0, 3);
    assert_eq!(numbers(&queue), [2, 3].into());
    assert_eq!(queue.status().0, 2);
    assert_eq!(queue.counters().damaged_records, 1);
    assert_eq!(bench.disk.files("/queue/quarantine").len(), 1);
    // Contents have a checksum of their own.
    let log = bench.disk.files("/queue/log")[path].clone();
    let needle = b"Subject: 2";
    let place = log
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    crate::disk::write_all(&*file, &mut [std::io::IoSlice::new(b"s")], place as u64).unwrap();
    assert_eq!(
        queue.content(id(2)).unwrap_err().kind(),
        std::io::ErrorKind::InvalidData
    );
    assert_eq!(content(&queue, id(3)), text(3));
}
