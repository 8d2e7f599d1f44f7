//! A driver's process: how it comes, how its end is noticed, and that nothing of it stays.
//!
//! Each has a reaper, a thread that makes it and waits for its end. A process asks to die with the thread that made it,
//! so that thread must live as long; and as it waits anyway, the end of the process costs the host no look in between.
#![expect(
    unsafe_code,
    reason = "making a copy of this process, its CPU clock and its processors take raw system calls"
)]

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use libc::c_int;
use nook_abi::TrapKind;
use nook_process_guest::channel::PANICKED;
use rustix::process::{Signal, WaitId, WaitIdOptions, getegid, geteuid, pidfd_send_signal, waitid};
use seccompiler::BpfProgram;

use crate::memory::Memory;
use crate::progress::{StatFile, State};
use crate::rights::Rights;
use crate::sandbox::{self, NAMESPACES, NOBODY, Plan};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl ExitStatus {
    /// Converts it to a trap.
    pub(crate) fn trap(self) -> TrapKind {
        match self {
            ExitStatus::Exited(PANICKED) => TrapKind::Unreachable,
            ExitStatus::Killed(libc::SIGSEGV | libc::SIGBUS) => TrapKind::MemoryOutOfBounds,
            ExitStatus::Killed(libc::SIGILL | libc::SIGTRAP) => TrapKind::Unreachable,
            ExitStatus::Killed(libc::SIGFPE) => TrapKind::Arithmetic,
            ExitStatus::Killed(libc::SIGSYS) => TrapKind::Syscall,
            ExitStatus::Exited(_) | ExitStatus::Killed(_) => TrapKind::Ended,
        }
    }
}

/// How much of the sandbox this machine permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// Namespaces, with its own users.
    All,
    /// Namespaces, by root's right.
    AsRoot,
    /// None.
    None,
}

/// What a process is made of.
pub(crate) struct SpawnConfig {
    pub(crate) memory: Arc<Memory>,
    pub(crate) window: OwnedFd,
    pub(crate) program: OwnedFd,
    pub(crate) filters: Arc<[BpfProgram; 2]>,
}

/// What the reaper and the host both look at.
struct ChildStatus {
    memory: Arc<Memory>,
    /// Zero while it lives; then [`ENDED`] and how.
    end: AtomicU64,
}

const ENDED: u64 = 1 << 63;
const KILLED: u64 = 1 << 32;

/// A process that runs a driver.
pub(crate) struct Child {
    pid: libc::pid_t,
    pidfd: Arc<OwnedFd>,
    confinement: Confinement,
    /// Why it has less than all, if it has.
    refused: String,
    status: Arc<ChildStatus>,
    reaper: Option<JoinHandle<()>>,
    clock: Option<libc::clockid_t>,
    stat: StatFile,
}

impl Child {
    /// Makes one. When this returns, its program was started.
    ///
    /// # Errors
    /// What could not be done, for people.
    pub(crate) fn start(config: SpawnConfig) -> Result<Child, String> {
        let status = Arc::new(ChildStatus { memory: config.memory.clone(), end: AtomicU64::new(0) });
        let (started, spawned): (Sender<Result<Spawned, String>>, Receiver<_>) = channel();
        let kept = status.clone();
        let reaper =
            std::thread::Builder::new().name("nook-reaper".into()).spawn(move || reap(config, &kept, &started));
        let reaper = reaper.map_err(|error| format!("no thread for the driver's process: {error}"))?;
        let Spawned { pid, pidfd, confinement, refused } =
            spawned.recv().unwrap_or_else(|_| Err("the thread that makes the driver's process ended".into()))?;
        let (clock, stat) = (cpu_clock(pid), StatFile::open(pid));
        Ok(Child { pid, pidfd, confinement, refused, status, reaper: Some(reaper), clock, stat })
    }

    /// Returns how much of the sandbox it has, and why not more.
    pub(crate) fn confinement(&self) -> (Confinement, &str) {
        (self.confinement, &self.refused)
    }

    /// Returns how it ended, if it has.
    #[inline]
    pub(crate) fn end(&self) -> Option<ExitStatus> {
        match self.status.end.load(Ordering::Acquire) {
            0 => None,
            end if end & KILLED != 0 => Some(ExitStatus::Killed(end as u32 as i32)),
            end => Some(ExitStatus::Exited(end as u32 as i32)),
        }
    }

