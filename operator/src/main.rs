//! The `operator` program; see the library.

use std::process::ExitCode;

/// musl's own allocator is several times slower under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    operator::cli::main()
}
