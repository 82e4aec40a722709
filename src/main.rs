//! The `tidegate` binary.

use std::process::ExitCode;

/// Many small allocations from several threads are what an instance does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long freed memory is kept before the system gets it back, in milliseconds; large blocks are kept ten times as long.
///
/// A batch frees what the next but one allocates: given back in between, every page of it would fault in anew.
/// `MIMALLOC_PURGE_DELAY` in the environment goes before it.
const KEPT_MS: std::ffi::c_long = 1_000;

fn main() -> ExitCode {
    // Sound: the call stores a number in a table of the allocator that exists from the start of the process,
    // and this is its only thread yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT_MS) };
    tidegate::cli::main()
}

#[cfg(test)]
mod tests {
    use super::PURGE_DELAY;

    #[test]
    fn the_number_is_that_of_the_purge_delay() {
        if std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("MIMALLOC_")) {
            return;
        }
        // Sound: the calls read numbers from the table that `main` writes to. The purge delay is known by its default and that of
        // the option before it, the delay of eager commits.
        let defaults = [PURGE_DELAY - 1, PURGE_DELAY].map(|it| unsafe { libmimalloc_sys::mi_option_get(it) });
        assert_eq!(defaults, [1, 10]);
    }
}
