//! Handlers of the signals that a driver's mistakes are, and of the clock's. If the interrupted code had a driver's
//! rights, its call ends: the handler leaves the driver's stack for good by sending the thread out through the gate.
//! With a driver's rights nothing of the host's memory was changed, wherever the instruction was. What else faults, or
//! was sent by somebody, is passed on to what handled it before.
#![expect(unsafe_code, reason = "handlers of signals read and change the interrupted thread's registers")]

use std::arch::naked_asm;
use std::arch::x86_64::__cpuid_count;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nook_abi::{Fault, TrapKind};

use crate::actions::{Action, keep_all_off_other_stacks};
use crate::call::{Found, HostSide};
use crate::gate::{Context, HOSTCALL, INSIDE, is_gate, leave};
use crate::{clock, late, thread};

const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// What the signals did before; there is something before ours are installed. What is replaced stays: a handler may be
/// reading it.
static BEFORE: [AtomicPtr<libc::sigaction>; SIGNALS.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()];

/// Where the extended state of a signal's frame has the rights (Intel's manual, volume 1, 13.5.7: component 9).
static RIGHTS_AT: AtomicUsize = AtomicUsize::new(0);
const RIGHTS_COMPONENT: u32 = 9;

/// Why a thread may not have written (Linux, include/uapi/asm-generic/siginfo.h).
const SEGV_PKUERR: c_int = 4;

/// Looks where frames have the rights. Before a handler asks.
pub(crate) fn find_rights() {
    RIGHTS_AT.store(__cpuid_count(0xd, RIGHTS_COMPONENT).ebx as usize, Ordering::Relaxed);
}

/// Installs the handlers if they are not, and has every handler of this process run on a separate stack: one that began
/// on a driver's would fault there.
///
/// # Errors
/// If the system refuses, or if no signal is left for the clock.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        find_rights();
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            handle(signal, fault_begins as *const () as usize, Some(before))?;
        }
        handle(clock::signal()?, tick_begins as *const () as usize, None)?;
        *installed = true;
    }
    keep_all_off_other_stacks();
    Ok(())
}

