//! Folding of header lines that are too long (RFC 5322 section 2.2.3).
//!
//! A break before white space takes nothing away when the field is unfolded. Where a list has no
//! white space (RFC 5322 allows that), one space is put where its grammar allows any.

use super::LONGEST_LINE;
use crate::fields::without_blanks;

/// RFC 5322 section 2.1.1: where lines should end.
const COLUMNS: usize = 78;

/// Where white space may be put that was not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    /// Nowhere.
    Text,
    /// After commas.
    Addresses,
    /// Between `>` and `<`.
    Identifiers,
    /// After semicolons.
    Parameters,
}

/// The field (with its final CRLF) with every line that is too long folded; `None` if a line has no
/// place to break.
pub(super) fn fold(field: &[u8]) -> Option<Vec<u8>> {
    let (name, value) = field.split_at(memchr::memchr(b':', field)?);
    // A break before the colon would leave a line that is no field.
    let name = without_blanks(name);
    let field = [name, value].concat();
    let mut scan = Scan {
        syntax: syntax(name),
        quoted: false,
        comments: 0,
    };
    let mut out = Vec::with_capacity(field.len() + field.len() / 32);
    for line in field.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let breaks = scan.breaks(text);
        if text.len() <= LONGEST_LINE {
            out.extend_from_slice(line);
        } else {
            fold_line(text, &breaks, &mut out)?;
        }
    }
    Some(out)
}

fn syntax(name: &[u8]) -> Syntax {
    let name = name.to_ascii_lowercase();
    match name.as_slice() {
        b"from" | b"sender" | b"reply-to" | b"to" | b"cc" | b"resent-from" | b"resent-sender"
        | b"resent-to" | b"resent-cc" => Syntax::Addresses,
        b"references" | b"in-reply-to" => Syntax::Identifiers,
        b"content-type" | b"content-disposition" => Syntax::Parameters,
        _ => Syntax::Text,
    }
}

/// A place before which the line may be broken.
struct Break {
    at: usize,
    /// There is no white space yet.
    insert: bool,
}

/// What stands open at a place of a structured field.
struct Scan {
    syntax: Syntax,
    quoted: bool,
    comments: u32,
}

impl Scan {
    fn breaks(&mut self, line: &[u8]) -> Vec<Break> {
        // A line of white space alone is obsolete syntax.
        let text = line.trim_ascii_end().len();
        let mut breaks = Vec::new();
        let mut at = 0;
        while at < text {
            let octet = line[at];
            let before = at.checked_sub(1).map(|before| line[before]);
            match octet {
                b' ' | b'\t' if before.is_some_and(|before| !matches!(before, b' ' | b'\t')) => {
                    breaks.push(Break { at, insert: false });
                }
                _ if self.syntax == Syntax::Text => {}
                b'\\' if self.quoted || self.comments > 0 => at += 1,
                b'"' if self.comments == 0 => self.quoted = !self.quoted,
                b'(' if !self.quoted => self.comments += 1,
                b')' if !self.quoted => self.comments = self.comments.saturating_sub(1),
                _ => {}
            }
            let next = line.get(at + 1).copied();
            let list = match self.syntax {
                Syntax::Text => false,
                Syntax::Addresses => octet == b',',
                Syntax::Parameters => octet == b';',
                Syntax::Identifiers => octet == b'>' && next == Some(b'<'),
            };
            let open = self.quoted || self.comments > 0;
            if list && !open && next.is_some_and(|next| !matches!(next, b' ' | b'\t')) {
                breaks.push(Break {
                    at: at + 1,
                    insert: true,
                });
            }
            at += 1;
        }
        breaks
    }
}

