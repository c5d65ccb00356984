//! What callers do to the queue, and what the model says of the answers.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use super::super::{id, message};
use super::disk::Trouble;
use super::model::{Message, Settled, Standing, Try};
use super::mood::Mood;
use super::world::{Answer, Wish, World, number_of};
use crate::{
    AppendError, Batch, Cursor, Mark, MessageId, Outcome, Pending, Timestamp, Transfer, Work,
};

const SHARD: u16 = 3;

impl World {
    /// A caller does something.
    pub(super) fn caller(&mut self) {
        let chances = self.mood.callers();
        match self.rng.below(100) {
            choice if choice < chances.append => self.append(),
            choice if choice < chances.take => {
                self.clock += self.rng.below(400);
                self.take();
            }
            choice if choice < chances.settle => {
                if !self.work.is_empty() {
                    let chosen = self.rng.below(self.work.len() as u64) as usize;
                    let work = self.work.swap_remove(chosen);
                    let outcomes: Vec<Outcome> = work
                        .recipients
                        .iter()
                        .map(|_| self.outcome(&work))
                        .collect();
                    let (reported, large) = self.mood.reports(number_of(work.id));
                    let report = self
                        .rng
                        .chance(reported)
                        .then(|| if self.rng.chance(large) { 500 } else { 80 });
                    self.settle(work, &outcomes, report);
                }
            }
            choice if choice < chances.offer => self.offer(),
            choice if choice < chances.change => self.change_marked(),
            choice if choice < chances.hold => self.hold(),
            _ => {
                if !self.flights.is_empty() {
                    let chosen = self.rng.below(self.flights.len() as u64) as usize;
                    if let (Wish::Append(number), _) = &self.flights[chosen] {
                        let number = *number;
                        self.note(|| format!("append of {number} is given up"));
                        self.model.messages.get_mut(&number).unwrap().standing =
                            Standing::Forgotten;
                        drop(self.flights.swap_remove(chosen));
                    }
                }
            }
        }
    }

    fn outcome(&mut self, work: &Work) -> Outcome {
        let (delivered, settled) = self.mood.outcomes(number_of(work.id), &work.destination);
        match self.rng.below(100) {
            choice if choice < delivered => Outcome::Delivered,
            choice if choice < settled => Outcome::Failed,
            _ => Outcome::Deferred,
        }
    }

    pub(super) fn room(&mut self) {
        let used = self.disk.used();
        let capacity = match self.rng.below(10) {
            0 => used + self.rng.below(400),
            _ => Trouble::NONE.capacity,
        };
        self.disk.trouble(|trouble| trouble.capacity = capacity);
    }

