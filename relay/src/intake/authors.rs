//! Addresses of the header `From`: `mailbox-list` of RFC 5322 section 3.4, with RFC 6532.
//!
//! Stricter than mail programs, because a decision rests on it: whatever could be shown to a reader
//! as another author than the one judged here is refused, such as an address in an unquoted display
//! name, a group, or a route.

use relay_smtp::Address;

/// Addresses in one `From`; more are nobody's honest message.
const MOST_AUTHORS: usize = 32;
/// Comments in comments (RFC 5322 section 3.2.2).
const DEEPEST_COMMENT: u32 = 16;

/// Why a `From` cannot be read, in words for a reply.
pub(super) type AuthorFault = &'static str;

enum Token {
    /// A word or dot of a display name or address, or a quoted string with its quotes.
    Text(String),
    At,
    Comma,
    Open,
    Close,
}

/// Reads the value of a `From` field.
pub(super) fn parse(value: &[u8]) -> Result<Vec<Address>, AuthorFault> {
    let value = String::from_utf8_lossy(value);
    let tokens = tokens(&value)?;
    let mut authors = Vec::new();
    for mailbox in tokens.split(|token| matches!(token, Token::Comma)) {
        // Empty list elements are obsolete syntax that means nothing.
        if mailbox.is_empty() {
            continue;
        }
        if authors.len() == MOST_AUTHORS {
            return Err("it has more than 32 addresses");
        }
        authors.push(address(mailbox)?);
    }
    Ok(authors)
}

fn address(mailbox: &[Token]) -> Result<Address, AuthorFault> {
    let open = mailbox
        .iter()
        .position(|token| matches!(token, Token::Open));
    let specification = match open {
        None => mailbox,
        Some(open) => {
            let is_text = |token: &Token| matches!(token, Token::Text(_));
            if !mailbox[..open].iter().all(is_text) {
                return Err("a display name with a special character must stand in quotes");
            }
            match mailbox[open + 1..].split_last() {
                Some((Token::Close, inside)) => inside,
                _ => return Err("nothing may follow an address in angle brackets"),
            }
        }
    };
    let mut text = String::new();
    for token in specification {
        match token {
            Token::Text(word) => {
                let apart = text.is_empty() || text.ends_with(['.', '@']) || word.starts_with('.');
                if !apart {
                    return Err("white space stands within an address");
                }
                text.push_str(word);
            }
            Token::At => text.push('@'),
            Token::Comma | Token::Open | Token::Close => {
                return Err("its angle brackets do not match");
            }
        }
    }
    // What was not UTF-8 has become this character; it must not become a part of an address.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err("an address in it is not valid UTF-8");
    }
    Address::parse(&text).map_err(|fault| fault.0)
}

fn tokens(value: &str) -> Result<Vec<Token>, AuthorFault> {
    let mut tokens = Vec::with_capacity(8);
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\r' | '\n' => 1,
            '(' => comment(rest)?,
            '"' => {
                let length = quoted(rest)?;
                tokens.push(Token::Text(unfolded(&rest[..length])));
                length
            }
            // A literal keeps its colons and dots.
            '[' => {
                let length = rest.find(']').ok_or("a bracket is not closed")? + 1;
                tokens.push(Token::Text(rest[..length].into()));
                length
            }
            '@' | ',' | '<' | '>' => {
                tokens.push(match first {
                    '@' => Token::At,
                    ',' => Token::Comma,
                    '<' => Token::Open,
                    _ => Token::Close,
                });
                1
            }
            ':' | ';' => return Err("groups and routes are not accepted; write name@domain"),
            ')' | ']' | '\\' => return Err("a special character stands outside of quotes"),
            _ if first.is_control() => return Err("a control character stands in it"),
            _ => {
                let length = rest
                    .find(|next: char| next.is_control() || " ()<>[]:;@\\,\"".contains(next))
                    .unwrap_or(rest.len());
                tokens.push(Token::Text(rest[..length].into()));
                length
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Octets of the comment at the start.
fn comment(text: &str) -> Result<usize, AuthorFault> {
    let mut depth = 0;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' if depth == DEEPEST_COMMENT => return Err("its comments are nested too deep"),
            '(' => depth += 1,
            ')' if depth == 1 => return Ok(index + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    Err("a comment is not closed")
}

/// Octets of the quoted string at the start.
fn quoted(text: &str) -> Result<usize, AuthorFault> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(index + 1),
            _ => {}
        }
    }
    Err("a quote is not closed")
}

/// Folding is no part of a quoted string (RFC 5322 section 3.2.4).
fn unfolded(text: &str) -> String {
    text.replace("\r\n", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn authors(value: &str) -> Result<Vec<String>, AuthorFault> {
        let authors = parse(value.as_bytes())?;
        Ok(authors.into_iter().map(String::from).collect())
    }

    #[test]
    fn usual_forms_are_read() {
        for (value, expected) in [
            (" a@b.example\r\n", vec!["a@b.example"]),
            (" <a@B.example>", vec!["a@b.example"]),
            (" Shop Desk <a@b.example>\r\n", vec!["a@b.example"]),
            (" \"Desk, Shop <x@y>\" <a@b.example>", vec!["a@b.example"]),
            (
                " =?utf-8?Q?Gr=C3=A5?= =?utf-8?B?w6U=?=\r\n <a@b.example>\r\n",
                vec!["a@b.example"],
            ),
            (
                " Gr\u{e5} J. Doe <a@b.example> (note (inner \\) ) x@y)",
                vec!["a@b.example"],
            ),
            (
                " a@b.example, C <d@e.example>,\r\n\tf@g.example",
                vec!["a@b.example", "d@e.example", "f@g.example"],
            ),
            (" \"a b\"@c.example", vec!["\"a b\"@c.example"]),
            (" a . b @ c . example", vec!["a.b@c.example"]),
            (" a@[IPv6:2001:db8::1]", vec!["a@[IPv6:2001:db8::1]"]),
            (
                " p\u{e5}l@gr\u{e5}.example",
                vec!["p\u{e5}l@xn--gr-zia.example"],
            ),
            (" ,a@b.example,", vec!["a@b.example"]),
            ("\r\n", vec![]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(String::from).collect();
            assert_eq!(authors(value), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn whatever_could_show_another_author_is_refused() {
        for value in [
            "bank@bank.example <a@b.example>",
            "<bank@bank.example> <a@b.example>",
            "a@b.example <bank@bank.example",
            "a@b.example>",
            "<a@b.example> bank@bank.example",
            "Doe, John <a@b.example>",
            "Friends: a@b.example;",
            "<@route.example:a@b.example>",
            "a@b.example@bank.example",
            "a@b.example bank.example@x",
            "\"a@b.example",
            "(a@b.example",
            "a@b.example)",
            "a\\@b@c.example",
            "a@b.example\u{0}",
            "Shop\u{1b} <a@b.example>",
            "<>",
            "nobody",
            "a b@c.example",
            "a@b.example c",
            "<a (c) b@c.example>",
        ] {
            assert!(authors(value).is_err(), "{value:?} {:?}", authors(value));
        }
        assert!(parse(b"Sh\xf6p <a@b.example>").is_ok());
        assert!(parse(b"sh\xf6p@b.example").is_err());
        assert!(authors(&"a@b.example,".repeat(33)).is_err());
        assert!(authors(&format!("{}a@b.example", "(".repeat(99))).is_err());
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ab@.,<>()\\[\\]\"\\\\: \u{e5}]{0,40}") {
            let _ = authors(&value);
        }
    }
}
