//! What the process takes of the machine, as Linux tells it. Elsewhere nothing is known, and nothing is shown.

use std::fs;

/// What the process takes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessUsage {
    pub(super) resident_memory_bytes: u64,
    pub(super) open_files: u64,
}

impl ProcessUsage {
    /// Asks the system; None where it does not tell.
    pub(super) fn now() -> Option<ProcessUsage> {
        let pages = fs::read_to_string("/proc/self/statm").ok()?;
        let resident_pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
        // SAFETY: the call takes a number and returns one.
        let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        // The folder itself is open while it is read.
        let open_files = (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1);
        Some(ProcessUsage { resident_memory_bytes: resident_pages * page_bytes, open_files })
    }
}
