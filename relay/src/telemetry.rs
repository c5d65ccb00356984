//! Logs, metrics and spans of the process.
//!
//! Logs go to standard error: JSON, or text when that is a terminal or `RELAY_LOG_FORMAT=text`;
//! `RUST_LOG` sets the level, `info` by default. Metrics are always there for Prometheus to fetch.
//! OTLP export of metrics and spans (gRPC) is switched on by the standard variables
//! `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
//! `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`; without them there is no exporter at all.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Name of the meter, the tracer and the service.
const NAME: &str = "relay";
/// What a collector gets to take the last spans and metrics when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Handles that must be kept until the process ends.
pub(crate) struct Telemetry {
    /// What `/metrics` prints.
    pub(crate) registry: prometheus::Registry,
    metrics: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
}

/// Why logs, metrics or spans cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("RUST_LOG: {0}; write a level such as info, or relay=debug,info")]
    Filter(String),
    #[error("RELAY_LOG_FORMAT: {0:?} is not known; use json or text")]
    Format(String),
    #[error(
        "{variable}: {value:?} is not supported; use grpc, and the collector's gRPC port (4317)"
    )]
    Protocol {
        variable: &'static str,
        value: String,
    },
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT and its kin: {0}")]
    Exporter(String),
    #[error("logging cannot start: {0}")]
    Start(String),
}

/// The environment, or a table in a test.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Telemetry {
    /// Starts logging, metrics and spans as the environment says. Call once, inside the runtime.
    pub(crate) fn start() -> Result<Self, TelemetryError> {
        let variables = |name: &str| std::env::var(name).ok();
        let resource = resource(&variables);
        let registry = prometheus::Registry::new();
        let metrics = metrics(&variables, resource.clone(), &registry)?;
        let traces = traces(&variables, resource)?;
        let spans = match &traces {
            Some(traces) => Some(
                tracing_opentelemetry::layer()
                    .with_tracer(traces.tracer(NAME))
                    .with_filter(filter(&variables)?),
            ),
            None => None,
        };
        let terminal = std::io::stderr().is_terminal();
        let logs = tracing_subscriber::fmt::layer()
            .with_ansi(terminal)
            .with_writer(std::io::stderr);
        let logs = match log_format(&variables, terminal)? {
            Format::Text => logs.boxed(),
            Format::Json => logs
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .boxed(),
        };
        // Events carry all that a reader needs. Spans are for collectors; without one they cost
        // nothing, where writing their fields beside each event cost a fifth of a message.
        tracing_subscriber::registry()
            .with(logs.with_filter(filter(&variables)?.and(filter_fn(is_event))))
            .with(spans)
            .try_init()
            .map_err(|error| TelemetryError::Start(error.to_string()))?;
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self {
            registry,
            metrics,
            traces,
        })
    }

    /// The meter that all instruments are made of.
    pub(crate) fn meter(&self) -> Meter {
        self.metrics.meter(NAME)
    }

    /// Sends what collectors have not seen yet. Blocks for at most twice [`FLUSH_TIMEOUT`].
    pub(crate) fn finish(self) {
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

/// The method itself is not general enough over the metadata's lifetime.
fn is_event(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.is_event()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

fn log_format(variables: Variables<'_>, terminal: bool) -> Result<Format, TelemetryError> {
    match variables("RELAY_LOG_FORMAT").as_deref() {
        None | Some("") if terminal => Ok(Format::Text),
        None | Some("" | "json") => Ok(Format::Json),
        Some("text") => Ok(Format::Text),
        Some(other) => Err(TelemetryError::Format(other.to_owned())),
    }
}

/// What is logged unless `RUST_LOG` says otherwise. The resolver warns of each answer that DNSSEC refuses with
/// the whole of it, which strangers write; what it means for a message is in the relay's own lines.
const LEVELS: &str = "info,hickory_net=error,hickory_resolver=error";

fn filter(variables: Variables<'_>) -> Result<EnvFilter, TelemetryError> {
    let text = variables("RUST_LOG").filter(|text| !text.is_empty());
    EnvFilter::try_new(text.as_deref().unwrap_or(LEVELS))
        .map_err(|error| TelemetryError::Filter(error.to_string()))
}

fn resource(variables: Variables<'_>) -> Resource {
    let builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    // The builder's own detectors read OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES; a name
    // given here would win over them.
    let named = variables("OTEL_SERVICE_NAME").is_some()
        || variables("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|attributes| attributes.contains("service.name="));
    if named {
        builder.build()
    } else {
        builder.with_service_name(NAME).build()
    }
}

fn metrics(
    variables: Variables<'_>,
    resource: Resource,
    registry: &prometheus::Registry,
) -> Result<SdkMeterProvider, TelemetryError> {
    let prometheus = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(|error| TelemetryError::Start(error.to_string()))?;
    let builder = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(prometheus);
    if !exports(variables, "METRICS")? {
        return Ok(builder.build());
    }
    let exporter = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    Ok(builder.with_periodic_exporter(exporter).build())
}

fn traces(
    variables: Variables<'_>,
    resource: Resource,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if !exports(variables, "TRACES")? {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(provider))
}

/// Whether `signal` (`METRICS` or `TRACES`) is exported by OTLP.
fn exports(variables: Variables<'_>, signal: &'static str) -> Result<bool, TelemetryError> {
    let set = |name: &str| variables(name).filter(|value| !value.is_empty());
    let endpoint = set("OTEL_EXPORTER_OTLP_ENDPOINT")
        .or_else(|| set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")));
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = set(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    if endpoint.is_none() || disabled || none {
        return Ok(false);
    }
    let protocols = [
        match signal {
            "METRICS" => "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            _ => "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        },
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    let protocol = protocols
        .into_iter()
        .find_map(|variable| set(variable).map(|value| (variable, value)));
    match protocol {
        Some((variable, value)) if value != "grpc" => {
            Err(TelemetryError::Protocol { variable, value })
        }
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(settings: &[(&str, &str)], signal: &'static str) -> Result<bool, String> {
        let variables = |name: &str| {
            settings
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        exports(&variables, signal).map_err(|error| error.to_string())
    }

    type Settings<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn otlp_export_is_switched_by_the_standard_variables_only() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let rows: [(Settings<'_>, bool, bool); 7] = [
            (&[], false, false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false, false),
            (&[endpoint], true, true),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317")],
                false,
                true,
            ),
            (&[endpoint, ("OTEL_SDK_DISABLED", "true")], false, false),
            (&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], true, false),
            (
                &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                true,
                true,
            ),
        ];
        for (settings, metrics, traces) in rows {
            assert_eq!(exported(settings, "METRICS"), Ok(metrics), "{settings:?}");
            assert_eq!(exported(settings, "TRACES"), Ok(traces), "{settings:?}");
        }
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_an_error_with_the_remedy() {
        let settings = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ];
        let error = exported(&settings, "TRACES").unwrap_err();
        assert!(
            error.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL: \"http/protobuf\""),
            "{error}"
        );
        assert!(error.contains("use grpc"), "{error}");
    }

    #[test]
    fn the_log_format_follows_the_variable_and_then_the_terminal() {
        let rows = [
            (None, false, Ok(Format::Json)),
            (None, true, Ok(Format::Text)),
            (Some("text"), false, Ok(Format::Text)),
            (Some("json"), true, Ok(Format::Json)),
            (Some("xml"), true, Err(())),
        ];
        for (value, terminal, expected) in rows {
            let variables = |_: &str| value.map(str::to_owned);
            assert_eq!(
                log_format(&variables, terminal).map_err(|_| ()),
                expected,
                "{value:?}"
            );
        }
    }
}
