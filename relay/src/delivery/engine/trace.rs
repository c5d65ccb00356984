//! The trace that an attempt belongs to: that of the message's submission.

use opentelemetry::Context as TraceContext;
use opentelemetry::trace::TraceContextExt as _;
use relay_queue::Work;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The span of an attempt, in the trace of the message's submission.
pub(super) fn span(work: &Work) -> tracing::Span {
    let span = tracing::info_span!(
        "delivery",
        message_id = %work.id,
        destination = %work.destination,
        attempt = work.attempts + 1,
    );
    if let Some(parent) = work
        .envelope
        .trace_parent
        .as_deref()
        .and_then(crate::trace_parent::parse)
    {
        let parent = TraceContext::new().with_remote_span_context(parent);
        // Without an exporter there is no trace to join.
        let _ = span.set_parent(parent);
    }
    span
}
