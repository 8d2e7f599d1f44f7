//! The ways between host and domain: all that is written in assembly.
//!
//! Three: [`enter`] calls a function of the driver, the last gate of an instance is where that returns to, and each of
//! its other gates is one hostcall. Gates are a page of code of the instance's own, which holds the address of its
//! [`Context`].
//!
//! All of this can be executed by a driver whose jump goes astray. So each way looks first whether what it was given is
//! a context (one word of it is its own address) and a call runs, while rights are still the driver's; and after each
//! change of rights, whether it is a context and they are that one's. What does not fit ends in [`stray`], and an
//! instruction of a gate that faults ends the call as one of the driver's does, whatever rights there are by then.
#![expect(unsafe_code, reason = "stack and key are switched by instructions that have no name in Rust")]

use std::arch::naked_asm;
use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::call::dispatch;

/// What gates and handlers know of the call that runs. The host's memory: the domain reads it and cannot write it.
#[repr(C, align(64))]
pub(crate) struct Context {
    /// The host's stack, as it was when the driver was called.
    pub(crate) host_stack: u64,
    /// The end of the driver's.
    pub(crate) driver_stack: u64,
    /// Where the driver was when it made the hostcall that is served.
    resume_stack: u64,
    /// The gate to which the driver returns.
    pub(crate) way_out: u64,
    /// Rights of this thread outside and inside.
    pub(crate) host_rights: u32,
    pub(crate) domain_rights: u32,
    /// [`OUTSIDE`], [`INSIDE`] or [`HOSTCALL`].
    pub(crate) state: AtomicU32,
    /// The call is not to go on: what it was at has faulted.
    pub(crate) ended: AtomicU32,
    /// The clock's thread has found the call to be long while a hostcall was served.
    pub(crate) tick_is_due: AtomicU32,
    /// The host's control words of SSE and x87.
    mxcsr: u32,
    x87: u32,
    /// The call that runs, odd, or the one that ended, even.
    pub(crate) number: AtomicU64,
    /// What is served: a `HostSide`.
    pub(crate) host: *mut c_void,
    /// This context's own address. Not the first word: lists begin with pointers to themselves.
    itself: u64,
}

impl Context {
    pub(crate) fn new(host: *mut c_void) -> Context {
        Context {
            host_stack: 0,
            driver_stack: 0,
            resume_stack: 0,
            way_out: 0,
            host_rights: 0,
            domain_rights: 0,
            state: AtomicU32::new(OUTSIDE),
            ended: AtomicU32::new(0),
            tick_is_due: AtomicU32::new(0),
            mxcsr: 0,
            x87: 0,
            number: AtomicU64::new(0),
            host,
            itself: 0,
        }
    }

    /// Makes it one that gates believe. It stays where it is from now on.
    pub(crate) fn settle(&mut self) {
        self.itself = std::ptr::from_ref(self).expose_provenance() as u64;
    }
}

/// The host runs, and no call.
pub(crate) const OUTSIDE: u32 = 0;
/// The driver runs.
pub(crate) const INSIDE: u32 = 1;
/// The host serves a hostcall.
pub(crate) const HOSTCALL: u32 = 2;

/// Calls a function of the driver, with its instance first, and returns what it does.
///
/// # Safety The context is whole, of this thread, and its stack and gates are mapped behind its key. The function may
/// do whatever a driver can.
#[unsafe(naked)]
#[unsafe(link_section = "nook_gates")]
pub(crate) unsafe extern "C" fn enter(
    context: *mut Context,
    function: u64,
    instance: u64,
    a: u64,
    b: u64,
    c: u64,
) -> u64 {
    naked_asm!(
        "cmp rdi, [rdi + {itself}]",
        "jne {stray}",
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi + {host_stack}], rsp",
        "stmxcsr [rdi + {mxcsr}]",
        "fnstcw [rdi + {x87}]",
        "mov dword ptr [rdi + {state}], {inside}",
        "mov r11, rdi",
        "mov r10, rsi",
        "mov rdi, rdx",
        "mov rsi, rcx",
        "mov r12, r8",
        "mov r13, r9",
        "mov rbx, [r11 + {way_out}]",
        "mov rsp, [r11 + {driver_stack}]",
        "mov eax, [r11 + {domain_rights}]",
        "xor ecx, ecx",
        "xor edx, edx",
        "wrpkru",
        "cmp r11, [r11 + {itself}]",
        "jne {stray}",
        "cmp eax, [r11 + {domain_rights}]",
        "jne {stray}",
        "mov rdx, r12",
        "mov rcx, r13",
        "push rbx",
        "jmp r10",
        itself = const offset_of!(Context, itself),
        stray = sym stray,
        host_stack = const offset_of!(Context, host_stack),
        driver_stack = const offset_of!(Context, driver_stack),
        way_out = const offset_of!(Context, way_out),
        domain_rights = const offset_of!(Context, domain_rights),
        state = const offset_of!(Context, state),
        mxcsr = const offset_of!(Context, mxcsr),
        x87 = const offset_of!(Context, x87),
        inside = const INSIDE,
    )
}

