//! A thread that calls drivers behind a key: what is made ready on it before the first call, and what the clock and the
//! handlers know of it.
#![expect(unsafe_code, reason = "restartable sequences, signals and clocks are the thread's")]

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;
use crate::gate::Context;
use crate::handler_stack::HandlerStack;

/// What the clock looks at.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) thread: libc::pid_t,
    /// The call that runs, odd, or the last one, even.
    pub(crate) number: AtomicU64,
    /// The call that the clock wants to have looked at.
    pub(crate) wanted: AtomicU64,
}

impl Slot {
    #[inline]
    pub(crate) fn begin(&self, number: &AtomicU64) {
        // One thread writes it.
        let next = self.number.load(Ordering::Relaxed) + 1;
        number.store(next, Ordering::Relaxed);
        self.number.store(next, Ordering::Release);
    }

    #[inline]
    pub(crate) fn end(&self, number: &AtomicU64) {
        let next = self.number.load(Ordering::Relaxed) + 1;
        number.store(next, Ordering::Relaxed);
        self.number.store(next, Ordering::Release);
    }
}

/// This thread as one that calls drivers.
struct Ready {
    slot: Arc<Slot>,
    _stack: Option<HandlerStack>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        SLOT.set(ptr::null());
        clock::forget(&self.slot);
    }
}

thread_local! {
    static READY: OnceCell<Ready> = const { OnceCell::new() };
    /// The slot of the one above, which costs a call no look at whether that is there.
    static SLOT: Cell<*const Slot> = const { Cell::new(ptr::null()) };
    static CURRENT: Cell<*mut Context> = const { Cell::new(ptr::null_mut()) };
}

/// Makes this thread ready, once, before anything of a driver runs on it. After the handlers are installed.
///
/// # Errors
/// What the system refuses.
pub(crate) fn make_ready() -> io::Result<()> {
    let made = READY.try_with(|ready| {
        if ready.get().is_some() {
            return Ok(());
        }
        if let Some(area) = rseq_area() {
            // SAFETY: before this thread calls a driver; nothing of this process relies on restartable sequences.
            unsafe { give_back(area) };
        }
        check_rseq()?;
        let stack = HandlerStack::new()?;
        unblock(clock::signal()?)?;
        // SAFETY: takes nothing.
        let thread = unsafe { libc::gettid() };
        let slot = Arc::new(Slot { thread, number: AtomicU64::new(0), wanted: AtomicU64::new(0) });
        clock::watch(slot.clone())?;
        SLOT.set(Arc::as_ptr(&slot));
        let _ = ready.set(Ready { slot, _stack: stack });
        Ok(())
    });
    made.unwrap_or_else(|_| Err(io::Error::other("the thread ends")))
}

/// Has this thread take a signal.
fn unblock(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: a set of ours with one signal in it.
    let error = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Notes that this thread is about to be in this call, and returns its slot.
///
/// # Errors
/// What the system refuses, on a thread that has not called a driver before: the instance was launched on another.
#[inline]
pub(crate) fn enter(context: *mut Context) -> io::Result<*const Slot> {
    let mut slot = SLOT.get();
    if slot.is_null() {
        make_ready()?;
        slot = SLOT.get();
    }
    CURRENT.set(context);
    Ok(slot)
}

/// Notes that it is in no call.
#[inline]
pub(crate) fn left() {
    CURRENT.set(ptr::null_mut());
}

/// Returns the call that this thread is in. For handlers: it takes no lock.
pub(crate) fn current() -> *mut Context {
    CURRENT.get()
}

/// Returns whether the clock wants the call with this number to be looked at. For handlers.
pub(crate) fn is_wanted(number: u64) -> bool {
    let slot = SLOT.get();
    // SAFETY: it is there as long as the pointer to it, which this thread alone sets.
    unsafe { slot.as_ref() }.is_some_and(|slot| slot.wanted.load(Ordering::Acquire) == number)
}

/// Returns the CPU time of this thread, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a time that we own.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What the C library registers areas with on x86.
const RSEQ_SIGNATURE: u32 = 0x5305_3053;
const RSEQ_UNREGISTER: libc::c_int = 1;

/// Returns where the C library has this thread's area for restartable sequences, if it has any (2.35 and later).
pub(crate) fn rseq_area() -> Option<*mut c_void> {
    // SAFETY: asks for a symbol of the C library, which is a number: how far the area is from the thread pointer.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>().as_ref()?;
        let thread: *mut u8;
        std::arch::asm!("mov {}, fs:0", out(reg) thread, options(nostack, readonly));
        Some(thread.wrapping_offset(*offset).cast())
    }
}

/// Has the kernel forget this thread's area for restartable sequences: it lies in memory of key 0, and the kernel
/// writes there with the thread's rights when the thread is preempted. Inside a domain that is a SIGSEGV, thousands of
/// calls later.
///
/// # Safety
/// Nothing on this thread relies on them. For the copy of a process with threads: it calls the system and nothing else.
pub(crate) unsafe fn give_back(area: *mut c_void) {
    // Whatever length it was registered with: 32 bytes at first, more where the kernel knows more.
    for length in (32..=256).step_by(4) {
        // SAFETY: the kernel looks whether it has this area, and writes that it is not registered any more.
        if unsafe { libc::syscall(libc::SYS_rseq, area, length, RSEQ_UNREGISTER, RSEQ_SIGNATURE) } == 0 {
            break;
        }
    }
}

/// An area for restartable sequences in its first version.
#[repr(C, align(32))]
struct RseqArea([u8; 32]);

/// Makes sure that this thread has no area: one can be registered, and is given back at once.
fn check_rseq() -> io::Result<()> {
    let mut area = RseqArea([0; 32]);
    let mut register = |flags: libc::c_int| {
        // SAFETY: the area is ours and whole, and registered only within this function.
        match unsafe { libc::syscall(libc::SYS_rseq, area.0.as_mut_ptr(), 32, flags, RSEQ_SIGNATURE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match register(0) {
        Ok(()) => register(RSEQ_UNREGISTER),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        Err(error) => Err(io::Error::other(format!(
            "this thread's area for restartable sequences (rseq) cannot be given back, because something other than the C \
             library registered it ({error}); the kernel would write to it while the thread may not"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_of_somebody_elses_is_noticed_and_the_c_librarys_is_given_back() {
        std::thread::spawn(|| {
            if let Some(area) = rseq_area() {
                // SAFETY: this thread does nothing with it.
                unsafe { give_back(area) };
            }
            check_rseq().unwrap();
            let mut other = RseqArea([0; 32]);
            let mut register = |flags: libc::c_int| {
                // SAFETY: the area is given back below.
                unsafe { libc::syscall(libc::SYS_rseq, other.0.as_mut_ptr(), 32, flags, RSEQ_SIGNATURE) }
            };
            assert_eq!(register(0), 0);
            let said = check_rseq().unwrap_err().to_string();
            assert!(said.contains("rseq"), "{said}");
            assert_eq!(register(RSEQ_UNREGISTER), 0);
            check_rseq().unwrap();
        })
        .join()
        .unwrap();
    }
}
