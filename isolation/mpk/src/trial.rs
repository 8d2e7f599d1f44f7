//! What Linux does to a thread whose rights to its memory are a domain's: tried once, in a copy of this process, for
//! where it is not done right the copy ends, or has rights that it should not have.
#![expect(unsafe_code, reason = "a copy of this process, in which signals come while memory is write-protected")]

use std::arch::naked_asm;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::gate::stray;
use crate::{faults, keys, thread};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Signals come, and rights are as they were when their handlers have returned.
    Holds,
    /// A signal ends the process.
    NotDelivered,
    /// A handler does not see the rights of what it has interrupted, or they are others after its return. Linux 6.12.0
    /// to 6.12.4 on AMD's processors.
    RightsLost,
}

/// What the copy finds; both see it.
#[repr(C)]
struct Found {
    /// Rights of the interrupted code, as the handler of a signal that was sent saw them.
    sent: AtomicU32,
    /// Rights after its return.
    after: AtomicU32,
    /// As the handler of a store's fault saw them.
    faulted: AtomicU32,
}

impl Found {
    /// Not the rights of any code here.
    const NOTHING: u32 = 0x5555_5555;

    fn outcome(&self, inside: u32) -> Outcome {
        let [sent, after, faulted] = [&self.sent, &self.after, &self.faulted].map(|one| one.load(Ordering::Relaxed));
        match [sent, after, faulted] {
            all if all.contains(&Self::NOTHING) => Outcome::NotDelivered,
            all if all.iter().all(|&one| one == inside) => Outcome::Holds,
            _ => Outcome::RightsLost,
        }
    }
}

/// Where the copy's handlers write.
static FOUND: AtomicPtr<Found> = AtomicPtr::new(ptr::null_mut());
/// 1 in the copy: what changes rights below does nothing anywhere else, wherever a driver jumps.
static IS_COPY: AtomicU32 = AtomicU32::new(0);

const STACK_BYTES: usize = 64 << 10;
/// A key that need not be allocated for the copy to have rights to it.
const INSIDE: u32 = 0xaaaa_aa8a;

fn map(bytes: usize, sharing: c_int) -> io::Result<*mut c_void> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, at an address that the kernel picks.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, access, sharing | libc::MAP_ANONYMOUS, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
}

/// Tries it. An error says what could not be done.
pub(crate) fn run() -> Result<Outcome, String> {
    faults::find_rights();
    let stack = map(STACK_BYTES, libc::MAP_PRIVATE).map_err(|error| format!("a stack for its handlers: {error}"))?;
    let page = map(size_of::<Found>(), libc::MAP_SHARED).map_err(|error| format!("memory that both see: {error}"))?;
    let found = page.cast::<Found>();
    // SAFETY: fresh memory of ours, large enough and aligned.
    let found = unsafe {
        found.write(Found {
            sent: Found::NOTHING.into(),
            after: Found::NOTHING.into(),
            faulted: Found::NOTHING.into(),
        });
        &*found
    };
    let area = thread::rseq_area();
    // SAFETY: the copy calls the system and nothing else, and ends.
    let outcome = match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        // SAFETY: in the copy.
        0 => unsafe { try_inside(found, stack, area) },
        copy => {
            let mut status = 0;
            // SAFETY: writes a status that we own. Somebody else may have waited for it already, or nobody may have to:
            // both are said when it has ended.
            while unsafe { libc::waitpid(copy, &mut status, 0) } < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
            Ok(found.outcome(INSIDE))
        }
    };
    // SAFETY: mapped above, and nobody uses them now.
    unsafe {
        libc::munmap(stack, STACK_BYTES);
        libc::munmap(page, size_of::<Found>());
    }
    outcome
}

unsafe extern "C" fn handle(signal: c_int, _: *mut libc::siginfo_t, machine: *mut c_void) {
    // SAFETY: the kernel gave the context to a handler, and the memory is the copy's as long as it lives.
    unsafe {
        let rights = faults::rights(machine.cast()).unwrap_or(0);
        let found = &*FOUND.load(Ordering::Relaxed);
        if signal == libc::SIGSEGV {
            found.faulted.store(rights, Ordering::Relaxed);
            libc::_exit(0);
        }
        found.sent.store(rights, Ordering::Relaxed);
    }
}

