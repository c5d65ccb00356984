use bytes::Bytes;
use mail_parser::MessageParser;
use proptest::prelude::*;

use super::*;
use crate::edit;

fn converted(content: &[u8], need: Need) -> Result<Vec<u8>, Obstacle> {
    let edits = convert(content, need)?;
    let mut pieces = Vec::new();
    edit::apply(&Bytes::copy_from_slice(content), edits, &mut pieces);
    Ok(pieces.concat())
}

fn text(content: &str, need: Need) -> String {
    String::from_utf8(converted(content.as_bytes(), need).unwrap()).unwrap()
}

fn obstacle(content: &str, need: Need) -> Obstacle {
    convert(content.as_bytes(), need).unwrap_err()
}

fn fits(content: &[u8], need: Need) -> bool {
    let lines = content.split(|octet| *octet == b'\n');
    let lone = || {
        let text = String::from_utf8_lossy(content).replace("\r\n", "");
        text.contains(['\r', '\n', '\0'])
    };
    lines
        .map(<[u8]>::len)
        .all(|length| length <= LONGEST_LINE + 1)
        && (need != Need::SevenBit || content.is_ascii())
        && (need == Need::Lines || !lone())
}

const LONG: usize = 1200;

#[test]
fn l1_a_long_line_of_text_becomes_quoted_printable_and_nothing_else_changes() {
    let message = format!(
        "From: a@b\r\nSubject: x\r\n\r\nshort=\r\n{}\r\n",
        "x".repeat(LONG)
    );
    let out = text(&message, Need::Lines);
    let start = "From: a@b\r\nSubject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\
                 MIME-Version: 1.0\r\n\r\nshort=3D\r\nxxx";
    assert!(out.starts_with(start), "{out}");
    assert!(fits(out.as_bytes(), Need::SevenBit));
    let parsed = MessageParser::default().parse(&out).unwrap();
    let body = format!("short=\r\n{}\r\n", "x".repeat(LONG));
    assert_eq!(parsed.part(0).unwrap().contents(), body.as_bytes());
}

#[test]
fn l2_of_several_parts_only_the_one_with_the_long_line_changes() {
    let html = format!("<p>{}</p>\r\n", "tr\u{e4}ge Zeiten ".repeat(LONG / 12));
    let message = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b\r\n\r\nplain \u{e4}\r\n--b\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{html}\r\n--b--\r\nepilogue\r\n"
    );
    let out = text(&message, Need::Lines);
    let (before, after) = message.split_once("8bit\r\n\r\n<p>").unwrap();
    assert!(
        out.starts_with(&format!(
            "{before}quoted-printable\r\n\r\n<p>tr=C3=A4ge Zeiten "
        )),
        "{out}"
    );
    assert!(out.ends_with("</p>\r\n\r\n--b--\r\nepilogue\r\n"));
    assert!(after.len() < out.len());
    let parsed = MessageParser::default().parse(&out).unwrap();
    assert_eq!(parsed.html_part(0).unwrap().contents(), html.as_bytes());
}

#[test]
fn a_message_that_fits_is_left_alone() {
    let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{e4}\r\n--b--\r\n";
    for message in [
        "A: b\r\n\r\nx\r\n",
        "A: b\r\n",
        "A: \u{e4}\r\n\r\n\u{e4}\r\n",
        signed,
    ] {
        assert_eq!(
            convert(message.as_bytes(), Need::Lines),
            Ok(vec![]),
            "{message}"
        );
    }
}

#[test]
fn l6_octets_above_127_and_the_labels_that_speak_of_them_go() {
    let message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"o\"\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\nFrom: c@d\r\n\r\ninner \u{e4}\r\n--o\r\n\
        Content-Type: application/x-data\r\n\r\n\u{e4}\u{e4}\r\n--o\r\n\r\nplain\r\n--o--\r\n";
    let out = text(message, Need::SevenBit);
    assert_eq!(
        out,
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"o\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nFrom: c@d\r\nContent-Transfer-Encoding: quoted-printable\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ninner =C3=A4\r\n--o\r\n\
         Content-Type: application/x-data\r\nContent-Transfer-Encoding: base64\r\n\r\nw6TDpA==\r\n--o\r\n\
         \r\nplain\r\n--o--\r\n"
    );
    let latin = b"A: b\r\n\r\nplain words and gr\xfc\xdfe, in an unnamed charset\r\n";
    let out = converted(latin, Need::SevenBit).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("charset=unknown-8bit\r\n\r\nplain words and gr=FC=DFe")
    );
}

