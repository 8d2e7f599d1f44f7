//! A BAR page that vanishes must not end the process.
//!
//! The kernel answers an access to a BAR that is no longer there (device unplugged, memory decoding turned off, a
//! power state without memory) with SIGBUS. The handler looks the address up in a table of registered mappings,
//! puts memory full of 0xff where the mapping was, which is what a bus answers for a missing device, and marks the
//! mapping; the interrupted access then goes on. Any other SIGBUS goes to the handler that was there before.
//!
//! The whole mapping is replaced and not the one page: a BAR is decoded or it is not, and kernels complain in their
//! log ("x86/PAT: freeing invalid memtype", seen with 6.1) when a part of one is unmapped.
#![expect(unsafe_code, reason = "a signal handler: the C library's interface to it, and memory under its feet")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How many mappings one process can have: six BARs in at most a few parts, for some devices.
const SLOTS: usize = 64;

/// One registered mapping. The handler reads it without a lock: `len` is set before `start`, and `start` is cleared
/// before the slot is used again.
struct Slot {
    /// First address; 0: free.
    start: AtomicUsize,
    /// In bytes.
    len: AtomicUsize,
    /// It vanished.
    lost: AtomicBool,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), lost: AtomicBool::new(false) } }; SLOTS];

/// Held while a slot is taken.
static CLAIM: Mutex<()> = Mutex::new(());

/// What SIGBUS did before the handler was installed.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// A registered mapping; ends with the value, which must happen before the memory is unmapped.
#[derive(Debug)]
pub(crate) struct Registered {
    slot: usize,
}

impl Registered {
    /// Registers the `len` bytes from `start`, both multiples of the page size.
    pub(crate) fn new(start: *mut u8, len: usize) -> io::Result<Self> {
        let _claim = CLAIM.lock().unwrap_or_else(PoisonError::into_inner);
        install()?;
        let free = TABLE.iter().position(|slot| slot.start.load(Ordering::Relaxed) == 0);
        let slot = free.ok_or_else(|| io::Error::other(format!("more than {SLOTS} BAR mappings in one process")))?;
        TABLE[slot].len.store(len, Ordering::Relaxed);
        TABLE[slot].lost.store(false, Ordering::Relaxed);
        TABLE[slot].start.store(start as usize, Ordering::Release);
        Ok(Registered { slot })
    }

    /// Returns whether it vanished; once true, it stays so.
    #[inline]
    pub(crate) fn lost(&self) -> bool {
        // The handler runs inside an earlier access of this thread: the question must not be moved before that.
        compiler_fence(Ordering::SeqCst);
        TABLE[self.slot].lost.load(Ordering::Relaxed)
    }

    /// Puts ones in its place, as if it had vanished; this does not count as lost.
    pub(crate) fn replace(&self) {
        if !replace(&TABLE[self.slot]) {
            tracing::error!("a mapped BAR could not be taken away: no memory for what should take its place");
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        TABLE[self.slot].start.store(0, Ordering::Release);
    }
}

/// Installs the handler, once. The caller holds `CLAIM`.
fn install() -> io::Result<()> {
    if PREVIOUS.get().is_some() {
        return Ok(());
    }
    // SAFETY: an all-zero sigaction is a valid value.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks for the present action only.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Before the handler needs it. Nobody else sets it: the caller holds the lock.
    let _ = PREVIOUS.set(previous);
    // SAFETY: an all-zero sigaction is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as usize;
    // On the alternate stack, as Rust's own handler for stack overflows, which may be the previous one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does only what a handler may.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Runs inside the interrupted access: system calls and atomics only, errno kept.
extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, machine: *mut libc::c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // BUS_ADRERR: no such physical address. Signals that a process sends have another code, and no address.
    if code == libc::BUS_ADRERR
        && let Some(slot) = slot_of(address)
    {
        slot.lost.store(true, Ordering::Relaxed);
        if replace(slot) {
            return;
        }
    }
    pass_on(previous, signal, info, machine);
}

/// Returns the registered mapping that `address` lies in.
fn slot_of(address: usize) -> Option<&'static Slot> {
    TABLE.iter().find(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && address.wrapping_sub(start) < slot.len.load(Ordering::Relaxed)
    })
}

