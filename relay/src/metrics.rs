//! What the relay counts: OpenTelemetry instruments behind methods named after what happened.
//!
//! Every label has a small fixed set of values (`&'static str`, or a listener's name): never an
//! address, a domain or an error text, so that the number of series stays bounded.

mod returns;
mod shards;
mod transport;

use std::sync::Weak;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use crate::context::{Context, now};
use returns::Returns;
use transport::Transport;

/// Seconds, from what memory answers to what a day of retries takes.
const LATENCY_SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3600.0,
];
/// Octets of a message.
const SIZES: [f64; 8] = [
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// All instruments. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    meter: Meter,
    sessions: UpDownCounter<i64>,
    connections: Counter<u64>,
    tls_handshakes: Counter<u64>,
    authentications: Counter<u64>,
    accepted: Counter<u64>,
    accepted_bytes: Histogram<u64>,
    accept_seconds: Histogram<f64>,
    refused: Counter<u64>,
    signatures: Counter<u64>,
    attempts: Counter<u64>,
    attempt_seconds: Histogram<f64>,
    outcomes: Counter<u64>,
    delivery_seconds: Histogram<f64>,
    returns: Returns,
    handed_over: Counter<u64>,
    outgoing: Counter<u64>,
    outgoing_open: UpDownCounter<i64>,
    dns: Counter<u64>,
    transport: Transport,
    reloads: Counter<u64>,
}

