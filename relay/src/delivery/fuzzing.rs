//! What has to hold for policies of strangers and for reports about their replies.

use std::sync::Arc;

use bytes::Bytes;
use relay_queue::{Envelope, MessageId, Options, Timestamp, Work};
use relay_smtp::client::Stage;
use relay_smtp::options::GiveBack;
use relay_smtp::reply::ReplyParser;
use relay_smtp::{Address, EnhancedCode, Reply};

use super::bounce::{Entry, Report, build};
use super::outcome::{Fate, Kind, Remote};

pub(crate) use super::sts::fuzzing::sts;

/// What a report has to say: of each recipient, and whether delivery to it failed.
pub(crate) type Expected = Vec<(Address, bool)>;

/// Octets of a host's name or of the words of a local fault.
const LONGEST_WORDS: usize = 200;

/// A report about what `input` holds: an octet of flags, the sender, then for each recipient a line with an
/// octet, its address, and the rest of the line as what the server said; after an empty line the message. `None`
/// if it has no sender or recipient, or a message that no intake would have let through.
pub(crate) fn bounce(input: &[u8]) -> Option<(Vec<u8>, Expected)> {
    let (flags, input) = input.split_first()?;
    let (head, content) = input.split_at(memchr::memmem::find(input, b"\n\n")?);
    let content = sent(&content[2..])?;
    let mut lines = str::from_utf8(head).ok()?.split('\n');
    let sender = Address::parse(lines.next()?).ok()?;
    let judged: Vec<(Address, Fate)> = lines.take(20).filter_map(judged).collect();
    if judged.is_empty() {
        return None;
    }
    let work = Work {
        id: MessageId(7),
        destination: "remote.test".into(),
        attempts: 0,
        recipients: (0..).take(judged.len()).collect(),
        delay_told: false,
        tells_delay: false,
        envelope: Arc::new(Envelope {
            sender: Some(sender.clone()),
            recipients: judged.iter().map(|(address, _)| address.clone()).collect(),
            accepted_at: Timestamp(1_700_000_000_000),
            eight_bit: !content.is_ascii(),
            smtputf8: flags & 1 != 0,
            identity: None,
            trace_parent: None,
            options: Options {
                give_back: (flags & 2 != 0).then_some(GiveBack::Full),
                require_tls: flags & 4 != 0,
                ..Options::default()
            },
        }),
    };
    let entries: Vec<Entry<'_>> = judged
        .iter()
        .map(|(recipient, fate)| Entry {
            recipient,
            original: None,
            fate,
        })
        .collect();
    let built = build(&Report {
        id: MessageId(9),
        hostname: "outbox.example",
        sender: &sender,
        original: &work,
        entries: &entries,
        content: &[Bytes::from(content)],
        retried_until: Timestamp(1_700_432_000_000),
        now: Timestamp(1_700_000_060_000),
    });
    assert!(built.is_ok(), "{:?}", built.err());
    let message = built.ok()?;
    assert_eq!(message.envelope.sender, None);
    assert_eq!(message.envelope.recipients, [sender]);
    let octets = message.content.concat();
    assert!(message.envelope.eight_bit || octets.is_ascii());
    let failed = judged
        .into_iter()
        .map(|(address, fate)| (address, fate.kind == Kind::Failed));
    Some((octets, failed.collect()))
}

/// A message as the queue holds one: lines of at most 998 octets that end in CRLF, and a header.
fn sent(text: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(text.len() * 2);
    for line in text.split(|octet| *octet == b'\n') {
        let line = line.iter().filter(|octet| !matches!(octet, 0 | b'\r'));
        content.extend(line.take(crate::mime::LONGEST_LINE));
        content.extend(b"\r\n");
    }
    crate::fields::parse(&content).is_ok().then_some(content)
}

fn judged(line: &str) -> Option<(Address, Fate)> {
    let how = *line.as_bytes().first()?;
    let (address, said) = line
        .get(1..)?
        .split_once(' ')
        .unwrap_or((line.get(1..)?, ""));
    let address = Address::parse(address).ok()?;
    let kind = match how % 3 {
        0 => Kind::Failed,
        1 => Kind::Deferred,
        _ => Kind::Delivered,
    };
    let code = EnhancedCode::new(5, 1, 1);
    let mut fate = Fate::local(
        kind,
        code,
        said.chars().take(LONGEST_WORDS).collect::<String>(),
    );
    if let Some(reply) = reply(said) {
        let host: String = said
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(LONGEST_WORDS)
            .collect();
        fate.remote = Some(Remote {
            host: host.into(),
            address: ([192, 0, 2, 25], 25).into(),
            encryption: None,
            policy: None,
        });
        fate.reply = Some((Stage::Recipient, Arc::new(reply)));
    }
    Some((address, if how & 8 == 0 { fate } else { fate.expire() }))
}

/// As a server would have sent it; `|` stands for its line ends.
fn reply(said: &str) -> Option<Reply> {
    let mut parser = ReplyParser::default();
    parser.feed(said.replace('|', "\r\n").as_bytes());
    parser.feed(b"\r\n");
    parser.next_reply().ok()?
}
