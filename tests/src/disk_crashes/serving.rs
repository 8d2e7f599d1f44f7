//! `nook-run` that serves a disk, and whose driver is made to crash.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Device, How};

/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the log that tell how a run ended.
const LAST: usize = 4;

/// What `nook-run` says of each crash that was recovered from.
const RECOVERED: [&str; 2] = ["; the call was rolled back, ", "the driver was restarted"];

/// What is run.
#[derive(Clone, Copy)]
pub struct Programs<'a> {
    /// `nook-run`.
    pub nook_run: &'a Path,
    /// The driver's module.
    pub driver: &'a Path,
}

/// A run. Dropping it kills it.
pub(super) struct Serving {
    child: Child,
    folder: PathBuf,
    /// What kills its driver's process, and what ends that.
    killer: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

/// What a device is given.
pub(super) struct Disk<'a> {
    pub device: Device,
    /// Its content.
    pub image: &'a Path,
    /// Where QEMU logs what reaches the drive.
    pub write_log: Option<&'a Path>,
}

impl Serving {
    /// Starts it in a folder, with a driver that crashes in this way, and waits until the disk is there.
    pub fn start(programs: Programs<'_>, disk: &Disk<'_>, how: How, folder: &Path) -> Result<Self> {
        let mut command = Command::new(programs.nook_run);
        command.arg(programs.driver).args(["--nbd", "unix:disk.sock", "--json", "report.json"]);
        match disk.device {
            Device::Model => command.arg("--disk").arg(disk.image),
            Device::Qemu => {
                let log = disk.write_log.map_or(String::new(), |log| format!(",write-log={}", log.display()));
                command.arg("--qemu").arg(format!("nvme,file={}{log}", disk.image.display()))
            }
        };
        let isolation = match how {
            How::Rollback => "sfi+txn",
            How::Restart => "sfi",
            How::Kill => "process",
        };
        command.args(["--isolation", isolation, "--policy", "policy.toml"]);
        if how != How::Kill {
            command.arg("--crash-every").arg(format!("{}ms", how.every().as_millis()));
        }
        // A driver that is ended all the time is not to be given up, and is not waited for.
        let policy =
            "[restart]\nbudget = 1000000\nbackoff_first = \"0us\"\nbackoff_most = \"0us\"\n[bundles]\nkeep = 0\n";
        fs::write(folder.join("policy.toml"), policy)?;
        let (log, socket) = (folder.join("log"), folder.join("disk.sock"));
        command.current_dir(folder).env("NO_COLOR", "1").env_remove("NOOK_LOG").stdin(Stdio::null());
        command.stdout(File::create(folder.join("said"))?).stderr(File::create(&log)?);
        let child = command.spawn().map_err(|error| Error::other(format!("cannot start {command:?}: {error}")))?;
        let mut this = Serving { child, folder: folder.into(), killer: None };
        let begin = Instant::now();
        // It listens before the disk is there; clients wait.
        while !socket.exists() || !this.log()?.contains("INFO the disk has") {
            if this.child.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                return Err(Error::other(format!("nook-run does not serve the disk: {}", this.last_words()?)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if how == How::Kill {
            let (run, stop) = (this.child.id(), Arc::new(AtomicBool::new(false)));
            let stops = stop.clone();
            let thread = std::thread::spawn(move || {
                let mut before = 0;
                while !stops.load(Ordering::Relaxed) {
                    // Each life is as long, however long a restart takes.
                    std::thread::sleep(how.every());
                    kill_driver(run);
                    let is_back = |now: &u64| *now > before;
                    before = loop {
                        match recovered(&log).ok().filter(is_back) {
                            Some(now) => break now,
                            None if stops.load(Ordering::Relaxed) => return,
                            None => std::thread::sleep(Duration::from_millis(5)),
                        }
                    };
                }
            });
            this.killer = Some((thread, stop));
        }
        Ok(this)
    }

    /// Returns where clients find the disk.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("disk.sock")
    }

    /// Returns the last lines that it has logged.
    pub fn last_words(&self) -> Result<String> {
        let log = self.log()?;
        let lines: Vec<&str> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(LAST)..].join(" | "))
    }

    fn log(&self) -> Result<String> {
        read_log(&self.folder.join("log"))
    }

    /// Returns how many crashes were recovered from, as it has logged; of very many, fewer.
    pub fn crashes(&self) -> Result<u64> {
        recovered(&self.folder.join("log"))
    }

    /// Ends it in order, and returns its report.
    pub fn end(mut self) -> Result<Value> {
        self.stop_killing();
        if let Some(child) = Pid::from_raw(self.child.id() as i32) {
            // It was not waited for yet, so the number is still its own. Behind a shell's `&` it ignores SIGINT.
            kill_process(child, Signal::TERM)?;
        }
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                return Err(Error::other(format!("nook-run does not end: {}", self.last_words()?)));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if !status.success() {
            return Err(Error::other(format!("nook-run ended with {status}: {}", self.last_words()?)));
        }
        Ok(serde_json::from_slice(&fs::read(self.folder.join("report.json"))?)?)
    }

    fn stop_killing(&mut self) {
        if let Some((thread, stop)) = self.killer.take() {
            stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }
}

fn read_log(log: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(log)?).into_owned())
}

/// Counts the recoveries that a log tells of.
fn recovered(log: &Path) -> Result<u64> {
    let log = read_log(log)?;
    Ok(log.lines().filter(|line| RECOVERED.iter().any(|said| line.contains(said))).count() as u64)
}

/// Kills the driver's process of a run: QEMU may be another one of its processes.
fn kill_driver(run: u32) {
    let Ok(threads) = fs::read_dir(format!("/proc/{run}/task")) else { return };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        for child in children.filter_map(Pid::from_raw) {
            let line = fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).unwrap_or_default();
            if line.starts_with(b"nook-driver\0") {
                // It may have ended already.
                let _ = kill_process(child, Signal::KILL);
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop_killing();
        // An error means that it was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
