//! The queue at work on one thread: callers, the writer and the threads for files take turns as a
//! seed says, and one may come in between two operations of another.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{by_domain, id, settings};
use super::disk::{SeededDisk, Trouble, interrupt_with};
use super::model::{Found, Model, POSTPONED, Settled, Turn};
use super::mood::Mood;
use super::rng::Rng;
use crate::inbox::Task;
use crate::shared::Tuning;
use crate::writer::Writer;
use crate::{AppendError, Mark, MessageId, Outcome, Queue, Recovery, Timestamp, Work};

thread_local! {
    static NOW: RefCell<Instant> = RefCell::new(Instant::now());
}

fn now() -> Instant {
    NOW.with(|now| *now.borrow())
}

fn pass(milliseconds: u64) {
    NOW.with(|now| *now.borrow_mut() += Duration::from_millis(milliseconds));
}

/// What a caller waits for.
#[derive(Debug)]
pub(super) enum Wish {
    Append(u64),
    Settle(Settled),
    Mark(Vec<u64>, Turn),
    Part(Vec<u64>),
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<(), AppendError>>>>;

/// Figures of one seed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) cuts: u64,
    pub(super) kills: u64,
    pub(super) starts_cut_short: u64,
    pub(super) faults: u64,
    pub(super) acknowledged: u64,
    pub(super) settled: u64,
    pub(super) moved: u64,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) mood: Mood,
    pub(super) disk: SeededDisk,
    tuning: Tuning,
    queue: Option<Queue>,
    tasks: Vec<Task>,
    /// A task that takes longer than the process lives.
    stuck: Option<Task>,
    pub(super) flights: Vec<(Wish, Answer)>,
    pub(super) work: Vec<Work>,
    pub(super) model: Model,
    pub(super) figures: Figures,
    pub(super) next: u64,
    pub(super) turn: Turn,
    pub(super) clock: u64,
    pub(super) fault: Option<String>,
    /// What the last start found.
    found: Recovery,
    trace: bool,
}

/// Operations of one turn that others may come between; a turn of tiny writes has many.
const INTERRUPTIONS: u32 = 40;

/// What a seed leads to: figures, and a number for the way it took.
pub(super) fn run(seed: u64, trace: bool) -> Result<(Figures, u64), String> {
    let mut rng = Rng::new(seed);
    let disk = SeededDisk::new(rng.split(), trace);
    let tuning = Tuning {
        segment_bytes: [700, 3000, 8000][rng.below(3) as usize],
        inline_bytes: 300,
        sync_delay: Duration::from_millis(50),
        clock: now,
    };
    let world = Rc::new(RefCell::new(World {
        rng,
        mood: Mood::Mixed,
        disk: disk.clone(),
        tuning,
        queue: None,
        tasks: Vec::new(),
        stuck: None,
        flights: Vec::new(),
        work: Vec::new(),
        model: Model::default(),
        figures: Figures::default(),
        next: 0,
        turn: 0,
        clock: 10_000,
        fault: None,
        found: Recovery::default(),
        trace,
    }));
    let result = sessions(&world);
    interrupt_with(None);
    result?;
    let mut world = world.borrow_mut();
    world.figures.faults = disk.injected();
    Ok((world.figures, disk.way()))
}

fn sessions(world: &Rc<RefCell<World>>) -> Result<(), String> {
    let count = 1 + world.borrow_mut().rng.below(4);
    for _ in 0..count {
        let faults = world.borrow().disk.injected();
        let mut writer = open(world, true)?;
        let mut this = world.borrow_mut();
        // What a disk refused to set aside is found again.
        let twice = this.rng.chance(15) && this.disk.injected() == faults;
        drop(this);
        if twice {
            drop(writer);
            writer = again(world)?;
        }
        session(world, writer)?;
    }
    let mut writer = open(world, false)?;
    finish(world, &mut writer)
}

/// Starts the queue, again and again if the start itself is cut short.
fn open(world: &Rc<RefCell<World>>, troubled: bool) -> Result<Writer, String> {
    loop {
        let mut this = world.borrow_mut();
        let cut = (troubled && this.rng.chance(25)).then(|| 1 + this.rng.below(40));
        this.disk.cut_in(cut);
        let faulty = troubled && this.rng.chance(15);
        this.disk.trouble(|trouble| {
            *trouble = Trouble::NONE;
            trouble.one_in = if faulty { 30 } else { 0 };
        });
        this.mood = Mood::Mixed;
        this.clock += 1;
        let (disk, tuning) = (Arc::new(this.disk.clone()), this.tuning);
        let settings = settings(std::path::Path::new("/queue"));
        let opened = Queue::prepare(
            disk,
            settings,
            tuning,
            Timestamp(this.clock),
            Box::new(by_domain),
        );
        match opened {
            Ok((queue, writer, _, recovery)) => {
                this.note(|| format!("starts: {recovery:?}"));
                this.disk.cut_in(None);
                if this.disk.is_dark() {
                    return Err("a start came through without power".into());
                }
                this.disk.trouble(|trouble| trouble.one_in = 0);
                this.recovered(&queue)?;
                this.found = recovery;
                this.queue = Some(queue);
                return Ok(writer);
            }
            Err(error) => {
                this.note(|| format!("does not start: {error}"));
                this.figures.starts_cut_short += 1;
                if cut.is_none() && !faulty {
                    return Err(format!("the start is refused without cause: {error}"));
                }
                this.end_process();
            }
        }
    }
}