    fn new_message(
        &mut self,
        length: u64,
        mark: Option<Mark>,
    ) -> (crate::NewMessage, BTreeMap<u32, String>) {
        self.next += 1;
        let number = self.next;
        let count = 1 + self.rng.below(3) as u32;
        let to: BTreeMap<u32, String> = (0..count)
            .map(|recipient| (recipient, format!("d{}.example", self.rng.below(3))))
            .collect();
        let texts: Vec<String> = to.values().map(|domain| format!("u@{domain}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let content: Vec<u8> = (0..length)
            .map(|place| (place * 7 + number) as u8)
            .collect();
        let mut message = message(number, &texts, content.clone());
        message.envelope.accepted_at = Timestamp(self.clock);
        let first = Try {
            attempts: u32::from(mark.is_some()) * 3,
            due: Timestamp(self.clock),
        };
        let known = Message::new(content, &to, first, mark);
        self.model.messages.insert(number, known);
        (message, to)
    }

    fn length(&mut self) -> u64 {
        // Some go to files of their own.
        if self.rng.chance(self.mood.large()) {
            301 + self.rng.below(300)
        } else {
            self.rng.below(250)
        }
    }

    fn append(&mut self) {
        let length = self.length();
        let (message, _) = self.new_message(length, None);
        let number = self.next;
        self.note(|| format!("append {number}"));
        let answer = self.queue().append(message);
        self.flights.push((Wish::Append(number), Box::pin(answer)));
    }

    fn hold(&mut self) {
        let length = self.length();
        let mark = Mark::HeldFor(SHARD);
        let (message, to) = self.new_message(length, Some(mark));
        let number = self.next;
        self.note(|| format!("hold {number}"));
        let due = Timestamp(self.clock);
        let pending = to.keys().map(|recipient| Pending {
            recipient: *recipient,
            attempts: 3,
            due,
        });
        let transfer = Transfer {
            id: message.id,
            envelope: message.envelope,
            pending: pending.collect(),
            delay_told: false,
        };
        let answer = self.queue().hold(SHARD, transfer, message.content);
        self.flights.push((Wish::Append(number), Box::pin(answer)));
    }

    /// Takes work and looks whether it is the work that is there.
    pub(super) fn take(&mut self) -> bool {
        let Some(work) = self.queue().take(Timestamp(self.clock), &mut |_| true) else {
            return false;
        };
        let number = number_of(work.id);
        self.note(|| {
            format!(
                "take {number} for {} of {:?}",
                work.destination, work.recipients
            )
        });
        let wrong = match self.model.messages.get_mut(&number) {
            None => Some("which has ended"),
            Some(message) if message.standing == Standing::Refused => Some("which was refused"),
            Some(message) if message.mark.now().is_some() => Some("which is another shard's"),
            Some(message) => {
                let unit = message.units.get(&*work.destination);
                let same = unit.is_some_and(|unit| unit.open() == work.recipients);
                if message.standing == Standing::Forgotten {
                    message.standing = Standing::Acknowledged;
                }
                if same {
                    None
                } else {
                    Some("whose open recipients are others")
                }
            }
        };
        if let Some(wrong) = wrong {
            self.fault
                .get_or_insert(format!("given message {number}, {wrong}: {work:?}"));
        }
        self.work.push(work);
        true
    }

    pub(super) fn settle(&mut self, work: Work, outcomes: &[Outcome], report: Option<u64>) {
        let closed = |outcome: &Outcome| *outcome != Outcome::Deferred;
        let named = work.recipients.iter().zip(outcomes);
        let closed: Vec<u32> = named
            .filter(|(_, outcome)| closed(outcome))
            .map(|(one, _)| *one)
            .collect();
        let report = report.filter(|_| !closed.is_empty());
        let report = report.map(|length| self.new_message(length, None).0);
        self.turn += 1;
        let settled = Settled {
            number: number_of(work.id),
            destination: work.destination.to_string(),
            turn: self.turn,
            closed,
            report: report.as_ref().map(|_| self.next),
        };
        let tried = Try {
            attempts: work.attempts + 1,
            due: Timestamp(self.clock + 1 + self.rng.below(300)),
        };
        self.note(|| format!("{settled:?} {tried:?}"));
        self.model.settle(&settled, tried);
        let is_left = self
            .model
            .messages
            .get(&settled.number)
            .is_some_and(|message| message.units.values().any(|unit| !unit.open().is_empty()));
        let sticks = self.mood == Mood::Reporting && is_left && report.is_some();
        let before = self.waiting_tasks();
        let answer = self.queue().settle(work, outcomes, tried.due, report);
        self.flights.push((Wish::Settle(settled), Box::pin(answer)));
        if sticks {
            self.poll();
            self.stick(before);
        }
    }

    fn offer(&mut self) {
        let batch = Batch {
            messages: 3,
            bytes: 1 << 20,
        };
        let before = self.queue().marked();
        let answer = self.queue().offer(SHARD, &mut Cursor::default(), batch);
        self.turn += 1;
        let mut tied = Vec::new();
        let mut marked = self.queue().marked();
        marked.sort_unstable();
        for (id, mark) in marked {
            let number = number_of(id);
            if !before.contains(&(id, mark))
                && let Some(message) = self.model.messages.get_mut(&number)
            {
                message.mark.set(self.turn, Some(mark));
                if message.standing == Standing::Forgotten {
                    message.standing = Standing::Acknowledged;
                }
                tied.push(number);
            }
        }
        self.note(|| format!("offer {tied:?}"));
        let answer = async move { answer.await.map(drop) };
        self.flights
            .push((Wish::Mark(tied, self.turn), Box::pin(answer)));
    }

    /// Some messages with a mark go or come.
    fn change_marked(&mut self) {
        let mut marked = self.queue().marked();
        marked.sort_unstable();
        marked.retain(|_| self.rng.chance(60));
        let away = self.rng.chance(50);
        let offered: Vec<u64> = of(&marked, Mark::OfferedTo(SHARD));
        let held: Vec<u64> = of(&marked, Mark::HeldFor(SHARD));
        if away {
            self.part(&offered, true);
            self.part(&held, false);
        } else {
            self.untie(&offered, true);
            self.untie(&held, false);
        }
    }

    fn part(&mut self, numbers: &[u64], offered: bool) {
        let ids: Vec<MessageId> = numbers.iter().map(|number| id(*number)).collect();
        self.turn += 1;
        self.note(|| format!("part with {numbers:?}"));
        for number in numbers {
            self.model.messages.get_mut(number).unwrap().parted = Some(self.turn);
        }
        let queue = self.queue();
        let wish = Wish::Part(numbers.to_vec());
        let answer: Answer = if offered {
            let answer = queue.give_away(SHARD, &ids);
            Box::pin(async move { answer.await.map(drop) })
        } else {
            let answer = queue.forget(SHARD, &ids);
            Box::pin(async move { answer.await.map(drop) })
        };
        self.flights.push((wish, answer));
    }

    pub(super) fn untie(&mut self, numbers: &[u64], offered: bool) {
        let ids: Vec<MessageId> = numbers.iter().map(|number| id(*number)).collect();
        self.turn += 1;
        self.note(|| format!("deliver here {numbers:?}"));
        for number in numbers {
            self.model
                .messages
                .get_mut(number)
                .unwrap()
                .mark
                .set(self.turn, None);
        }
        let queue = self.queue();
        let wish = Wish::Mark(numbers.to_vec(), self.turn);
        let answer: Answer = if offered {
            let answer = queue.take_back(SHARD, &ids);
            Box::pin(async move { answer.await.map(drop) })
        } else {
            let answer = queue.release(SHARD, &ids);
            Box::pin(async move { answer.await.map(drop) })
        };
        self.flights.push((wish, answer));
    }

    /// Hears all answers that are there.
    pub(super) fn poll(&mut self) {
        let mut waiting = Vec::new();
        for (wish, mut answer) in std::mem::take(&mut self.flights) {
            match answer
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Pending => waiting.push((wish, answer)),
                Poll::Ready(result) => self.answered(&wish, &result),
            }
        }
        self.flights.append(&mut waiting);
    }

    fn answered(&mut self, wish: &Wish, result: &Result<(), AppendError>) {
        self.note(|| format!("{wish:?}: {result:?}"));
        match (result, wish) {
            (Ok(()), Wish::Append(number)) => {
                self.figures.acknowledged += 1;
                self.model.acknowledge(*number);
            }
            (Ok(()), Wish::Settle(settled)) => {
                self.figures.settled += 1;
                self.model.settle_is_durable(settled);
            }
            (Ok(()), Wish::Mark(numbers, turn)) => {
                for number in numbers {
                    self.model.mark_is_durable(*number, *turn);
                }
            }
            (Ok(()), Wish::Part(numbers)) => {
                for number in numbers {
                    self.model.end(*number);
                }
            }
            (Err(AppendError::Full), Wish::Settle(settled)) => self.model.unsettle(settled),
            (Err(_), Wish::Append(number)) => {
                if let Some(message) = self.model.messages.get_mut(number) {
                    message.standing = Standing::Refused;
                }
            }
            (Err(_), _) => {}
        }
        if let Err(AppendError::Failed(reason)) = result
            && self.disk.injected() == 0
            && !self.disk.is_dark()
        {
            self.fault
                .get_or_insert(format!("{wish:?} failed without cause: {reason}"));
        }
    }
}

fn of(marked: &[(MessageId, Mark)], mark: Mark) -> Vec<u64> {
    let same = marked.iter().filter(|(_, one)| *one == mark);
    same.map(|(id, _)| number_of(*id)).collect()
}
