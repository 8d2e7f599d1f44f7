//! In an object that runs in a protection domain: without the standard library, the C library and thread-locals. A
//! panic ends the call with an illegal instruction.

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use nook_abi::NativeServices;

use super::{Held, TableKernel};
use crate::kernel::Calls;
use crate::{Entries, Instance};

/// The kernel of this copy of the object's one instance, for panics.
static HOST: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SERVICES: AtomicPtr<NativeServices> = AtomicPtr::new(ptr::null_mut());

/// More than an instance has, in bytes.
const PLACE_BYTES: usize = 64 << 10;

/// Where the instance lies: there is no allocator.
#[repr(C, align(64))]
struct Place(UnsafeCell<MaybeUninit<[u8; PLACE_BYTES]>>);

// SAFETY: each copy of the object has one instance, which is called on one thread.
unsafe impl Sync for Place {}

static PLACE: Place = Place(UnsafeCell::new(MaybeUninit::uninit()));

/// Runs a part of the driver. A panic in it does not return.
#[inline(always)]
pub(super) fn guarded<R>(_: TableKernel, run: impl FnOnce() -> R) -> R {
    run()
}

pub(super) unsafe extern "C" fn create<E: Entries<TableKernel>>(
    host: *mut c_void,
    services: *const NativeServices,
) -> *mut c_void {
    const { assert!(size_of::<Held<E>>() <= PLACE_BYTES && align_of::<Held<E>>() <= 64, "an instance is too large") };
    HOST.store(host, Ordering::Relaxed);
    SERVICES.store(services.cast_mut(), Ordering::Relaxed);
    let kernel = TableKernel { host, services };
    let held = PLACE.0.get().cast::<Held<E>>();
    // SAFETY: it is large enough and aligned, as was asserted, and the host creates one instance in a copy.
    unsafe { held.write(Held { kernel, instance: Instance::new(kernel) }) };
    held.cast()
}

pub(super) unsafe extern "C" fn destroy<E: Entries<TableKernel>>(instance: *mut c_void) {
    // SAFETY: the host passes what `create` gave it, for the last time.
    unsafe { instance.cast::<Held<E>>().drop_in_place() };
}

/// Says where and why, and ends the call.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let kernel = TableKernel { host: HOST.load(Ordering::Relaxed), services: SERVICES.load(Ordering::Relaxed) };
    // SAFETY: the host sets both before anything of the driver runs, and keeps them while it does.
    let calls = unsafe { Calls::new(kernel) };
    crate::nook::say_panic(calls, info.location(), info.message());
    // SAFETY: it ends here.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}

/// What is longer is left to the instruction for it, which takes a while to begin.
const MOST_BY_WORDS: usize = 256;

// What the compiler calls by name and the C library has otherwise (rustc's book, `core`: memcpy, memmove, memset,
// memcmp and bcmp). In assembly, for the compiler would make calls of themselves out of loops.

/// Copies; the ranges do not overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb 4f",
        "cmp rdx, {most}",
        "ja 3f",
        // The last 16 bytes by themselves, and as many more from the beginning as there are whole ones.
        "movups xmm1, [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 16]",
        "2:",
        "movups xmm0, [rsi]",
        "movups [rdi], xmm0",
        "add rsi, 16",
        "add rdi, 16",
        "cmp rdi, r8",
        "jb 2b",
        "movups [r8], xmm1",
        "ret",
        "3:",
        "mov rcx, rdx",
        "rep movsb",
        "ret",
        // Two words that overlap, of 8, 4 or 2 bytes.
        "4:",
        "cmp edx, 8",
        "jb 5f",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        "5:",
        "cmp edx, 4",
        "jb 6f",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
        "6:",
        "test edx, edx",
        "je 8f",
        "movzx ecx, byte ptr [rsi]",
        "cmp edx, 1",
        "je 7f",
        "movzx r8d, word ptr [rsi + rdx - 2]",
        "mov [rdi + rdx - 2], r8w",
        "7:",
        "mov [rdi], cl",
        "8:",
        "ret",
        most = const MOST_BY_WORDS,
    )
}

/// Copies; the ranges may overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "mov r8, rdi",
        "sub r8, rsi",
        "cmp r8, rdx",
        "jb 2f",
        "rep movsb",
        "ret",
        // The target begins inside the source: from the end.
        "2:",
        "lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
    )
}

/// Fills.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
}

/// Compares, and returns the difference of the first bytes that differ.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    naked_asm!(
        "xor eax, eax",
        "xor ecx, ecx",
        "2:",
        "cmp rcx, rdx",
        "je 3f",
        "movzx eax, byte ptr [rdi + rcx]",
        "movzx r8d, byte ptr [rsi + rcx]",
        "inc rcx",
        "sub eax, r8d",
        "je 2b",
        "3:",
        "ret",
    )
}

/// Compares, and returns zero if there is no difference.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    naked_asm!("jmp {}", sym memcmp)
}
