//! Ctrl-C and its like end a run in order: a descriptor becomes readable. A second one ends it at once.
#![expect(unsafe_code, reason = "signals are blocked, awaited and raised by the C library")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// The signals by which a person, the system or a terminal that goes away asks for an end.
const ASKED: [(libc::c_int, &str); 3] =
    [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM"), (libc::SIGHUP, "SIGHUP")];

/// SIGINT, SIGTERM and SIGHUP, taken by their own thread from now to the end of the process. One that is ignored
/// when the process begins stays so: `nohup` means it, and so does a shell that starts a command in the background.
///
/// The run looks for the first one when it can. A second one does not wait for it: the thread lets it end the
/// process, so that nobody has to wait for a device or a file that hangs. What the process has made goes with it
/// (a TAP interface with its descriptor, QEMU with its parent).
pub struct Signals {
    came: Arc<AtomicI32>,
    event: File,
}

impl Signals {
    /// Blocks the signals for this thread and those that it will start, so that they come to ours: call it first.
    pub fn take() -> io::Result<Self> {
        let set = set()?;
        // SAFETY: the set is ours and lives through the call.
        if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let event = File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let came = Arc::new(AtomicI32::new(0));
        let (thread_came, thread_event) = (came.clone(), event.try_clone()?);
        let thread = std::thread::Builder::new().name("nook-signals".into());
        thread.spawn(move || watch(&set, &thread_came, &thread_event))?;
        Ok(Signals { came, event })
    }

    /// Becomes readable when a signal comes.
    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Returns what becomes readable when a signal comes, for who waits elsewhere.
    pub fn event(&self) -> io::Result<OwnedFd> {
        Ok(self.event.try_clone()?.into())
    }

    /// Lets the signal that came end this process, because there is nothing yet to put in order.
    pub fn end_by_it(&self) {
        let signal = self.came.load(Ordering::Relaxed);
        if signal != 0
            && let Ok(set) = set()
        {
            end_by(signal, &set);
        }
    }

    /// Returns the signal that came, if one did.
    pub fn came(&self) -> Option<&'static str> {
        name(self.came.load(Ordering::Relaxed))
    }
}

fn name(signal: libc::c_int) -> Option<&'static str> {
    ASKED.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

fn set() -> io::Result<libc::sigset_t> {
    // SAFETY: a set is plain data, and the first call makes it an empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&mut set) };
    for (signal, _) in ASKED {
        if is_ignored(signal)? {
            continue;
        }
        // SAFETY: the set is ours, and was made an empty one above.
        if unsafe { libc::sigaddset(&mut set, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}

fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: an action is plain data.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with no new action this only asks for the present one, which it writes to a value of ours.
    if unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Raises a signal of the set, which ends the process.
fn end_by(signal: libc::c_int, set: &libc::sigset_t) {
    // SAFETY: the set lives through the call; the signal, whose default action is to end the process, comes to this
    // thread.
    unsafe {
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// Runs the thread.
fn watch(set: &libc::sigset_t, came: &AtomicI32, mut event: &File) {
    let mut signal = 0;
    // SAFETY: both live through the call.
    while unsafe { libc::sigwait(set, &mut signal) } == 0 {
        if came.swap(signal, Ordering::Relaxed) != 0 {
            end_by(signal, set);
        }
        // Its counter cannot be full after one.
        let _ = event.write_all(&1u64.to_ne_bytes());
        tracing::info!("{}: stopping; a second signal ends it at once", name(signal).unwrap_or("a signal"));
    }
}
