//! What the kernel says of a process.

use std::time::Duration;

/// Resident memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// What it allocated.
    pub anonymous: u64,
    /// Pages of its binary and of its libraries that it has touched. The kernel can drop them at any time, and a debug build has more of them.
    pub file: u64,
}

impl Resident {
    /// What the process has now.
    #[track_caller]
    pub fn of(process: u32) -> Resident {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
            kibibytes.unwrap_or_else(|| panic!("/proc/{process}/status says {name}")) * 1024
        };
        Resident { anonymous: bytes("RssAnon") + bytes("RssShmem"), file: bytes("RssFile") }
    }

    /// All of it: what `ps` and most monitoring show.
    pub fn total(self) -> u64 {
        self.anonymous + self.file
    }
}

/// The processor time that a process has used, all threads, user and system.
#[track_caller]
pub fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks: u64 = fields.split_ascii_whitespace().skip(11).take(2).map(|it| it.parse::<u64>().expect("ticks")).sum();
    // SAFETY: asks for a constant of the system.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64)
}
