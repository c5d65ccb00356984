//! Paths of `MAIL` and `RCPT`: RFC 5321 section 4.1.2.

use crate::address::{Address, AddressError};

use super::{CommandError, Recipient, Syntax, WHITE_SPACE};

/// Splits `FROM: <path> parameters` into the path's inside and the parameters. Quotes are minded,
/// so that a space or bracket in a quoted local part ends nothing (cases R19 to R21).
pub(super) fn split<'a>(
    verb: &str,
    keyword: &str,
    argument: &'a str,
    syntax: Syntax,
) -> Result<(&'a str, &'a str), CommandError> {
    if syntax == Syntax::Strict {
        return split_strictly(verb, keyword, argument);
    }
    let usage = || CommandError::argument(format!("write {verb} {keyword}:<name@domain>"));
    let (word, rest) = argument.split_once(':').ok_or_else(usage)?;
    if !word
        .trim_end_matches(WHITE_SPACE)
        .eq_ignore_ascii_case(keyword)
    {
        return Err(usage());
    }
    let rest = rest.trim_start_matches(WHITE_SPACE);
    let Some(inside) = rest.strip_prefix('<') else {
        // Without brackets, as old appliances write it: one word.
        let end = unquoted(rest, |character| WHITE_SPACE.contains(&character));
        let (path, parameters) = rest.split_at(end.unwrap_or(rest.len()));
        if path.is_empty() || path.contains(['<', '>']) {
            return Err(usage());
        }
        return Ok((path, parameters));
    };
    let end = unquoted(inside, |character| character == '>').ok_or_else(usage)?;
    let (path, parameters) = (&inside[..end], &inside[end + 1..]);
    if !parameters.is_empty() && !parameters.starts_with(WHITE_SPACE) {
        return Err(usage());
    }
    Ok((path.trim_matches(WHITE_SPACE), parameters))
}

fn split_strictly<'a>(
    verb: &str,
    keyword: &str,
    argument: &'a str,
) -> Result<(&'a str, &'a str), CommandError> {
    let usage = || {
        CommandError::argument(format!(
            "write {verb} {keyword}:<name@domain> with brackets and with no white space in or around it"
        ))
    };
    let (word, rest) = argument.split_once(':').ok_or_else(usage)?;
    let inside = rest.strip_prefix('<').ok_or_else(usage)?;
    let end = unquoted(inside, |character| character == '>').ok_or_else(usage)?;
    let (path, parameters) = (&inside[..end], &inside[end + 1..]);
    let well_formed = word.eq_ignore_ascii_case(keyword)
        && path.trim_matches(WHITE_SPACE) == path
        && (parameters.is_empty() || parameters.starts_with(' '))
        && !parameters.contains('\t');
    well_formed.then_some((path, parameters)).ok_or_else(usage)
}

/// Index of the first character outside of quotes that `wanted` names.
fn unquoted(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && wanted(character) => return Some(index),
            _ => {}
        }
    }
    None
}

/// The address of a path, after its source route: RFC 5321 appendix C has servers ignore it.
fn address(path: &str) -> Result<Address, AddressError> {
    let path = match path.strip_prefix('@') {
        Some(route) => route.split_once(':').map_or(path, |(_, address)| address),
        None => path,
    };
    Address::parse(path)
}

/// `MAIL`'s path, empty for the null sender.
pub(super) fn reverse(path: &str) -> Result<Option<Address>, CommandError> {
    if path.is_empty() {
        return Ok(None);
    }
    address(path).map(Some).map_err(|AddressError(reason)| {
        CommandError::new(
            501,
            "5.1.7",
            format!("the sender address cannot be used: {reason}"),
        )
    })
}

/// `RCPT`'s path.
pub(super) fn forward(path: &str) -> Result<Recipient, CommandError> {
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(Recipient::Postmaster);
    }
    address(path)
        .map(Recipient::Address)
        .map_err(|AddressError(reason)| {
            CommandError::new(
                501,
                "5.1.3",
                format!("the recipient address cannot be used: {reason}"),
            )
        })
}