#[test]
fn binary_content_becomes_text() {
    let message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\
        Content-Transfer-Encoding: binary\r\n\r\n--o\r\nContent-Type: application/pdf\r\n\
        Content-Transfer-Encoding: binary\r\n\r\n%PDF\0\n\r\r\n--o\r\nContent-Transfer-Encoding: binary\r\n\r\n\
        unix\nlines\r\n--o\r\nContent-Transfer-Encoding: binary\r\n\r\nplain\r\n--o--\r\n";
    let out = text(message, Need::Text);
    assert_eq!(
        out,
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n--o\r\nContent-Type: application/pdf\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERgAKDQ==\r\n--o\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         unix=0Alines\r\n--o\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n--o--\r\n"
    );
    assert_eq!(
        obstacle("A: b\nC: d\r\n\r\nx", Need::Text),
        Obstacle::Header
    );
    assert_eq!(
        text("A: b\r\n\r\nno\0end", Need::Text),
        "A: b\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\nno=00end=\r\n"
    );
}

#[test]
fn what_is_encoded_already_is_only_wrapped() {
    let base64 = format!(
        "A: b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        "QUJD".repeat(300)
    );
    let out = text(&base64, Need::Lines);
    assert!(fits(out.as_bytes(), Need::SevenBit) && out.matches("Content-").count() == 2);
    assert_eq!(out.replace("\r\n", ""), base64.replace("\r\n", ""));
    let quoted = format!(
        "A: b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{}\r\n",
        "=C3=A4".repeat(300)
    );
    let out = text(&quoted, Need::Lines);
    assert_eq!(out.replace("=\r\n", ""), quoted);
}

#[test]
fn what_conversion_would_break_is_refused() {
    let long = "x".repeat(LONG);
    let part = |header: &str, body: &str| format!("A: b\r\n{header}\r\n\r\n{body}\r\n");
    for (message, need, expected) in [
        (
            part(
                "Content-Type: multipart/signed; boundary=b",
                &format!("--b\r\n\r\n{long}\r\n--b--"),
            ),
            Need::Lines,
            Obstacle::Signed,
        ),
        (
            part("Content-Type: multipart/mixed; boundary=b", &long),
            Need::Lines,
            Obstacle::Structure("a multipart has no parts"),
        ),
        (
            part("Content-Type: multipart/mixed", &long),
            Need::Lines,
            Obstacle::Structure("a multipart has no boundary"),
        ),
        (
            part("Content-Type: text/plain\r\nContent-Type: text/html", &long),
            Need::Lines,
            Obstacle::Structure("a Content field stands twice"),
        ),
        (
            part("Content-Transfer-Encoding: x-uuencode", &long),
            Need::Lines,
            Obstacle::Encoding("x-uuencode".into()),
        ),
        (
            part("Content-Type: message/partial", &long),
            Need::Lines,
            Obstacle::MessagePart,
        ),
        (
            part(&format!("X-Y: {long}"), ""),
            Need::Lines,
            Obstacle::Field("X-Y".into()),
        ),
        (
            part("X-Y: \u{e4}", "\u{e4}"),
            Need::SevenBit,
            Obstacle::EightBitHeader,
        ),
        (
            part(
                "Content-Type: multipart/mixed; boundary=b",
                &format!("--b\r\nno field\r\n\r\n{long}\r\n--b--"),
            ),
            Need::Lines,
            Obstacle::Header,
        ),
        (
            part(
                "Content-Type: multipart/mixed; boundary=b",
                &"--b\r\n\r\n".repeat(MANY),
            ),
            Need::Lines,
            Obstacle::TooManyParts,
        ),
        (
            "Content-Type: message/rfc822\r\n\r\n".repeat(MANY),
            Need::Lines,
            Obstacle::TooManyParts,
        ),
    ] {
        assert_eq!(
            obstacle(&message, need),
            expected,
            "{}",
            &message[..message.len().min(200)]
        );
    }
}

const MANY: usize = 11_000;

#[test]
fn text_around_the_parts_goes_when_it_does_not_fit() {
    let message = "A: b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npr\u{e4}\r\n--b  \r\n\r\nx\r\n--b--\r\nepil\u{f6}g\r\n";
    assert_eq!(
        text(message, Need::SevenBit),
        "A: b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\r\n--b  \r\n\r\nx\r\n--b--\r\n"
    );
}

#[test]
fn a_broken_line_never_becomes_a_delimiter() {
    // The 75th column ends right before a boundary.
    let line = format!("xyz{}", "--b".repeat(LONG / 3));
    let message = format!(
        "A: b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{line}\r\n--b--\r\n"
    );
    let out = text(&message, Need::Lines);
    assert_eq!(out.lines().filter(|line| line.starts_with("--")).count(), 2);
    let decoded = out.replace("=\r\n", "").replace("=2D", "-");
    assert!(decoded.contains(&line), "{out}");
}

/// A part as it is generated: with the octets that its receiver has to get.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Data(Vec<u8>),
    Base64(Vec<u8>),
    Message(Box<Part>),
    Several(Vec<Part>),
}