/// Where a driver's function returns to, by its last gate, and where a handler sends a call that has faulted: `r11` is
/// the context, `rax` the result. Restores what [`enter`] left, and returns to its caller.
#[unsafe(naked)]
#[unsafe(link_section = "nook_gates")]
pub(crate) unsafe extern "C" fn leave() {
    naked_asm!(
        "cmp r11, [r11 + {itself}]",
        "jne {stray}",
        "cmp dword ptr [r11 + {state}], {outside}",
        "je {stray}",
        "mov r10, rax",
        "mov eax, [r11 + {host_rights}]",
        "xor ecx, ecx",
        "xor edx, edx",
        "wrpkru",
        "cmp r11, [r11 + {itself}]",
        "jne {stray}",
        "cmp eax, [r11 + {host_rights}]",
        "jne {stray}",
        "mov rsp, [r11 + {host_stack}]",
        "mov dword ptr [r11 + {state}], {outside}",
        // Direction and alignment checks, as the host has them.
        "pushfq",
        "and dword ptr [rsp], 0xfffbfbff",
        "popfq",
        "fninit",
        "fldcw [r11 + {x87}]",
        "ldmxcsr [r11 + {mxcsr}]",
        "mov rax, r10",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        itself = const offset_of!(Context, itself),
        stray = sym stray,
        host_stack = const offset_of!(Context, host_stack),
        host_rights = const offset_of!(Context, host_rights),
        state = const offset_of!(Context, state),
        mxcsr = const offset_of!(Context, mxcsr),
        x87 = const offset_of!(Context, x87),
        outside = const OUTSIDE,
    )
}

/// Where a hostcall arrives, by its gate: `r11` is the context, `eax` the index, and the arguments are the driver's,
/// its pointer to the host first, which is not looked at.
#[unsafe(naked)]
#[unsafe(link_section = "nook_gates")]
unsafe extern "C" fn hostcall() {
    naked_asm!(
        "cmp r11, [r11 + {itself}]",
        "jne {stray}",
        "cmp dword ptr [r11 + {state}], {inside}",
        "jne {stray}",
        "mov r10d, eax",
        "mov r8, rdx",
        "mov r9, rcx",
        "mov eax, [r11 + {host_rights}]",
        "xor ecx, ecx",
        "xor edx, edx",
        "wrpkru",
        "cmp r11, [r11 + {itself}]",
        "jne {stray}",
        "cmp eax, [r11 + {host_rights}]",
        "jne {stray}",
        "mov [r11 + {resume_stack}], rsp",
        "mov rsp, [r11 + {host_stack}]",
        "mov dword ptr [r11 + {state}], {hostcall}",
        // Six registers and a return address lie above: with these three words it is aligned.
        "sub rsp, 24",
        "mov [rsp], r11",
        "pushfq",
        "and dword ptr [rsp], 0xfffbfbff",
        "popfq",
        "fninit",
        "fldcw [r11 + {x87}]",
        "ldmxcsr [r11 + {mxcsr}]",
        "mov rdi, r11",
        "mov rdx, rsi",
        "mov esi, r10d",
        "mov rcx, r8",
        "mov r8, r9",
        "call {dispatch}",
        "mov r11, [rsp]",
        "cmp dword ptr [r11 + {ended}], 0",
        "jne {leave}",
        "mov r10, rax",
        "mov dword ptr [r11 + {state}], {inside}",
        "mov rsp, [r11 + {resume_stack}]",
        "mov eax, [r11 + {domain_rights}]",
        "xor ecx, ecx",
        "xor edx, edx",
        "wrpkru",
        "cmp r11, [r11 + {itself}]",
        "jne {stray}",
        "cmp eax, [r11 + {domain_rights}]",
        "jne {stray}",
        "mov rax, r10",
        "ret",
        itself = const offset_of!(Context, itself),
        stray = sym stray,
        host_stack = const offset_of!(Context, host_stack),
        resume_stack = const offset_of!(Context, resume_stack),
        host_rights = const offset_of!(Context, host_rights),
        domain_rights = const offset_of!(Context, domain_rights),
        state = const offset_of!(Context, state),
        ended = const offset_of!(Context, ended),
        mxcsr = const offset_of!(Context, mxcsr),
        x87 = const offset_of!(Context, x87),
        inside = const INSIDE,
        hostcall = const HOSTCALL,
        dispatch = sym dispatch,
        leave = sym leave,
    )
}