fn fold_line(line: &[u8], breaks: &[Break], out: &mut Vec<u8>) -> Option<()> {
    let mut start = 0;
    // The space that was put before the rest of the line.
    let mut inserted = 0;
    let mut breaks = breaks.iter().filter(|one| one.at < line.len()).peekable();
    while line.len() - start + inserted > COLUMNS {
        let mut best = None;
        while let Some(next) = breaks.peek() {
            let fits = next.at - start + inserted <= COLUMNS;
            if best.is_some() && !fits {
                break;
            }
            best = breaks.next();
            if !fits {
                break;
            }
        }
        let Some(found) = best else { break };
        if found.at - start + inserted > LONGEST_LINE {
            return None;
        }
        out.extend_from_slice(&line[start..found.at]);
        out.extend_from_slice(b"\r\n");
        inserted = usize::from(found.insert);
        if found.insert {
            out.push(b' ');
        }
        start = found.at;
    }
    if line.len() - start + inserted > LONGEST_LINE {
        return None;
    }
    out.extend_from_slice(&line[start..]);
    out.extend_from_slice(b"\r\n");
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(field: &str) -> Option<String> {
        fold(field.as_bytes()).map(|folded| String::from_utf8(folded).unwrap())
    }

    fn unfolded(field: &str) -> String {
        field.replace("\r\n", "")
    }

    #[test]
    fn l3_references_are_folded_at_their_white_space() {
        let identifiers: Vec<String> = (0..80)
            .map(|number| format!("<{number:04}@a.example>"))
            .collect();
        let field = format!("References: {}\r\n", identifiers.join(" "));
        let out = folded(&field).unwrap();
        assert!(out.lines().all(|line| line.len() <= 78), "{out}");
        assert_eq!(unfolded(&out), unfolded(&field));
        let field = format!("References: {}\r\n", identifiers.concat());
        let out = folded(&field).unwrap();
        assert!(out.lines().all(|line| line.len() <= 79), "{out}");
        assert_eq!(out.replace("\r\n ", ""), field);
    }

    #[test]
    fn lists_without_white_space_get_it_where_their_grammar_allows() {
        let address = "\"Doe,\\\",(J\"<j@a.example>(x,y),";
        let field = format!("To:{}z@a.example\r\n", address.repeat(40));
        let out = folded(&field).unwrap();
        assert_eq!(out.replace("\r\n ", ""), field);
        for line in out.lines() {
            assert!(line.len() <= 79, "{line}");
            let line = line.strip_prefix("To:").unwrap_or(line).trim_start();
            assert!(line.starts_with(['"', 'z']), "{line}");
        }
        let field = format!("Content-Type: a/b;{}\r\n", "x=\"1;2\";".repeat(130));
        assert!(
            folded(&field)
                .unwrap()
                .lines()
                .all(|line| line.ends_with("\";") || line.ends_with("a/b;"))
        );
    }

    #[test]
    fn what_has_no_place_to_break_cannot_be_folded() {
        assert_eq!(folded(&format!("X-Token:{}\r\n", "x,".repeat(600))), None);
        assert_eq!(folded(&format!("X-Token: {}\r\n", "x".repeat(1000))), None);
        assert!(folded(&format!("X-Token: {}\r\n", "x".repeat(997))).is_some());
    }

    #[test]
    fn a_line_is_not_broken_before_its_colon() {
        let value = format!("{} {}", "x".repeat(90), "word ".repeat(200));
        let out = folded(&format!("X-Mark \t:{value}\r\n")).unwrap();
        assert!(out.starts_with("X-Mark:xxx"), "{out}");
        assert_eq!(unfolded(&out), format!("X-Mark:{value}"));
    }

    #[test]
    fn l4_lines_within_the_limit_are_left_alone() {
        let short = format!("Subject: {}\r\n more\r\n", "word ".repeat(190));
        assert_eq!(folded(&short).unwrap(), short);
    }

    proptest! {
        #[test]
        fn folding_only_breaks_lines(value in "[a-c \\t,;<>\"()\\\\]{900,2400}", name in "(To|Subject|References|Content-Type)") {
            let field = format!("{name}: x{value}\r\n");
            if let Some(out) = folded(&field) {
                prop_assert!(out.ends_with("\r\n") && out.lines().all(|line| line.len() <= LONGEST_LINE));
                for line in out.lines().skip(1) {
                    prop_assert!(line.starts_with([' ', '\t']) && !line.trim().is_empty());
                }
                // Without the white space that may have been put in.
                let bare = |text: &str| text.replace([' ', '\t', '\r', '\n'], "");
                prop_assert_eq!(bare(&out), bare(&field));
                if name == "Subject" {
                    prop_assert_eq!(unfolded(&out), unfolded(&field));
                }
            }
        }
    }
}
