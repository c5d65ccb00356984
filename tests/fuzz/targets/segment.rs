//! Segments and journals of the queue with any damage. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    relay_queue::fuzzing::segment(input);
    relay_queue::fuzzing::journal(input);
});
