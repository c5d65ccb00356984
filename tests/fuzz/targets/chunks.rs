//! `BDAT`: octets come out as they went in, whatever the chunks, and never more than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_smtp::chunking::Chunks;
use relay_smtp::data::DataFault;

const LIMIT: u64 = 1000;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let binary = choice & 1 != 0;
    let (pieces, whole) = mailrelay_fuzz::cut(input);
    let mut chunks = Chunks::new(LIMIT, 0, binary);
    for piece in pieces {
        chunks.feed(piece);
        assert!(chunks.kept() as u64 <= LIMIT);
    }
    let lone = (0..whole.len()).any(|at| match whole[at] {
        b'\r' => whole.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || whole[at - 1] != b'\r',
        _ => false,
    });
    match chunks.finish() {
        Ok(content) => {
            assert!(whole.len() as u64 <= LIMIT && (binary || !lone));
            let rest = content
                .bytes
                .strip_prefix(whole)
                .expect("octets as they came");
            let needs_end = !binary && !whole.is_empty() && !whole.ends_with(b"\r\n");
            assert_eq!(rest, if needs_end { b"\r\n".as_slice() } else { b"" });
        }
        Err(DataFault::BareLineEnd) => assert!(!binary && lone),
        Err(fault) => {
            assert_eq!(fault, DataFault::TooLarge);
            assert!(whole.len() as u64 + 2 > LIMIT);
        }
    }
});
