//! Text in parameters: `xtext` of RFC 3461 section 4 and `utf-8-addr-xtext` of RFC 6533 section 3.

use std::fmt::Write as _;

/// Whether a character stands for itself in both encodings.
fn is_plain(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, '+' | '=')
}

/// Writes printable ASCII as `xtext`; other characters as the octets of their UTF-8.
pub fn encode_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if is_plain(octet.into()) {
            encoded.push(octet.into());
        } else {
            // Writing to memory does not fail.
            let _ = write!(encoded, "+{octet:02X}");
        }
    }
    encoded
}

/// Reads `xtext`; `None` when it is none, or encodes what is not printable ASCII.
pub fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let character = match octet {
            b'+' => char::from(hexadecimal(octets.next()?)? << 4 | hexadecimal(octets.next()?)?),
            _ if is_plain(octet.into()) => octet.into(),
            _ => return None,
        };
        if character != ' ' && !character.is_ascii_graphic() {
            return None;
        }
        decoded.push(character);
    }
    Some(decoded)
}

/// RFC 3461 has upper-case digits only.
fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Writes text as `utf-8-addr-xtext`, which is ASCII.
pub fn encode_unicode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) && character != '\\' {
            encoded.push(character);
        } else {
            let _ = write!(encoded, "\\x{{{:X}}}", u32::from(character));
        }
    }
    encoded
}

/// Reads `utf-8-addr-xtext` or `utf-8-addr-unitext`; `None` when it is neither, or has control
/// characters.
pub fn decode_unicode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (character, after) = if let Some(escaped) = rest.strip_prefix("\\x{") {
            let (digits, after) = escaped.split_once('}')?;
            let good = (2..=6).contains(&digits.len())
                && digits.bytes().all(|digit| hexadecimal(digit).is_some());
            let number = good.then(|| u32::from_str_radix(digits, 16).ok())??;
            (char::from_u32(number)?, after)
        } else if character == '\\' || character.is_ascii() && !is_plain(character) {
            return None;
        } else {
            (character, &rest[character.len_utf8()..])
        };
        if character.is_control() {
            return None;
        }
        decoded.push(character);
        rest = after;
    }
    Some(decoded)
}
