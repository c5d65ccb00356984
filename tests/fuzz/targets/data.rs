//! Message data: the decoder against the rules without streaming, and the encoder against the
//! decoder.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use relay_smtp::data::{DataDecoder, DataFault, Progress};
use relay_smtp::transparency;

const LIMIT: u64 = 2000;

/// What came of the data, and what follows it.
type Decoded = (Option<Result<Vec<u8>, DataFault>>, usize);

fn decode(pieces: &[&[u8]], limit: u64) -> Decoded {
    let mut decoder = DataDecoder::new(limit, 0);
    let mut read = 0;
    for piece in pieces {
        match decoder.feed(piece) {
            Progress::More => read += piece.len(),
            Progress::Ended { consumed } => {
                let content = decoder.finish().map(|content| content.bytes.to_vec());
                return (Some(content), read + consumed);
            }
            Progress::Overrun => return (None, usize::MAX),
        }
        assert!(decoder.kept() as u64 <= limit);
    }
    (None, read)
}

/// Split at the first CRLF, dot, CRLF; then look.
fn rules(wire: &[u8]) -> Decoded {
    let framed = [b"\r\n", wire].concat();
    let Some(end) = memchr::memmem::find(&framed, b"\r\n.\r\n") else {
        return (None, wire.len());
    };
    let body = &framed[..end + 2];
    let lone = (0..body.len()).any(|at| match body[at] {
        b'\r' => body.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || body[at - 1] != b'\r',
        _ => false,
    });
    let mut message = Vec::new();
    let mut rest = &body[2..];
    while !rest.is_empty() {
        let line_end = memchr::memmem::find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        let line = &rest[..line_end];
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        rest = &rest[line_end..];
    }
    let result = if lone {
        Err(DataFault::BareLineEnd)
    } else if message.len() as u64 > LIMIT {
        Err(DataFault::TooLarge)
    } else {
        Ok(message)
    };
    (Some(result), end + 3)
}

fuzz_target!(|input: &[u8]| {
    let (pieces, whole) = mailrelay_fuzz::cut(input);
    // Beyond this the decoder ends the session, which the rules do not know.
    if whole.len() > 60_000 {
        return;
    }
    assert_eq!(decode(&pieces, LIMIT), rules(whole));

    // Whatever the content, its data ends where it ends, and good content comes back whole.
    let content: Vec<Bytes> = pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece))
        .collect();
    let wire = transparency::encode(&content).concat();
    let (decoded, read) = decode(&[&wire], u64::MAX / 8);
    assert_eq!(read, wire.len());
    let lone = (0..whole.len()).any(|at| match whole[at] {
        b'\r' => whole.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || whole[at - 1] != b'\r',
        _ => false,
    });
    let decoded = decoded
        .expect("the data ended")
        .expect("encoded data has whole lines");
    if !lone {
        let mut expected = whole.to_vec();
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend_from_slice(b"\r\n");
        }
        assert_eq!(decoded, expected);
    }
});
