//! The `traceparent` of W3C Trace Context, version 00: read from the header of a message at its
//! submission and from its envelope at each delivery, written in between.
//!
//! Anything but the exact form is as good as none.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Reads a `traceparent`.
pub(crate) fn parse(text: &str) -> Option<SpanContext> {
    let parts: Vec<_> = text.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else {
        return None;
    };
    if !is_hexadecimal(trace, 32) || !is_hexadecimal(span, 16) || !is_hexadecimal(flags, 2) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// Writes a `traceparent`.
pub(crate) fn format(context: &SpanContext) -> String {
    format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags().to_u8()
    )
}

/// The standard takes no capitals.
fn is_hexadecimal(part: &str, length: usize) -> bool {
    let digit = |octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    part.len() == length && part.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_is_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parse(good).unwrap();
        assert!(context.is_remote() && context.trace_flags().is_sampled());
        assert_eq!(format(&context), good);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-zaf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
