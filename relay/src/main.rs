//! Outbound mail relay: accepts, queues durably, signs and delivers.

fn main() {}
