//! What an object can do to its process behind its host's back.
#![expect(unsafe_code, reason = "it is what an object in C could do")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Signals (asm/signal.h).
const SIGSEGV: c_int = 11;
const SIGBUS: c_int = 7;

/// Whether the constructor installs handlers. A test writes another word over it in the file.
static SWITCH: [u8; 16] = *b"handlers: never.";

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

/// Runs when the object is loaded.
extern "C" fn constructor() {
    // SAFETY: reads what is there; volatile, for the file's content may be another than the source's.
    if unsafe { ptr::read_volatile(&raw const SWITCH) } == *b"handlers: always" {
        for number in [SIGSEGV, SIGBUS] {
            // SAFETY: a handler of one argument.
            unsafe { signal(number, swallow) };
        }
    }
}

extern "C" fn swallow(_: c_int) {}

extern "C" fn at_the_end(_: *mut c_void) {}

/// Registers a destructor with the C library, whose function it looks up by itself.
pub(crate) fn stay() {
    type Register = extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, *mut c_void) -> c_int;
    // SAFETY: the name ends in zero.
    let register = unsafe { dlsym(ptr::null_mut(), c"__cxa_thread_atexit_impl".as_ptr()) };
    assert!(!register.is_null(), "the C library has it");
    // SAFETY: that is what it looks like (Itanium C++ ABI, thread_local).
    let register = unsafe { std::mem::transmute::<*mut c_void, Register>(register) };
    register(at_the_end, ptr::null_mut(), (&raw const SWITCH).cast_mut().cast());
}
