//! Starting QEMU and ending it.
#![expect(unsafe_code, reason = "what a child does between fork and exec")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::io::{Errno, FdFlags};
use rustix::process::Signal;

use crate::deadline::Deadline;

/// How much of the end of standard error is shown.
const TAIL_BYTES: u64 = 2048;
/// How many lines of it.
const TAIL_LINES: usize = 6;
/// How long a process whose socket has closed may take until its exit status can be had.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// A running QEMU. Dropping it kills and reaps the process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stderr: File,
    /// Keeps the thread that started the process; see [`Process::spawn`].
    keeper: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Process {
    /// Starts a program, which inherits `descriptors` under the same numbers. It reads nothing, and writes its standard
    /// error to a memory file that only we see.
    ///
    /// The kernel kills it when *the thread that started it* ends (prctl(2), PR_SET_PDEATHSIG), and devices move
    /// between threads; so it is started by its own thread, which ends after it.
    pub(crate) fn spawn(mut command: Command, descriptors: &[RawFd]) -> io::Result<Process> {
        let stderr = memory_file(c"nook-qemu-stderr")?;
        command.stdin(Stdio::null()).stderr(stderr.try_clone()?);
        // Its own process group: a Ctrl-C at the terminal is ours to handle, and the device must outlive the clean
        // stop of its driver.
        command.process_group(0);
        let descriptors = descriptors.to_vec();
        let parent = std::process::id();
        // SAFETY: between fork and exec it makes only async-signal-safe calls (prctl, sigprocmask, getppid, fcntl) and
        // touches nothing but what it owns.
        unsafe { command.pre_exec(move || before_exec(parent, &descriptors)) };

        let (started, answer) = mpsc::channel();
        let (keep, kept) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("nook-qemu".into()).spawn(move || {
            if started.send(command.spawn()).is_ok() {
                // Returns when the sender is dropped, after the process has ended.
                let _ = kept.recv();
            }
        })?;
        let child = answer.recv().map_err(|_| io::Error::other("the thread that starts QEMU has died"))??;
        Ok(Process { child, stderr, keeper: Some((keep, thread)) })
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its standard output, once, if that is a pipe.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) {
        // An error means that it was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits a moment for a process that is believed to be ending, and says how it ended and its last words.
    pub(crate) fn ending(&mut self) -> String {
        let deadline = Deadline::after(EXIT_PATIENCE);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if deadline.left().is_some() => thread::sleep(Duration::from_millis(2)),
                _ => break None,
            }
        };
        let how = match status {
            Some(status) => describe(status),
            None => "it has closed its socket but is still running".to_owned(),
        };
        match self.last_words() {
            words if words.is_empty() => format!("{how}; it said nothing on standard error"),
            words => format!("{how}; its last words: {words}"),
        }
    }

    /// Returns the last lines of its standard error.
    pub(crate) fn last_words(&self) -> String {
        let len = self.stderr.metadata().map_or(0, |m| m.len());
        let from = len.saturating_sub(TAIL_BYTES);
        let mut bytes = vec![0; (len - from) as usize];
        let read = self.stderr.read_at(&mut bytes, from).unwrap_or(0);
        tail(&String::from_utf8_lossy(&bytes[..read]))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some((keep, thread)) = self.keeper.take() {
            drop(keep);
            // It cannot panic: it only waits.
            let _ = thread.join();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    // "exit status: 1", "signal: 9 (SIGKILL)"
    format!("QEMU ended with {status}")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
}

/// Runs in the child, between fork and exec: nothing but system calls, on what it is given.
fn before_exec(parent: u32, descriptors: &[RawFd]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The thread that starts it may hold signals back for its own use; QEMU ends by them.
    block_no_signals()?;
    // If the parent died before the first line, nobody will send that signal.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32) != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    for &fd in descriptors {
        // SAFETY: the caller of `Process::spawn` has these files open while it runs, and the child has copies of them.
        rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::empty())?;
    }
    Ok(())
}

fn block_no_signals() -> io::Result<()> {
    // SAFETY: zeros are a value of this type, a plain set of bits.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both are given a set that lives through the call, and no place for the old mask.
    let answer = unsafe {
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut())
    };
    if answer != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Creates an empty file that is in no directory.
pub(crate) fn memory_file(name: &std::ffi::CStr) -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Returns how a child finds an inherited file by name.
pub(crate) fn inherited_path(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shell(script: &str) -> Process {
        shell_with(script, &[])
    }

    fn shell_with(script: &str, descriptors: &[RawFd]) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::spawn(command, descriptors).unwrap()
    }

    #[test]
    fn the_ending_has_the_exit_status_and_the_last_lines() {
        let mut process = shell("for i in 1 2 3 4 5 6 7 8; do echo line $i >&2; done; exit 3");
        let ending = process.ending();
        assert!(ending.contains("exit status: 3"), "{ending}");
        assert!(ending.contains("line 3 | ") && ending.ends_with("line 8"), "{ending}");
        assert!(!ending.contains("line 2"), "{ending}");
    }

    #[test]
    fn the_process_outlives_the_thread_that_asked_for_it() {
        let mut process = thread::spawn(|| shell("sleep 0.2; exit 7")).join().unwrap();
        let ending = process.ending();
        assert!(ending.contains("exit status: 7"), "{ending}");
    }

    #[test]
    fn signals_that_we_hold_back_reach_it() {
        // The mask is that of a thread of the test's own.
        let held_back = thread::spawn(|| {
            // SAFETY: the set is ours and lives through the calls.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGTERM);
                assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()), 0);
            }
            shell("kill $$; exit 3").ending()
        });
        let ending = held_back.join().unwrap();
        assert!(ending.contains("signal: 15"), "{ending}");
    }

    #[test]
    fn dropping_it_leaves_no_process() {
        let process = shell("exec sleep 1000");
        let pid = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn only_the_named_descriptors_are_inherited() {
        let (given, withheld) = (memory_file(c"given").unwrap(), memory_file(c"withheld").unwrap());
        let script = format!("test -e {} && test ! -e {}", inherited_path(&given), inherited_path(&withheld));
        let ending = shell_with(&script, &[given.as_raw_fd()]).ending();
        assert!(ending.contains("exit status: 0"), "{ending}");
    }
}
