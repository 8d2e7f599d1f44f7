//! What a mistake can do.
#![expect(unsafe_code, reason = "that is what it is for")]

use core::arch::{asm, naked_asm};
use core::hint::black_box;
use core::sync::atomic::AtomicU64;

pub(crate) fn store(address: u64) {
    // SAFETY: none: it is where a test says.
    unsafe { asm!("mov dword ptr [{}], 0x600d", in(reg) address) }
}

pub(crate) fn load(address: u64) -> u64 {
    let word: u64;
    // SAFETY: none: it is where a test says.
    unsafe { asm!("mov {}, qword ptr [{}]", out(reg) word, in(reg) address) };
    word
}

pub(crate) fn jump(address: u64) {
    // SAFETY: none: it is where a test says.
    unsafe { asm!("call {}", in(reg) address, clobber_abi("C")) }
}

pub(crate) fn spin() {
    // SAFETY: it does nothing, and never ends.
    unsafe { asm!("2:", "jmp 2b") }
}

#[inline(never)]
pub(crate) fn recurse(depth: u64) {
    let frame = black_box([depth; 64]);
    if black_box(true) {
        recurse(black_box(frame[1] + 1));
    }
    black_box(&frame);
}

pub(crate) fn illegal() {
    // SAFETY: it ends here.
    unsafe { asm!("ud2") }
}

pub(crate) fn divide() {
    // SAFETY: it ends here.
    unsafe { asm!("xor edx, edx", "mov eax, 1", "xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _) }
}

/// Zeros, for as long as nobody writes to them.
static ZEROS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

pub(crate) fn jump_with_zeros(address: u64) {
    // SAFETY: none: it is where a test says.
    unsafe { jump_with(address, ZEROS.as_ptr().cast()) }
}

#[unsafe(naked)]
unsafe extern "C" fn jump_with(address: u64, zeros: *const u64) {
    naked_asm!(
        "mov r10, rdi",
        "mov rdi, rsi",
        "mov r11, rsi",
        "xor eax, eax",
        "xor ecx, ecx",
        "xor edx, edx",
        "jmp r10"
    )
}

pub(crate) fn spin_for(rounds: u64) {
    // SAFETY: it counts.
    unsafe { asm!("2:", "dec {}", "jnz 2b", inout(reg) rounds => _) }
}

/// Sets what a function may not set: direction and alignment checks, and control words that no code expects.
pub(crate) fn disorder() {
    // SAFETY: none: what it leaves, nobody expects.
    unsafe {
        asm!(
            "sub rsp, 16",
            "mov dword ptr [rsp], 0x6000",
            "ldmxcsr [rsp]",
            "mov word ptr [rsp], 0x7f",
            "fldcw [rsp]",
            "fld1",
            "fld1",
            "add rsp, 16",
            "pushfq",
            "or dword ptr [rsp], 0x40400",
            "popfq",
        )
    }
}

/// Sets them as a compiler expects them.
pub(crate) fn order() {
    // SAFETY: it is how a function finds them.
    unsafe {
        asm!(
            "pushfq",
            "and dword ptr [rsp], 0xfffbfbff",
            "popfq",
            "fninit",
            "sub rsp, 16",
            "mov dword ptr [rsp], 0x1f80",
            "ldmxcsr [rsp]",
            "add rsp, 16"
        )
    }
}

/// Returns where this function is.
fn here() -> u64 {
    here as fn() -> u64 as usize as u64
}

pub(crate) fn on_stack() -> u64 {
    let word = black_box(0u64);
    &raw const word as u64
}

/// Returns to the host from here, whatever was called in between, with everything in disorder.
pub(crate) fn mess() {
    disorder_is_over_there(way_out())
}

/// Returns where on the stack the address of the gate is through which a call returns: it begins with MOVABS R11 and a
/// JMP follows.
fn way_out() -> *const u64 {
    let mut at = on_stack() as *const u64;
    loop {
        // SAFETY: it stops at the stack's end, where the address is; what lies shortly behind its own code can be read.
        unsafe {
            let word = at.read();
            if word.wrapping_sub(here()) < 1 << 20
                && (word as *const u16).read_unaligned() == 0xbb49
                && ((word + 10) as *const u16).read_unaligned() == 0x25ff
            {
                return at;
            }
            at = at.add(1);
        }
    }
}

fn disorder_is_over_there(at: *const u64) {
    disorder();
    // SAFETY: none: what a function keeps is gone.
    unsafe {
        asm!(
            "mov rsp, {}",
            "mov rbx, -1",
            "mov rbp, -2",
            "mov r12, -3",
            "mov r13, -4",
            "mov r14, -5",
            "mov r15, -6",
            "ret",
            in(reg) at,
            options(noreturn),
        )
    }
}

#[inline(never)]
pub(crate) fn long_frame() {
    let long = black_box([1u8; 256 << 10]);
    black_box(&long);
}

pub(crate) fn call_without_stack() {
    const STACK_BYTES: u64 = 128 << 10;
    let begin = way_out() as u64 + 8 - STACK_BYTES;
    // SAFETY: it ends here.
    unsafe { asm!("mov rsp, {}", "call {}", "ud2", in(reg) begin, sym here) }
}

pub(crate) fn illegal_nowhere() {
    // SAFETY: it ends here.
    unsafe { asm!("mov rsp, 0x1230", "ud2") }
}

pub(crate) fn spin_nowhere() {
    // SAFETY: it does nothing, and never ends.
    unsafe { asm!("mov rsp, 0x1230", "2:", "jmp 2b") }
}
