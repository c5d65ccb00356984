//! Messages that are converted for a way that carries less than they hold. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| relay::fuzzing::convert(input));
