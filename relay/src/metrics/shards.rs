//! What is counted of the traffic between shards.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use super::{Metrics, counter};

pub(super) fn handed_over(meter: &Meter) -> Counter<u64> {
    counter(
        meter,
        "relay.hand_over.messages",
        "Messages that went from one shard to another, by direction.",
    )
}

impl Metrics {
    /// Messages were handed over to another shard (`given`), or taken over from one (`taken`).
    pub(crate) fn handed_over(&self, direction: &'static str, messages: usize) {
        let direction = KeyValue::new("direction", direction);
        self.handed_over.add(messages as u64, &[direction]);
    }
}
