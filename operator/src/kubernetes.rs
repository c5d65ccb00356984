//! What every controller does in the same way: watch, trigger, apply, write status, tell Events,
//! wait after failures. Knows no kind of ours.

pub mod apply;
pub mod backoff;
pub mod controller;
pub mod events;
pub mod finalizer;
mod packed;
pub mod queue;
pub mod status;
pub mod store;
pub mod triggers;
pub mod watch;
