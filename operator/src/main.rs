//! The `operator` program; see the library.

use std::process::ExitCode;

/// musl's own allocator is several times slower under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, of which each thread touches a few: a third of what an operator with
    // thousands of objects takes. A kernel that cannot turn them off gives none either.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    operator::cli::main()
}
