//! The handlers of the signals that faults are: every nook's recovery depends on them, and an object's constructors
//! could replace them.
#![expect(unsafe_code, reason = "handlers of signals are the process's")]

use std::ffi::{c_int, c_void};

use crate::thread_ends::base_of;

/// Those that the engine handles, and a BAR that vanishes.
const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGTRAP, "SIGTRAP"),
];

/// What each of [`SIGNALS`] did at one moment.
pub(crate) struct Handlers([libc::sigaction; SIGNALS.len()]);

impl Handlers {
    /// Returns those that are installed.
    pub(crate) fn installed() -> Handlers {
        Handlers(SIGNALS.map(|(signal, _)| installed(signal)))
    }

    /// Installs them again where another was put in their place that is not this program's own, and returns of which
    /// signals.
    pub(crate) fn put_back(&self) -> Vec<&'static str> {
        let own = base_of(Handlers::installed as *const c_void);
        let changed = SIGNALS.iter().zip(&self.0).filter(|((signal, _), before)| {
            let handler = installed(*signal).sa_sigaction;
            // Another thread of this program may have begun to handle faults meanwhile.
            handler != before.sa_sigaction && (base_of(handler as *const c_void) != own || own.is_none())
        });
        let put_back = |((signal, name), before): (&(c_int, &'static str), &libc::sigaction)| {
            // SAFETY: it was this signal's action before. It cannot fail.
            unsafe { libc::sigaction(*signal, before, std::ptr::null_mut()) };
            *name
        };
        changed.map(put_back).collect()
    }
}

fn installed(signal: c_int) -> libc::sigaction {
    // SAFETY: an all-zero action is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks, and changes nothing. It cannot fail: there are signals with these numbers.
    unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    action
}
