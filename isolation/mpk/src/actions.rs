//! What this process does about signals, as the kernel has it: the C library hides two signals that it uses, whose
//! handlers must not begin on a driver's stack either.
#![expect(unsafe_code, reason = "actions are exchanged with the kernel by pointer")]

use std::ffi::c_int;
use std::io;
use std::ptr;

/// An action (Linux, arch/x86/include/uapi/asm/signal.h: `struct sigaction` as the system call has it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Action {
    pub(crate) handler: usize,
    pub(crate) flags: u64,
    /// Where the function returns to.
    pub(crate) restorer: u64,
    mask: u64,
}

const MASK_BYTES: usize = size_of::<u64>();
/// How many signals there are, numbered from 1.
pub(crate) const SIGNALS: c_int = 64;

impl Action {
    /// Returns what is done about a signal.
    pub(crate) fn of(signal: c_int) -> Action {
        let mut action = Action::default();
        // SAFETY: writes an action that we own; asking changes nothing. Of a signal that there is not it writes
        // nothing.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, ptr::null::<Action>(), &raw mut action, MASK_BYTES) };
        action
    }

    /// Does this from now on, and returns what was done before.
    fn exchange(self, signal: c_int) -> io::Result<Action> {
        let mut before = Action::default();
        // SAFETY: writes an action that we own; the new one is one that was installed, but for a flag.
        match unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const self, &raw mut before, MASK_BYTES) } {
            0 => Ok(before),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Returns whether a function is called.
    pub(crate) fn is_handled(&self) -> bool {
        !matches!(self.handler, libc::SIG_DFL | libc::SIG_IGN)
    }

    /// Returns whether the function has what came with the signal.
    pub(crate) fn has_info(&self) -> bool {
        self.flags & libc::SA_SIGINFO as u64 != 0
    }

    /// Returns whether the function is called on whatever stack there is.
    pub(crate) fn is_on_any_stack(&self) -> bool {
        self.is_handled() && self.flags & libc::SA_ONSTACK as u64 == 0
    }
}

/// Has the handlers of a signal run on the stack that is there for handlers, if there are any.
pub(crate) fn keep_off_other_stacks(signal: c_int) {
    let mut action = Action::of(signal);
    // Somebody may install another between asking and changing; then that one is put back, with the flag.
    for _ in 0..8 {
        if !action.is_on_any_stack() {
            return;
        }
        let wanted = Action { flags: action.flags | libc::SA_ONSTACK as u64, ..action };
        match wanted.exchange(signal) {
            Ok(before) if before != action => action = before,
            _ => return,
        }
    }
}

/// Does so for all signals.
pub(crate) fn keep_all_off_other_stacks() {
    (1..=SIGNALS).for_each(keep_off_other_stacks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    extern "C" fn nothing(_: c_int) {}

    #[test]
    fn a_handler_stays_and_gets_the_flag_and_what_is_not_handled_stays_so() {
        let signal = libc::SIGRTMIN() + 9;
        assert!(!Action::of(signal).is_handled());
        keep_off_other_stacks(signal);
        assert!(!Action::of(signal).is_handled());
        // SAFETY: a handler that does nothing.
        unsafe { libc::signal(signal, nothing as *const () as usize) };
        assert!(Action::of(signal).is_on_any_stack());
        keep_all_off_other_stacks();
        let action = Action::of(signal);
        assert_eq!(action.handler, nothing as *const () as usize);
        assert!(!action.is_on_any_stack());
    }

    #[test]
    fn those_that_the_c_library_keeps_to_itself_are_seen_too() {
        // It installs its handler for setuid in all threads when one calls it beside another.
        // SAFETY: takes numbers; the user stays.
        thread::spawn(|| unsafe { libc::setgid(libc::getgid()) }).join().unwrap();
        let hidden = 33;
        // SAFETY: asks about a number.
        let said = unsafe { libc::sigaction(hidden, ptr::null(), &mut std::mem::zeroed()) };
        assert_eq!(said, -1, "the C library does not tell of it");
        let action = Action::of(hidden);
        assert!(
            !action.is_handled() || {
                keep_off_other_stacks(hidden);
                !Action::of(hidden).is_on_any_stack()
            }
        );
    }
}
