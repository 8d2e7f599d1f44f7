//! What the tests of the command share: a separate place for each run, and a look at what a run leaves behind.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod module;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The command under test.
pub const NOOK_RUN: &str = env!("CARGO_BIN_EXE_nook-run");

/// How long a run may take before the test gives it up. No test says how fast something is.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long the kernel may take to be rid of what a process had.
const CLEARING: Duration = Duration::from_secs(20);

/// A variable that a run's processes inherit, so that those left behind are found.
const MARK: &str = "NOOK_TEST_RUN";

/// Returns the e1000 driver as `cargo xtask drivers` makes it.
pub fn e1000() -> PathBuf {
    built("e1000")
}

/// Returns a module that `cargo xtask drivers` makes.
pub fn built(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("nook-run/ lies in the repository");
    let file = root.join("target/drivers").join(name).with_extension("wasm");
    assert!(file.is_file(), "{} is not there; run `cargo xtask drivers`", file.display());
    file
}

/// Returns whether this process may do what root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the process with this number.
pub fn process(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid as i32).expect("processes count from 1")
}

/// A folder for one test. Its runs have it as their working directory, home and place for temporary files.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Puts a file there.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, content).expect("writing a test's file");
        path
    }

    /// Puts a script there that can be executed. A shell writes it: if this process did, a child that another test has
    /// just forked could hold the descriptor, and a file that is open for writing cannot be executed.
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.at(name);
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 755 "$2""#;
        let status = Command::new("sh").args(["-c", write, "sh", script]).arg(&path).status().expect("a shell");
        assert!(status.success(), "writing {}", path.display());
        path
    }

    /// Returns everything below it, by its relative name.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(self.path(), self.path(), &mut names);
        names.sort();
        names
    }

    /// Returns the command with these arguments, to be changed further.
    pub fn nook_run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Asked {
        self.command(NOOK_RUN, args)
    }

    /// Another program, which starts the command.
    pub fn command<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Asked {
        let mut command = Command::new(program);
        command.args(args);
        Asked::new(command, self)
    }
}

fn collect(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("reading a test's folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            collect(root, &entry, names);
        } else {
            names.push(entry.strip_prefix(root).expect("below the root").display().to_string());
        }
    }
}

/// Compiled modules of all tests and of earlier ones, so that not each run compiles.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("nook-run-cache")
}

/// A run that was not started yet.
pub struct Asked {
    pub command: Command,
    mark: String,
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Asked {
    fn new(mut command: Command, place: &Place) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // The process that started the tests may have it ignored, as shells do for what runs in the background.
            at_start(&mut command, signal, libc::SIG_DFL);
        }
        let mark = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        command.current_dir(place.path()).env("HOME", place.path()).env("TMPDIR", place.path());
        command.env("XDG_CACHE_HOME", shared_cache()).env(MARK, &mark).env_remove("NOOK_LOG").env_remove("NOOK_QEMU");
        Asked { command, mark, stdout: None, stderr: None }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sends its standard output there; it is not kept.
    pub fn stdout_to(mut self, path: &str) -> Self {
        self.stdout = Some(File::options().write(true).open(path).expect("a place for the output"));
        self
    }

    /// Sends its standard error there; it is not kept.
    pub fn stderr_to(mut self, path: &str) -> Self {
        self.stderr = Some(File::options().write(true).open(path).expect("a place for the output"));
        self
    }

    /// Without the right to make network interfaces, which root has otherwise.
    #[expect(unsafe_code, reason = "it is given up between fork and exec")]
    pub fn without_net_admin(mut self) -> Self {
        use std::os::unix::process::CommandExt;
        const CAP_NET_ADMIN: libc::c_ulong = 12;
        // SAFETY: between fork and exec it makes one system call without pointers, and allocates nothing. It fails for
        // those who have no rights to give up.
        unsafe {
            self.command.pre_exec(|| {
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0);
                Ok(())
            });
        }
        self
    }

    /// Makes it ignore a signal from its beginning.
    pub fn ignoring(mut self, signal: libc::c_int) -> Self {
        at_start(&mut self.command, signal, libc::SIG_IGN);
        self
    }

    /// Lets it run to its end.
    pub fn end(self) -> Ended {
        self.start().end()
    }

    pub fn start(mut self) -> Running {
        let (stdout, stderr) = (text_file(), text_file());
        let or_kept = |file: Option<File>, kept: &File| file.unwrap_or_else(|| kept.try_clone().expect("a descriptor"));
        self.command.stdin(Stdio::null());
        self.command.stdout(or_kept(self.stdout, &stdout)).stderr(or_kept(self.stderr, &stderr));
        let child = self.command.spawn().expect("nook-run starts");
        Running { child, stdout, stderr, mark: self.mark, over: false }
    }
}

