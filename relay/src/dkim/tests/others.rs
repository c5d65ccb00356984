//! Generated messages, signed here, judged by dkimpy and OpenDKIM (`tests/peers/dkim-judge`).
//!
//! `MAILRELAY_MESSAGES` is how many (300), `MAILRELAY_SEED` another beginning than 1. `make signatures` tries
//! 10,000. The relay signs relaxed/relaxed alone, so that is what is judged.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::*;

const MESSAGES: usize = 300;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn dkimpy_and_opendkim_accept_what_is_signed_here_whatever_the_message() {
    let count = setting("MAILRELAY_MESSAGES", MESSAGES);
    let mut random = fastrand::Rng::with_seed(setting("MAILRELAY_SEED", 1) as u64);
    let directory = tempfile::tempdir().unwrap();
    let (ed25519, ed25519_record) = ed25519();
    let (rsa, rsa_record) = rsa();
    let rsa = Signer {
        selector: "autumn".into(),
        ..rsa
    };
    let keys = format!(
        "winter._domainkey.shop.example {ed25519_record}\n\
         autumn._domainkey.shop.example {rsa_record}\n"
    );
    std::fs::write(directory.path().join("keys"), keys).unwrap();
    for number in 0..count {
        let (message, traits) = message(&mut random);
        let mut whole = sign(&ed25519, &[&message]).unwrap();
        whole.extend(sign(&rsa, &[&message]).unwrap());
        whole.extend(&message);
        let name = format!("{number:05}{traits}.eml");
        std::fs::write(directory.path().join(name), whole).unwrap();
    }
    let said = judged(directory.path());
    let (faults, figures): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.contains(" rejects "));
    if !faults.is_empty() {
        // For a look at them.
        println!("{}", directory.keep().display());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let figures = figures.join("\n");
    assert!(figures.starts_with(&format!("signatures: {count} messages")));
    println!("{figures}");
}

fn judged(directory: &Path) -> String {
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/dkim-judge");
    let output = Command::new(judge).arg(directory).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A message as intake lets it through (lines that end in CRLF, fields whose names end in a colon), and what is
/// odd in it.
fn message(random: &mut fastrand::Rng) -> (Vec<u8>, String) {
    let mut traits = String::new();
    let mut fields = vec![field(random, "From", b"Ada <ada@shop.example>".to_vec())];
    for _ in 0..random.usize(..12) {
        let known = random.choice(SIGNED).unwrap();
        let name = match random.u8(..6) {
            0 => "X-Other".to_owned(),
            1 => known.to_uppercase(),
            2 => known.to_lowercase(),
            _ => known.to_owned(),
        };
        // A second From is refused before.
        if !name.eq_ignore_ascii_case("From") {
            let value = value(random, &mut traits);
            fields.push(field(random, &name, value));
        }
    }
    random.shuffle(&mut fields);
    let mut message = fields.concat();
    if random.u8(..12) == 0 {
        // Intake would add the empty line.
        message.extend(b"\r\n");
        traits.push_str("-bodiless");
        return (message, traits);
    }
    message.extend(b"\r\n");
    body(random, &mut message, &mut traits);
    (message, traits)
}

fn field(random: &mut fastrand::Rng, name: &str, value: Vec<u8>) -> Vec<u8> {
    let mut field = format!("{name}:").into_bytes();
    field.extend([&b""[..], b" ", b"\t", b"  ", b"\r\n ", b" \r\n\t "][random.usize(..6)]);
    field.extend(value);
    field.extend([&b""[..], b"", b" ", b"\t ", b" \r\n "][random.usize(..5)]);
    field.extend(b"\r\n");
    field
}

fn mark(traits: &mut String, what: &str) {
    if !traits.contains(what) {
        // Writing to memory does not fail.
        let _ = write!(traits, "-{what}");
    }
}

fn value(random: &mut fastrand::Rng, traits: &mut String) -> Vec<u8> {
    match random.u8(..12) {
        0 => {
            mark(traits, "empty");
            Vec::new()
        }
        1 => {
            mark(traits, "latin");
            b"gr\xfc\xdfe".to_vec()
        }
        2 => {
            mark(traits, "utf8");
            "Grüße, こんにちは".into()
        }
        3 => {
            mark(traits, "long");
            vec![b'x'; random.usize(500..990)]
        }
        4 => b"a:b; c=d:: \"e \\\" f\" (g(h))".to_vec(),
        _ => {
            let mut value = Vec::new();
            for _ in 0..random.usize(1..20) {
                value.extend(std::iter::repeat_n(
                    random.u8(b'!'..=b'~'),
                    random.usize(1..9),
                ));
                value.extend(
                    [&b" "[..], b"  ", b"\t", b"\r\n ", b" \r\n\t", b"\r\n  \t"][random.usize(..6)],
                );
            }
            value.push(b'.');
            value
        }
    }
}

fn body(random: &mut fastrand::Rng, message: &mut Vec<u8>, traits: &mut String) {
    let lines = match random.u8(..8) {
        0 => 0,
        1 => random.usize(100..2000),
        _ => random.usize(..12),
    };
    for _ in 0..lines {
        match random.u8(..12) {
            0 | 1 => {}
            2 => message.extend(b" "),
            3 => message.extend(b"\t \t"),
            4 => {
                mark(traits, "latin");
                message.extend(b"\xe4\xff \x80");
            }
            5 => message.extend(vec![b'y'; random.usize(..998)]),
            6 => message.extend(b".."),
            7 => message.extend(b"DKIM-Signature: v=1; b=x"),
            8 => message.extend(b"text \t and  more\t"),
            9 => {
                mark(traits, "control");
                message.extend(b"\x01\x0b\x0c\x7f\x1b[0m \x0b");
            }
            _ => message.extend("ä plain line".bytes()),
        }
        message.extend(b"\r\n");
    }
}
