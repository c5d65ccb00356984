//! The queue against a model that is a map, with kills and power cuts at any point.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Outcome;

#[derive(Clone, Debug)]
enum Step {
    /// Recipients as destination numbers, and the length of the content.
    Append(Vec<u8>, u16),
    /// Take for any destination but one, and keep it.
    Take(u8),
    /// Settle the oldest taken work: outcomes, retry after, with a report.
    Settle(Vec<u8>, u16, bool),
    Close,
    Kill,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec(0_u8..4, 1..5), prop_oneof![0_u16..200, 1000_u16..1300])
            .prop_map(|(to, length)| Step::Append(to, length)),
        6 => (0_u8..6).prop_map(Step::Take),
        6 => (prop::collection::vec(0_u8..3, 0..5), any::<u16>(), prop::bool::weighted(0.2))
            .prop_map(|(outcomes, after, report)| Step::Settle(outcomes, after, report)),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
    ]
}

/// Open recipients by number, with attempts and due time.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    content: Vec<u8>,
    destinations: Vec<String>,
    open: BTreeMap<u32, (u32, Timestamp)>,
}

struct Run {
    bench: Bench,
    queue: Queue,
    taken: Vec<Work>,
    model: BTreeMap<u64, Known>,
    next: u64,
}

impl Run {
    fn new() -> Self {
        let bench = Bench::new();
        let (queue, _) = bench.open();
        Self {
            bench,
            queue,
            taken: Vec::new(),
            model: BTreeMap::new(),
            next: 0,
        }
    }

    fn new_message(&mut self, to: &[u8], length: u16) -> (NewMessage, Known) {
        self.next += 1;
        let number = self.next;
        let content: Vec<u8> = (0..length)
            .map(|place| (place as u8).wrapping_mul(number as u8))
            .collect();
        let destinations: Vec<String> = to.iter().map(|to| format!("d{to}.example")).collect();
        let texts: Vec<String> = destinations
            .iter()
            .map(|domain| format!("u@{domain}"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let open = (0..to.len() as u32).map(|one| (one, (0, Timestamp(1_000 + number))));
        let known = Known {
            content: content.clone(),
            destinations,
            open: open.collect(),
        };
        (message(number, &texts, content), known)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(to, length) => {
                let (message, known) = self.new_message(&to, length);
                wait(self.queue.append(message)).unwrap();
                self.model.insert(self.next, known);
            }
            Step::Take(refused) => {
                let refused = format!("d{refused}.example");
                let mut asked = Vec::new();
                let work = self.queue.take(LATE, &mut |destination| {
                    assert!(!asked.contains(destination), "asked twice");
                    asked.push(destination.clone());
                    **destination != *refused
                });
                self.queue.readmit(&Destination::from(&*refused));
                if let Some(work) = work {
                    self.check(&work);
                    assert_ne!(*work.destination, *refused);
                    self.taken.push(work);
                }
            }
            Step::Settle(outcomes, after, report) => self.settle(&outcomes, after, report),
            Step::Close => {
                self.queue.close();
                self.reopen(self.bench.disk.kill());
            }
            Step::Kill => self.reopen(self.bench.disk.kill()),
            Step::PowerCut => self.reopen(self.bench.disk.power_cut()),
        }
    }

    fn check(&self, work: &Work) {
        let number = work.id.timestamp().0 - 1_000_000;
        let known = &self.model[&number];
        for recipient in &work.recipients {
            assert_eq!(known.destinations[*recipient as usize], *work.destination);
            assert_eq!(known.open[recipient].0, work.attempts);
        }
        let all = known
            .open
            .keys()
            .filter(|one| known.destinations[**one as usize] == *work.destination);
        assert_eq!(all.count(), work.recipients.len());
        assert_eq!(content(&self.queue, work.id), known.content);
    }

    fn settle(&mut self, outcomes: &[u8], after: u16, report: bool) {
        if self.taken.is_empty() {
            return;
        }
        let work = self.taken.remove(0);
        let retry = Timestamp(u64::from(after));
        let number = work.id.timestamp().0 - 1_000_000;
        let known = self.model.get_mut(&number).unwrap();
        let outcomes: Vec<Outcome> = outcomes
            .iter()
            .map(|code| {
                [Outcome::Delivered, Outcome::Failed, Outcome::Deferred][*code as usize].clone()
            })
            .collect();
        for (place, recipient) in work.recipients.iter().enumerate() {
            match outcomes.get(place) {
                Some(Outcome::Delivered | Outcome::Failed) => drop(known.open.remove(recipient)),
                _ => drop(known.open.insert(*recipient, (work.attempts + 1, retry))),
            }
        }
        if known.open.is_empty() {
            self.model.remove(&number);
        }
        let report = report.then(|| self.new_message(&[9], 100));
        let (report, known) = report.unzip();
        wait(self.queue.settle(work, &outcomes, retry, report)).unwrap();
        if let Some(known) = known {
            self.model.insert(self.next, known);
        }
    }

    fn reopen(&mut self, disk: MemoryDisk) {
        self.taken.clear();
        self.bench = Bench::on(disk);
        let (queue, recovery) = self.bench.open();
        assert_eq!((recovery.damaged_records, recovery.truncated_bytes), (0, 0));
        self.queue = queue;
        assert_eq!(self.queue.status().0, self.model.len() as u64);
    }

    /// Takes everything and compares it with the model.
    fn finish(mut self) {
        self.reopen(self.bench.disk.power_cut());
        let mut found: BTreeMap<u64, BTreeMap<u32, u32>> = BTreeMap::new();
        let mut due = BTreeMap::<Destination, Timestamp>::new();
        while let Some(next) = self.queue.next_due() {
            let work = self.queue.take(next, &mut |_| true).unwrap();
            assert!(
                due.insert(work.destination.clone(), next)
                    .is_none_or(|before| before <= next)
            );
            self.check(&work);
            let number = work.id.timestamp().0 - 1_000_000;
            let open = found.entry(number).or_default();
            open.extend(
                work.recipients
                    .iter()
                    .map(|recipient| (*recipient, work.attempts)),
            );
        }
        let expected: BTreeMap<u64, BTreeMap<u32, u32>> = self
            .model
            .iter()
            .map(|(number, known)| {
                (
                    *number,
                    known
                        .open
                        .iter()
                        .map(|(one, (attempts, _))| (*one, *attempts))
                        .collect(),
                )
            })
            .collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_map_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        // Settles are waited for: a long delay would only cost time.
        run.bench.tuning.sync_delay = std::time::Duration::from_millis(1);
        run.reopen(MemoryDisk::default());
        for step in steps {
            run.step(step);
        }
        run.finish();
    }
}
