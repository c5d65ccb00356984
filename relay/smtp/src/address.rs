//! Mail addresses in envelopes: `Mailbox` of RFC 5321 section 4.1.2, with RFC 6531 for UTF-8.
//!
//! Limits of RFC 5321 section 4.5.3.1: 64 octets of local part, 254 octets in all (a path of 256
//! with its angle brackets). What goes into a queue or onto the wire has passed [`Address::parse`],
//! so no later code need fear a line end or a space in an address.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

/// An envelope address: local part as received (case and quoting kept, cases R19 to R21 and R47),
/// domain folded to lower case, IDNs as A-labels (case L10).
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    text: Arc<str>,
    /// Index of the `@` between local part and domain.
    at: usize,
}

/// RFC 5321 section 4.5.3.1.1.
const LONGEST_LOCAL_PART: usize = 64;
/// What a DNS name can hold in text form (RFC 1035 section 2.3.4).
const LONGEST_DOMAIN: usize = 253;
/// A path has at most 256 octets with its brackets (RFC 5321 section 4.5.3.1.3).
const LONGEST_ADDRESS: usize = 254;

/// Why text is not an address, in words for a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub &'static str);

impl Address {
    /// Parses `local@domain`, `"quoted local"@domain` or `local@[192.0.2.1]`, without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = local_part_length(text)?;
        let (local, rest) = text.split_at(at);
        let Some(domain) = rest.strip_prefix('@') else {
            return Err(AddressError("it has no domain; write name@domain"));
        };
        if local.len() > LONGEST_LOCAL_PART {
            return Err(AddressError(
                "the part before the @ is longer than 64 octets",
            ));
        }
        let domain = canonical_domain(domain)?;
        if at + 1 + domain.len() > LONGEST_ADDRESS {
            return Err(AddressError("it is longer than 254 octets"));
        }
        Ok(Self {
            text: format!("{local}@{domain}").into(),
            at,
        })
    }

    /// The part before the `@`, quoted if it was.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The part after the `@`: lower case, A-labels; `[...]` for a literal.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The whole address, as it goes on the wire between the angle brackets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it needs SMTPUTF8 on the wire: a local part that is not ASCII.
    pub fn is_utf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

/// Lower-case A-label form of a domain name or address literal; what [`Address::domain`] has.
pub fn canonical_domain(domain: &str) -> Result<Cow<'_, str>, AddressError> {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest
            .strip_suffix(']')
            .and_then(canonical_literal)
            .map(Cow::Owned)
            .ok_or(AddressError(
                "its address literal is malformed; write [192.0.2.1] or [IPv6:2001:db8::1]",
            ));
    }
    let domain = if domain.is_ascii() {
        if domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
            Cow::Owned(domain.to_ascii_lowercase())
        } else {
            Cow::Borrowed(domain)
        }
    } else {
        Uts46::new()
            .to_ascii(
                domain.as_bytes(),
                AsciiDenyList::STD3,
                Hyphens::Check,
                DnsLength::Verify,
            )
            .map_err(|_| AddressError("its domain is not a valid internationalised name"))?
    };
    check_domain(&domain)?;
    Ok(domain)
}

/// Octets of the local part at the start of `text`; its own syntax is checked.
fn local_part_length(text: &str) -> Result<usize, AddressError> {
    if text.starts_with('"') {
        return quoted_length(text);
    }
    let mut after_dot = true;
    for (index, character) in text.char_indices() {
        match character {
            '.' if after_dot => return Err(MISPLACED_DOT),
            '.' => after_dot = true,
            '@' if index == 0 => return Err(AddressError("nothing stands before the @")),
            '@' if after_dot => return Err(MISPLACED_DOT),
            '@' => return Ok(index),
            _ if is_atext(character) => after_dot = false,
            _ => {
                return Err(AddressError(
                    "a character in it is not allowed outside of quotes",
                ));
            }
        }
    }
    Ok(text.len())
}

const MISPLACED_DOT: AddressError =
    AddressError("a dot stands first, last or twice; quote the part before the @ if it is so");

/// `Quoted-string` of RFC 5321, with UTF-8 of RFC 6531.
fn quoted_length(text: &str) -> Result<usize, AddressError> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if character.is_control() => {
                return Err(AddressError("a control character stands in it"));
            }
            _ if escaped && !character.is_ascii() => {
                return Err(AddressError(
                    "a backslash stands before a non-ASCII character",
                ));
            }
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(index + 1),
            _ => {}
        }
    }
    Err(AddressError("a quote is not closed"))
}

/// `atext` of RFC 5322, with UTF-8 of RFC 6531; C1 controls are no text.
fn is_atext(character: char) -> bool {
    match character {
        _ if !character.is_ascii() => !character.is_control(),
        _ if character.is_ascii_alphanumeric() => true,
        _ => "!#$%&'*+-/=?^_`{|}~".contains(character),
    }
}

/// The content of `[...]`; RFC 5321 section 4.1.3. The tag is read in any case (case R33).
fn canonical_literal(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(format!("[{address}]"));
    }
    let tag = text.get(..5)?;
    let address: Ipv6Addr = text.get(5..)?.parse().ok()?;
    tag.eq_ignore_ascii_case("IPv6:")
        .then(|| format!("[IPv6:{address}]"))
}

