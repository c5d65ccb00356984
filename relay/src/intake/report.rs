//! Passes a report on to the sender of the message that it is about: as it came, so that the server's
//! words and its signature stay, behind a `Received` field, and with the null path, so that nothing
//! comes of it when it cannot be delivered (RFC 5321 section 4.5.5).

use bytes::Bytes;
use relay_queue::{AppendError, Envelope, MessageId, NewMessage, Options};
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};

use super::trace::{self, Origin, Stamp};
use super::{prepare, unqueued};
use crate::context::{SharedContext, now};
use crate::conversion;
use crate::edit;
use crate::fields;

/// Octets of a report that is passed on: what a message is given back with, and its report.
const LONGEST: usize = 1024 * 1024 + 64 * 1024;

/// Why a report is not passed on.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// It never will be.
    Unfit(&'static str),
    /// It cannot be queued now; the reply to its end.
    Later(Answer),
}

/// Queues a report for the senders of the message that it is about.
pub(crate) async fn pass_on(
    context: &SharedContext,
    origin: &Origin,
    report: &Message,
    senders: Vec<Address>,
) -> Result<MessageId, Unsent> {
    let now = now();
    let id = MessageId::new(now, fastrand::u128(..));
    let content = {
        let snapshot = context.snapshot.load();
        let stamp = Stamp {
            hostname: &snapshot.config.hostname,
            instance: &context.instance,
            hide_clients: snapshot.config.privacy.hide_clients,
            id,
            now,
        };
        let trace = judge(report, origin, stamp)?;
        Bytes::from(trace)
    };
    let edits = match prepare::need(report) {
        None => Vec::new(),
        Some(need) => conversion::edits(&report.content, need)
            .await
            .map_err(|_| Unsent::Unfit("it has lines that are too long for mail"))?,
    };
    let mut pieces = vec![content];
    edit::apply(&report.content, edits, &mut pieces);
    let message = NewMessage {
        id,
        envelope: Envelope {
            sender: None,
            recipients: senders,
            accepted_at: now,
            eight_bit: report.eight_bit || !report.content.is_ascii(),
            smtputf8: report.smtputf8,
            identity: None,
            trace_parent: None,
            // RFC 8689 section 5: a report tells on the message.
            options: Options {
                require_tls: report.options.require_tls,
                ..Options::default()
            },
        },
        content: pieces,
    };
    let queued = context.queue.append(message).await;
    queued.map_err(|error: AppendError| Unsent::Later(unqueued(context, origin, &error)))?;
    Ok(id)
}

/// Whether a report may go on; its `Received` field. Pure.
fn judge(report: &Message, origin: &Origin, stamp: Stamp<'_>) -> Result<String, Unsent> {
    let octets = &report.content;
    if octets.len() > LONGEST {
        return Err(Unsent::Unfit("it has more than 1 MiB"));
    }
    let header = fields::parse(octets).map_err(|_| Unsent::Unfit("its header cannot be read"))?;
    prepare::judge_hops(&header, octets, stamp.hostname)
        .map_err(|_| Unsent::Unfit("it came by here too often; something sends it in a circle"))?;
    let mut trace = String::with_capacity(512);
    trace::received(&mut trace, origin, stamp, &report.recipients);
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;
    use relay_queue::Timestamp;

    fn origin() -> Origin {
        Origin {
            session: SessionId::random(),
            listener: "mx".into(),
            peer: "192.0.2.7:4711".parse().unwrap(),
            client_name: "mx.dest.example".into(),
            protocol: "ESMTP",
            identity: None,
            tls: None,
        }
    }

    fn verdict(content: String) -> Result<String, &'static str> {
        let report = Message {
            recipients: vec![Address::parse("b-0@bounces.shop.example").unwrap()],
            content: content.into(),
            ..Message::default()
        };
        let stamp = Stamp {
            hostname: "outbox.example",
            instance: "outbox-0",
            hide_clients: false,
            id: MessageId::new(Timestamp(1_790_000_000_000), 5),
            now: Timestamp(1_790_000_000_000),
        };
        judge(&report, &origin(), stamp).map_err(|unsent| match unsent {
            Unsent::Unfit(reason) => reason,
            Unsent::Later(_) => unreachable!("nothing is queued here"),
        })
    }

    #[test]
    fn a_report_gets_a_received_field_and_goes_on_a_few_times_only() {
        let trace = verdict("From: a@b.example\r\n\r\nx\r\n".into()).unwrap();
        assert!(
            trace.starts_with(
                "Received: from mx.dest.example ([192.0.2.7])\r\n\tby outbox.example "
            ),
            "{trace}"
        );
        let round =
            |times: usize| verdict(format!("{}From: a@b.example\r\n\r\n", trace.repeat(times)));
        assert!(round(5).is_ok());
        assert!(round(6).unwrap_err().contains("circle"));
    }

    #[test]
    fn what_is_too_large_or_has_no_header_does_not_go_on() {
        let large = format!("From: a@b.example\r\n\r\n{}", "x\r\n".repeat(LONGEST / 3));
        assert!(verdict(large).unwrap_err().contains("1 MiB"));
        let broken = "no header at all\r\n\r\n".into();
        assert!(verdict(broken).unwrap_err().contains("header"));
    }
}