/// Installs a handler, and keeps what was there before it is gone. An engine that begins on another thread may install
/// its own at any time: whatever this one replaces is kept.
fn handle(signal: c_int, handler: usize, keep: Option<&AtomicPtr<libc::sigaction>>) -> io::Result<()> {
    let exchange = |new: *const libc::sigaction| {
        // SAFETY: an all-zero action is a valid one, with an empty mask.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a handler of three arguments, or none.
        match unsafe { libc::sigaction(signal, new, &mut before) } {
            0 => Ok(before),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let known = exchange(ptr::null())?;
    if let Some(keep) = keep {
        keep.store(Box::leak(Box::new(known)), Ordering::Release);
    }
    // SAFETY: the same.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = handler;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    let replaced = exchange(&ours)?;
    if let Some(keep) = keep.filter(|_| replaced.sa_sigaction != known.sa_sigaction && replaced.sa_sigaction != handler)
    {
        keep.store(Box::leak(Box::new(replaced)), Ordering::Release);
    }
    Ok(())
}

/// Where the extended state of a frame is, if it has one (Linux, arch/x86/include/uapi/asm/sigcontext.h).
///
/// # Safety
/// A context that the kernel gave to a handler.
unsafe fn extended_state(machine: *const libc::ucontext_t) -> Option<*mut u8> {
    const MAGIC: u32 = 0x4650_5853;
    const MAGIC_AT: usize = 464;
    // SAFETY: the frame has an extended state if its magic number is there.
    unsafe {
        let state = (*machine).uc_mcontext.fpregs.cast::<u8>();
        (!state.is_null() && state.add(MAGIC_AT).cast::<u32>().read_unaligned() == MAGIC).then_some(state)
    }
}

/// Where the extended state says which components it has.
const USED_AT: usize = 512;

/// Returns the rights of the interrupted code: none saved is all rights.
///
/// # Safety
/// A context that the kernel gave to a handler.
pub(crate) unsafe fn rights(machine: *const libc::ucontext_t) -> Option<u32> {
    let at = Some(RIGHTS_AT.load(Ordering::Relaxed)).filter(|&at| at != 0)?;
    // SAFETY: the caller's; the state is as long as the processor says.
    unsafe {
        let state = extended_state(machine)?;
        let used = state.add(USED_AT).cast::<u64>().read_unaligned();
        Some(if used >> RIGHTS_COMPONENT & 1 == 1 { state.add(at).cast::<u32>().read_unaligned() } else { 0 })
    }
}

/// Has the interrupted code go on with these rights.
///
/// # Safety
/// As for [`rights`].
unsafe fn set_rights(machine: *const libc::ucontext_t, rights: u32) {
    let at = RIGHTS_AT.load(Ordering::Relaxed);
    // SAFETY: the caller's; the state is as long as the processor says, and the kernel loads what is marked as used.
    unsafe {
        let Some(state) = extended_state(machine).filter(|_| at != 0) else { return };
        let used = state.add(USED_AT).cast::<u64>();
        used.write_unaligned(used.read_unaligned() | 1 << RIGHTS_COMPONENT);
        state.add(at).cast::<u32>().write_unaligned(rights);
    }
}

/// A call that was interrupted between its way in and its way out.
struct Interrupted<'a> {
    context: &'a Context,
    side: &'a mut HostSide,
    /// The instruction and the stack at which it was.
    at: u64,
    stack: u64,
    /// Whether it had the driver's rights.
    as_driver: bool,
}

/// Returns the call that was interrupted inside the driver or in a gate.
///
/// # Safety
/// As for [`rights`].
unsafe fn interrupted<'a>(machine: *const libc::ucontext_t) -> Option<Interrupted<'a>> {
    let context = thread::current();
    if context.is_null() {
        return None;
    }
    // SAFETY: it is the context of the call that this thread is in; while its state is this one, nothing else uses what
    // hostcalls are served with.
    unsafe {
        let context = &*context;
        let registers = &(*machine).uc_mcontext.gregs;
        (context.state.load(Ordering::Relaxed) == INSIDE).then(|| Interrupted {
            context,
            side: &mut *context.host.cast::<HostSide>(),
            at: registers[libc::REG_RIP as usize] as u64,
            stack: registers[libc::REG_RSP as usize] as u64,
            as_driver: rights(machine) == Some(context.domain_rights),
        })
    }
}

/// Sends the interrupted thread out of the domain.
///
/// # Safety
/// As for [`rights`].
unsafe fn send_out(context: &Context, machine: *mut libc::ucontext_t) {
    context.ended.store(1, Ordering::Relaxed);
    /// Traps after each instruction, direction, alignment checks.
    const FLAGS: i64 = 0x100 | 0x400 | 0x40000;
    // SAFETY: these are the registers that the thread goes on with.
    let registers = unsafe { &mut (*machine).uc_mcontext.gregs };
    registers[libc::REG_RIP as usize] = leave as *const () as i64;
    registers[libc::REG_R11 as usize] = ptr::from_ref(context) as i64;
    registers[libc::REG_RSP as usize] = context.host_stack as i64;
    registers[libc::REG_RAX as usize] = 0;
    registers[libc::REG_EFL as usize] &= !FLAGS;
    // SAFETY: the caller's. They are the same, unless it went astray in a gate.
    unsafe { set_rights(machine, context.domain_rights) };
}

/// A handler's beginning: Linux clears a handler's direction flag and traps, but not a driver's alignment checks, which
/// no compiled code stands.
macro_rules! begin {
    ($name:ident, $then:ident) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(signal: c_int, info: *mut libc::siginfo_t, machine: *mut c_void) {
            naked_asm!("pushfq", "and dword ptr [rsp], 0xfffbffff", "popfq", "jmp {then}", then = sym $then)
        }
    };
}
begin!(fault_begins, on_fault);
begin!(tick_begins, on_tick);