/// What a signal does when the command begins; the last word holds.
#[expect(unsafe_code, reason = "it is set between fork and exec")]
fn at_start(command: &mut Command, signal: libc::c_int, action: libc::sighandler_t) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec it makes one system call without pointers, and allocates nothing.
    unsafe {
        command.pre_exec(move || match libc::signal(signal, action) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

fn text_file() -> File {
    tempfile::tempfile().expect("a temporary file")
}

fn text(file: &File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().map_or(0, |meta| meta.len() as usize)];
    let read = file.read_at(&mut bytes, 0).expect("reading what a run has printed");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// A run under way. Dropping it ends it.
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    mark: String,
    over: bool,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has written to standard error up to now.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Waits for a text on standard error; false if the run ended before it came.
    pub fn says(&mut self, wanted: &str) -> bool {
        self.wait_for(|run| run.stderr().contains(wanted), &format!("it has not said {wanted:?}"))
    }

    /// Waits for something; false if the run ended before it came.
    pub fn wait_for(&mut self, mut come: impl FnMut(&Running) -> bool, what: &str) -> bool {
        let since = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("waiting").is_some();
            if come(self) {
                return true;
            }
            if ended {
                return false;
            }
            assert!(since.elapsed() < PATIENCE, "{what} after {PATIENCE:?}:\n{}", self.stderr());
            sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal, as the terminal does with Ctrl-C.
    pub fn signal(&self, signal: i32) {
        let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal with a name");
        rustix::process::kill_process(process(self.pid()), signal).expect("a child that was not reaped yet");
    }

    /// Returns its processes besides itself: pid and name.
    pub fn helpers(&self) -> Vec<(u32, String)> {
        marked(&self.mark).into_iter().filter(|&(pid, _)| pid != self.pid()).collect()
    }

    /// Waits for its end. Nothing that it has started may be there afterwards.
    pub fn end(mut self) -> Ended {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting") {
                break status;
            }
            assert!(since.elapsed() < PATIENCE, "it runs for {PATIENCE:?}:\n{}", self.stderr());
            sleep(Duration::from_millis(5));
        };
        self.over = true;
        eventually("every process that it started is gone", || {
            let left = marked(&self.mark);
            left.is_empty().then_some(()).ok_or_else(|| format!("{left:?}"))
        });
        Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits until `check` is content.
pub fn eventually(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let since = Instant::now();
    while let Err(still) = check() {
        assert!(since.elapsed() < CLEARING, "{what}: not after {CLEARING:?}: {still}");
        sleep(Duration::from_millis(10));
    }
}

/// Processes with this mark in their environment. A process that has ended and is not reaped has none any more.
fn marked(mark: &str) -> Vec<(u32, String)> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may be gone by now.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes()) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

/// Returns whether the kernel has a network interface of this name, in this thread's network namespace.
pub fn has_interface(name: &str) -> bool {
    let listed = fs::read_to_string("/proc/thread-self/net/dev").expect("the kernel's list of interfaces");
    listed.lines().any(|line| line.split_once(':').is_some_and(|(listed, _)| listed.trim() == name))
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Returns the exit status; a signal as a shell shows it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The rules for every message: it names its source, is one line without control characters, and no panic.
#[track_caller]
pub fn assert_is_said(what: &str, ended: &Ended, code: i32, says: &[&str]) {
    assert_eq!(ended.code(), code, "{what}: {}", ended.stderr);
    let message = ended.stderr.lines().last().unwrap_or_default();
    assert!(message.starts_with("nook-run: ") || code != 1, "{what}: {}", ended.stderr);
    for part in says {
        assert!(ended.stderr.contains(part), "{what}: {part:?} is not in: {}", ended.stderr);
    }
    let strange = |c: char| c.is_control() && c != '\n';
    assert!(!ended.stderr.contains(strange) && !ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
}

/// Returns the folder of nook's repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("nook-run/ lies in the repository").to_owned()
}

impl Asked {
    /// Gives it the tests' own cargo and compiler, which lie in the user's home; nothing is downloaded.
    pub fn with_cargo(self) -> Self {
        let home = |folder: &str| std::env::home_dir().expect("a home").join(folder).into_os_string();
        let or = |name: &str, folder: &str| std::env::var_os(name).unwrap_or_else(|| home(folder));
        let (cargo, rustup) = (or("CARGO_HOME", ".cargo"), or("RUSTUP_HOME", ".rustup"));
        self.env("CARGO_HOME", cargo).env("RUSTUP_HOME", rustup).env("CARGO_NET_OFFLINE", "true")
    }
}
