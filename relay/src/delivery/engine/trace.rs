//! The trace that an attempt belongs to: that of the message's submission.

use opentelemetry::Context as TraceContext;
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState};
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
        .and_then(parse_trace_parent)
    {
        let parent = TraceContext::new().with_remote_span_context(parent);
        // Without an exporter there is no trace to join.
        let _ = span.set_parent(parent);
    }
    span
}

/// W3C Trace Context, version 00.
pub(super) fn parse_trace_parent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || trace.len() != 32 || span.len() != 16 || parts.next().is_some() {
        return None;
    }
    let context = SpanContext::new(
        opentelemetry::TraceId::from_hex(trace).ok()?,
        opentelemetry::SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}