impl Metrics {
    /// Makes the instruments of `meter`.
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, description| counter(meter, name, description);
        let gauge = |name, description| gauge(meter, name, description);
        let seconds = |name, description| seconds(meter, name, description);
        Self {
            meter: meter.clone(),
            sessions: gauge("relay.sessions", "Client sessions that are open."),
            connections: counter(
                "relay.connections",
                "Client connections, by what was done with them.",
            ),
            tls_handshakes: counter(
                "relay.tls.handshakes",
                "TLS handshakes, by direction and result.",
            ),
            authentications: counter(
                "relay.authentications",
                "AUTH commands, by mechanism and result.",
            ),
            accepted: counter(
                "relay.messages.accepted",
                "Messages answered with 250, durably queued.",
            ),
            accepted_bytes: meter
                .u64_histogram("relay.messages.accepted.size")
                .with_description("Size of accepted messages.")
                .with_unit("By")
                .with_boundaries(SIZES.to_vec())
                .build(),
            accept_seconds: seconds(
                "relay.messages.accept.duration",
                "Time from the final dot to the 250.",
            ),
            refused: counter(
                "relay.refused",
                "Commands and messages refused by policy or limits.",
            ),
            signatures: counter(
                "relay.dkim.signatures",
                "DKIM signatures, by algorithm and result.",
            ),
            attempts: counter("relay.delivery.attempts", "Delivery attempts, by result."),
            attempt_seconds: seconds(
                "relay.delivery.attempt.duration",
                "Time that one delivery attempt took.",
            ),
            outcomes: counter(
                "relay.delivery.recipients",
                "Recipients, by what became of them in an attempt.",
            ),
            delivery_seconds: seconds(
                "relay.delivery.latency",
                "Time from acceptance to the next server's acceptance.",
            ),
            returns: Returns::new(meter),
            handed_over: shards::handed_over(meter),
            outgoing: counter(
                "relay.outgoing.connections",
                "Connections to next servers, by result.",
            ),
            outgoing_open: gauge(
                "relay.outgoing.connections.open",
                "Connections to next servers that are open.",
            ),
            dns: counter("relay.dns.lookups", "DNS lookups, by type and result."),
            transport: Transport::new(meter),
            reloads: counter("relay.config.reloads", "Changed configurations, by result."),
        }
    }

    /// Instruments that nobody reads.
    #[cfg(test)]
    pub(crate) fn unread() -> Self {
        use opentelemetry::metrics::MeterProvider as _;
        Self::new(&opentelemetry::metrics::noop::NoopMeterProvider::new().meter("relay"))
    }

    /// A client connected and a session starts; pair with [`Self::session_closed`].
    pub(crate) fn session_opened(&self, listener: &str) {
        let listener = [KeyValue::new("listener", listener.to_owned())];
        self.sessions.add(1, &listener);
    }

    /// A session ended.
    pub(crate) fn session_closed(&self, listener: &str) {
        let listener = [KeyValue::new("listener", listener.to_owned())];
        self.sessions.add(-1, &listener);
    }

    /// What was done with a new connection: `accepted`, or why it was refused, such as `limit` or
    /// `client_network`.
    pub(crate) fn connection(&self, listener: &str, result: &'static str) {
        self.connections.add(
            1,
            &[
                KeyValue::new("listener", listener.to_owned()),
                KeyValue::new("result", result),
            ],
        );
    }

    /// A TLS handshake: `direction` is `in` or `out`; `result` is `ok` or a class of failure.
    pub(crate) fn tls(&self, direction: &'static str, result: &'static str) {
        self.tls_handshakes.add(
            1,
            &[
                KeyValue::new("direction", direction),
                KeyValue::new("result", result),
            ],
        );
    }

    /// A login was judged: `ok`, `denied`, `channel_binding`, `unavailable`, or what is wrong with a
    /// token, such as `token_expired`.
    pub(crate) fn authentication(&self, mechanism: &'static str, result: &'static str) {
        self.authentications.add(
            1,
            &[
                KeyValue::new("mechanism", mechanism),
                KeyValue::new("result", result),
            ],
        );
    }

    /// A message was answered 250; `took` is the time since its final dot.
    pub(crate) fn accepted(&self, listener: &str, octets: u64, took: Duration) {
        let listener = [KeyValue::new("listener", listener.to_owned())];
        self.accepted.add(1, &listener);
        self.accepted_bytes.record(octets, &[]);
        self.accept_seconds.record(took.as_secs_f64(), &[]);
    }

    /// Something was refused with a reply of class 4 or 5; `reason` is a name of the policy's or
    /// limit's.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// A signature was made (`ok`) or not (`failed`).
    pub(crate) fn signature(&self, algorithm: &'static str, result: &'static str) {
        self.signatures.add(
            1,
            &[
                KeyValue::new("algorithm", algorithm),
                KeyValue::new("result", result),
            ],
        );
    }

    /// A delivery attempt ended: `delivered`, `partial`, `deferred`, `failed`.
    pub(crate) fn attempt(&self, result: &'static str, took: Duration) {
        let result = [KeyValue::new("result", result)];
        self.attempts.add(1, &result);
        self.attempt_seconds.record(took.as_secs_f64(), &result);
    }

    /// `recipients` came to `kind`: `delivered`, `deferred`, `failed` or `expired`; `category` says
    /// why, as in the log.
    pub(crate) fn outcome(&self, kind: &'static str, category: &'static str, recipients: u64) {
        self.outcomes.add(
            recipients,
            &[
                KeyValue::new("outcome", kind),
                KeyValue::new("category", category),
            ],
        );
    }

    /// A message reached the next server this long after it was accepted.
    pub(crate) fn delivered_after(&self, latency: Duration) {
        self.delivery_seconds.record(latency.as_secs_f64(), &[]);
    }

    /// A connection to a next server was opened (`ok`), reused (`reused`), or why not.
    pub(crate) fn outgoing(&self, result: &'static str) {
        self.outgoing.add(1, &[KeyValue::new("result", result)]);
    }

    /// Connections to next servers: 1 for one more, -1 for one fewer.
    pub(crate) fn outgoing_open(&self, change: i64) {
        self.outgoing_open.add(change, &[]);
    }

    /// A DNS lookup: `record` is `MX`, `A`, …; `result` is `ok`, `empty`, `temporary`, `timeout` or
    /// `bogus`.
    pub(crate) fn dns(&self, record: &'static str, result: &'static str) {
        self.dns.add(
            1,
            &[
                KeyValue::new("record", record),
                KeyValue::new("result", result),
            ],
        );
    }

    /// A changed configuration was put in force (`ok`), or not (`refused`).
    pub(crate) fn reload(&self, result: &'static str) {
        self.reloads.add(1, &[KeyValue::new("result", result)]);
    }

    /// Gauges that are read from `context` whenever someone asks. Weak, so that the exporter does
    /// not keep the queue alive.
    pub(crate) fn observe(&self, context: &Weak<Context>) {
        let gauge =
            |name: &'static str, description: &'static str, unit: &'static str, read: Read| {
                let context = Weak::clone(context);
                self.meter
                    .u64_observable_gauge(name)
                    .with_description(description)
                    .with_unit(unit)
                    .with_callback(move |observer| {
                        if let Some(context) = context.upgrade() {
                            read(&context, &mut |value, labels| {
                                observer.observe(value, labels);
                            });
                        }
                    })
                    .build();
            };
        gauge(
            "relay.queue.messages",
            "Messages that wait or are being delivered.",
            "",
            |context, say| say(context.queue.status().0, &[]),
        );
        gauge(
            "relay.queue.oldest.age",
            "Age of the oldest message in the queue; 0 when it is empty.",
            "s",
            |context, say| say(context.oldest_seconds(now()), &[]),
        );
        gauge(
            "relay.suppressions.entries",
            "Recipients on the suppression lists.",
            "",
            |context, say| say(context.suppressions.len() as u64, &[]),
        );
        gauge(
            "relay.ready",
            "1 while new messages are accepted.",
            "",
            |context, say| say(u64::from(context.unready().is_none()), &[]),
        );
        gauge(
            "relay.build.info",
            "1; the version is a label.",
            "",
            |_, say| {
                say(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
            },
        );
        gauge(
            "relay.config.info",
            "1; the hash of the configuration in force is a label.",
            "",
            |context, say| {
                let hash = context.snapshot.load().hash.to_string();
                say(1, &[KeyValue::new("hash", hash)]);
            },
        );
        gauge(
            "relay.config.error",
            "1 while something in the configuration files is not in force.",
            "",
            |context, say| say(u64::from(context.config.lock().error().is_some()), &[]),
        );
        gauge(
            "relay.config.since",
            "When the configuration in force was put in force, in Unix time.",
            "s",
            |context, say| say(context.config.lock().since.0 / 1000, &[]),
        );
        gauge(
            "relay.certificate.expiry",
            "When the listeners' certificate expires, in Unix time.",
            "s",
            |context, say| {
                let expires = context.snapshot.load().certificate_expires_at();
                if let Some(expires) = expires.and_then(|at| u64::try_from(at).ok()) {
                    say(expires, &[]);
                }
            },
        );
    }
}

fn counter(meter: &Meter, name: &'static str, description: &'static str) -> Counter<u64> {
    meter
        .u64_counter(name)
        .with_description(description)
        .build()
}

fn gauge(meter: &Meter, name: &'static str, description: &'static str) -> UpDownCounter<i64> {
    meter
        .i64_up_down_counter(name)
        .with_description(description)
        .build()
}

fn seconds(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_description(description)
        .with_unit("s")
        .with_boundaries(LATENCY_SECONDS.to_vec())
        .build()
}

/// Reads values with their labels from the context.
type Read = fn(&Context, &mut dyn FnMut(u64, &[KeyValue]));