    /// Returns the CPU time that it has used, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.clock.map_or(0, cpu_ns)
    }

    /// Returns what it is at.
    pub(crate) fn state(&self) -> State {
        self.stat.state()
    }

    /// Lets it run on these processors only. It is no matter if that is refused.
    pub(crate) fn run_on(&self, processors: &libc::cpu_set_t) {
        // SAFETY: reads a set that lives as long as the call. The number is this process's until `kill` takes its
        // remains.
        unsafe { libc::sched_setaffinity(self.pid, size_of_val(processors), processors) };
    }

    /// Ends it, and waits until nothing of it is left: from then on it writes nowhere.
    pub(crate) fn kill(&mut self) {
        let Some(reaper) = self.reaper.take() else { return };
        // It may have ended by itself.
        let _ = pidfd_send_signal(&*self.pidfd, Signal::KILL);
        let _ = reaper.join();
        wait_for(self.pidfd.as_fd(), WaitIdOptions::empty());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the clock of the processor time that a process uses.
pub(crate) fn cpu_clock(pid: libc::pid_t) -> Option<libc::clockid_t> {
    let mut clock = 0;
    // SAFETY: writes a clock's number.
    (unsafe { libc::clock_getcpuclockid(pid, &mut clock) } == 0).then_some(clock)
}

/// Returns what such a clock says, in nanoseconds; 0 when its process has ended.
pub(crate) fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a timespec that we own. The clock of a process that has ended is refused.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A process whose program was started.
struct Spawned {
    pid: libc::pid_t,
    pidfd: Arc<OwnedFd>,
    confinement: Confinement,
    refused: String,
}

/// Starts the process, and waits for its end.
fn reap(config: SpawnConfig, status: &ChildStatus, started: &Sender<Result<Spawned, String>>) {
    let spawned = spawn(&config);
    // It is the process's now.
    drop(config);
    let pidfd = spawned.as_ref().ok().map(|spawned| spawned.pidfd.clone());
    // The receiver has not gone away: it holds the other end.
    let _ = started.send(spawned);
    if let Some(pidfd) = pidfd {
        let end = wait_for(pidfd.as_fd(), WaitIdOptions::NOWAIT);
        status.end.store(end, Ordering::Release);
        status.memory.channel().guest.wake();
    }
}

/// Waits for a process's end, and takes its remains unless `flags` says to leave them.
fn wait_for(pidfd: BorrowedFd<'_>, flags: WaitIdOptions) -> u64 {
    loop {
        let status = match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | flags) {
            Ok(status) => status,
            Err(rustix::io::Errno::INTR) => continue,
            // Somebody else took it: how it ended is not known.
            Err(_) => return ENDED | KILLED,
        };
        let Some(status) = status else { continue };
        let (how, killed) = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => (code, 0),
            (None, signal) => (signal.unwrap_or_default(), KILLED),
        };
        return ENDED | killed | u64::from(how as u32);
    }
}

/// Makes the process with as much confinement as this machine permits.
fn spawn(config: &SpawnConfig) -> Result<Spawned, String> {
    let rights = Rights::of_this_process();
    let ladder: &[Confinement] = if geteuid().is_root() {
        &[Confinement::All, Confinement::AsRoot, Confinement::None]
    } else {
        &[Confinement::All, Confinement::None]
    };
    let mut refused: Vec<String> = Vec::new();
    for &confinement in ladder {
        match spawn_within(config, confinement, rights) {
            Ok((pid, pidfd)) => {
                return Ok(Spawned { pid, pidfd: Arc::new(pidfd), confinement, refused: refused.join("; ") });
            }
            Err(why) => refused.push(why),
        }
    }
    Err(refused.join("; with less: "))
}

fn spawn_within(
    config: &SpawnConfig,
    confinement: Confinement,
    rights: Rights,
) -> Result<(libc::pid_t, OwnedFd), String> {
    let namespaces = match confinement {
        Confinement::All => NAMESPACES | libc::CLONE_NEWUSER,
        Confinement::AsRoot => NAMESPACES,
        Confinement::None => 0,
    };
    let (status, status_end) = pipe().map_err(text)?;
    let (go, go_end) = pipe().map_err(text)?;
    let plan = Plan {
        namespaces,
        drops_user: rights.become_nobody || confinement == Confinement::All,
        drops_groups: rights.drop_groups,
        memory: config.memory.fd(),
        window: config.window.as_raw_fd(),
        program: config.program.as_raw_fd(),
        status: status_end.as_raw_fd(),
        go: go.as_raw_fd(),
        go_other_end: go_end.as_raw_fd(),
        limits: sandbox::limits(config.memory.mapped_bytes()),
        filters: &config.filters,
    };
    let mut pidfd: c_int = -1;
    let flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without a stack or shared memory this is a fork; the kernel writes the descriptor's number. The copy
    // calls
    // `enter` at once, which calls the system only.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        // SAFETY: 0 is what the copy gets, which has done nothing yet.
        0 => unsafe { sandbox::enter(&plan) },
        1.. => {}
        _ => return Err(format!("a process in its own namespaces: {}", io::Error::last_os_error())),
    }
    // SAFETY: the clone succeeded, so the kernel has opened this descriptor for us, and nobody else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    drop((status_end, go));
    let mapped = if confinement == Confinement::All { map_users(pid, rights) } else { Ok(()) };
    let started = mapped.and_then(|()| watch_start(go_end, status));
    match started {
        Ok(()) => Ok((pid as libc::pid_t, pidfd)),
        Err(why) => {
            // It has seen the pipe close, or has said why it ends.
            wait_for(pidfd.as_fd(), WaitIdOptions::empty());
            Err(why)
        }
    }
}

/// Maps the process's user: to nobody, if this may become that; otherwise to the user that runs this.
fn map_users(pid: i64, rights: Rights) -> Result<(), String> {
    let (user, group) = if rights.become_nobody { (NOBODY, NOBODY) } else { (geteuid().as_raw(), getegid().as_raw()) };
    let write = |file: &str, text: String| {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, text).map_err(|error| format!("{path}: {error}"))
    };
    if !rights.drop_groups {
        // The kernel requires this of who may not change groups (user_namespaces(7)).
        write("setgroups", "deny".into())?;
    }
    write("gid_map", format!("{NOBODY} {group} 1\n"))?;
    write("uid_map", format!("{NOBODY} {user} 1\n"))
}

/// Lets the process go on, and waits until its program was started.
fn watch_start(mut go: PipeWriter, mut status: PipeReader) -> Result<(), String> {
    go.write_all(&[0]).map_err(text)?;
    let mut words = Vec::new();
    // Ends when the program's start closes the other end.
    status.read_to_end(&mut words).map_err(text)?;
    drop(go);
    match words.as_chunks::<4>() {
        ([], _) => Ok(()),
        ([step, error, ..], _) => {
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes(*error));
            Err(format!("{}: {error}", sandbox::describe(i32::from_ne_bytes(*step))))
        }
        _ => Err("the process ended before its program was started".into()),
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}
