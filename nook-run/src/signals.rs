//! Ctrl-C and its like end a run in order: a descriptor becomes readable.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// SIGINT, SIGTERM and SIGHUP, taken as a descriptor while this lives. A second signal ends the process at once, so
/// that nobody has to wait for a device that hangs.
pub struct Signals {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl Signals {
    /// Blocks the signals for this thread and those that it will start: call it first.
    pub fn take() -> io::Result<Self> {
        // SAFETY: the sets are ours; each call's answer is checked.
        unsafe {
            let mut wanted: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut wanted);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(&mut wanted, signal);
            }
            if libc::pthread_sigmask(libc::SIG_BLOCK, &wanted, &mut before) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &wanted, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Signals { fd: OwnedFd::from_raw_fd(fd), before })
        }
    }

    /// Becomes readable when a signal comes.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The signal that came, if one did; the next one is not held back any more.
    pub fn came(&mut self) -> Option<&'static str> {
        // SAFETY: a plain structure of integers, filled by read.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let len = size_of_val(&info);
        // SAFETY: writes at most `len` bytes into our structure.
        let read = unsafe { libc::read(self.fd(), (&raw mut info).cast(), len) };
        if read != len as isize {
            return None;
        }
        // SAFETY: restores the mask that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
        Some(match info.ssi_signo as i32 {
            libc::SIGINT => "SIGINT",
            libc::SIGTERM => "SIGTERM",
            _ => "SIGHUP",
        })
    }
}