impl Part {
    fn render(&self, number: &mut usize, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.extend(b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: binary\r\n\r\n");
                out.extend(text.as_bytes());
            }
            Self::Data(octets) => {
                out.extend(b"Content-Type: application/x-data\r\nContent-Transfer-Encoding: binary\r\n\r\n");
                out.extend(octets);
            }
            Self::Base64(octets) => {
                use base64::Engine as _;
                let text = base64::engine::general_purpose::STANDARD.encode(octets);
                out.extend(b"content-type: application/x-data\r\ncontent-transfer-encoding: BASE64\r\n\r\n");
                out.extend(text.as_bytes());
            }
            Self::Message(inner) => {
                out.extend(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nFrom: x@y\r\n");
                inner.render(number, out);
            }
            Self::Several(parts) => {
                *number += 1;
                let boundary = format!("part{number}");
                out.extend(
                    format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n")
                        .as_bytes(),
                );
                for part in parts {
                    out.extend(format!("\r\n--{boundary}\r\n").as_bytes());
                    part.render(number, out);
                }
                out.extend(format!("\r\n--{boundary}--\r\n").as_bytes());
            }
        }
    }

    fn leaves(&self, out: &mut Vec<Vec<u8>>) {
        match self {
            Self::Text(text) => out.push(text.clone().into()),
            Self::Data(octets) | Self::Base64(octets) => out.push(octets.clone()),
            Self::Message(inner) => inner.leaves(out),
            Self::Several(parts) => parts.iter().for_each(|part| part.leaves(out)),
        }
    }
}

/// What an independent parser finds.
fn leaves_of(message: &mail_parser::Message<'_>, out: &mut Vec<Vec<u8>>) {
    for part in &message.parts {
        match &part.body {
            mail_parser::PartType::Multipart(_) => {}
            mail_parser::PartType::Message(inner) => leaves_of(inner, out),
            _ => out.push(part.contents().to_vec()),
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    let word = prop::sample::select(vec![
        "a",
        "=",
        " ",
        ".",
        "--other",
        "-",
        "From ",
        "\u{e4}",
        "\t",
        "\u{3053}\u{3093}",
        "\r\n",
        "\n",
        "\r",
    ]);
    let text = prop::collection::vec(
        (word, prop::sample::select(vec![1_usize, 2, 40, 1100])),
        0..12,
    )
    .prop_map(|words| {
        words
            .iter()
            .map(|(word, times)| word.repeat(*times))
            .collect::<String>()
    })
    // What a delimiter follows, or what ends the message, is not the leaf's alone.
    .prop_map(|text| format!("{text}|"));
    let octets = || {
        prop::collection::vec(any::<u8>(), 0..2500).prop_map(|mut octets| {
            octets.push(b'|');
            octets
        })
    };
    let leaf = prop_oneof![
        text.prop_map(Part::Text),
        octets().prop_map(Part::Data),
        octets().prop_map(Part::Base64),
    ];
    // The other parser cannot do multiparts and messages in messages.
    let leaf = prop_oneof![
        3 => leaf.clone(),
        1 => leaf.prop_map(|leaf| Part::Message(Box::new(leaf))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop::collection::vec(inner, 1..4).prop_map(Part::Several)
    })
}

proptest! {
    #[test]
    fn any_message_fits_after_conversion_and_an_independent_parser_finds_the_same_octets(
        part in part(),
        need in prop::sample::select(vec![Need::Text, Need::SevenBit]),
    ) {
        let mut message = b"From: a@b\r\nMIME-Version: 1.0\r\n".to_vec();
        // The last line is ended by the transport.
        Part::Several(vec![part.clone()]).render(&mut 0, &mut message);
        let out = converted(&message, need).unwrap();
        prop_assert!(fits(&out, need));
        // What fits stays as it is.
        prop_assert_eq!(convert(&out, need), Ok(vec![]));
        let mut expected = Vec::new();
        part.leaves(&mut expected);
        let mut found = Vec::new();
        leaves_of(&MessageParser::default().parse(&out).unwrap(), &mut found);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_message_panics_and_what_is_converted_fits(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "\r\n", "--b", "--", "--c", "\n", "\r", "\u{e4}", "\0", "a", "A: b\r\n", " ",
            "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: multipart/signed; boundary=c\r\n",
            "Content-Type: message/rfc822\r\n", "Content-Transfer-Encoding: quoted-printable\r\n",
            "Content-Transfer-Encoding: base64\r\n", "=", "=3D", "=\r\n", ">", "References: ",
        ]), 0..40),
        long in prop::collection::vec(0_usize..40, 0..3),
        need in prop::sample::select(vec![Need::Lines, Need::Text, Need::SevenBit]),
    ) {
        let mut pieces: Vec<String> = pieces.into_iter().map(String::from).collect();
        for at in long {
            let at = at.min(pieces.len());
            pieces.insert(at, "long ".repeat(300));
        }
        let message = pieces.concat();
        if let Ok(out) = converted(message.as_bytes(), need) {
            prop_assert!(fits(&out, need), "{:?}", String::from_utf8_lossy(&out));
        }
    }
}
