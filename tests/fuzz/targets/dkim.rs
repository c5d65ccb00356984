//! DKIM signatures over any message, cut anywhere. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (pieces, _) = mailrelay_fuzz::cut(input);
    relay::fuzzing::sign(&pieces);
});
