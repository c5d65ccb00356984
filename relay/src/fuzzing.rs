//! What the fuzz targets (`tests/fuzz`) see of this crate: pure functions over what strangers send, each with
//! what has to hold whatever comes in. Built for them (`--cfg fuzzing`) and for tests, which go through the
//! committed inputs, so that what was found once is tried again by every run.
//!
//! Every function panics where something does not hold. None of this is part of a release.

#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is what these functions are for"
)]

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::mime::{self, LONGEST_LINE, Need};
use crate::{
    delivery, dkim, edit, fields, handover, intake, returns, suppression, table, tls_reports,
};

/// Header sections, and the fields in them that decisions rest on.
pub fn header(input: &[u8]) {
    if let Ok(header) = fields::parse(input) {
        let mut at = 0;
        for field in &header.fields {
            assert_eq!(field.whole.start, at, "nothing lies between two fields");
            at = field.whole.end;
            let (name, value) = (field.name(input), field.value(input));
            assert!(!name.is_empty() && !name.contains(&b':'));
            assert!(name.iter().all(u8::is_ascii_graphic));
            let whole = &input[field.whole.clone()];
            let colon = &whole[name.len()..whole.len() - value.len()];
            assert_eq!(colon.trim_ascii_start(), b":");
            let mut lines = whole.split_inclusive(|octet| *octet == b'\n');
            assert!(lines.next().is_some_and(|line| !is_continued(line)));
            assert!(lines.all(is_continued));
            intake::fuzzing::value(value);
        }
        assert_eq!(at, header.end);
        assert!(input[at..].is_empty() || input[at..].starts_with(b"\r\n"));
        let alone = fields::parse(&input[..at]);
        assert_eq!(alone.map(|alone| alone.fields), Ok(header.fields));
    }
    intake::fuzzing::value(input);
}

fn is_continued(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

/// Messages that have to be converted for a way that the first octet chooses: the result fits, a second
/// conversion finds nothing to do, and what the header says of people and times stays.
pub fn convert(input: &[u8]) {
    let Some((choice, message)) = input.split_first() else {
        return;
    };
    let message = Bytes::copy_from_slice(message);
    for need in needs(*choice) {
        // What does not come as `BINARYMIME` has whole lines; the server sees to it.
        if need == Need::Lines && !has_whole_lines(&message) {
            continue;
        }
        let Ok(edits) = mime::convert(&message, need) else {
            continue;
        };
        let mut pieces = Vec::new();
        edit::apply(&message, edits, &mut pieces);
        let converted = pieces.concat();
        assert!(fits(&converted, need), "{}", text(&converted));
        assert_eq!(
            mime::convert(&converted, need),
            Ok(vec![]),
            "{}",
            text(&converted)
        );
        assert_eq!(words(&converted), words(&message), "{}", text(&converted));
    }
}

fn needs(choice: u8) -> impl Iterator<Item = Need> {
    [Need::Lines, Need::Text, Need::SevenBit]
        .into_iter()
        .enumerate()
        .filter_map(move |(place, need)| (choice >> place & 1 == 1).then_some(need))
}

fn fits(content: &[u8], need: Need) -> bool {
    let mut lines = content.split(|octet| *octet == b'\n');
    let is_short = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() <= LONGEST_LINE;
    lines.all(is_short)
        && (need == Need::Lines || has_whole_lines(content))
        && (need != Need::SevenBit || content.is_ascii())
}

/// No NUL, and CR and LF only as a pair.
fn has_whole_lines(content: &[u8]) -> bool {
    (0..content.len()).all(|at| match content[at] {
        0 => false,
        b'\r' => content.get(at + 1) == Some(&b'\n'),
        b'\n' => at > 0 && content[at - 1] == b'\r',
        _ => true,
    })
}

/// The fields of a message but those that speak of its content, without white space.
fn words(message: &[u8]) -> Vec<Vec<u8>> {
    let header = fields::parse(message);
    let fields = header.map(|header| header.fields).unwrap_or_default();
    let kept = fields.iter().filter(|field| {
        let name = field.name(message).to_ascii_lowercase();
        !name.starts_with(b"content-") && name != b"mime-version"
    });
    kept.map(|field| {
        let octets = message[field.whole.clone()].iter().copied();
        octets
            .filter(|octet| !octet.is_ascii_whitespace())
            .collect()
    })
    .collect()
}

/// Messages that are signed, in pieces: how they are cut changes nothing, and whoever follows RFC 6376 word
/// by word accepts the signature.
pub fn sign(pieces: &[&[u8]]) {
    dkim::fuzzing::sign(pieces);
}

/// MTA-STS: records and policies.
pub fn sts(input: &[u8]) {
    delivery::fuzzing::sts(input);
}

/// TLS reports: records that ask for them, counts of other shards, and the reports that come of both.
pub fn tls_report(input: &[u8]) {
    tls_reports::fuzzing::record(input);
    tls_reports::fuzzing::counts(input);
}

/// Reports that come in: delivery reports and complaints.
pub fn report(input: &[u8]) {
    returns::fuzzing::read(input);
}

/// Reports that go out, about recipients and replies and a message that `input` holds: they are messages, and
/// read as reports they say what they were made of.
pub fn bounce(input: &[u8]) {
    let Some((content, expected)) = delivery::fuzzing::bounce(input) else {
        return;
    };
    assert!(fits(&content, Need::Text), "{}", text(&content));
    let header = fields::parse(&content);
    assert!(header.is_ok(), "{}", text(&content));
    let fields = header.map(|header| header.fields).unwrap_or_default();
    for name in [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
    ] {
        let count = fields
            .iter()
            .filter(|field| field.is(&content, name))
            .count();
        assert_eq!(count, 1, "{name}: {}", text(&content));
    }
    assert_eq!(
        fields.len(),
        8,
        "Content-Type, and no more: {}",
        text(&content)
    );
    returns::fuzzing::says(&content, &expected);
}

/// Bodies of requests that shards and administrators send over HTTP: what is understood is written as it is
/// read.
pub fn request(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else {
        return;
    };
    match choice % 6 {
        0 => handover::fuzzing::batch(body),
        1 => handover::fuzzing::words(body),
        2 => table::fuzzing::changes::<suppression::Entry>(body),
        3 => drop(again::<table::Want>(body)),
        4 => table::fuzzing::mark(body),
        _ => drop(again::<tls_reports::Batch>(body)),
    }
}

/// Reads JSON as the server does, and again what is written of it.
pub(crate) fn again<T: DeserializeOwned + Serialize>(body: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(body).ok()?;
    let written = serde_json::to_value(&value);
    assert!(written.is_ok(), "{written:?}");
    let written = written.unwrap_or_default();
    let read = serde_json::from_value::<T>(written.clone());
    assert!(read.is_ok(), "{written} is not what it was");
    let rewritten = read.and_then(serde_json::to_value);
    assert_eq!(rewritten.ok(), Some(written));
    Some(value)
}

fn text(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
