//! Logs, metrics and spans of the operator.
//!
//! Logs go to standard error as JSON, or as text on a terminal; `RUST_LOG` sets the level, `info`
//! by default. Metrics are always there for Prometheus to fetch. OTLP export (gRPC) is switched on
//! by the standard `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin; without them there is no exporter.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Name of the meter, the tracer and the service.
const NAME: &str = "mailrelay-operator";
/// What a collector gets to take the last spans and metrics when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Why logs, metrics or spans cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level cannot be read.
    #[error("RUST_LOG: {0}; write a level such as info, or operator=debug,info")]
    Filter(String),
    /// The exporter cannot be made.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT and its kin: {0}")]
    Exporter(String),
    /// Something was started twice.
    #[error("logging or metrics cannot start: {0}")]
    Start(String),
}

/// Handles that must be kept until the process ends.
pub struct Telemetry {
    /// What `/metrics` prints.
    pub registry: prometheus::Registry,
    metrics: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts logging, metrics and spans as the environment says. Call once, inside the runtime.
    pub fn start() -> Result<Self, TelemetryError> {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let exports = |signal: &str| {
            set("OTEL_EXPORTER_OTLP_ENDPOINT")
                || set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
        };
        let exporter = |error: opentelemetry_otlp::ExporterBuildError| {
            TelemetryError::Exporter(error.to_string())
        };
        let resource = Resource::builder()
            .with_service_name(NAME)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let registry = prometheus::Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| TelemetryError::Start(error.to_string()))?;
        let mut metrics = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(prometheus);
        if exports("METRICS") {
            let builder = opentelemetry_otlp::MetricExporter::builder().with_tonic();
            metrics = metrics.with_periodic_exporter(builder.build().map_err(exporter)?);
        }
        let mut traces = None;
        if exports("TRACES") {
            let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
            let provider = SdkTracerProvider::builder()
                .with_resource(resource)
                .with_batch_exporter(builder.build().map_err(exporter)?);
            traces = Some(provider.build());
        }
        start_logs(traces.as_ref())?;
        Ok(Self {
            registry,
            metrics: metrics.build(),
            traces,
        })
    }

    /// The instruments of the operator.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(&self.metrics)
    }

    /// Sends what collectors have not seen yet. Blocks for at most twice [`FLUSH_TIMEOUT`].
    pub fn finish(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
        if let Err(error) = self.metrics.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::debug!(%error, "the last metrics were not exported");
        }
    }
}

fn start_logs(traces: Option<&SdkTracerProvider>) -> Result<(), TelemetryError> {
    let level = std::env::var("RUST_LOG").unwrap_or_default();
    let level = if level.is_empty() { "info" } else { &level };
    let filter =
        EnvFilter::try_new(level).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let spans =
        traces.map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer(NAME)));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if std::io::stderr().is_terminal() {
        logs.boxed()
    } else {
        logs.json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(logs)
        .with(spans)
        .try_init()
        .map_err(|error| TelemetryError::Start(error.to_string()))
}

/// Numbers about the operator. Labels are kinds and reasons, never objects' names.
pub struct Metrics {
    reconciles: Counter<u64>,
    failures: Counter<u64>,
    duration: Histogram<f64>,
    applied: Counter<u64>,
    waiting: Gauge<u64>,
    leader: Gauge<u64>,
}

impl Metrics {
    fn new(provider: &SdkMeterProvider) -> Self {
        let meter = provider.meter(NAME);
        let buckets = vec![0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 120.0];
        Self {
            reconciles: meter
                .u64_counter("operator_reconciles")
                .with_description("Reconciles that ended, by kind.")
                .build(),
            failures: meter
                .u64_counter("operator_reconcile_failures")
                .with_description("Reconciles that failed, by kind and reason.")
                .build(),
            duration: meter
                .f64_histogram("operator_reconcile_duration")
                .with_unit("s")
                .with_boundaries(buckets)
                .with_description("Time that reconciles took, by kind.")
                .build(),
            applied: meter
                .u64_counter("operator_objects_applied")
                .with_description("Objects that were made or changed, by kind.")
                .build(),
            waiting: meter
                .u64_gauge("operator_objects_waiting")
                .with_description("Objects that wait for a reconcile, by kind.")
                .build(),
            leader: meter
                .u64_gauge("operator_leader")
                .with_description("1 while this process leads, 0 while it waits.")
                .build(),
        }
    }

    /// Numbers that nobody reads.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        Self::new(&SdkMeterProvider::default())
    }

    /// Counts a reconcile; `failure` is empty when it succeeded.
    pub fn reconciled(&self, kind: &str, failure: &'static str, took: Duration) {
        let kind = KeyValue::new("kind", kind.to_owned());
        self.reconciles.add(1, std::slice::from_ref(&kind));
        self.duration
            .record(took.as_secs_f64(), std::slice::from_ref(&kind));
        if !failure.is_empty() {
            self.failures
                .add(1, &[kind, KeyValue::new("reason", failure)]);
        }
    }

    /// Counts an object that was made or changed.
    pub fn applied(&self, kind: &str) {
        self.applied
            .add(1, &[KeyValue::new("kind", kind.to_owned())]);
    }

    /// Tells how many objects wait for a reconcile.
    pub fn waiting(&self, kind: &str, objects: usize) {
        let kind = KeyValue::new("kind", kind.to_owned());
        self.waiting.record(objects as u64, &[kind]);
    }

    /// Tells whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.record(u64::from(leads), &[]);
    }
}
