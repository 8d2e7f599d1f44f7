//! The stack of a thread's handlers, of key 0: a driver's has another key, and may be used up.
#![expect(unsafe_code, reason = "mappings, and the thread's stack for handlers")]

use std::io;
use std::ptr;

/// What a handler may use besides the frame: a tick of the clock serves doorbells, and with them an emulated device.
const WORK_BYTES: usize = 192 << 10;
const GUARD_BYTES: usize = 4096;

/// A stack that was made for this thread, a page that nobody can use below it.
#[derive(Debug)]
pub(crate) struct HandlerStack {
    mapping: *mut libc::c_void,
    /// Of the mapping.
    bytes: usize,
}

/// Returns the stack that this thread has for its handlers.
fn present() -> libc::stack_t {
    // SAFETY: an all-zero one is valid, and asking changes nothing.
    unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(ptr::null(), &mut stack);
        stack
    }
}

/// Returns how long one has to be. A frame with all of a processor's registers takes 11 KiB on some.
fn needed() -> usize {
    // SAFETY: reads a word that the kernel gave the program; 0 if it gave none.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    (frame.max(libc::MINSIGSTKSZ) + WORK_BYTES).next_multiple_of(GUARD_BYTES)
}

impl HandlerStack {
    /// Makes one for this thread, unless it has one that is long enough.
    pub(crate) fn new() -> io::Result<Option<HandlerStack>> {
        let now = present();
        if now.ss_flags & libc::SS_DISABLE == 0 && now.ss_size >= needed() {
            return Ok(None);
        }
        let bytes = GUARD_BYTES + needed();
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, which becomes this thread's stack for handlers; one that is there becomes unused.
        unsafe {
            let mapping = libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0);
            if mapping == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let made = HandlerStack { mapping, bytes };
            let stack = libc::stack_t { ss_sp: made.begin(), ss_flags: 0, ss_size: bytes - GUARD_BYTES };
            let guarded = libc::mprotect(mapping, GUARD_BYTES, libc::PROT_NONE) == 0;
            if !guarded || libc::sigaltstack(&stack, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Some(made))
        }
    }

    fn begin(&self) -> *mut libc::c_void {
        self.mapping.wrapping_byte_add(GUARD_BYTES)
    }
}

impl Drop for HandlerStack {
    fn drop(&mut self) {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: the thread ends, and no handler runs on it: this is not one. Somebody else may have taken it away as
        // the thread's stack already (the standard library does so for every thread that ends).
        unsafe {
            if present().ss_sp == self.begin() {
                libc::sigaltstack(&none, ptr::null_mut());
            }
            libc::munmap(self.mapping, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn one_that_is_long_enough_is_kept_and_a_short_one_replaced_until_the_thread_ends() {
        thread::spawn(|| {
            let before = present();
            assert!(before.ss_size < needed(), "the standard library's");
            let made = HandlerStack::new().unwrap().unwrap();
            let now = present();
            assert!(now.ss_size >= needed() && now.ss_sp == made.begin());
            assert!(HandlerStack::new().unwrap().is_none(), "it is long enough");
            drop(made);
            assert_ne!(present().ss_flags & libc::SS_DISABLE, 0);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn threads_that_end_leave_no_mapping() {
        thread_local!(static STACK: std::cell::OnceCell<HandlerStack> = const { std::cell::OnceCell::new() });
        let one = || {
            thread::spawn(|| STACK.with(|stack| stack.set(HandlerStack::new().unwrap().unwrap()).unwrap()))
                .join()
                .unwrap();
        };
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        one();
        let before = mappings();
        (0..200).for_each(|_| one());
        // Other tests' threads have stacks meanwhile.
        assert!(mappings() < before + 100, "{before} became {}", mappings());
    }
}
