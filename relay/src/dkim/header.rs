//! The `DKIM-Signature` field as text (RFC 6376 section 3.5), folded so that no line is longer
//! than 78 octets unless a domain or selector alone is (cases K9, K10).

/// Longest line, without CRLF (RFC 5322 section 2.1.1).
const LINE: usize = 78;
/// Starts a continuation line.
const FOLD: &str = "\r\n\t";

/// What the field says.
pub(super) struct Tags<'a> {
    pub(super) algorithm: &'a str,
    pub(super) domain: &'a str,
    pub(super) selector: &'a str,
    /// Seconds since the Unix epoch.
    pub(super) seconds: u64,
    /// Names of `h=`, in order.
    pub(super) names: &'a [&'a str],
    /// Base 64.
    pub(super) body_hash: &'a str,
}

/// Text with the length of its last line.
struct Folded {
    text: String,
    line: usize,
}

impl Folded {
    /// Appends `token`, on a new line if it does not fit; `space` goes before it on the same line.
    fn push(&mut self, space: &str, token: &str) {
        if self.line + space.len() + token.len() > LINE {
            self.text.push_str(FOLD);
            self.line = 1;
        } else {
            self.text.push_str(space);
            self.line += space.len();
        }
        self.text.push_str(token);
        self.line += token.len();
    }
}

/// The field up to and with `b=`, whose value is empty: what is signed.
pub(super) fn unsigned(tags: &Tags<'_>) -> String {
    let mut field = Folded {
        text: String::with_capacity(1024),
        line: 0,
    };
    field.push("", "DKIM-Signature: v=1;");
    field.push(" ", &format!("a={};", tags.algorithm));
    field.push(" ", "c=relaxed/relaxed;");
    field.push(" ", &format!("d={};", tags.domain));
    field.push(" ", &format!("s={};", tags.selector));
    field.push(" ", &format!("t={};", tags.seconds));
    // A fold in h= stands between names, before the name: FWS is allowed around the colons.
    let last = tags.names.len().saturating_sub(1);
    for (index, name) in tags.names.iter().enumerate() {
        let start = if index == 0 { "h=" } else { "" };
        let end = if index == last { ";" } else { ":" };
        let space = if index == 0 { " " } else { "" };
        field.push(space, &format!("{start}{name}{end}"));
    }
    field.push(" ", &format!("bh={};", tags.body_hash));
    field.text.push_str(FOLD);
    field.text.push_str("b=");
    field.text
}

/// The whole field with its signature (base 64) and CRLF.
pub(super) fn signed(mut unsigned: String, signature: &str) -> String {
    // The line so far is a tabulator and `b=`.
    let mut room = LINE - 3;
    let mut rest = signature;
    while rest.len() > room {
        let (line, tail) = rest.split_at(room);
        unsigned.push_str(line);
        unsigned.push_str(FOLD);
        rest = tail;
        room = LINE - 1;
    }
    unsigned.push_str(rest);
    unsigned.push_str("\r\n");
    unsigned
}
