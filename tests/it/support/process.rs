//! Child processes that never outlive the test process, and ports for them.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Sender, channel};

type Order = (Command, Sender<io::Result<Child>>);

/// A child is tied to the thread that started it, and a test's thread ends with the test. So one thread starts all of them, and never ends.
static STARTER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = channel::<Order>();
    let work = move || {
        for (mut command, answer) in inbox {
            // A test that has gone does not want its child: dropping the answer is fine.
            let _ = answer.send(command.spawn());
        }
    };
    std::thread::Builder::new().name("child-starter".into()).spawn(work).expect("a thread starts");
    orders
});

/// Starts a child that the kernel kills when this process dies, however it dies.
pub fn spawn_tied(mut command: Command) -> io::Result<Child> {
    // SAFETY: prctl is a plain system call, allowed between fork and exec; it touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (answer, result) = channel();
    STARTER.send((command, answer)).expect("the starter never ends");
    result.recv().expect("the starter answers")
}

/// How many bytes a file may have to which a process writes. At none, its disk is full for all that it knows.
#[derive(Clone, Copy, Debug)]
pub struct FileLimit(pub u64);

impl FileLimit {
    /// Starts a process under it, which gets an error where it could not write; else a signal would end it.
    pub fn prepare(self, command: &mut Command) {
        // SAFETY: as above; the limit and what one signal does are the child's own, and stay what they are when the program is started.
        unsafe {
            command.pre_exec(move || match (libc::signal(libc::SIGXFSZ, libc::SIG_IGN), self.set(0)) {
                (libc::SIG_ERR, _) => Err(io::Error::last_os_error()),
                (_, set) => set,
            });
        }
    }

    /// Sets it for a process that was prepared for one.
    pub fn of(self, process: u32) {
        self.set(libc::pid_t::try_from(process).expect("a process id")).expect("the process is ours");
    }

    fn set(self, process: libc::pid_t) -> io::Result<()> {
        let limit = libc::rlimit { rlim_cur: self.0, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit lives as long as the call, and nothing is written where the last argument is null.
        match unsafe { libc::prlimit(process, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Kills a child at once, as a crash would, and waits until it is gone.
pub fn kill(child: &mut Child) {
    // Fails only if it has ended already.
    let _ = child.kill();
    child.wait().expect("a child can be waited for");
}

/// The lowest port that is given out, and how many there are: below the range of which the system gives ports to clients, so that a port
/// that was free stays free until the child listens on it.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A port of loopback on which nobody listens, nor on the next one.
pub fn two_free_ports() -> u16 {
    static NEXT: LazyLock<AtomicU16> =
        // Test processes that run at the same time start at different places.
        LazyLock::new(|| AtomicU16::new((std::process::id().wrapping_mul(62) % u32::from(PORTS)) as u16));
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..PORTS / 2 {
        let port = FIRST_PORT + NEXT.fetch_add(2, Ordering::Relaxed) % PORTS;
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports from {FIRST_PORT} on");
}

/// Ends a process by SIGTERM, and waits for its end.
pub fn end(child: &mut Child) {
    // SAFETY: the child is ours and was not waited for, so its id is still its own.
    let sent = unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(sent, 0, "the process can be told to end");
    child.wait().expect("the process can be waited for");
}
