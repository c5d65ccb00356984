//! The whole program on a real API server that has nothing behind it: no pod ever runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "helpers of tests, and the figures that they show"
)]

mod faults;
mod keys;
mod kills;
mod leader;
mod manifests;
mod objects;
mod scale;
