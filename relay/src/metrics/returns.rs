//! What is counted of bounces, complaints and the tables that they feed.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use super::{Metrics, counter};

/// The instruments.
#[derive(Clone, Debug)]
pub(super) struct Returns {
    bounces: Counter<u64>,
    suppressions: Counter<u64>,
    reports: Counter<u64>,
    tables: Counter<u64>,
}

impl Returns {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            bounces: counter(
                meter,
                "relay.bounces",
                "Failed messages, by what was told to their sender.",
            ),
            suppressions: counter(
                meter,
                "relay.suppressions",
                "Recipients that bounced or complained, by whether the list took them.",
            ),
            reports: counter(
                meter,
                "relay.reports",
                "Reports of other servers, by kind and what came of them.",
            ),
            tables: counter(
                meter,
                "relay.tables",
                "Comparisons of tables with other shards, and changes told to them, by result.",
            ),
        }
    }
}

impl Metrics {
    /// A failure was reported to its sender (`sent`), or why not (`null_sender`, `not_wanted`); or a
    /// delay (`delayed`) or success (`relayed`). A report that came by mail was `passed_on` to the
    /// sender, or `not_passed_on`.
    pub(crate) fn bounce(&self, result: &'static str) {
        self.returns
            .bounces
            .add(1, &[KeyValue::new("result", result)]);
    }

    /// A recipient came on the suppression list (`added`) for a `hard_bounce`, `complaint` or by hand
    /// (`manual`), was there for as long already (`known`), or did not (`failed`).
    pub(crate) fn suppression(&self, cause: &'static str, result: &'static str) {
        self.returns.suppressions.add(
            1,
            &[
                KeyValue::new("cause", cause),
                KeyValue::new("result", result),
            ],
        );
    }

    /// A report came in: about a `delivery` or a `complaint`, or an `unknown` one. It led to a
    /// suppressed recipient (`suppressed`), to nothing (`noted`), or was turned away (`unmatched`,
    /// `refused`).
    pub(crate) fn report(&self, kind: &'static str, result: &'static str) {
        self.returns.reports.add(
            1,
            &[KeyValue::new("kind", kind), KeyValue::new("result", result)],
        );
    }

    /// A table was compared with another shard's: it was the `same`, something was `merged`, or it
    /// `failed`; or changes were `told` or stayed `untold`.
    pub(crate) fn table(&self, table: &'static str, result: &'static str) {
        self.returns.tables.add(
            1,
            &[
                KeyValue::new("table", table),
                KeyValue::new("result", result),
            ],
        );
    }
}
