//! The part that programs read: RFC 3464 section 2, RFC 6533 section 4.

use std::fmt::Write as _;

use relay_smtp::Address;
use relay_smtp::options::{OriginalRecipient, encode_unicode};

use super::{Action, Entry, Report, date};

/// Octets of one line; RFC 5322 allows 998.
const LONGEST_LINE: usize = 900;

/// One block about the message, then one per recipient. `global`: in UTF-8.
pub(super) fn text(report: &Report<'_>, global: bool) -> String {
    let envelope = &report.original.envelope;
    let arrival = date(envelope.accepted_at);
    let mut text = String::new();
    // Writing to memory does not fail.
    if let Some(id) = &envelope.options.envelope_id {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", printable(id, global));
    }
    let _ = write!(
        text,
        "Reporting-MTA: dns; {}\r\nX-Queue-Id: {}\r\nArrival-Date: {arrival}\r\n",
        report.hostname, report.original.id
    );
    for entry in report.entries {
        text.push_str("\r\n");
        about_recipient(report, entry, global, &mut text);
    }
    text
}

/// RFC 3464 section 2.3.
fn about_recipient(report: &Report<'_>, entry: &Entry<'_>, global: bool, text: &mut String) {
    let fate = entry.fate;
    if let Some(original) = entry.original {
        let field = original_field(original, global);
        let _ = write!(text, "Original-Recipient: {field}\r\n");
    }
    let action = entry.action();
    let _ = write!(
        text,
        "Final-Recipient: {}\r\nAction: {}\r\nStatus: {}\r\n",
        typed_address(entry.recipient, global),
        action.name(),
        fate.status
    );
    if let Some(remote) = &fate.remote {
        let _ = write!(text, "Remote-MTA: dns; {}\r\n", remote.host);
    }
    let kind = if fate.reply.is_some() {
        "smtp"
    } else {
        "x-relay"
    };
    let diagnostic = format!("Diagnostic-Code: {kind}; {}", fate.diagnostic());
    fold(&printable(&diagnostic, global), text);
    let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(report.now));
    if action == Action::Delayed {
        let _ = write!(text, "Will-Retry-Until: {}\r\n", date(report.retried_until));
    }
}

/// RFC 6533 section 3: as it is, or in the form that fits a 7-bit part.
fn typed_address(address: &Address, global: bool) -> String {
    let text = address.as_str();
    if text.is_ascii() {
        format!("rfc822; {text}")
    } else if global {
        format!("utf-8; {text}")
    } else {
        format!("utf-8; {}", encode_unicode(text))
    }
}

fn original_field(original: &OriginalRecipient, global: bool) -> String {
    if global {
        printable(&format!("{}; {}", original.kind, original.address), true)
    } else {
        printable(&original.to_field(), false)
    }
}

/// Without line ends, and unless `global` in ASCII.
fn printable(text: &str, global: bool) -> String {
    text.chars()
        .map(|character| match character {
            ' '..='~' => character,
            _ if global && !character.is_control() => character,
            _ => '?',
        })
        .collect()
}

/// Writes a field, on several lines if it is long: at spaces if there are any.
fn fold(field: &str, text: &mut String) {
    let mut rest = field;
    while rest.len() > LONGEST_LINE {
        let mut end = LONGEST_LINE;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let end = rest[..end].rfind(' ').filter(|at| *at > 40).unwrap_or(end);
        text.push_str(&rest[..end]);
        text.push_str("\r\n ");
        rest = rest[end..].trim_start_matches(' ');
    }
    text.push_str(rest);
    text.push_str("\r\n");
}
