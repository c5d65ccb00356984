//! Signatures over anything, judged by RFC 6376 read word by word: slow, and written without a look at the code
//! that it judges.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use relay_config::{DkimAlgorithm, DkimKey, Secret};
use relay_queue::Timestamp;

use super::{Message, Signer};

/// The key of RFC 8463 appendix A.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Panics where something does not hold.
pub(crate) fn sign(pieces: &[&[u8]]) {
    let whole = pieces.concat();
    let cut: Vec<Bytes> = pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece))
        .collect();
    let signature = signature(&cut);
    assert_eq!(signature, self::signature(&[Bytes::from(whole.clone())]));
    // Intake refuses other lines, so that no signature is ever made over them.
    if let Some(signature) = signature
        && crate::fields::parse(&whole).is_ok()
        && is_text(&whole)
    {
        verify(&signature, &whole);
    }
}

fn is_text(message: &[u8]) -> bool {
    let rest = String::from_utf8_lossy(message).replace("\r\n", "");
    !rest.contains(['\r', '\n'])
}

fn signature(content: &[Bytes]) -> Option<Vec<u8>> {
    let key = DkimKey {
        selector: "winter".into(),
        algorithm: DkimAlgorithm::Ed25519Sha256,
        private_key: Secret::new(KEY),
    };
    let signer = Signer::load("shop.example", &key).ok()?;
    signer
        .sign(&Message::read(content), Timestamp(1_790_000_000_000))
        .ok()
}

fn verify(signature: &[u8], message: &[u8]) {
    let message = latin(message);
    let signature = latin(signature);
    let (header, body) = match message.split_once("\r\n\r\n") {
        _ if message.starts_with("\r\n") => ("", &message[2..]),
        Some((header, body)) => (header, body),
        None => (message.strip_suffix("\r\n").unwrap_or(&message), ""),
    };
    let tags: Vec<(&str, String)> = signature
        .split_once(':')
        .map_or("", |(_, value)| value)
        .split(';')
        .filter_map(|tag| tag.split_once('='))
        .map(|(name, value)| (name.trim(), value.split_ascii_whitespace().collect()))
        .collect();
    let tag = |name: &str| {
        let mut all = tags.iter().filter(|(one, _)| *one == name);
        let found = all.next().map(|(_, value)| value.clone());
        assert!(
            found.is_some() && all.next().is_none(),
            "{name}= in {signature}"
        );
        found.unwrap_or_default()
    };
    // Section 3.7.
    let body_hash = digest(&SHA256, &octets(&relaxed_body(body)));
    assert_eq!(tag("bh"), BASE64.encode(body_hash), "{message:?}");
    let mut left: Vec<&str> = unfolded(header);
    let mut input = String::new();
    for name in tag("h").split(':') {
        // Section 5.4.2: from the bottom up; what is not there counts as nothing.
        let last = left.iter().rposition(|field| named(field, name));
        if let Some(last) = last {
            input.push_str(&relaxed(left.remove(last)));
            input.push_str("\r\n");
        }
    }
    assert!(
        !left.iter().any(|field| named(field, "from")),
        "a From is not signed"
    );
    let value = tag("b");
    let unsigned = signature.rsplit_once("b=").map_or("", |(before, _)| before);
    input.push_str(&relaxed(&format!("{unsigned}b=")));
    let hash = digest(&SHA256, &octets(&input));
    let key = BASE64.decode(PUBLIC_KEY).unwrap_or_default();
    let value = BASE64.decode(value).unwrap_or_default();
    let verdict = UnparsedPublicKey::new(&ED25519, key).verify(hash.as_ref(), &value);
    assert!(verdict.is_ok(), "{signature}\n{message:?}");
}

/// Fields with their folds.
fn unfolded(header: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut start = 0;
    for (at, _) in header.match_indices("\r\n") {
        if !header[at + 2..].starts_with([' ', '\t']) {
            fields.push(&header[start..at]);
            start = at + 2;
        }
    }
    fields.push(&header[start..]);
    fields
}

fn named(field: &str, name: &str) -> bool {
    let found = field.split_once(':').map_or("", |(found, _)| found);
    found
        .trim_end_matches([' ', '\t'])
        .eq_ignore_ascii_case(name)
}

/// Section 3.4.2.
fn relaxed(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap_or((field, ""));
    let value = value.replace("\r\n", "");
    let words: Vec<&str> = value
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    let name = name.trim_end_matches([' ', '\t']).to_ascii_lowercase();
    format!("{name}:{}", words.join(" "))
}

/// Section 3.4.4.
fn relaxed_body(body: &str) -> String {
    let mut lines: Vec<String> = body.split("\r\n").map(relaxed_line).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.push(String::new());
    lines.join("\r\n")
}

fn relaxed_line(line: &str) -> String {
    let mut out = String::new();
    for octet in line.trim_end_matches([' ', '\t']).chars() {
        let octet = if octet == '\t' { ' ' } else { octet };
        if octet != ' ' || !out.ends_with(' ') {
            out.push(octet);
        }
    }
    out
}

/// One character for each octet.
fn latin(octets: &[u8]) -> String {
    octets.iter().copied().map(char::from).collect()
}

fn octets(latin: &str) -> Vec<u8> {
    latin
        .chars()
        .filter_map(|one| u8::try_from(u32::from(one)).ok())
        .collect()
}
