//! The compiler in a separate process, with limits of time and memory and without rights.
//!
//! A module of a few kilobytes can keep a compiler busy for minutes, or make it take gigabytes. So the program that
//! runs is started once more, under the name [`NAME`]: it limits itself, reads the module from one file in memory, and
//! writes the machine code to another. It has no other descriptor, no file, no network, no process but its own threads
//! ([`seccomp`]). Who waits for it hears of a signal meanwhile, and ends it.
//!
//! That is a limit of time and memory, and nothing else: what this process makes is machine code that runs in the one
//! that asked for it. A module that takes the compiler over, through a mistake in it, is held by the limits until then,
//! and by nothing afterwards. So the compiler stays part of the trusted base, as it would be in one process.
#![expect(unsafe_code, reason = "giving up rights and descriptors takes raw system calls")]

use std::any::Any;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt, parent_id};
use std::panic::catch_unwind;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use libc::c_long;
use nook_runtime::{CodeGen, Compiler, EngineError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, set_parent_process_death_signal, setrlimit,
    setsid,
};

use crate::child::{cpu_clock, cpu_ns};
use crate::rights::Rights;
use crate::sandbox::NOBODY;
use crate::seccomp;

/// What the compiler's process is called, which is how the program knows that it is to be [one](is_compiler).
pub const NAME: &str = "nook-compiler";

/// How often it is looked how much processor time was used.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// What the compiler's threads and libraries reserve besides memory that they use.
const RESERVED_BYTES: u64 = 4 << 30;

/// The first byte of an answer.
mod answer {
    /// Machine code follows.
    pub(super) const DONE: u8 = 1;
    /// Why the compiler refused follows.
    pub(super) const REFUSED: u8 = 2;
    /// What it said when it came to a stop follows.
    pub(super) const STOPPED: u8 = 3;
}

/// What compiling one module may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompilerLimits {
    /// Processor time of all its threads, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// What a request begins with; the module follows.
struct Head {
    parent: u32,
    how: CodeGen,
    limits: CompilerLimits,
}

const HEAD_BYTES: usize = 24;

impl Head {
    fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let words = [
            u64::from(self.parent) | u64::from(self.how.to_bits()) << 32,
            self.limits.cpu_ns,
            self.limits.memory_bytes,
        ];
        let mut bytes = [0; HEAD_BYTES];
        bytes.as_chunks_mut().0.copy_from_slice(&words.map(u64::to_le_bytes));
        bytes
    }

    fn from_bytes(bytes: [u8; HEAD_BYTES]) -> Self {
        let word = |at: usize| bytes.as_chunks().0.get(at).map_or(0, |word| u64::from_le_bytes(*word));
        let limits = CompilerLimits { cpu_ns: word(1), memory_bytes: word(2) };
        Head { parent: word(0) as u32, how: CodeGen::from_bits((word(0) >> 32) as u8), limits }
    }
}

/// Compiles each module in its own process, which is this program.
#[derive(Debug)]
pub struct CompilerProcess {
    limits: CompilerLimits,
    /// Readable when nobody wants the result any more.
    stop: Option<OwnedFd>,
}

impl CompilerProcess {
    /// Creates one, for a program whose `main` begins by asking [`is_compiler`]. A compilation is given up as soon as
    /// `stop` is readable.
    pub fn new(limits: CompilerLimits, stop: Option<OwnedFd>) -> Self {
        CompilerProcess { limits, stop }
    }

