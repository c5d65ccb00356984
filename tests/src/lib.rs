//! Harness and tests that cross a process.
