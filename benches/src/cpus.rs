//! Which processor runs what in an experiment of several programs.
//!
//! Left to the scheduler, a run's times depend on who shares a processor with whom, which stays as it is for seconds
//! and then changes. And a processor that has nothing to do sleeps: waking it takes longer than all that is measured,
//! on a virtual machine by however much its host is busy. So each program has its processor, and none of them sleeps.
#![expect(unsafe_code, reason = "processors and scheduling classes are set by system calls without a safe wrapper")]

use std::fs;
use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Who runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processors {
    /// The driver's end of the traffic.
    pub(crate) near: usize,
    /// The far end.
    pub(crate) far: usize,
    /// `nook-run`, and its driver's process.
    pub(crate) nook: usize,
}

impl Processors {
    /// Returns who runs where on this machine: `nook-run` has a processor to itself, and so has each end of the traffic
    /// if there are three; None if there is only one.
    pub(crate) fn choose() -> Option<Self> {
        Self::among(&allowed())
    }

    fn among(allowed: &[usize]) -> Option<Self> {
        match *allowed {
            [near, nook] => Some(Processors { near, far: near, nook }),
            [near, far, nook, ..] => Some(Processors { near, far, nook }),
            _ => None,
        }
    }
}

/// Returns the processors that this thread may run on.
fn allowed() -> Vec<usize> {
    // SAFETY: a set is plain data, and all zeros are the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes to the set, whose length is passed.
    let answer = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    // SAFETY: reads the set, at places that it has.
    let has = |at: &usize| unsafe { libc::CPU_ISSET(*at, &set) };
    if answer == 0 { (0..libc::CPU_SETSIZE as usize).filter(has).collect() } else { Vec::new() }
}

/// Lets a thread run on this processor only; thread 0 is the one that calls.
fn pin(thread: i32, processor: usize) -> Result<()> {
    // SAFETY: a set is plain data, and all zeros are the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: changes a set that we own; a place beyond it is refused by a panic.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: reads the set, whose length is passed.
    let answer = unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &set) };
    if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Lets the calling thread run on this processor only; it is no matter if that is refused.
pub(crate) fn stay_on(processor: Option<usize>) {
    if let Some(processor) = processor {
        let _ = pin(0, processor);
    }
}

/// Lets all threads of a process run on this processor only, and those that they start.
///
/// # Errors
/// If there is no such process, or it is not ours.
pub(crate) fn keep_on(process: u32, processor: usize) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let id = thread?.file_name().to_string_lossy().parse().map_err(Error::other)?;
        pin(id, processor)?;
    }
    Ok(())
}

/// Keeps the processors from sleeping while it exists: each has a thread that spins when there is nothing else to do,
/// and makes room at once for what there is (SCHED_IDLE of sched(7)).
pub(crate) struct Awake {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    /// Starts the threads.
    pub(crate) fn keep() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let spinner = |processor| {
            let done = done.clone();
            std::thread::spawn(move || {
                let priority = libc::sched_param { sched_priority: 0 };
                // SAFETY: reads the parameter. It concerns this thread, which ends with what it is for.
                let idle = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &priority) } == 0;
                // One that would take time from others is worse than none.
                while idle && pin(0, processor).is_ok() && !done.load(Ordering::Relaxed) {
                    (0..10_000).for_each(|_| std::hint::spin_loop());
                }
            })
        };
        let threads = allowed().into_iter().map(spinner).collect();
        Awake { done, threads }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nook_run_has_a_processor_to_itself_where_there_are_two() {
        assert_eq!(Processors::among(&[3]), None);
        assert_eq!(Processors::among(&[0, 4]), Some(Processors { near: 0, far: 0, nook: 4 }));
        assert_eq!(Processors::among(&[0, 1, 2, 3]), Some(Processors { near: 0, far: 1, nook: 2 }));
    }

    #[test]
    fn a_thread_stays_where_it_was_put_and_spinners_end() {
        let all = allowed();
        let one = all[all.len() - 1];
        let seen = std::thread::spawn(move || {
            stay_on(Some(one));
            allowed()
        });
        assert_eq!(seen.join().unwrap(), [one]);
        drop(Awake::keep());
        assert_eq!(allowed(), all, "only the threads were moved");
    }
}
