//! Macros in domains of SPF records (RFC 7208 section 7).

use std::net::IpAddr;

/// Longest name in DNS, without the final dot.
const LONGEST: usize = 253;

/// One macro: its letter, how many labels of it are kept, whether they are turned round, and where it is
/// cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Macro {
    letter: char,
    escape: bool,
    keep: usize,
    reverse: bool,
    delimiters: String,
}

/// What macros stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// Address that is checked.
    pub(super) ip: IpAddr,
    /// Domain whose record is being looked at.
    pub(super) domain: &'a str,
    /// Domain of the sender.
    pub(super) sender: &'a str,
    /// Name by which the client greets.
    pub(super) helo: &'a str,
}

/// The inside of `%{…}`.
pub(super) fn read(body: &str) -> Option<Macro> {
    let mut characters = body.chars();
    let letter = characters.next()?;
    let lower = letter.to_ascii_lowercase();
    if !"slodiphv".contains(lower) {
        return None;
    }
    let rest = characters.as_str();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let keep = match number {
        "" => usize::MAX,
        number => number.parse().ok().filter(|keep| *keep > 0)?,
    };
    let turned = rest.strip_prefix(['r', 'R']);
    let delimiters = turned.unwrap_or(rest);
    delimiters
        .chars()
        .all(|one| ".-+,/_=".contains(one))
        .then(|| Macro {
            letter: lower,
            escape: letter.is_ascii_uppercase(),
            keep,
            reverse: turned.is_some(),
            delimiters: if delimiters.is_empty() {
                ".".to_owned()
            } else {
                delimiters.to_owned()
            },
        })
}

/// The text with its macros replaced, cut from the left to the length of a name; lower case, without a
/// final dot. `name` is the validated name of the client (`p`).
pub(super) fn expand(text: &str, values: &Values<'_>, name: &str) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let inside = after
            .strip_prefix('{')
            .and_then(|body| body.split_once('}'));
        if let Some((body, after)) = inside {
            let value = read(body).map(|one| one.value(values, name));
            expanded.push_str(&value.unwrap_or_default());
            rest = after;
            continue;
        }
        expanded.push_str(match after.chars().next() {
            Some('_') => " ",
            Some('-') => "%20",
            _ => "%",
        });
        rest = after.get(1..).unwrap_or_default();
    }
    expanded.push_str(rest);
    let mut name = expanded.trim_end_matches('.');
    while name.len() > LONGEST {
        let Some((_, shorter)) = name.split_once('.') else {
            break;
        };
        name = shorter;
    }
    name.to_ascii_lowercase()
}

/// Whether a macro asks for the client's validated name.
pub(super) fn needs_name(text: &str) -> bool {
    let mut macros = text.match_indices("%{");
    macros.any(|(at, _)| text[at + 2..].starts_with(['p', 'P']))
}

impl Macro {
    fn value(&self, values: &Values<'_>, name: &str) -> String {
        let whole = match self.letter {
            's' => format!("postmaster@{}", values.sender),
            'l' => "postmaster".to_owned(),
            'o' => values.sender.to_owned(),
            'd' => values.domain.to_owned(),
            'i' => dotted(values.ip),
            'p' => name.to_owned(),
            'h' => values.helo.to_owned(),
            _ => match values.ip {
                IpAddr::V4(_) => "in-addr".to_owned(),
                IpAddr::V6(_) => "ip6".to_owned(),
            },
        };
        let mut parts: Vec<&str> = whole.split(|one| self.delimiters.contains(one)).collect();
        if self.reverse {
            parts.reverse();
        }
        let first = parts.len().saturating_sub(self.keep);
        let joined = parts[first..].join(".");
        if self.escape {
            escaped(&joined)
        } else {
            joined
        }
    }
}

/// The address as it is written in macros: IPv6 in nibbles.
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => nibbles(&ip.octets()).join("."),
    }
}

/// Hexadecimal digits.
fn nibbles(octets: &[u8]) -> Vec<String> {
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    digits.map(|digit| format!("{digit:x}")).collect()
}

/// The name that leads from an address back to its host.
pub(super) fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let mut digits = nibbles(&ip.octets());
            digits.reverse();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}

fn escaped(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(octet).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(octet).collect()
}
