//! What is counted of transport security.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter};

use super::{Metrics, counter};

/// The instruments.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    dane_unavailable: Gauge<u64>,
    dane: Counter<u64>,
    sts_fetches: Counter<u64>,
    sts_testing: Counter<u64>,
    tls_policies: Counter<u64>,
    tls_reports: Counter<u64>,
}

impl Transport {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            dane_unavailable: meter
                .u64_gauge("relay.dane.unavailable")
                .with_description("1 at the reason why DANE is not used.")
                .build(),
            dane: counter(
                meter,
                "relay.dane.hosts",
                "Hosts whose TLSA records were looked up, by result.",
            ),
            sts_fetches: counter(
                meter,
                "relay.mta_sts.fetches",
                "Fetches of MTA-STS policies, by result.",
            ),
            sts_testing: counter(
                meter,
                "relay.mta_sts.testing",
                "Hosts under a policy in testing, by what the policy would have made of them.",
            ),
            tls_policies: counter(
                meter,
                "relay.outgoing.tls.policies",
                "Attempts to connect to a next server, by TLS policy, its source and the outcome.",
            ),
            tls_reports: counter(
                meter,
                "relay.tls_reports",
                "TLS reports (RFC 8460), by what became of them.",
            ),
        }
    }
}

impl Metrics {
    /// Why DANE is not used: `disabled`, `no_signatures`, `no_answer`; `None` when it is.
    pub(crate) fn dane_unavailable(&self, reason: Option<&'static str>) {
        for each in ["disabled", "no_signatures", "no_answer"] {
            let value = u64::from(reason == Some(each));
            self.transport
                .dane_unavailable
                .record(value, &[KeyValue::new("reason", each)]);
        }
    }

    /// TLSA records of a host were looked up: `none`, `unusable`, `usable` or `failed`.
    pub(crate) fn dane(&self, result: &'static str) {
        self.transport
            .dane
            .add(1, &[KeyValue::new("result", result)]);
    }

    /// A TLS report was `mailed` or `posted`; a domain does not ask for one (`unasked`); a try `failed`;
    /// it was `given_up`; another shard's counts for it came `late`.
    pub(crate) fn tls_report(&self, result: &'static str) {
        self.transport
            .tls_reports
            .add(1, &[KeyValue::new("result", result)]);
    }

    /// A policy was fetched (`ok`), was none (`invalid`), or why it was not fetched.
    pub(crate) fn sts_fetch(&self, result: &'static str) {
        self.transport
            .sts_fetches
            .add(1, &[KeyValue::new("result", result)]);
    }

    /// A policy in testing would have let a host pass (`ok`), or not for its `certificate`, or because
    /// it is `excluded`.
    pub(crate) fn sts_testing(&self, result: &'static str) {
        self.transport
            .sts_testing
            .add(1, &[KeyValue::new("result", result)]);
    }

    /// A host was spoken to under a policy (`encrypted`, `clear`), could not be (`failed`), or was not
    /// tried (`refused`).
    pub(crate) fn tls_policy(
        &self,
        policy: &'static str,
        source: &'static str,
        result: &'static str,
    ) {
        self.transport.tls_policies.add(
            1,
            &[
                KeyValue::new("policy", policy),
                KeyValue::new("source", source),
                KeyValue::new("result", result),
            ],
        );
    }
}