/// The process is killed right after its start, twice. The last one has nothing to mend: what the others found
/// was set right for good. The first may bring to light a torn tail that lay before an empty segment.
fn again(world: &Rc<RefCell<World>>) -> Result<Writer, String> {
    world.borrow_mut().end_by(false);
    drop(open(world, false)?);
    world.borrow_mut().end_by(false);
    let writer = open(world, false)?;
    let this = world.borrow();
    match &this.found {
        found if found.truncated_bytes + found.damaged_records == 0 => Ok(writer),
        found => Err(format!("a start after starts finds {found:?}")),
    }
}

fn session(world: &Rc<RefCell<World>>, mut writer: Writer) -> Result<(), String> {
    let steps = {
        let mut this = world.borrow_mut();
        let this = &mut *this;
        this.mood = Mood::choose(&mut this.rng);
        let cut = this.rng.chance(this.mood.cut());
        let cut = cut.then(|| 1 + this.rng.below(150 * this.mood.length()));
        this.disk.cut_in(cut);
        let one_in = if this.rng.chance(25) {
            20 + this.rng.below(200)
        } else {
            0
        };
        let short = if this.rng.chance(10) {
            1 + this.rng.below(90) as usize
        } else {
            usize::MAX
        };
        this.disk.trouble(|trouble| {
            trouble.one_in = one_in;
            trouble.short_writes = short;
        });
        10 + this.rng.below(120 * this.mood.length())
    };
    for _ in 0..steps {
        step(world, &mut writer);
        let mut this = world.borrow_mut();
        if let Some(fault) = this.fault.take() {
            return Err(fault);
        }
        let failed = this.queue.as_ref().is_some_and(Queue::failed);
        if this.disk.is_dark() || (failed && this.rng.chance(20)) {
            break;
        }
    }
    let rests = {
        let mut this = world.borrow_mut();
        let able = !this.disk.is_dark() && !this.queue().failed();
        able && this.mood == Mood::Draining && this.rng.chance(80)
    };
    if rests {
        rest(world, &mut writer);
        let mut this = world.borrow_mut();
        this.end_by(true);
        drop(writer);
        return this.fault.take().map_or(Ok(()), Err);
    }
    let close = world.borrow_mut().rng.chance(20);
    if close {
        calm(world, &mut writer);
        settle_down(world, &mut writer)?;
        world.borrow().note(|| "closes".into());
    }
    let mut this = world.borrow_mut();
    this.end_process();
    // A killed process tidies nothing up, so only now.
    drop(writer);
    this.fault.take().map_or(Ok(()), Err)
}

/// Nothing comes any more, and what is dead goes, for a while.
fn rest(world: &Rc<RefCell<World>>, writer: &mut Writer) {
    let turns = world.borrow_mut().rng.below(40);
    for _ in 0..turns {
        turn(world, writer);
        while run_task(world) {}
        pass(30);
    }
}

/// No more trouble.
fn calm(world: &Rc<RefCell<World>>, writer: &mut Writer) {
    let disk = {
        let mut this = world.borrow_mut();
        let stuck = this.stuck.take();
        this.tasks.extend(stuck);
        this.mood = Mood::Mixed;
        this.disk.clone()
    };
    disk.cut_in(None);
    disk.trouble(|trouble| *trouble = Trouble::NONE);
    pass(2000);
    turn(world, writer);
}

/// Whoever waits gets an answer.
fn settle_down(world: &Rc<RefCell<World>>, writer: &mut Writer) -> Result<(), String> {
    for _ in 0..60 {
        while run_task(world) {}
        pass(100);
        turn(world, writer);
        let this = world.borrow();
        if let Some(fault) = &this.fault {
            return Err(fault.clone());
        }
        if this.flights.is_empty() && this.tasks.is_empty() {
            return Ok(());
        }
    }
    let this = world.borrow();
    if this.flights.is_empty() {
        return Ok(());
    }
    let waiting: Vec<&Wish> = this.flights.iter().map(|(wish, _)| wish).collect();
    Err(format!("no answer: {waiting:?}"))
}

/// Delivers everything; then nothing may be left.
fn finish(world: &Rc<RefCell<World>>, writer: &mut Writer) -> Result<(), String> {
    {
        let mut this = world.borrow_mut();
        for (id, mark) in this.queue().marked() {
            let number = number_of(id);
            match mark {
                Mark::OfferedTo(_) => this.untie(&[number], true),
                Mark::HeldFor(_) => this.untie(&[number], false),
            }
        }
    }
    settle_down(world, writer)?;
    loop {
        let mut this = world.borrow_mut();
        this.clock = POSTPONED * 4;
        if !this.take() {
            break;
        }
        let work = this.work.pop().unwrap();
        this.settle(work, &[const { Outcome::Delivered }; 8], None);
        let fault = this.fault.take();
        drop(this);
        if let Some(fault) = fault {
            return Err(fault);
        }
        turn(world, writer);
    }
    settle_down(world, writer)?;
    if let Some(left) = world.borrow().model.messages.keys().next() {
        return Err(format!("message {left} was never given to anybody"));
    }
    for _ in 0..200 {
        while run_task(world) {}
        pass(100);
        turn(world, writer);
    }
    let this = world.borrow();
    let (log, content) = (
        this.disk.names("/queue/log"),
        this.disk.names("/queue/content"),
    );
    if log.len() > 1 || !content.is_empty() {
        return Err(format!("dead files stay: {log:?} {content:?}"));
    }
    Ok(())
}