    fn start(&self, how: CodeGen, wasm: &[u8]) -> io::Result<(Running, File)> {
        let file = |name| memfd_create(name, MemfdFlags::CLOEXEC).map(File::from);
        let mut request = file("nook-module")?;
        let head = Head { parent: std::process::id(), how, limits: self.limits };
        request.write_all(&head.to_bytes())?;
        request.write_all(wasm)?;
        request.rewind()?;
        let answer = file("nook-code")?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).env_clear().stdin(request).stdout(answer.try_clone()?).stderr(Stdio::null());
        Ok((Running(command.spawn()?), answer))
    }

    /// Waits for the end of a process that compiles; an error of the inner kind says why it was not to go on.
    fn wait(&self, running: &mut Running) -> io::Result<Result<ExitStatus, EngineError>> {
        let id = Pid::from_child(&running.0);
        let (ended, clock) = (pidfd_open(id, PidfdFlags::empty())?, cpu_clock(id.as_raw_pid()));
        loop {
            let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
            watched.extend(self.stop.iter().map(|stop| PollFd::new(stop, PollFlags::IN)));
            match poll(&mut watched, Some(&LOOK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [is_over, is_stopped] = [0, 1].map(|at| watched.get(at).is_some_and(|it| !it.revents().is_empty()));
            if is_over {
                return running.0.wait().map(Ok);
            }
            if is_stopped {
                return Ok(Err(EngineError::Interrupted));
            }
            if clock.is_some_and(|clock| cpu_ns(clock) > self.limits.cpu_ns) {
                let most = self.limits.cpu_ns as f64 / 1e9;
                let text =
                    format!("that takes more than {most} s of processor time, as `compiler.time` of the policy has it");
                return Ok(Err(EngineError::CompilerEnded(text)));
            }
        }
    }

    fn said(&self, status: ExitStatus, answer: &mut File) -> Result<Vec<u8>, EngineError> {
        let mut said = Vec::new();
        let read = answer.rewind().and_then(|()| answer.read_to_end(&mut said));
        let memory = self.limits.memory_bytes >> 20;
        let within = format!("it may use {memory} MiB, as `compiler.memory_mib` of the policy has it");
        match (read, said.split_first()) {
            (Ok(_), Some((&answer::DONE, _))) if status.success() => {
                said.remove(0);
                Ok(said)
            }
            (Ok(_), Some((&answer::REFUSED, why))) => {
                Err(EngineError::Compile(String::from_utf8_lossy(why).into_owned()))
            }
            (Ok(_), Some((&answer::STOPPED, why))) => {
                let why = String::from_utf8_lossy(why);
                Err(EngineError::CompilerEnded(format!("the compiler came to a stop ({why}); {within}")))
            }
            (Ok(_), _) => Err(EngineError::CompilerEnded(match status.signal() {
                Some(libc::SIGXCPU) => "it has used its processor time, `compiler.time` of the policy".to_owned(),
                Some(signal) => format!("its process was ended by signal {signal}; {within}"),
                None => format!("its process said nothing ({status}); {within}"),
            })),
            (Err(error), _) => Err(EngineError::CompilerEnded(format!("what it made cannot be read: {error}"))),
        }
    }
}

impl Compiler for CompilerProcess {
    fn compile(&self, how: CodeGen, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
        let started = self.start(how, wasm);
        let no_process = |error| EngineError::CompilerEnded(format!("no process for the compiler: {error}"));
        let (mut running, mut answer) = started.map_err(no_process)?;
        let status = self.wait(&mut running).map_err(no_process)??;
        self.said(status, &mut answer)
    }
}

/// A process that compiles. Nothing of it is left afterwards.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing to one that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns whether this process was started to compile: then `main` returns what [`serve`] does, and does nothing else.
pub fn is_compiler() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Compiles the one module that this process was started for.
pub fn serve() -> ExitCode {
    let done = confine().map_err(|why| (answer::STOPPED, why)).and_then(|how| {
        let mut wasm = Vec::new();
        io::stdin().read_to_end(&mut wasm).map_err(|error| (answer::STOPPED, error.to_string()))?;
        // What it would print is nobody's to read.
        std::panic::set_hook(Box::new(|_| {}));
        let compiled = catch_unwind(|| how.compile(&wasm)).map_err(|panic| (answer::STOPPED, said_in(&*panic)))?;
        compiled.map_err(|error| match error {
            EngineError::Compile(why) => (answer::REFUSED, why),
            other => (answer::STOPPED, other.to_string()),
        })
    });
    let (how, bytes) = match done {
        Ok(code) => (answer::DONE, code),
        Err((how, why)) => (how, why.into_bytes()),
    };
    let mut out = io::stdout();
    let written = out.write_all(&[how]).and_then(|()| out.write_all(&bytes)).and_then(|()| out.flush());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns what a panic said.
fn said_in(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

/// Reads what this process may use and how to compile, and gives up everything else, for good. The
/// module has not been looked at until then.
fn confine() -> Result<CodeGen, String> {
    let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut head = [0; HEAD_BYTES];
    // Not one byte more: what follows is read when the sandbox is up.
    rustix::io::read(io::stdin(), &mut head).map_err(|error| step("reading the request")(error.into()))?;
    let Head { parent, how, limits } = Head::from_bytes(head);
    // What is typed at a terminal is for the one that waits.
    setsid().map_err(|error| step("beginning a session")(error.into()))?;
    become_nobody().map_err(step("becoming nobody"))?;
    // After that, which clears it.
    let dies = set_parent_process_death_signal(Some(Signal::KILL));
    dies.map_err(|error| step("asking to die with its parent")(error.into()))?;
    if parent_id() != parent {
        return Err("its parent is gone".into());
    }
    // SAFETY: names this process, and closes descriptors that nothing here knows of: only the first three are used.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"nook-compiler".as_ptr());
        libc::syscall(libc::SYS_close_range, 3, c_long::from(u32::MAX), 0);
    }
    for (resource, first, most) in limits.resources() {
        limit(resource, first, most).map_err(step("limiting its resources"))?;
    }
    for program in seccomp::compiler_programs()? {
        seccompiler::apply_filter(&program).map_err(|error| format!("filtering its system calls: {error}"))?;
    }
    Ok(how)
}

impl CompilerLimits {
    /// Returns what is limited, to how much at first, and to how much at most.
    fn resources(&self) -> [(Resource, u64, u64); 7] {
        let same = |resource, most| (resource, most, most);
        // Behind the look at its clock, which is finer, and not the same: this one counts ticks. Where both limits are
        // equal the kernel ends it with SIGKILL, which does not say why.
        let seconds = self.cpu_ns.div_ceil(1_000_000_000) + 1;
        [
            (Resource::Cpu, seconds, seconds + 1),
            same(Resource::Data, self.memory_bytes),
            same(Resource::As, self.memory_bytes.saturating_add(RESERVED_BYTES)),
            same(Resource::Fsize, self.memory_bytes),
            same(Resource::Core, 0),
            same(Resource::Memlock, 0),
            same(Resource::Nofile, 3),
        ]
    }
}

/// Limits a resource, which may be limited further already.
fn limit(resource: Resource, first: u64, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(first.min(most)), maximum: Some(most) })?)
}