/// Has a signal come, and then writes, both while nothing may be written.
///
/// # Safety
/// In a copy of this process only.
unsafe fn try_inside(found: &Found, stack: *mut c_void, area: Option<*mut c_void>) -> ! {
    // SAFETY: the copy's own signals and memory; nothing of it is used afterwards.
    unsafe {
        if let Some(area) = area {
            thread::give_back(area);
        }
        FOUND.store(ptr::from_ref(found).cast_mut(), Ordering::Relaxed);
        IS_COPY.store(1, Ordering::Relaxed);
        let stack = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: STACK_BYTES };
        libc::sigaltstack(&stack, ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
        let mut ours: libc::sigset_t = std::mem::zeroed();
        for signal in [libc::SIGSEGV, libc::SIGUSR1] {
            libc::sigaction(signal, &action, ptr::null_mut());
            libc::sigaddset(&mut ours, signal);
        }
        libc::sigprocmask(libc::SIG_UNBLOCK, &ours, ptr::null_mut());
        let outside = keys::rights();
        let (process, thread) = (libc::getpid() as u64, libc::gettid() as u64);
        let after = signalled(process, thread, libc::SIGUSR1 as u64, INSIDE.into(), outside.into());
        found.after.store(after as u32, Ordering::Relaxed);
        let mut word = 0u64;
        stores(&mut word, INSIDE.into());
        libc::_exit(0)
    }
}

/// Sends this thread a signal while it has the rights `inside`, and returns those that it has afterwards.
#[unsafe(naked)]
unsafe extern "C" fn signalled(process: u64, thread: u64, signal: u64, inside: u64, outside: u64) -> u64 {
    naked_asm!(
        "cmp dword ptr [rip + {is_copy}], 1",
        "jne {stray}",
        "mov r9, rdx",
        "mov eax, ecx",
        "xor ecx, ecx",
        "xor edx, edx",
        "wrpkru",
        "cmp dword ptr [rip + {is_copy}], 1",
        "jne {stray}",
        "mov rdx, r9",
        "mov eax, {tgkill}",
        "syscall",
        "xor ecx, ecx",
        "rdpkru",
        "mov r10d, eax",
        "mov eax, r8d",
        "xor edx, edx",
        "wrpkru",
        "cmp dword ptr [rip + {is_copy}], 1",
        "jne {stray}",
        "mov eax, r10d",
        "ret",
        is_copy = sym IS_COPY,
        stray = sym stray,
        tgkill = const libc::SYS_tgkill,
    )
}

/// Stores a word with these rights.
#[unsafe(naked)]
unsafe extern "C" fn stores(to: *mut u64, inside: u64) {
    naked_asm!(
        "cmp dword ptr [rip + {is_copy}], 1",
        "jne {stray}",
        "mov eax, esi",
        "xor ecx, ecx",
        "xor edx, edx",
        "wrpkru",
        "cmp dword ptr [rip + {is_copy}], 1",
        "jne {stray}",
        "mov qword ptr [rdi], 1",
        "jmp {stray}",
        is_copy = sym IS_COPY,
        stray = sym stray,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_rights_in_both_handlers_and_after_a_return_will_do() {
        let outcome = |sent: u32, after: u32, faulted: u32| {
            Found { sent: sent.into(), after: after.into(), faulted: faulted.into() }.outcome(INSIDE)
        };
        let nothing = Found::NOTHING;
        assert_eq!(outcome(INSIDE, INSIDE, INSIDE), Outcome::Holds);
        assert_eq!(outcome(nothing, nothing, nothing), Outcome::NotDelivered, "Linux before 6.12");
        assert_eq!(outcome(0, 0, 0), Outcome::RightsLost, "6.12.0 on AMD: the frame has no rights");
        assert_eq!(outcome(INSIDE, 0, INSIDE), Outcome::RightsLost, "seen, and lost by the return");
        assert_eq!(outcome(INSIDE, INSIDE, nothing), Outcome::NotDelivered);
    }
}
