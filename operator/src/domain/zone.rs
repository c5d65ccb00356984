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
    #[test]
    fn a_zone_file_parser_reads_back_what_was_written() {
        use hickory_resolver::proto::rr::{Name, RData};
        use hickory_resolver::proto::serialize::txt::Parser;

        let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(700));
        let texts = [
            ("a.shop.example", long.as_str()),
            ("b.shop.example", "v=spf1 include:%{d}.x \"q\" \\ ; -all"),
        ];
        let mut zone = String::from("$TTL 60\n");
        for (name, text) in texts {
            zone.push_str(&line(name, "TXT", text));
            zone.push('\n');
        }
        zone.push_str(&line("c.shop.example", "MX", "10 mx.other.example"));
        zone.push('\n');
        let origin = Name::from_ascii("shop.example.").unwrap();
        let (_, sets) = Parser::new(zone, None, Some(origin)).parse().unwrap();
        let records = sets.values().flat_map(|set| set.records_without_rrsigs());
        let read: Vec<(String, String)> = records
            .map(|record| {
                let data = match &record.data {
                    RData::TXT(text) => {
                        String::from_utf8_lossy(&text.txt_data.concat()).into_owned()
                    }
                    other => other.to_string(),
                };
                (record.name.to_string(), data)
            })
            .collect();
        let text = |(name, text): (&str, &str)| (format!("{name}."), text.to_owned());
        let mx = text(("c.shop.example", "10 mx.other.example."));
        assert_eq!(read, [text(texts[0]), text(texts[1]), mx]);
    }
}