/// A name of labels. Underscores pass, since DNS has them and real domains use them.
fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.is_empty() {
        return Err(AddressError("nothing stands after the @"));
    }
    if domain.len() > LONGEST_DOMAIN {
        return Err(AddressError("its domain is longer than 253 octets"));
    }
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    if !domain.split('.').all(label_is_good) {
        return Err(AddressError(
            "its domain is not a host name; write letters, digits, hyphens and single dots",
        ));
    }
    let last = domain.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(AddressError(
            "its domain ends in a number; write an IP address in brackets: [192.0.2.1]",
        ));
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, formatter)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.text.as_ref().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r47_the_domain_is_folded_and_the_local_part_is_not() {
        let address = Address::parse("Sales.Team@Shop.EXAMPLE").unwrap();
        assert_eq!(address.as_str(), "Sales.Team@shop.example");
        assert_eq!(address.local_part(), "Sales.Team");
        assert_eq!(address.domain(), "shop.example");
    }

    #[test]
    fn r19_r20_r21_quoting_is_kept() {
        for text in [
            r#""odd user"@example.com"#,
            r#""Patrycja Rosa"@x"#,
            r#""a b"@example.org"#,
            r#""@"@example.org"#,
            r#"" "@example.org"#,
            r#""a\"b"@example.org"#,
            r#""a\\"@example.org"#,
            r#""..x."@example.org"#,
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.as_str(), text);
        }
    }

    #[test]
    fn l10_an_internationalised_domain_becomes_a_labels_and_needs_no_smtputf8() {
        let address = Address::parse("info@Gr\u{e5}.org").unwrap();
        assert_eq!(address.as_str(), "info@xn--gr-zia.org");
        assert!(!address.is_utf8());
    }

    #[test]
    fn l11_a_utf8_local_part_stays_as_it_is() {
        let address = Address::parse("p\u{e5}l@gr\u{e5}.org").unwrap();
        assert_eq!(address.as_str(), "p\u{e5}l@xn--gr-zia.org");
        assert!(address.is_utf8());
    }

    #[test]
    fn address_literals_have_one_form() {
        let rows = [
            ("a@[127.0.0.1]", "a@[127.0.0.1]"),
            ("a@[IPv6:2001:DB8:0::1]", "a@[IPv6:2001:db8::1]"),
            ("a@[ipv6:::1]", "a@[IPv6:::1]"),
        ];
        for (text, expected) in rows {
            assert_eq!(Address::parse(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long_local = format!("{}@example.org", "a".repeat(65));
        let long_domain = format!("a@{}.org", "b.".repeat(125));
        let long_label = format!("a@{}.org", "b".repeat(64));
        for text in [
            "",
            "@",
            "a",
            "postmaster",
            "@example.org",
            "a@",
            "a..b@x",
            ".a@x",
            "a.@x",
            "a b@x",
            "a@b@c",
            "a@b c",
            "a@b..c",
            "a@.b",
            "a@b.",
            "a@-b",
            "a@b-",
            "a@b,c",
            "a@b>",
            "<a@b>",
            "a\r@b",
            "a@b\r\n",
            "a@b\n.c",
            "\"a\r\nb\"@c",
            "\"a\0\"@c",
            "\"a@c",
            "\"a\"b@c",
            "\"a\\",
            "a\u{85}@b",
            "a@b\u{85}",
            "a@127.0.0.1",
            "a@[127.0.0.256]",
            "a@[127.0.0.1",
            "a@[]",
            "a@[IPv6:127.0.0.1]",
            "a@[2001:db8::1]",
            "a@[IPv6:fe80::1%eth0]",
            "a@[\u{e5}\u{e5}\u{e5}]",
            "a@\u{2024}",
            "a@xn\u{ad}\u{2488}",
            "a:b@c",
            "a;b@c",
            "a(b)@c",
            "a\u{7f}@b",
            &long_local,
            &long_domain,
            &long_label,
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_stored_address_reads_back_the_same_and_a_bad_one_is_refused() {
        for text in [
            "a@b.example",
            "\"a b\"@c",
            "p\u{e5}l@gr\u{e5}.org",
            "x@[IPv6:::1]",
        ] {
            let address = Address::parse(text).unwrap();
            let stored = String::from(address.clone());
            assert_eq!(Address::try_from(stored), Ok(address));
        }
        assert!(Address::try_from(String::from("a@b\r\nRCPT")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_has_a_form_that_reads_back_the_same(text in "\\PC{0,80}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(address.as_str()).unwrap(), address);
            }
        }

        #[test]
        fn likely_text_is_refused_or_is_one_safe_word_that_reads_back_the_same(
            text in "[a\"\\\\ .@\\r\\n\u{e5}\u{3002}-]{1,12}@[A-Ca.\u{e5}\u{3002}\u{ad}\\[\\]1:-]{1,12}",
        ) {
            if let Ok(address) = Address::parse(&text) {
                prop_assert!(!address.as_str().chars().any(char::is_control));
                prop_assert!(address.domain().is_ascii());
                prop_assert_eq!(Address::parse(address.as_str()).unwrap(), address);
            }
        }
    }
}
