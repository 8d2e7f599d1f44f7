//! Programs that are measured from outside.
#![expect(unsafe_code, reason = "another process's clock is asked for by calls without a safe wrapper")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Returns whether a program can be started at all.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Returns the CPU time of a process until now, with the processes that it started, in seconds.
///
/// # Errors
/// If it has ended, or the kernel does not say.
pub(crate) fn cpu_seconds(id: u32) -> Result<f64> {
    // Each thread has its own children.
    let of_thread = |thread: PathBuf| fs::read_to_string(thread.join("children")).unwrap_or_default();
    let children: Vec<String> = threads(&id.to_string())?.into_iter().map(of_thread).collect();
    // A child may end between the two looks; what it used is then lost to us.
    let children = children.iter().flat_map(|list| list.split_whitespace());
    let of_children: f64 = children.filter_map(|id| of_one(id).ok()).sum();
    Ok(of_one(&id.to_string())? + of_children)
}

fn threads(id: &str) -> Result<Vec<PathBuf>> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).with_context(|| format!("process {id} has ended"))?;
    Ok(threads.flatten().map(|thread| thread.path()).collect())
}

/// Returns the time that the process's threads have run, those that have ended too, to the nanosecond: a slice is as
/// long as few of the ticks in which `stat` counts.
fn of_one(id: &str) -> Result<f64> {
    let process = id.parse().with_context(|| format!("{id} is no process"))?;
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: writes the clock's number to a variable of ours.
    let there = unsafe { libc::clock_getcpuclockid(process, &mut clock) } == 0;
    // SAFETY: writes the time to a variable of ours.
    let told = there && unsafe { libc::clock_gettime(clock, &mut time) } == 0;
    ensure!(told, "the kernel does not say how long process {id} has run: has it ended?");
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_that_has_ended_took_is_in_its_process_time() {
        let own = std::process::id();
        let before = cpu_seconds(own).unwrap();
        let spent = std::thread::spawn(|| {
            let begin = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            loop {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                let ns = (now.tv_sec - begin.tv_sec) * 1_000_000_000 + now.tv_nsec - begin.tv_nsec;
                if ns > 20_000_000 {
                    return ns as f64 / 1e9;
                }
            }
        });
        let spent = spent.join().unwrap();
        assert!(cpu_seconds(own).unwrap() - before >= spent);
        assert!(cpu_seconds(1 << 30).is_err(), "there is no such process");
    }
}
