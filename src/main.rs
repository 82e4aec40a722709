//! The `tidegate` binary.

use std::process::ExitCode;

/// Many small allocations from several threads are what an instance does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's options; those of `MALLOC_CONF` in the environment go before them. A batch frees what the next but one allocates: given
/// back at once, every page of it would fault in anew. So freed memory is kept for a second; a thread of the allocator gives it back then,
/// where there is one.
// Sound: the name is the one that the allocator reads its options from, which it does once, and never writes to.
#[allow(non_upper_case_globals, reason = "the allocator's name")]
#[unsafe(export_name = "malloc_conf")]
pub static malloc_conf: Option<&'static std::ffi::c_char> = Some(unsafe { &*OPTIONS.as_ptr() });

#[cfg(not(target_env = "musl"))]
const OPTIONS: &std::ffi::CStr = c"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
#[cfg(target_env = "musl")]
const OPTIONS: &std::ffi::CStr = c"dirty_decay_ms:1000,muzzy_decay_ms:0";

fn main() -> ExitCode {
    tidegate::cli::main()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_has_heard_its_options() {
        if std::env::var_os("MALLOC_CONF").is_some() {
            return;
        }
        // Sound: the name is one of the allocator's, and its value is an `ssize_t`.
        let decay_ms = unsafe { tikv_jemalloc_ctl::raw::read::<isize>(b"opt.dirty_decay_ms\0") };
        assert_eq!(decay_ms, Ok(1_000));
    }
}
