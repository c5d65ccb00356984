//! Joins the way of a message to the trace of the application that sent it, which a header field of
//! the message names.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use relay_queue::MessageId;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Reads the value of a `traceparent` field.
pub(super) fn parse(value: &[u8]) -> Option<SpanContext> {
    let value = std::str::from_utf8(value).ok()?;
    crate::trace_parent::parse(value.trim())
}

/// The span of a message's acceptance, below the application's own if it named one.
pub(super) fn span(id: MessageId, parent: Option<&SpanContext>) -> Span {
    let span = tracing::info_span!("accept", message_id = %id);
    if let Some(parent) = parent {
        // Refused only where no spans are exported.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
    }
    span
}

/// What deliveries of the message name as their parent: this span where spans are exported, the
/// application's otherwise.
pub(super) fn trace_parent(span: &Span, parent: Option<&SpanContext>) -> Option<String> {
    let context = span.context();
    let own = context.span().span_context().clone();
    let named = if own.is_valid() { Some(&own) } else { parent };
    named.map(crate::trace_parent::format)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn without_exported_spans_the_applications_context_is_passed_on() {
        let parent = parse(format!(" {PARENT}\r\n").as_bytes());
        let span = span(MessageId(1), parent.as_ref());
        assert_eq!(
            trace_parent(&span, parent.as_ref()).as_deref(),
            Some(PARENT)
        );
        assert_eq!(trace_parent(&span, None), None);
    }

    #[test]
    fn only_the_exact_form_is_read() {
        for value in [
            "",
            "00-1-2-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            &PARENT.to_uppercase(),
            &PARENT.replace("00-0", "ff-0"),
            &format!("{PARENT}-00"),
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }
}
