//! Waiting for descriptors and for a time.

use std::io;
use std::os::fd::RawFd;

use nook_bus::Clock;

/// The descriptors of one wait; its memory is used again.
pub(crate) struct Waiter {
    clock: Clock,
    always: Vec<RawFd>,
    fds: Vec<RawFd>,
    polled: Vec<libc::pollfd>,
}

impl Waiter {
    pub(crate) fn new(clock: Clock) -> Self {
        Waiter { clock, always: Vec::new(), fds: Vec::new(), polled: Vec::new() }
    }

    /// Makes the descriptor part of every wait.
    pub(crate) fn always(&mut self, fd: RawFd) {
        self.always.push(fd);
    }

    /// Makes it part of no wait any more.
    pub(crate) fn never(&mut self, fd: RawFd) {
        self.always.retain(|&other| other != fd);
    }

    /// Begins a new wait, with no other descriptors yet.
    pub(crate) fn begin(&mut self) {
        self.fds.clear();
    }

    /// Returns the descriptors of this wait, to be added to.
    pub(crate) fn fds(&mut self) -> &mut Vec<RawFd> {
        &mut self.fds
    }

    /// Returns when a descriptor is readable, a signal came, or it is `due_ns`. Virtual time jumps there at once: then
    /// nothing outside the nook is waited for.
    pub(crate) fn wait(&mut self, due_ns: u64) -> io::Result<()> {
        if self.clock.is_virtual() {
            self.clock.sleep_until(due_ns);
            return Ok(());
        }
        let left = due_ns.saturating_sub(self.clock.now_ns());
        let timeout = libc::timespec {
            tv_sec: (left / 1_000_000_000).min(i64::MAX as u64) as libc::time_t,
            tv_nsec: (left % 1_000_000_000) as libc::c_long,
        };
        self.polled.clear();
        let fds = self.always.iter().chain(&self.fds);
        self.polled.extend(fds.map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }));
        #[expect(
            unsafe_code,
            reason = "descriptors are numbers here, which may be closed: the kernel is asked as it is"
        )]
        // SAFETY: the array and the time are ours and live through the call; no signal mask is given.
        let ready = unsafe {
            libc::ppoll(self.polled.as_mut_ptr(), self.polled.len() as libc::nfds_t, &timeout, std::ptr::null())
        };
        match ready {
            0.. => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_descriptor_that_stays_readable_ends_waits_until_it_is_part_of_none() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"x").unwrap();
        let mut waiter = Waiter::new(Clock::Monotonic);
        waiter.always(reader.as_raw_fd());
        waiter.wait(u64::MAX).unwrap();
        waiter.never(reader.as_raw_fd());
        let due_ns = Clock::Monotonic.now_ns() + 1_000_000;
        waiter.wait(due_ns).unwrap();
        // A signal may end a wait early, but not each of a thousand.
        let waited = (0..1000).any(|_| {
            waiter.wait(due_ns).unwrap();
            Clock::Monotonic.now_ns() >= due_ns
        });
        assert!(waited);
        io::Read::read_exact(&mut reader, &mut [0]).unwrap();
    }
}
