//! CPU time, of this process and of the broker's: the measure that survives noisy neighbours better than any rate.

use std::time::Duration;

/// CPU time that was used up to a moment.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    /// By this process, all threads, user and system.
    pub own: Duration,
    /// By the broker's process; None if it is not known or cannot be read.
    pub broker: Option<Duration>,
}

impl CpuTime {
    /// What was used until now.
    pub fn now(broker_pid: Option<u32>) -> CpuTime {
        CpuTime { own: own(), broker: broker_pid.and_then(of_process) }
    }

    /// What was used since an earlier moment.
    pub fn since(self, earlier: CpuTime) -> CpuTime {
        let broker = self.broker.zip(earlier.broker).map(|(now, then)| now.saturating_sub(then));
        CpuTime { own: self.own.saturating_sub(earlier.own), broker }
    }
}

fn own() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a structure of the type that the call fills; zeroes are a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec.max(0) as u64, time.tv_usec.max(0) as u32 * 1_000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// The CPU time of another process, from `/proc/PID/stat`.
pub fn of_process(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // SAFETY: asks for a constant of the system.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let ticks_per_second = u64::try_from(ticks_per_second).ok().filter(|it| *it > 0)?;
    Some(Duration::from_secs_f64(ticks(&stat)? as f64 / ticks_per_second as f64))
}

/// User and system time of a line of `/proc/PID/stat`, in ticks. The name in parentheses may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        assert_eq!(ticks("7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        assert_eq!(ticks("7 (a"), None);
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn work_takes_time() {
        let before = CpuTime::now(Some(std::process::id()));
        let mut random = super::super::workload::Random::new(1);
        while own() < before.own + Duration::from_millis(30) {
            std::hint::black_box(random.next_u64());
        }
        let used = CpuTime::now(Some(std::process::id())).since(before);
        assert!(used.own >= Duration::from_millis(30) && used.broker.is_some(), "{used:?}");
    }
}
