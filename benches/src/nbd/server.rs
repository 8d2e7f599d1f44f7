//! A program that serves a disk of 64 MiB of memory at a socket, and fio in front of it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nook_tests::namespaces::{Running, run};
use serde_json::Value;
use tempfile::TempDir;

use super::{Load, Programs};
use crate::cpus::{self, Processors};
use crate::levels::{Level, PROCESS_POLLED};
use crate::processes;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server. Fields are dropped in this order.
pub(super) struct Server {
    process: Running,
    folder: TempDir,
    processors: Option<Processors>,
}

/// What a slice found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// Time over requests: what one takes of the whole, in nanoseconds.
    pub(super) ns: f64,
    /// CPU time of the server for each, in nanoseconds.
    pub(super) cpu_ns: f64,
}

impl Server {
    /// Starts `nook-run` with the NVMe driver on the calm model.
    pub(super) fn nook(programs: &Programs, level: &Level, options: &[&str]) -> Result<Self> {
        Self::start(*level != PROCESS_POLLED, |folder| {
            let mut command = Command::new(&programs.nook_run);
            command.arg(&programs.driver).args(["--calm", "--nbd", "unix:disk.sock", "--json", "report.json"]);
            command.args(level.options()).args(options).current_dir(folder);
            command
        })
        .with_context(|| format!("nook-run at level {}", level.name))
    }

    /// Starts nbdkit with its plugin `memory`.
    pub(super) fn nbdkit() -> Result<Self> {
        Self::start(true, |folder| {
            let mut command = Command::new("nbdkit");
            command.args(["--foreground", "--unix", "disk.sock", "memory", "64M"]).current_dir(folder);
            command
        })
        .context("nbdkit")
    }

    /// Starts one that listens at `disk.sock` in a folder, on its own processor if there are two and it needs no more.
    fn start(alone: bool, command: impl FnOnce(&std::path::Path) -> Command) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the socket")?;
        let log = fs::File::create(folder.path().join("log")).context("a file for the log")?;
        let mut process = Running::start(command(folder.path()).stdout(Stdio::null()).stderr(log))?;
        let begin = Instant::now();
        while UnixStream::connect(folder.path().join("disk.sock")).is_err() {
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            ensure!(process.is_alive(), "it ended: {}", log());
            ensure!(begin.elapsed() < PATIENCE, "it does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let processors = Processors::choose();
        if let Some(processors) = processors.filter(|_| alone) {
            cpus::keep_on(process.id(), processors.nook).context("choosing its processor")?;
        }
        Ok(Server { process, folder, processors })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Lets fio read, or write, at random.
    pub(super) fn slice(&self, load: &Load, length: Duration) -> Result<Slice> {
        let Load { write, bytes, depth, .. } = load;
        let mut fio = Command::new("fio");
        fio.args(["--name=slice", "--ioengine=nbd", "--size=64M", "--norandommap", "--time_based"]);
        fio.arg(format!("--uri=nbd+unix:///?socket={}", self.folder.path().join("disk.sock").display()));
        fio.arg(format!("--rw={}", if *write { "randwrite" } else { "randread" }));
        fio.arg(format!("--bs={bytes}")).arg(format!("--iodepth={depth}"));
        fio.arg(format!("--runtime={}ms", length.as_millis())).arg("--output-format=json");
        // On its standard output it says more than that.
        let said = self.folder.path().join("fio.json");
        fio.arg(format!("--output={}", said.display()));
        if let Some(processors) = self.processors {
            fio.arg(format!("--cpus_allowed={}", processors.near));
        }
        let before = processes::cpu_seconds(self.process.id())?;
        run(&mut fio).with_context(|| format!("where the server said: {}", self.log()))?;
        let cpu = processes::cpu_seconds(self.process.id())? - before;
        let told: Value = serde_json::from_slice(&fs::read(&said).context("fio left no report")?)
            .context("fio's report is not JSON")?;
        let done = &told["jobs"][0][if *write { "write" } else { "read" }];
        let [requests, ms] = ["total_ios", "runtime"].map(|key| done[key].as_f64().unwrap_or(0.0));
        if told["jobs"][0]["error"] != 0 || requests < 1.0 || ms < 1.0 {
            bail!("fio found errors, or did nothing: {told}");
        }
        Ok(Slice { ns: ms * 1e6 / requests, cpu_ns: cpu * 1e9 / requests })
    }

    /// Ends a `nook-run`, and returns its report.
    pub(super) fn end(self) -> Result<Value> {
        let Server { process, folder, .. } = self;
        drop(process);
        let path: PathBuf = folder.path().join("report.json");
        let report = fs::read(&path).with_context(|| {
            format!("it left no report: {}", fs::read_to_string(folder.path().join("log")).unwrap_or_default())
        })?;
        serde_json::from_slice(&report).context("its report is not JSON")
    }
}