/// Gives up root's rights, as far as this process may: in a user namespace there may be no nobody to become.
fn become_nobody() -> io::Result<()> {
    let rights = Rights::of_this_process();
    // SAFETY: changes the groups of this process, which has one thread so far, and reads nothing.
    if rights.drop_groups && unsafe { libc::setgroups(0, std::ptr::null()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    if !rights.become_nobody {
        return Ok(());
    }
    // SAFETY: these change who this process is, which has one thread so far, and read nothing.
    let answers = unsafe { [libc::setresgid(NOBODY, NOBODY, NOBODY), libc::setresuid(NOBODY, NOBODY, NOBODY)] };
    if answers.contains(&-1) { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_the_same_at_both_ends() {
        let limits = CompilerLimits { cpu_ns: 5, memory_bytes: 7 << 40 };
        for bits in 0..16 {
            let head = Head { parent: 0xfedc_ba98, how: CodeGen::from_bits(bits), limits };
            let read = Head::from_bytes(head.to_bytes());
            assert_eq!((read.parent, read.how.to_bits(), read.limits), (0xfedc_ba98, bits, limits));
        }
    }

    #[test]
    fn of_processor_time_the_kernel_warns_before_it_kills() {
        let limits = CompilerLimits { cpu_ns: 1_500_000_000, memory_bytes: 1 << 30 };
        assert_eq!(limits.resources()[0], (Resource::Cpu, 3, 4));
    }
}
