//! What the targets share: how an input is cut into what arrives at one time.

/// The input in pieces of varying length, chosen by its own first octet: how a stream is cut must
/// never change what it means.
pub fn cut(input: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((&seed, rest)) = input.split_first() else {
        return (Vec::new(), input);
    };
    let mut state = u32::from(seed) | 1;
    let mut pieces = Vec::new();
    let mut left = rest;
    while !left.is_empty() {
        // A linear congruence; small pieces most of the time.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = match state >> 29 {
            0 => left.len(),
            _ => 1 + (state >> 24 & 31) as usize,
        };
        let (piece, more) = left.split_at(length.min(left.len()));
        pieces.push(piece);
        left = more;
    }
    (pieces, rest)
}

/// Panics unless `output` is whole lines that end in CRLF, without another control octet.
pub fn assert_lines(output: &[u8]) {
    if output.is_empty() {
        return;
    }
    let text = output
        .strip_suffix(b"\r\n")
        .expect("the output ends in CRLF");
    for line in memchr::memmem::find_iter(text, b"\r\n")
        .chain([text.len()])
        .scan(0, |start, end| {
            let line = &text[*start..end];
            *start = end + 2;
            Some(line)
        })
    {
        assert!(
            line.iter().all(|octet| !octet.is_ascii_control()),
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
}