unsafe extern "C" {
    /// The gates are in a separate section, whose ends the linker names.
    #[link_name = "__start_nook_gates"]
    static BEGIN: u8;
    #[link_name = "__stop_nook_gates"]
    static END: u8;
}

/// Returns whether an instruction is one of these ways'.
pub(crate) fn is_gate(instruction: u64) -> bool {
    ((&raw const BEGIN).addr() as u64..(&raw const END).addr() as u64).contains(&instruction)
}

/// Where a way ends that was not taken from its beginning, or not by the driver's own gates.
#[unsafe(naked)]
#[unsafe(link_section = "nook_gates")]
pub(crate) unsafe extern "C" fn stray() {
    naked_asm!("ud2")
}

/// Bytes of one gate.
const STUB: usize = 32;
/// Where its target is: on a multiple of 8, for the driver may have alignment checks on.
const TARGET: usize = 24;

/// Returns how many bytes this many gates have.
pub(crate) const fn stubs_bytes(count: usize) -> u64 {
    (count * STUB) as u64
}

/// Writes the gates of an instance, the way out last.
pub(crate) fn stubs(count: usize, context: u64) -> Vec<u8> {
    let mut code = Vec::new();
    for index in 0..count {
        let target = if index + 1 == count { leave as *const () } else { hostcall as *const () };
        let begin = code.len();
        // movabs r11, context
        code.extend([0x49, 0xbb]);
        code.extend(context.to_le_bytes());
        if index + 1 < count {
            // mov eax, index
            code.push(0xb8);
            code.extend((index as u32).to_le_bytes());
        }
        // jmp [rip + what is left up to the target]
        code.extend([0xff, 0x25]);
        code.extend(((begin + TARGET - code.len() - 4) as u32).to_le_bytes());
        code.resize(begin + TARGET, 0xcc);
        code.extend((target as u64).to_le_bytes());
        code.resize(begin + STUB, 0xcc);
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};

    #[test]
    fn an_instruction_of_the_gates_is_known_as_one() {
        let ways = [enter as *const (), leave as *const (), hostcall as *const (), stray as *const ()];
        assert!(ways.iter().all(|&way| is_gate(way as u64)));
        assert!(!is_gate(dispatch as *const () as u64));
    }

    #[test]
    fn each_gate_loads_its_context_and_index_and_jumps_by_an_aligned_address() {
        const CONTEXT: u64 = 0x1234_5678_9abc_def0;
        let code = stubs(3, CONTEXT);
        assert_eq!(code.len() as u64, stubs_bytes(3));
        for (index, gate) in code.chunks(STUB).enumerate() {
            let at = (index * STUB) as u64;
            let instructions: Vec<Instruction> = Decoder::with_ip(64, gate, at, DecoderOptions::NONE)
                .into_iter()
                .take(if index < 2 { 3 } else { 2 })
                .collect();
            assert_eq!(instructions[0].immediate64(), CONTEXT);
            if index < 2 {
                assert_eq!(instructions[1].immediate32(), index as u32);
            }
            let jump = instructions.last().unwrap();
            assert_eq!((jump.mnemonic(), jump.ip_rel_memory_address() % 8), (Mnemonic::Jmp, 0));
            let target = (jump.ip_rel_memory_address() - at) as usize;
            let wanted = if index < 2 { hostcall as *const () } else { leave as *const () } as u64;
            assert_eq!(u64::from_le_bytes(gate[target..target + 8].try_into().unwrap()), wanted);
        }
    }
}
