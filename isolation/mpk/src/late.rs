//! A handler that somebody has installed without SA_ONSTACK, after the last driver was launched, begins on a driver's
//! stack, with rights to key 0 alone: it faults where it uses its stack, which most do at once. Its signal is given
//! again, to the same handler on the stack that is there for handlers.
#![expect(
    unsafe_code,
    reason = "the frame that the kernel wrote to the driver's stack, and the signal mask in another"
)]

use std::ffi::c_int;
use std::fmt;

use crate::actions::{Action, SIGNALS, keep_off_other_stacks};
use crate::memory::DomainMemory;

/// A signal whose handler began on a driver's stack, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Its handler is called again.
    GivenAgain(c_int),
    /// Its handler used its stack only to return from it.
    WasDone(c_int),
    /// It is not known which it was.
    Lost,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Late::GivenAgain(signal) => write!(f, "signal {signal}, which was given again,"),
            Late::WasDone(signal) => write!(f, "signal {signal}, which was handled,"),
            Late::Lost => write!(f, "a signal, which was lost,"),
        }
    }
}

// A frame (Linux, arch/x86/include/asm/sigframe.h: `struct rt_sigframe`): where the handler returns to, the context, of
// which the mask is the last word, and what came with the signal, if the handler is to have it.
const MASK_AT: u64 = 8 + 296;
const INFO_AT: u64 = 8 + 304;
const INFO_BYTES: usize = 128;
/// A handler's first function has no larger frame, or else the signal is lost.
const MOST_BYTES: u64 = 4096;

/// Looks for the frame where the interrupted handler has its stack and above it, and has its signal handled. The
/// thread's mask is to be as it was before. For handlers.
///
/// # Safety
/// A context that the kernel gave to a handler, whose instruction can be read.
pub(crate) unsafe fn settle(memory: &DomainMemory, machine: *mut libc::ucontext_t) -> Late {
    // SAFETY: the caller's.
    let registers = unsafe { (*machine).uc_mcontext.gregs };
    let register = |number: c_int| registers[number as usize];
    let stack = register(libc::REG_RSP) as u64;
    let late = |signal: &c_int| Action::of(*signal).is_on_any_stack();
    let is_return = |word: u64| (1..=SIGNALS).any(|signal| late(&signal) && Action::of(signal).restorer == word);
    // At a function's beginning the stack is 8 less than a multiple of 16.
    let places = (stack.next_multiple_of(8)..stack + MOST_BYTES).step_by(8).filter(|at| at % 16 == 8);
    let at = places.into_iter().find(|&at| memory.copied(at).map(u64::from_le_bytes).is_some_and(is_return));
    let (Some(at), Some(mask)) = (at, at.and_then(|at| memory.copied::<8>(at + MASK_AT))) else { return Late::Lost };
    // SAFETY: the mask of the frame that this thread goes on with: its first word is the kernel's.
    unsafe { (&raw mut (*machine).uc_sigmask).cast::<[u8; 8]>().write(mask) };
    let info = memory.copied::<INFO_BYTES>(at + INFO_AT);
    let named = info.and_then(|info| info.first_chunk().copied()).map(c_int::from_le_bytes);
    // A handler without more arguments has the number as its only one; if it needs that no more, it may be gone.
    let argument = register(libc::REG_RDI) as c_int;
    let with_info = named.filter(|signal| late(signal) && Action::of(*signal).has_info());
    let Some(signal) = with_info.or(Some(argument).filter(late)).or_else(|| {
        let mut all = (1..=SIGNALS).filter(late);
        all.next().filter(|_| all.next().is_none())
    }) else {
        return Late::Lost;
    };
    keep_off_other_stacks(signal);
    const RET: u8 = 0xc3;
    // SAFETY: the handler was executing it.
    if at == stack && unsafe { (register(libc::REG_RIP) as *const u8).read() } == RET {
        return Late::WasDone(signal);
    }
    // SAFETY: the signal goes to this thread, with what came with it, and stays pending until the mask lets it in.
    unsafe {
        let (process, thread) = (libc::getpid(), libc::gettid());
        match info.filter(|_| with_info.is_some()) {
            Some(mut info) => libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info.as_mut_ptr()),
            None => libc::syscall(libc::SYS_tgkill, process, thread, signal),
        };
    }
    Late::GivenAgain(signal)
}
