//! Reads reports: delivery status notifications (RFC 3464, RFC 6533) and complaints (RFC 5965), both in
//! a `multipart/report` (RFC 6522). Pure.
//!
//! What comes in is written by strangers. The first [`LONGEST`] octets are looked at, and of a report
//! [`MOST_BLOCKS`] recipients. What is not understood is not a report, and never a bounce.

mod parts;

use relay_smtp::{Address, EnhancedCode};

use crate::delivery::{Category, Said};
use parts::Part;

/// Octets of a message that are looked at; a report with the whole original has what counts in front.
const LONGEST: usize = 512 * 1024;
/// Recipients of one report.
const MOST_BLOCKS: usize = 100;
/// Octets of one field.
const LONGEST_FIELD: usize = 4096;

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// What became of recipients.
    Delivery(Vec<Status>),
    /// Somebody complained.
    Complaint(Complaint),
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Whom it calls the recipient, best first.
    pub(super) addresses: Vec<Address>,
    /// Delivery failed, and why.
    pub(super) failed: Option<Category>,
    /// The words of the server, or the status code.
    pub(super) detail: String,
}

/// A complaint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The recipient does not want such mail: `abuse`, `fraud` or `opt-out`, and not `not-spam`.
    pub(super) unwanted: bool,
    /// `Feedback-Type` and who sent the report.
    pub(super) detail: String,
    /// `Original-Rcpt-To`.
    pub(super) addresses: Vec<Address>,
    /// Return paths of the message that it is about: `Original-Mail-From`, and `Return-Path` of the
    /// original.
    pub(super) paths: Vec<Address>,
}

/// Reads a message; `None` if it is no report.
pub(super) fn read(content: &[u8]) -> Option<Report> {
    let parts = parts::of(content.get(..LONGEST).unwrap_or(content))?;
    if let Some(part) = find_part(&parts, &["message/feedback-report"]) {
        return Some(Report::Complaint(complaint(&parts, &part.text())));
    }
    let names = ["message/delivery-status", "message/global-delivery-status"];
    let statuses: Vec<Status> = blocks(&find_part(&parts, &names)?.text())
        .skip(1)
        .take(MOST_BLOCKS)
        .filter_map(|block| status(&block))
        .collect();
    (!statuses.is_empty()).then_some(Report::Delivery(statuses))
}

fn find_part<'a>(parts: &'a [Part<'a>], names: &[&str]) -> Option<&'a Part<'a>> {
    parts.iter().find(|part| names.contains(&&*part.kind))
}

/// A field's name in lower case, and its value on one line.
type Field = (String, String);

/// Groups of fields, between empty lines.
fn blocks(text: &str) -> impl Iterator<Item = Vec<Field>> {
    let mut blocks = vec![Vec::<Field>::new()];
    for line in text.lines() {
        let Some(block) = blocks.last_mut() else {
            break;
        };
        if line.trim().is_empty() {
            if !block.is_empty() {
                if blocks.len() > MOST_BLOCKS {
                    break;
                }
                blocks.push(Vec::new());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = block.last_mut()
                && value.len() + line.len() <= LONGEST_FIELD
            {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':')
            && line.len() <= LONGEST_FIELD
            && block.len() < MOST_BLOCKS
        {
            block.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    blocks.into_iter().filter(|block| !block.is_empty())
}

fn find<'a>(block: &'a [Field], name: &str) -> Option<&'a str> {
    let field = block.iter().find(|(one, _)| one == name);
    field.map(|(_, value)| value.as_str())
}

/// RFC 3464 section 2.3; without `Action` it says nothing.
fn status(block: &[Field]) -> Option<Status> {
    let action = find(block, "action")?;
    let addresses = ["original-recipient", "final-recipient"]
        .into_iter()
        .filter_map(|name| typed_address(find(block, name)?))
        .collect();
    let code = find(block, "status").unwrap_or_default();
    let diagnostic = find(block, "diagnostic-code").unwrap_or_default();
    let failed = action.split_whitespace().next() == Some("failed")
        || action.trim().eq_ignore_ascii_case("failed");
    let detail = if diagnostic.is_empty() {
        code
    } else {
        diagnostic
    };
    Some(Status {
        addresses,
        failed: failed.then(|| category(code, diagnostic)),
        detail: detail.to_owned(),
    })
}

/// As a reply of a server to us would be judged.
fn category(code: &str, diagnostic: &str) -> Category {
    // `smtp; 550 5.1.1 No such user`; other types have words alone.
    let words = diagnostic
        .split_once(';')
        .map_or(diagnostic, |(_, words)| words)
        .trim();
    let (reply, words) = match words.split_at_checked(3) {
        Some((digits, rest)) if digits.bytes().all(|one| one.is_ascii_digit()) => {
            (Some(digits), rest.trim_start_matches(['-', ' ']))
        }
        _ => (None, words),
    };
    let own = EnhancedCode::split(code.split_whitespace().next().unwrap_or_default());
    let (said, words) = match EnhancedCode::split(words) {
        Some((said, words)) => (Some(said), words),
        None => (None, words),
    };
    // 5.0.0 says that it failed and no more; the server's own code is nearer to the cause.
    let status = said.or(own.map(|(code, _)| code));
    let temporary = reply.is_some_and(|digits| digits.starts_with('4'))
        || status.is_some_and(|status| status.class != 5);
    Category::of(&Said {
        permanent: !temporary,
        stage: None,
        status,
        words,
    })
}

/// `rfc822; name@domain`, `utf-8; …`; a few forget the type.
fn typed_address(value: &str) -> Option<Address> {
    let address = value.split_once(';').map_or(value, |(_, address)| address);
    parse(address)
}

fn parse(text: &str) -> Option<Address> {
    let text = text.trim();
    let bare = text
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'));
    Address::parse(bare.unwrap_or(text).trim()).ok()
}

/// RFC 5965 section 3.
fn complaint(parts: &[Part<'_>], text: &str) -> Complaint {
    let fields = blocks(text).next().unwrap_or_default();
    let all = |name: &'static str| {
        let fields = fields.iter().filter(move |(one, _)| one == name);
        fields.filter_map(|(_, value)| parse(value))
    };
    let kind = find(&fields, "feedback-type").unwrap_or_default();
    let unwanted = ["abuse", "fraud", "opt-out"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(kind));
    let agent = find(&fields, "user-agent").unwrap_or_default();
    Complaint {
        unwanted,
        detail: format!("{kind} {agent}").trim().to_owned(),
        addresses: all("original-rcpt-to").take(MOST_BLOCKS).collect(),
        paths: all("original-mail-from")
            .chain(original_paths(parts))
            .take(MOST_BLOCKS)
            .collect(),
    }
}

/// `Return-Path` of the message that is attached, whole or its headers.
fn original_paths<'a>(parts: &'a [Part<'_>]) -> impl Iterator<Item = Address> + 'a {
    let originals = parts.iter().filter(|part| {
        matches!(
            &*part.kind,
            "message/rfc822" | "message/global" | "message/global-headers" | "text/rfc822-headers"
        )
    });
    originals.filter_map(|part| {
        let headers = blocks(&part.text()).next()?;
        parse(find(&headers, "return-path")?)
    })
}

#[cfg(test)]
mod tests;