/// Puts memory full of ones where the slot's mapping is. System calls and plain stores only: it runs in the handler.
fn replace(slot: &Slot) -> bool {
    let (start, len) = (slot.start.load(Ordering::Acquire), slot.len.load(Ordering::Relaxed));
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: errno belongs to this thread.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: a fresh mapping, filled by its only user. It is then moved, in one step for all threads, over a mapping
    // that is registered, so is live, is all of the slot's range, and is used through volatile accesses only.
    let done = unsafe {
        let ones = libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        ones != libc::MAP_FAILED && {
            ones.cast::<u8>().write_bytes(0xff, len);
            let to = start as *mut libc::c_void;
            let moved = libc::mremap(ones, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to);
            moved != libc::MAP_FAILED
        }
    };
    // SAFETY: errno belongs to this thread.
    unsafe { *libc::__errno_location() = errno };
    done
}

/// Does what would have been done without this module.
fn pass_on(previous: &libc::sigaction, signal: libc::c_int, info: *mut libc::siginfo_t, machine: *mut libc::c_void) {
    match previous.sa_sigaction {
        // The access is repeated after the return and ends the process, as it would have. (A SIGBUS that an access
        // raises cannot be ignored either: the kernel would end the process.)
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: an all-zero sigaction is the default action.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &default, std::ptr::null_mut());
            }
            // A signal that was sent is not repeated by returning.
            // SAFETY: the kernel's valid siginfo; raise is allowed in a handler, and is delivered after the return.
            unsafe {
                if (*info).si_code <= 0 && previous.sa_sigaction == libc::SIG_DFL {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the kernel had this address as a handler of three arguments.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, machine);
        }
        handler => {
            // SAFETY: the kernel had this address as a handler of one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use super::*;
    use crate::{BarMemory, MappedBar, Width};

    fn page() -> usize {
        rustix::param::page_size()
    }

    /// Makes two pages of a file that stand for a BAR.
    fn bar() -> (std::fs::File, MappedBar) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * page() as u64).unwrap();
        let mapping = MappedBar::new(file.as_fd(), 0, 2 * page(), 2 * page()).unwrap();
        (file, mapping)
    }

    #[test]
    fn a_bar_that_vanished_reads_as_ones_and_is_reported() {
        let (file, mapping) = bar();
        mapping.write(8, Width::B4, 0x1234_5678);
        assert_eq!(mapping.read(8, Width::B4), 0x1234_5678);
        assert!(!mapping.lost());
        file.set_len(page() as u64).unwrap();
        assert_eq!(mapping.read(page() + 4, Width::B4), 0xffff_ffff);
        assert!(mapping.lost());
        assert_eq!(mapping.read(8, Width::B4), 0xffff_ffff, "half of a BAR still answers");
    }

    #[test]
    fn a_write_to_a_vanished_bar_is_swallowed() {
        let (file, mapping) = bar();
        let (second, other) = bar();
        file.set_len(0).unwrap();
        second.set_len(0).unwrap();
        mapping.write(0, Width::B8, 7);
        assert!(mapping.lost());
        assert!(!other.lost(), "the other mapping was marked");
        assert_eq!(other.read(0, Width::B8), u64::MAX, "a write to the other mapping is seen");
    }

    #[test]
    fn a_slot_is_free_again_after_its_mapping_ends() {
        for _ in 0..3 * SLOTS {
            drop(bar());
        }
    }

    /// Set in processes that a test of this module starts: only there may a test end its process.
    const CHILD: &str = "NOOK_SIGBUS_CHILD";

    /// Runs one test of this binary in a separate process.
    fn in_a_child(test: &str) -> std::process::ExitStatus {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
        child.output().unwrap().status
    }

    fn touch_an_unregistered_page() {
        let (_file, _registered) = bar();
        let (file, mapping) = bar();
        let address = mapping.without_registration();
        file.set_len(0).unwrap();
        // SAFETY: still mapped; the access is meant to fault.
        unsafe { address.read_volatile() };
    }

    #[test]
    fn a_sigbus_elsewhere_still_ends_the_process() {
        use std::os::unix::process::ExitStatusExt;
        if std::env::var_os(CHILD).is_some() {
            return touch_an_unregistered_page();
        }
        let status = in_a_child("sigbus::tests::a_sigbus_elsewhere_still_ends_the_process");
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    }

    #[test]
    fn a_handler_that_was_there_before_is_called() {
        if std::env::var_os(CHILD).is_none() {
            let status = in_a_child("sigbus::tests::a_handler_that_was_there_before_is_called");
            assert_eq!(status.code(), Some(42), "{status}");
            return;
        }
        extern "C" fn earlier(_: libc::c_int) {
            // SAFETY: _exit is allowed in a handler.
            unsafe { libc::_exit(42) };
        }
        // SAFETY: a handler of one argument, installed for SIGBUS in a separate process.
        unsafe { libc::signal(libc::SIGBUS, earlier as *const () as usize) };
        touch_an_unregistered_page();
    }
}
