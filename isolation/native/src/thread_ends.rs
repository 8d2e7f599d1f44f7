//! Destructors of thread-locals: an object that has one to run when a thread ends is not unloaded by the C library
//! before that, and a nook's thread lasts for thousands of instances. So objects register theirs here, and they run
//! when the object goes.
#![expect(unsafe_code, reason = "destructors are an object's code, and are registered through a table in it")]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use nook_compiled::CompiledDriver;

/// The C library's function with which a destructor is registered. (Itanium C++ ABI, `thread_local`; Rust's too.)
const REGISTER: &str = "__cxa_thread_atexit_impl";

/// A destructor that is to run on the thread that registered it.
struct Destructor {
    /// Where the object begins whose it is.
    base: usize,
    run: unsafe extern "C" fn(*mut c_void),
    of: *mut c_void,
}

/// Those of one thread. What is left runs when the thread ends.
struct OfThread(RefCell<Vec<Destructor>>);

impl Drop for OfThread {
    fn drop(&mut self) {
        while let Some(last) = self.0.get_mut().pop() {
            last.run();
        }
    }
}

thread_local! {
    static HERE: OfThread = const { OfThread(RefCell::new(Vec::new())) };
}

/// The objects of the destructors of all threads.
static EVERYWHERE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Destructor {
    fn run(self) {
        // SAFETY: the object asked for it, once, on this thread, and is still loaded: what is in `EVERYWHERE` is.
        unsafe { (self.run)(self.of) };
        let mut everywhere = EVERYWHERE.lock().unwrap_or_else(PoisonError::into_inner);
        let at = everywhere.iter().position(|&base| base == self.base);
        at.map(|at| everywhere.swap_remove(at));
    }
}

/// What objects call in [`REGISTER`]'s place: `place` is an address in the object. It does not unwind.
unsafe extern "C" fn register(run: unsafe extern "C" fn(*mut c_void), of: *mut c_void, place: *mut c_void) -> c_int {
    let Some(base) = base_of(place) else { return -1 };
    let kept = HERE.try_with(|here| here.0.try_borrow_mut().map(|mut list| list.push(Destructor { base, run, of })));
    match kept {
        Ok(Ok(())) => {
            EVERYWHERE.lock().unwrap_or_else(PoisonError::into_inner).push(base);
            0
        }
        // The thread is about to end; what is not destroyed goes with its memory.
        _ => -1,
    }
}

/// Runs this thread's destructors of the object that begins at `base`, the last first, and those that they register.
/// Returns whether no thread has one left.
pub(crate) fn run_for(base: usize) -> bool {
    let last = |here: &OfThread| {
        let mut list = here.0.borrow_mut();
        list.iter().rposition(|one| one.base == base).map(|at| list.remove(at))
    };
    while let Ok(Some(one)) = HERE.try_with(last) {
        one.run();
    }
    !EVERYWHERE.lock().unwrap_or_else(PoisonError::into_inner).contains(&base)
}

/// Returns where the object begins that has this address, if one has.
pub(crate) fn base_of(address: *const c_void) -> Option<usize> {
    // SAFETY: all-zero is a valid value.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: looks the address up in the loader's own list, and reads nothing there.
    (unsafe { libc::dladdr(address, &mut found) } != 0).then(|| found.dli_fbase.addr())
}

/// Has the copy of `driver` that begins at `base` register its destructors here.
///
/// # Safety
/// It begins there, and nothing of it runs.
pub(crate) unsafe fn redirect(driver: &CompiledDriver, base: usize) -> Result<(), String> {
    let places = driver.places_of_import(REGISTER).map_err(|error| error.to_string())?;
    let ours = register as *const () as usize;
    for place in places {
        // The loader has made the table read-only; the kernel writes there all the same, to this process's own copy.
        let memory = File::options().write(true).open("/proc/self/mem");
        let written = memory.and_then(|memory| memory.write_all_at(&ours.to_ne_bytes(), base as u64 + place));
        written.map_err(|error| format!("its table of imports cannot be changed: {error}"))?;
    }
    Ok(())
}
