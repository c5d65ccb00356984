//! Records as they are pasted: split into strings, and as a line of a zone file (RFC 1035 section 5.1). Pure.

/// Octets of one string in a TXT record (RFC 1035 section 3.3.14).
const STRING: usize = 255;

/// K19: strings of at most 255 octets.
pub(super) fn split(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for character in value.chars() {
        match parts.last_mut() {
            Some(last) if last.len() + character.len_utf8() <= STRING => last.push(character),
            _ => parts.push(character.to_string()),
        }
    }
    parts
}

/// The record as a line of a zone file, without a time to live: that of the zone applies. `kind` is its
/// type; names in `value` are absolute without a final dot.
pub(super) fn line(name: &str, kind: &str, value: &str) -> String {
    let data = match kind {
        "TXT" => {
            let strings: Vec<String> = split(value).iter().map(|text| quoted(text)).collect();
            strings.join(" ")
        }
        _ => format!("{value}."),
    };
    format!("{name}. IN {kind} {data}")
}

fn quoted(text: &str) -> String {
    let octets: String = text
        .bytes()
        .map(|octet| match octet {
            b'"' | b'\\' => format!("\\{}", char::from(octet)),
            b' '..=b'~' => char::from(octet).to_string(),
            other => format!("\\{other:03}"),
        })
        .collect();
    format!("\"{octets}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_strings_that_a_zone_file_takes() {
        assert_eq!(
            line("a.shop.example", "TXT", "v=x; \"q\\\" ä"),
            r#"a.shop.example. IN TXT "v=x; \"q\\\" \195\164""#
        );
        assert_eq!(
            line("shop.example", "MX", "10 mx.shop.example"),
            "shop.example. IN MX 10 mx.shop.example."
        );
        let long = line("a.example", "TXT", &"A".repeat(300));
        let strings: Vec<usize> = long.split('"').skip(1).step_by(2).map(str::len).collect();
        assert_eq!(strings, [255, 45]);
    }
}
