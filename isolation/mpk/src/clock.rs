//! The thread that finds calls that do not end. It looks at a number of each thread every tick, and signals a thread
//! that is in the same call as a tick before; a call costs two stores for it, and no system call.
#![expect(unsafe_code, reason = "a signal to one thread is a raw system call")]

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nook_runtime::TICK_NS;

use crate::faults;
use crate::thread::Slot;

/// What the clock has.
struct Watched {
    /// Threads, and the number that was seen on each.
    threads: Vec<(Arc<Slot>, u64)>,
    /// Whether the clock's thread runs.
    runs: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { threads: Vec::new(), runs: false });
static SOMEBODY: Condvar = Condvar::new();

fn watched() -> MutexGuard<'static, Watched> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the signal at which a thread looks at the time: one that nobody handled when it was first asked for.
///
/// # Errors
/// If there is none.
pub(crate) fn signal() -> io::Result<libc::c_int> {
    static SIGNAL: OnceLock<Option<libc::c_int>> = OnceLock::new();
    let unused = *SIGNAL.get_or_init(faults::unused_signal);
    unused.ok_or_else(|| io::Error::other("this program handles every real-time signal: the clock needs one"))
}

/// Watches a thread until it is forgotten.
///
/// # Errors
/// If the clock's thread does not begin: without it endless calls would not end.
pub(crate) fn watch(slot: Arc<Slot>) -> io::Result<()> {
    let signal = signal()?;
    let mut watched = watched();
    if !watched.runs {
        let thread = std::thread::Builder::new().name("nook-mpk-clock".into()).spawn(move || run(signal));
        thread.map_err(|error| io::Error::other(format!("no thread for the clock of drivers behind keys: {error}")))?;
        watched.runs = true;
    }
    watched.threads.push((slot, 0));
    SOMEBODY.notify_one();
    Ok(())
}

/// Forgets a thread that ends.
pub(crate) fn forget(slot: &Arc<Slot>) {
    watched().threads.retain(|(kept, _)| !Arc::ptr_eq(kept, slot));
}

fn run(signal: libc::c_int) {
    loop {
        {
            let mut watched = watched();
            while watched.threads.is_empty() {
                watched = SOMEBODY.wait(watched).unwrap_or_else(PoisonError::into_inner);
            }
            for (slot, seen) in &mut watched.threads {
                let number = slot.number.load(Ordering::Acquire);
                if number % 2 == 1 && number == *seen {
                    slot.wanted.store(number, Ordering::Release);
                    // SAFETY: takes numbers. The thread is this process's, and has not ended while it is in the list.
                    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), slot.thread, signal) };
                }
                *seen = number;
            }
        }
        std::thread::sleep(Duration::from_nanos(TICK_NS));
    }
}