fn step(world: &Rc<RefCell<World>>, writer: &mut Writer) {
    let chances = world.borrow().mood.steps();
    let choice = world.borrow_mut().rng.below(100);
    match choice {
        choice if choice < chances.caller => {
            let mut this = world.borrow_mut();
            this.caller();
            this.poll();
        }
        choice if choice < chances.task => drop(run_task(world)),
        choice if choice < chances.pass => {
            let mut this = world.borrow_mut();
            pass([1, 20, 60, 250, 1100][this.rng.below(5) as usize]);
            this.room();
        }
        _ => {
            let interrupted = world.borrow_mut().rng.chance(60);
            if interrupted {
                let (other, mut left) = (world.clone(), INTERRUPTIONS);
                interrupt_with(Some(Box::new(move || {
                    if left > 0 {
                        left -= 1;
                        come_between(&other);
                    }
                })));
            }
            turn(world, writer);
            interrupt_with(None);
        }
    }
}

/// The writer's turn.
fn turn(world: &Rc<RefCell<World>>, writer: &mut Writer) {
    let batch = {
        let mut this = world.borrow_mut();
        let limit = 1 + this.rng.below(12) as usize;
        let limit = if this.rng.chance(50) { 1000 } else { limit };
        this.queue().shared.inbox.take(limit, Some(Instant::now()))
    };
    writer.turn(batch);
    world.borrow_mut().poll();
}

/// What others do while one waits for the disk.
fn come_between(world: &Rc<RefCell<World>>) {
    let choice = world.borrow_mut().rng.below(100);
    match choice {
        0..10 => {
            let mut this = world.borrow_mut();
            this.caller();
            this.poll();
        }
        10..18 => drop(run_task(world)),
        _ => {}
    }
}

/// Runs one of the tasks that wait for the threads for files.
fn run_task(world: &Rc<RefCell<World>>) -> bool {
    let task = {
        let mut this = world.borrow_mut();
        this.gather();
        // Two threads: one of the two oldest.
        let count = this.tasks.len().min(2) as u64;
        if count == 0 {
            return false;
        }
        let chosen = this.rng.below(count) as usize;
        this.tasks.remove(chosen)
    };
    task();
    world.borrow_mut().poll();
    true
}

pub(super) fn number_of(id: MessageId) -> u64 {
    id.timestamp().0 - 1_000_000
}

impl World {
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", text());
        }
    }

    /// Takes over what waits for the threads for files.
    fn gather(&mut self) {
        while let Some(task) = self.queue().shared.pool.task() {
            self.tasks.push(task);
        }
    }

    /// The newest task, if there is one since there were so many, will not come to its end.
    pub(super) fn stick(&mut self, before: usize) {
        self.gather();
        if self.stuck.is_none() && self.tasks.len() > before {
            self.stuck = self.tasks.pop();
        }
    }

    pub(super) fn waiting_tasks(&mut self) -> usize {
        self.gather();
        self.tasks.len()
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.clone().unwrap()
    }

    /// The process is killed, or the power goes.
    fn end_process(&mut self) {
        let dark = self.disk.is_dark() || self.rng.chance(40);
        self.end_by(dark);
    }

    fn end_by(&mut self, dark: bool) {
        let next = if dark {
            self.figures.cuts += 1;
            self.disk.powered_up()
        } else {
            self.figures.kills += 1;
            self.disk.killed()
        };
        self.note(|| {
            if dark {
                "power cut".into()
            } else {
                "killed".into()
            }
        });
        if let Some(queue) = self.queue.take() {
            self.figures.moved += queue.counters().moved;
        }
        // Everything of the old process goes while the disk no longer listens to it.
        self.flights.clear();
        self.work.clear();
        self.tasks.clear();
        self.stuck = None;
        self.disk = next;
    }

    fn recovered(&mut self, queue: &Queue) -> Result<(), String> {
        let state = queue.shared.state.lock();
        let found: Found = state
            .index
            .iter()
            .map(|(id, _)| (number_of(id), state.index.open(id)))
            .collect();
        drop(state);
        self.model.recovered(&found)?;
        for (number, message) in &self.model.messages {
            let content = queue.content(id(*number));
            if content.as_ref().map(|pieces| pieces.concat()).ok().as_ref()
                != Some(&message.content)
            {
                return Err(format!(
                    "the content of message {number} is another: {content:?}"
                ));
            }
        }
        Ok(())
    }
}
