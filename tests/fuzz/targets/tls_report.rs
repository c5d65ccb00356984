//! Records that ask for TLS reports, counts, and the reports that come of them. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| relay::fuzzing::tls_report(input));
