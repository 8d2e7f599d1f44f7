//! A BAR page that vanishes must not end the process.
//!
//! The kernel answers an access to a BAR that is no longer there (device unplugged, memory decoding turned off, a
//! power state without memory) with SIGBUS. The handler looks the address up in a table of registered mappings,
//! puts a page of 0xff where the BAR page was, which is what a bus answers for a missing device, and marks the
//! mapping; the interrupted access then goes on. Any other SIGBUS goes to the handler that was there before.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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
    /// A page of it vanished.
    lost: AtomicBool,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), lost: AtomicBool::new(false) } }; SLOTS];

/// Held while a slot is taken.
static CLAIM: Mutex<()> = Mutex::new(());

/// What the handler needs; set before it is installed.
struct Context {
    /// One page of 0xff. (A memfd: mapping it is one step, so no other thread sees a page of zeros.)
    ones: OwnedFd,
    page: usize,
    previous: libc::sigaction,
}

static CONTEXT: OnceLock<Context> = OnceLock::new();

/// A registered mapping; ends with the value, which must happen before the memory is unmapped.
#[derive(Debug)]
pub(crate) struct Registered {
    slot: usize,
}

impl Registered {
    /// Registers `len` bytes from `start`, both multiples of the page size.
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

    /// Whether a page of it vanished. Sticks.
    #[inline]
    pub(crate) fn lost(&self) -> bool {
        // The handler runs inside an earlier access of this thread: the question must not be moved before that.
        compiler_fence(Ordering::SeqCst);
        TABLE[self.slot].lost.load(Ordering::Relaxed)
    }

    /// Puts pages of ones in the place of all of it, which does not count as lost.
    pub(crate) fn replace_all(&self) {
        let slot = &TABLE[self.slot];
        let (start, len) = (slot.start.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
        let Some(context) = CONTEXT.get() else { return };
        let left = (start..start + len).step_by(context.page).filter(|page| !replace(context, *page)).count();
        if left > 0 {
            tracing::error!(
                left,
                "pages of a BAR could not be taken away: too many mappings in this process (vm.max_map_count)"
            );
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
    if CONTEXT.get().is_some() {
        return Ok(());
    }
    // SAFETY: a plain question.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    // SAFETY: an all-zero sigaction is a valid value.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks for the present action only.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let context = Context { ones: page_of_ones(page)?, page, previous };
    // Nobody else sets it: the caller holds the lock.
    let _ = CONTEXT.set(context);
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

fn page_of_ones(page: usize) -> io::Result<OwnedFd> {
    // SAFETY: memfd_create takes a NUL-terminated name and flags; the answer is checked.
    let fd = unsafe { libc::memfd_create(c"nook-vanished-bar".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    io::Write::write_all(&mut file, &vec![0xff; page])?;
    Ok(file.into())
}

/// Runs inside the interrupted access: system calls and atomics only, errno kept.
extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, machine: *mut libc::c_void) {
    let Some(context) = CONTEXT.get() else { return };
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // BUS_ADRERR: no such physical address. Signals that a process sends have another code, and no address.
    if code == libc::BUS_ADRERR
        && let Some(slot) = slot_of(address)
    {
        slot.lost.store(true, Ordering::Relaxed);
        if replace(context, address) {
            return;
        }
    }
    pass_on(&context.previous, signal, info, machine);
}

/// The registered mapping that `address` lies in.
fn slot_of(address: usize) -> Option<&'static Slot> {
    TABLE.iter().find(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && address.wrapping_sub(start) < slot.len.load(Ordering::Relaxed)
    })
}

/// Puts a page of ones at `address`, which lies in a registered mapping.
fn replace(context: &Context, address: usize) -> bool {
    // SAFETY: errno belongs to this thread.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: replaces one page of a mapping that is registered, so it is live and is used through volatile accesses
    // only; private, so that a write does not reach the page that all lost pages share.
    let mapped = unsafe {
        libc::mmap(
            (address & !(context.page - 1)) as *mut libc::c_void,
            context.page,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_FIXED,
            context.ones.as_raw_fd(),
            0,
        )
    };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    mapped != libc::MAP_FAILED
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

    use nook_bus::BarMemory;

    use super::*;
    use crate::bars::Mapping;

    fn page() -> usize {
        // SAFETY: a plain question.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
    }

    /// Two pages of a file that stand for a BAR.
    fn bar() -> (std::fs::File, Mapping) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * page() as u64).unwrap();
        let mapping = Mapping::new(file.as_fd(), 0, 2 * page(), 2 * page()).unwrap();
        (file, mapping)
    }

    #[test]
    fn a_vanished_page_reads_as_ones_and_is_reported() {
        let (file, mapping) = bar();
        mapping.write(8, nook_bus::Width::B4, 0x1234_5678);
        assert_eq!(mapping.read(8, nook_bus::Width::B4), 0x1234_5678);
        assert!(!mapping.lost());
        file.set_len(page() as u64).unwrap();
        assert_eq!(mapping.read(page() + 4, nook_bus::Width::B4), 0xffff_ffff);
        assert!(mapping.lost());
        assert_eq!(mapping.read(8, nook_bus::Width::B4), 0x1234_5678, "the page that is left was replaced too");
    }

    #[test]
    fn a_write_to_a_vanished_page_is_swallowed() {
        let (file, mapping) = bar();
        let (second, other) = bar();
        file.set_len(0).unwrap();
        second.set_len(0).unwrap();
        mapping.write(0, nook_bus::Width::B8, 7);
        assert!(mapping.lost());
        assert!(!other.lost(), "the other mapping was marked");
        assert_eq!(other.read(0, nook_bus::Width::B8), u64::MAX, "a write reached the shared page of ones");
    }

    #[test]
    fn a_slot_is_free_again_after_its_mapping_ends() {
        for _ in 0..3 * SLOTS {
            drop(bar());
        }
    }

    /// Set in processes that a test of this module starts: only there may a test end its process.
    const CHILD: &str = "NOOK_SIGBUS_CHILD";

    /// Runs one test of this binary in a process of its own.
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
        // SAFETY: a handler of one argument, installed for SIGBUS in a process of its own.
        unsafe { libc::signal(libc::SIGBUS, earlier as *const () as usize) };
        touch_an_unregistered_page();
    }
}
