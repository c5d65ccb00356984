//! Answers of name servers that are none.

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::dns::data;
use super::raw::{Asked, Said, Transport};

#[expect(clippy::unnecessary_wraps, reason = "it is what a rule says")]
pub(crate) fn octets(message: &Message) -> Said {
    Some(message.to_vec().unwrap())
}

/// The answer of the kind that was asked for, about this name.
fn good(asked: &Asked, owner: &str) -> Message {
    let records = match asked.kind() {
        RecordType::MX => vec![data("MX", "10 mx.bad.test")],
        RecordType::A => vec![data("A", "127.0.0.1")],
        RecordType::TXT => vec![data("TXT", "v=STSv1; id=1;")],
        _ => vec![],
    };
    asked.with(records.into_iter().map(|data| (owner.to_owned(), data)))
}

/// The right records, to a question that nobody asked.
fn to_another(asked: &Asked) -> Message {
    let mut answer = good(asked, &asked.name());
    answer.queries[0].set_name(Name::from_ascii("other.test.").unwrap());
    answer
}

/// What is said in answer to a query.
pub(crate) type Lie = fn(&Asked) -> Said;

/// What it is, whether TCP is there, what is said, and a part of the reason why it is no answer of `bad.test`.
pub(crate) const LIES: &[(&str, bool, Lie, &str)] = &[
    (
        "an answer for another name",
        true,
        |asked| octets(&good(asked, "other.test")),
        "is about other names",
    ),
    (
        "records of another type",
        true,
        |asked| octets(&asked.with([(asked.name(), data("TXT", "hello"))])),
        "is about other names or of other types",
    ),
    (
        "an alias that leads on and on",
        true,
        |asked| {
            octets(&asked.with([(asked.name(), data("CNAME", &format!("x.{}", asked.name())))]))
        },
        "aliases",
    ),
    (
        "hundreds of aliases in one answer",
        true,
        |asked| {
            let alias = |number: u32| format!("n{number}.{}", asked.name());
            let first = (asked.name(), data("CNAME", &alias(0)));
            let others = (0..400).map(|number| (alias(number), data("CNAME", &alias(number + 1))));
            cut(asked, || {
                let whole = asked.with(std::iter::once(first).chain(others));
                whole.to_vec().unwrap()
            })
        },
        "aliases",
    ),
    (
        "an alias of itself",
        true,
        |asked| octets(&asked.with([(asked.name(), data("CNAME", &asked.name()))])),
        "aliases",
    ),
    (
        "a packet that ends too soon",
        true,
        |asked| {
            let mut octets = good(asked, &asked.name()).to_vec().unwrap();
            octets.truncate(octets.len() - 3);
            Some(octets)
        },
        "lookup of bad.test failed",
    ),
    (
        "another id",
        true,
        |asked| {
            let mut answer = good(asked, &asked.name());
            answer.metadata.id ^= 0x0101;
            octets(&answer)
        },
        "no answer in time",
    ),
    (
        "another question",
        true,
        |asked| octets(&to_another(asked)),
        "lookup of bad.test failed",
    ),
    (
        "another question over TCP",
        true,
        |asked| cut(asked, || to_another(asked).to_vec().unwrap()),
        "to another question",
    ),
    (
        "noise",
        true,
        |asked| {
            let mut octets = asked.message.id.to_be_bytes().to_vec();
            octets.extend((0..500).map(|_| fastrand::u8(..)));
            Some(octets)
        },
        "lookup of bad.test failed",
    ),
    (
        "names that point at themselves",
        true,
        |asked| {
            let mut octets = asked.answer().to_vec().unwrap();
            // One answer, whose owner is a pointer to where it stands.
            octets[7] = 1;
            let here = u16::try_from(octets.len()).unwrap() | 0xc000;
            octets.extend(here.to_be_bytes());
            octets.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            Some(octets)
        },
        "lookup of bad.test failed",
    ),
    (
        "more over TCP, where nobody listens",
        false,
        |asked| truncated(asked, good(asked, &asked.name())),
        "lookup of bad.test failed",
    ),
    (
        "more over TCP, where nothing comes",
        true,
        |asked| match asked.transport {
            Transport::Udp => truncated(asked, good(asked, &asked.name())),
            Transport::Tcp => None,
        },
        "no answer in time",
    ),
    (
        "that there is more, always",
        true,
        |asked| truncated(asked, good(asked, &asked.name())),
        "truncated",
    ),
];

fn truncated(_: &Asked, mut answer: Message) -> Said {
    answer.metadata.truncation = true;
    octets(&answer)
}

/// As a server does whose answer is too long for UDP.
pub(crate) fn cut(asked: &Asked, answer: impl FnOnce() -> Vec<u8>) -> Said {
    match asked.transport {
        Transport::Udp => truncated(asked, asked.answer()),
        Transport::Tcp => Some(answer()),
    }
}
