//! The `tidegate` binary.

use std::process::ExitCode;

/// Many small allocations from several threads are what an instance does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
