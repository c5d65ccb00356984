//! PROXY protocol headers, read as the session reads them: as many octets as the parser asks for, so
//! that what follows the header is never touched; it comes to an end, and a header of bounded length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_smtp::proxy::{Progress, parse};

/// More than a header may have, with all that its length field can say refused before.
const LONGEST: usize = 16 + u16::MAX as usize;

fuzz_target!(|input: &[u8]| {
    let mut read = 0;
    while let Ok(Progress::Need(more)) = parse(&input[..read]) {
        assert!(more > 0, "it would never end");
        read += more;
        assert!(read <= LONGEST);
        if read > input.len() {
            return;
        }
    }
    // Settled; in bits that came before nothing was.
    for length in 0..read {
        assert!(matches!(
            parse(&input[..length]),
            Ok(Progress::Need(_)) | Err(_)
        ));
    }
});
