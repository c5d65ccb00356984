//! The part that people read.

use std::fmt::Write as _;

use super::{Action, Entry, Report, date};

/// Its text, with lines that end in CRLF.
pub(super) fn text(report: &Report<'_>) -> String {
    let mut text = format!("This is the mail relay at {}.\r\n", report.hostname);
    section(report, Action::Failed, &mut text, || {
        "Your message could not be delivered to the recipients below, and it will not be tried\r\n\
         again. The headers of the message are attached."
            .into()
    });
    section(report, Action::Delayed, &mut text, || {
        format!(
            "Your message has not reached the recipients below yet. It is tried again until\r\n{};\r\n\
             you need not send it again. You hear of the delay this once.",
            date(report.retried_until)
        )
    });
    section(report, Action::Relayed, &mut text, || {
        "Your message was handed over for the recipients below, as you asked to be told. The\r\n\
         server that took it reports no delivery, so you may hear nothing more of it."
            .into()
    });
    // Writing to memory does not fail.
    let _ = write!(
        text,
        "\r\nThe relay knows the message as {}.\r\n",
        report.original.id
    );
    text
}

fn section(report: &Report<'_>, action: Action, text: &mut String, preamble: impl Fn() -> String) {
    if !report.has(action) {
        return;
    }
    let _ = write!(text, "\r\n{}\r\n", preamble());
    for entry in report.of(action) {
        describe(entry, text);
    }
}

fn describe(
    Entry {
        recipient, fate, ..
    }: &Entry<'_>,
    text: &mut String,
) {
    let _ = write!(text, "\r\n<{recipient}>\r\n");
    if fate.is_late() {
        text.push_str(
            "    The time is over by which the message was to be delivered. The last attempt:\r\n",
        );
    } else if fate.expired {
        text.push_str(
            "    The message was tried for as long as the relay is set to. The last attempt:\r\n",
        );
    }
    match (&fate.remote, &fate.reply) {
        (Some(remote), Some((stage, reply))) => {
            let _ = write!(
                text,
                "    {} [{}] said in reply to {}:\r\n    {reply}\r\n",
                remote.host,
                remote.address.ip(),
                stage.name()
            );
        }
        (Some(remote), None) => {
            let _ = write!(
                text,
                "    {} [{}]: {}\r\n",
                remote.host,
                remote.address.ip(),
                fate.text
            );
        }
        (None, _) => {
            let _ = write!(text, "    {}\r\n", fate.diagnostic());
        }
    }
}
