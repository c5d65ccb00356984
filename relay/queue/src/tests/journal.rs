//! The journal beside the queue.

use std::path::Path;

use super::memory::MemoryDisk;
use super::*;
use crate::journal::{Journal, Recovered};

const DIRECTORY: &str = "/queue";
const FILE: &str = "/queue/list.log";

fn open(disk: &MemoryDisk) -> (Journal, Recovered) {
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(disk.clone());
    disk.create_directory(Path::new(DIRECTORY)).unwrap();
    Journal::open_on(disk, Path::new(DIRECTORY), "list.log").unwrap()
}

fn records(disk: &MemoryDisk) -> Vec<String> {
    let (_, recovered) = open(disk);
    let text = |record| String::from_utf8(record).unwrap();
    recovered.records.into_iter().map(text).collect()
}

fn three() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut journal, recovered) = open(&disk);
    assert_eq!(recovered, Recovered::default());
    for record in ["one", "two", "three"] {
        journal.append(record.as_bytes()).unwrap();
    }
    disk
}

#[test]
fn a_record_that_was_appended_survives_a_power_cut() {
    let disk = three();
    assert_eq!(records(&disk.power_cut()), ["one", "two", "three"]);
}

#[test]
fn records_that_were_appended_together_survive_a_power_cut_in_order() {
    let disk = three();
    let (mut journal, _) = open(&disk);
    let more: [&[u8]; 2] = [b"four", b"five"];
    journal.append_all(more.into_iter()).unwrap();
    journal.append_all(std::iter::empty()).unwrap();
    let all = ["one", "two", "three", "four", "five"];
    assert_eq!(records(&disk.power_cut()), all);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_ends() {
    let disk = three();
    let whole = disk.files(DIRECTORY)[Path::new(FILE)].clone();
    for end in 0..whole.len() {
        let cut = disk.kill();
        cut.put(Path::new(FILE), whole[..end].to_vec());
        let lines = whole[..end].split(|octet| *octet == b'\n').count() - 1;
        let (mut journal, recovered) = open(&cut);
        assert_eq!(recovered.records.len(), lines, "cut at {end}");
        assert_eq!(recovered.damaged_records, 0);
        journal.append(b"next").unwrap();
        assert_eq!(records(&cut.power_cut()).len(), lines + 1);
    }
}

#[test]
fn a_damaged_record_is_set_aside_and_the_others_are_read() {
    let disk = three();
    let whole = disk.files(DIRECTORY)[Path::new(FILE)].clone();
    for place in 0..whole.len() {
        let damaged = disk.kill();
        let mut octets = whole.clone();
        octets[place] ^= 0x04;
        damaged.put(Path::new(FILE), octets.clone());
        let (_, recovered) = open(&damaged);
        assert!(recovered.records.len() < 3, "{place}");
        let aside = damaged.files(DIRECTORY);
        let kept = aside.iter().any(|(path, content)| {
            path.to_string_lossy().ends_with(".damaged") && *content == octets
        });
        assert!(kept || recovered.damaged_records == 0, "{place}");
        // The next start finds nothing wrong any more.
        assert_eq!(open(&damaged.power_cut()).1.damaged_records, 0);
    }
}

#[test]
fn a_rewrite_leaves_the_old_records_or_the_new() {
    let disk = three();
    let (mut journal, _) = open(&disk);
    journal.rewrite([&b"four"[..]].into_iter()).unwrap();
    journal.append(b"five").unwrap();
    assert_eq!(records(&disk.power_cut()), ["four", "five"]);
}

#[test]
fn a_full_disk_refuses_a_record_and_takes_the_next_when_there_is_room() {
    let disk = three();
    let (mut journal, _) = open(&disk);
    let used: usize = disk.files(DIRECTORY).values().map(Vec::len).sum();
    disk.faults(|faults| faults.capacity = used as u64 + 5);
    assert!(journal.append(b"four").is_err());
    disk.faults(|faults| faults.capacity = u64::MAX);
    journal.append(b"five").unwrap();
    assert_eq!(records(&disk.power_cut()), ["one", "two", "three", "five"]);
    assert!(journal.append(b"a\nb").is_err());
}
