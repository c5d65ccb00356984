//! Text of an SPF record into terms (RFC 7208 sections 4.6.1, 5, 6, 7 and 12).
//!
//! A record with one wrong term is no record, so that everything is read before anything is evaluated.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A mechanism. Domains are macro strings and not yet expanded; none is the domain that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(String),
    A(Option<String>, Lengths),
    Mx(Option<String>, Lengths),
    Ptr(Option<String>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(String),
}

/// Prefix lengths for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) four: u8,
    pub(super) six: u8,
}

/// A record, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<(Qualifier, Mechanism)>,
    pub(super) redirect: Option<String>,
}

/// What a term is.
enum Term {
    Directive(Qualifier, Mechanism),
    Redirect(String),
    Explanation,
    Other,
}

/// Whether the text is an SPF record at all, right or wrong (section 4.5).
pub(in crate::domain) fn is_spf(text: &str) -> bool {
    let version = text.get(..6).unwrap_or_default();
    let ends = text.as_bytes().get(6).is_none_or(|next| *next == b' ');
    version.eq_ignore_ascii_case("v=spf1") && ends
}

/// The terms of a record, as they stand there.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|term| !term.is_empty()).skip(1)
}

/// Whether a term is `all`, with any qualifier.
pub(super) fn is_all(term: &str) -> bool {
    term.trim_start_matches(['+', '-', '~', '?'])
        .eq_ignore_ascii_case("all")
}

/// Whether a term can be read.
pub(super) fn is_valid(text: &str) -> bool {
    term(text).is_some()
}

/// The record, or the first term that cannot be read.
pub(super) fn parse(text: &str) -> Result<Record, String> {
    let mut record = Record::default();
    let mut explained = false;
    for text in terms(text) {
        let wrong = || text.to_owned();
        match term(text).ok_or_else(wrong)? {
            Term::Directive(qualifier, mechanism) => record.directives.push((qualifier, mechanism)),
            Term::Redirect(domain) if record.redirect.is_none() => record.redirect = Some(domain),
            Term::Explanation if !explained => explained = true,
            Term::Redirect(_) | Term::Explanation => return Err(wrong()),
            Term::Other => {}
        }
    }
    Ok(record)
}

fn term(text: &str) -> Option<Term> {
    if let Some((name, value)) = modifier(text) {
        return match name.to_ascii_lowercase().as_str() {
            "redirect" => Some(Term::Redirect(domain_spec(value)?)),
            "exp" => domain_spec(value).map(|_| Term::Explanation),
            _ => macros_are_valid(value).then_some(Term::Other),
        };
    }
    let (qualifier, rest) = match text.as_bytes().first()? {
        b'+' => (Qualifier::Pass, &text[1..]),
        b'-' => (Qualifier::Fail, &text[1..]),
        b'~' => (Qualifier::SoftFail, &text[1..]),
        b'?' => (Qualifier::Neutral, &text[1..]),
        _ => (Qualifier::Pass, text),
    };
    mechanism(rest).map(|mechanism| Term::Directive(qualifier, mechanism))
}

/// `name=value`, where the `=` comes before any `:` or `/`.
pub(super) fn modifier(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let mut characters = name.chars();
    let starts = characters.next()?.is_ascii_alphabetic();
    let goes_on = characters.all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one));
    (starts && goes_on).then_some((name, value))
}

fn mechanism(text: &str) -> Option<Mechanism> {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let argument = rest.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" => rest.is_empty().then_some(Mechanism::All),
        "include" => Some(Mechanism::Include(domain_spec(argument?)?)),
        "exists" => Some(Mechanism::Exists(domain_spec(argument?)?)),
        "ptr" if rest.is_empty() => Some(Mechanism::Ptr(None)),
        "ptr" => Some(Mechanism::Ptr(Some(domain_spec(argument?)?))),
        "a" => with_lengths(rest).map(|(domain, lengths)| Mechanism::A(domain, lengths)),
        "mx" => with_lengths(rest).map(|(domain, lengths)| Mechanism::Mx(domain, lengths)),
        "ip4" => network(argument?, 32).map(|(address, length)| Mechanism::Ip4(address, length)),
        "ip6" => network(argument?, 128).map(|(address, length)| Mechanism::Ip6(address, length)),
        _ => None,
    }
}

fn network<A: std::str::FromStr>(text: &str, most: u8) -> Option<(A, u8)> {
    match text.split_once('/') {
        Some((address, length)) => Some((address.parse().ok()?, number(length, most)?)),
        None => Some((text.parse().ok()?, most)),
    }
}

/// `[:domain][/n][//n]`.
fn with_lengths(text: &str) -> Option<(Option<String>, Lengths)> {
    let mut lengths = Lengths { four: 32, six: 128 };
    let mut rest = text;
    if let Some((before, length)) = cut_length(rest, "//", 128)? {
        lengths.six = length;
        rest = before;
    }
    if let Some((before, length)) = cut_length(rest, "/", 32)? {
        lengths.four = length;
        rest = before;
    }
    if rest.is_empty() {
        return Some((None, lengths));
    }
    let domain = domain_spec(rest.strip_prefix(':')?)?;
    Some((Some(domain), lengths))
}

/// A length at the end, if there is one; `None` outside when it is wrong.
#[expect(
    clippy::option_option,
    reason = "wrong, absent and present are three things"
)]
fn cut_length<'a>(text: &'a str, mark: &str, most: u8) -> Option<Option<(&'a str, u8)>> {
    // A slash within a macro is a delimiter.
    let after_macros = text.rfind('}').map_or(0, |at| at + 1);
    let Some(at) = text[after_macros..].find(mark) else {
        return Some(None);
    };
    let (before, length) = text.split_at(after_macros + at);
    if mark == "/" && length.starts_with("//") {
        return None;
    }
    let length = number(&length[mark.len()..], most)?;
    Some(Some((before, length)))
}

/// Decimal, without leading zeros.
fn number(text: &str, most: u8) -> Option<u8> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    let value: u8 = text.parse().ok()?;
    (plain && !leading && value <= most).then_some(value)
}

/// Section 7.1: ends in a top label or a macro.
fn domain_spec(text: &str) -> Option<String> {
    let ends_in_macro =
        text.ends_with('}') || text.ends_with("%%") || text.ends_with("%_") || text.ends_with("%-");
    let good = !text.is_empty() && macros_are_valid(text) && (ends_in_macro || has_top_label(text));
    good.then(|| text.to_owned())
}

fn has_top_label(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else {
        return false;
    };
    let letters = label
        .bytes()
        .any(|octet| octet.is_ascii_alphabetic() || octet == b'-');
    let plain = label
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    letters && plain && !label.starts_with('-') && !label.ends_with('-')
}

/// Section 7.1: visible characters, and `%` only as the start of a macro.
fn macros_are_valid(text: &str) -> bool {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !character.is_ascii_graphic() {
            return false;
        }
        let Some(after) = rest.strip_prefix('%') else {
            rest = &rest[1..];
            continue;
        };
        if after.starts_with(['%', '_', '-']) {
            rest = &after[1..];
        } else if let Some((body, after)) = after
            .strip_prefix('{')
            .and_then(|body| body.split_once('}'))
        {
            if super::macros::read(body).is_none() {
                return false;
            }
            rest = after;
        } else {
            return false;
        }
    }
    true
}
