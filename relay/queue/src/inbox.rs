//! The channel to a thread of the queue's own: many senders, and a receiver that takes all that
//! waits. Sending never waits; the senders are bounded elsewhere (permits, places, taken work).

use std::collections::VecDeque;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

/// What a receiver got.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) jobs: Vec<T>,
    /// Nothing more will come.
    pub(crate) ended: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }
}

impl<T> Inbox<T> {
    /// Sends; gives the job back if the inbox is closed.
    pub(crate) fn push(&self, job: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(job);
        }
        state.waiting.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes what waits, at most `limit`; waits for something until the deadline, or for ever.
    pub(crate) fn take(&self, limit: usize, deadline: Option<Instant>) -> Batch<T> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            if let Some(deadline) = deadline {
                if self.arrived.wait_until(&mut state, deadline).timed_out() {
                    break;
                }
            } else {
                self.arrived.wait(&mut state);
            }
        }
        let count = state.waiting.len().min(limit);
        let jobs = state.waiting.drain(..count).collect();
        Batch {
            jobs,
            ended: state.closed && state.waiting.is_empty(),
        }
    }

    /// Lets nothing more in.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
    }
}

pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// Threads for file work beside the log: large contents, removals.
#[derive(Default)]
pub(crate) struct Pool {
    inbox: std::sync::Arc<Inbox<Task>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the threads.
    pub(crate) fn start(&self, count: usize) -> std::io::Result<()> {
        for _ in 0..count {
            let inbox = self.inbox.clone();
            let thread = std::thread::Builder::new()
                .name("queue-files".into())
                .spawn(move || {
                    loop {
                        let batch = inbox.take(1, None);
                        batch.jobs.into_iter().for_each(|task| task());
                        if batch.ended {
                            break;
                        }
                    }
                })?;
            self.threads.lock().push(thread);
        }
        Ok(())
    }

    /// Runs a task on one of the threads; false, and the task dropped, when the pool is closed.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) -> bool {
        self.inbox.push(Box::new(task)).is_ok()
    }

    /// The next task, for a test that does the work of the threads itself.
    #[cfg(test)]
    pub(crate) fn task(&self) -> Option<Task> {
        self.inbox.take(1, Some(Instant::now())).jobs.pop()
    }

    /// Runs what waits and ends the threads.
    pub(crate) fn close(&self) {
        self.inbox.close();
        for thread in self.threads.lock().drain(..) {
            // A task that panicked ended its thread; its waiters saw their channel close.
            let _ = thread.join();
        }
    }
}
