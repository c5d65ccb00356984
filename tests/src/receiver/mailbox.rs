//! Reading delivered mail: a Maildir holds each message in a file of its own that appears complete.

use std::path::Path;

use anyhow::Context as _;
use mail_parser::{HeaderValue, Message, MessageParser};

/// A delivered message, with everything that the receiving server added.
#[derive(Clone, Debug)]
pub struct Delivered {
    raw: Vec<u8>,
}

/// What the verifier said of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `pass`, `fail`, `permerror`, … (RFC 8601 section 2.7.1).
    pub result: String,
    /// The signing domain.
    pub domain: String,
    /// Selector, where it says so.
    pub selector: String,
    /// Algorithm, where it says so.
    pub algorithm: String,
}

/// The messages of a Maildir's `new`, oldest first; none when nothing was delivered yet.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Vec<Delivered>> {
    let mut files = Vec::new();
    for entry in entries(directory)? {
        let metadata = entry.metadata()?;
        files.push((metadata.modified()?, entry.path()));
    }
    files.sort();
    files
        .into_iter()
        .map(|(_, path)| {
            let raw = std::fs::read(&path).with_context(|| path.display().to_string())?;
            Ok(Delivered { raw })
        })
        .collect()
}

/// How many messages a Maildir's `new` has.
pub(crate) fn count(directory: &Path) -> anyhow::Result<usize> {
    Ok(entries(directory)?.len())
}

fn entries(directory: &Path) -> anyhow::Result<Vec<std::fs::DirEntry>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    std::fs::read_dir(directory)?
        .collect::<Result<_, _>>()
        .with_context(|| directory.display().to_string())
}

impl Delivered {
    /// The message as it lies in the mailbox.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The same as text, with what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// The message's own header block.
    pub fn header_block(&self) -> String {
        let text = self.text().replace("\r\n", "\n");
        text.split("\n\n").next().unwrap_or_default().to_owned()
    }

    /// All values of a header, unfolded, in order.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.header_block()
            .replace("\n\t", " ")
            .replace("\n ", " ")
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// The only value of a header.
    pub fn only(&self, name: &str) -> anyhow::Result<String> {
        let mut values = self.header(name);
        let value = values
            .pop()
            .with_context(|| format!("no {name}:\n{}", self.header_block()))?;
        anyhow::ensure!(
            values.is_empty(),
            "several {name}:\n{}",
            self.header_block()
        );
        Ok(value)
    }

    /// The parsed form, by a parser that is not the relay's.
    pub fn parsed(&self) -> anyhow::Result<Message<'_>> {
        MessageParser::default()
            .parse(&self.raw)
            .context("the message cannot be parsed")
    }

    /// The text of the first part with this type, such as `message/delivery-status`.
    pub fn part(&self, kind: &str) -> anyhow::Result<String> {
        let message = self.parsed()?;
        let found = message.parts.iter().find(|part| {
            part.headers.iter().any(|header| match &header.value {
                HeaderValue::ContentType(value) => {
                    let subtype = value.c_subtype.as_deref().unwrap_or_default();
                    format!("{}/{subtype}", value.c_type).eq_ignore_ascii_case(kind)
                }
                _ => false,
            })
        });
        let part = found.with_context(|| format!("no part {kind}:\n{}", self.text()))?;
        let from = usize::try_from(part.offset_body)?;
        let to = usize::try_from(part.offset_end)?;
        let bytes = self
            .raw
            .get(from..to)
            .context("the part lies outside the message")?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// What the verifier said of each signature.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.header("Authentication-Results")
            .iter()
            .flat_map(|value| verdicts(value))
            .collect()
    }
}

/// Reads `host; dkim=pass (…) header.d=… header.s=… header.a=…; dkim=…` (RFC 8601 section 2.2).
pub(crate) fn verdicts(value: &str) -> Vec<Verdict> {
    let mut found = Vec::new();
    for statement in without_comments(value).split(';') {
        let mut words = statement.split_whitespace();
        let Some(result) = words.next().and_then(|word| word.strip_prefix("dkim=")) else {
            continue;
        };
        let properties: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let property = |name: &str| {
            properties
                .iter()
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.trim_matches('"').to_owned())
                .unwrap_or_default()
        };
        found.push(Verdict {
            result: result.to_owned(),
            domain: property("header.d"),
            selector: property("header.s"),
            algorithm: property("header.a"),
        });
    }
    found
}

fn without_comments(value: &str) -> String {
    let mut depth = 0_u32;
    let mut result = String::new();
    for character in value.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => result.push(character),
            _ => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_has_a_verdict_of_its_own() {
        let message = Delivered {
            raw: b"Authentication-Results: mx.example;\r\n\tdkim=pass (2048-bit key; unprotected) \
                header.d=shop.example header.i=@shop.example\r\n\theader.a=rsa-sha256 \
                header.s=blue header.b=abc;\r\n\tdkim=fail (bad; key) header.d=shop.example \
                header.s=red header.a=ed25519-sha256\r\nSubject: x\r\n\r\nbody"
                .to_vec(),
        };
        let verdict = |result: &str, selector: &str, algorithm: &str| Verdict {
            result: result.into(),
            domain: "shop.example".into(),
            selector: selector.into(),
            algorithm: algorithm.into(),
        };
        assert_eq!(
            message.verdicts(),
            [
                verdict("pass", "blue", "rsa-sha256"),
                verdict("fail", "red", "ed25519-sha256")
            ]
        );
        assert_eq!(message.only("subject").unwrap(), "x");
        assert!(message.only("Date").is_err());
    }
}
