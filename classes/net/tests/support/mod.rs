//! What the tests with interfaces of the kernel share: separate namespaces, and `ip`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::time::Duration;

/// A busy machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Moves this thread into a new network namespace, which ends with it; processes that it starts are in it too.
pub fn enter_namespace() {
    // SAFETY: changes this thread's network namespace and nothing else.
    let outcome = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(outcome, 0, "unshare: {}", io::Error::last_os_error());
}

/// Runs `test` on a thread in a new network namespace.
pub fn in_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_namespace();
            test()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

pub fn ip(arguments: &str) -> Output {
    Command::new("ip").args(arguments.split(' ')).output().expect("ip runs")
}

/// Runs an `ip` command that must succeed, and returns what it printed.
pub fn ip_ok(arguments: &str) -> String {
    let output = ip(arguments);
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns a descriptor of this TAP interface in the hands of another program, with these flags (IFF_VNET_HDR).
#[allow(dead_code, reason = "the tests of what is followed need none")]
pub fn raw_tap(name: &str, flags: libc::c_int) -> File {
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
    // SAFETY: an ifreq is integers and arrays of them, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | flags) as libc::c_short;
    // SAFETY: TUNSETIFF reads an ifreq, which lives through the call.
    let outcome = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &request) };
    assert_eq!(outcome, 0, "{name}: {}", io::Error::last_os_error());
    tun
}