unsafe extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, machine: *mut c_void) {
    let machine = machine.cast::<libc::ucontext_t>();
    // SAFETY: the kernel gave these to a handler; what was sent by somebody (a code of 0 and less) is not the driver's.
    let (call, code) = unsafe { (interrupted(machine), (*info).si_code) };
    let Some(call) = call.filter(|_| code > 0) else {
        // SAFETY: the same.
        return unsafe { pass_on(signal, info, machine) };
    };
    // SAFETY: these signals have an address.
    let address = unsafe { (*info).si_addr() as u64 };
    let on_stack = call.side.memory.as_ref().is_some_and(|memory| memory.in_stack(call.stack));
    let in_guard = call.side.memory.as_ref().is_some_and(|memory| memory.in_guard(address));
    // With other rights than the driver's a gate faults only where a jump went astray into it.
    let kind = if call.as_driver || is_gate(call.at) {
        match signal {
            libc::SIGSEGV if in_guard => TrapKind::StackOverflow,
            libc::SIGFPE => TrapKind::Arithmetic,
            libc::SIGILL | libc::SIGTRAP => TrapKind::Unreachable,
            _ => TrapKind::MemoryOutOfBounds,
        }
    } else if signal == libc::SIGSEGV && code == SEGV_PKUERR && on_stack {
        // Somebody's handler began here.
        // SAFETY: the kernel gave the context to this handler.
        call.side.late = call.side.memory.as_ref().map(|memory| unsafe { late::settle(memory, machine) });
        TrapKind::Other
    } else {
        // SAFETY: the same.
        return unsafe { pass_on(signal, info, machine) };
    };
    call.side.found = Some(Found { at: call.at, address: (signal == libc::SIGSEGV).then_some(address) });
    call.side.fault.get_or_insert(Fault::Trap { entry: call.side.entry, kind });
    // SAFETY: the same.
    unsafe { send_out(call.context, machine) };
}

unsafe extern "C" fn on_tick(_: c_int, _: *mut libc::siginfo_t, machine: *mut c_void) {
    // SAFETY: this thread's error number, which the interrupted code may be about to read.
    let error = unsafe { *libc::__errno_location() };
    let machine = machine.cast::<libc::ucontext_t>();
    let context = thread::current();
    // SAFETY: the context of the call that this thread is in; its atomics may be read at any time.
    let wanted = !context.is_null() && thread::is_wanted(unsafe { (*context).number.load(Ordering::Relaxed) });
    if wanted {
        // SAFETY: the kernel gave the registers to a handler. With the driver's rights nothing of the host is half
        // done, so it may be asked; in a hostcall only an atomic is written to.
        unsafe {
            match interrupted(machine).filter(|call| call.as_driver) {
                Some(call) => {
                    if let Err(fault) = call.side.host.remote_tick(thread::cpu_ns(), 0) {
                        call.side.found = Some(Found { at: call.at, address: None });
                        call.side.fault.get_or_insert(fault);
                        send_out(call.context, machine);
                    }
                }
                None if (*context).state.load(Ordering::Relaxed) == HOSTCALL => {
                    (*context).tick_is_due.store(1, Ordering::Relaxed);
                }
                None => {}
            }
        }
    }
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = error };
}

/// Does what the signal did before.
///
/// # Safety
/// As for a handler.
unsafe fn pass_on(signal: c_int, info: *mut libc::siginfo_t, machine: *mut libc::ucontext_t) {
    let kept = SIGNALS.iter().position(|&one| one == signal).map(|at| BEFORE[at].load(Ordering::Acquire));
    // SAFETY: what was kept stays; the handlers are those that were installed, with the arguments that they said.
    unsafe {
        let before = kept.and_then(|kept| kept.as_ref());
        match before.map_or(libc::SIG_DFL, |before| before.sa_sigaction) {
            libc::SIG_IGN if (*info).si_code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // It is blocked now, and ends the process after the return: the instruction would not be repeated by a
                // breakpoint, nor by what was sent.
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
            handler if before.is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0) => {
                type Full = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                std::mem::transmute::<usize, Full>(handler)(signal, info, machine.cast());
            }
            handler => std::mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal),
        }
    }
}

/// Returns a signal, of those that are there for programs, that nobody handles.
pub(crate) fn unused_signal() -> Option<c_int> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().find(|&signal| Action::of(signal).handler == libc::SIG_DFL)
}
