//! Joins the way of a message to the trace of the application that sent it: W3C Trace Context,
//! version 00, in a header field of the message.

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use relay_queue::MessageId;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Reads a `traceparent`; anything but its exact form is as good as none.
pub(super) fn parse(value: &[u8]) -> Option<SpanContext> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let parts: Vec<_> = value.split('-').collect();
    let hexadecimal = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
    };
    let ["00", trace, span, flags] = parts[..] else {
        return None;
    };
    if !hexadecimal(trace, 32) || !hexadecimal(span, 16) || !hexadecimal(flags, 2) {
        return None;
    }
    let parent = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    parent.is_valid().then_some(parent)
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
    named.map(|context| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    })
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
