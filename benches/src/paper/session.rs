//! One run of `nook-run` between two namespaces.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nook_tests::namespaces::{Between, inside};
use serde_json::Value;
use tempfile::TempDir;

use super::flow::Flow;
use super::{Programs, requests};
use crate::cpus::{self, Processors};
use crate::levels::{Level, PROCESS_POLLED};

/// Where the answers come from.
const UDP_PORT: u16 = 7007;
/// Bytes of a message of the stream.
const MESSAGE: &str = "32K";

/// `nook-run` with both ends of its cable in the kernel. Fields are dropped in this order.
pub(super) struct Session {
    between: Between,
    folder: TempDir,
    /// Who runs where, if that was settled.
    processors: Option<Processors>,
}

impl Session {
    /// Starts it, and waits until the far end answers.
    pub(super) fn start(programs: &Programs, level: &Level, options: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the report")?;
        let log = fs::File::create(folder.path().join("log")).context("a file for nook-run's log")?;
        let between = Between::start(&programs.nook_run, &programs.driver, |command| {
            command.arg("--calm").args(level.options()).args(options);
            command.arg("--json").arg(folder.path().join("report.json")).stderr(log);
        });
        let between = between.with_context(|| told(folder.path()))?;
        Ok(Session { between, folder, processors: None })
    }

    /// Settles on which processor each program runs: nook-run alone on its own. Where there is one only, and for a
    /// driver that polls and needs a second one, the scheduler goes on deciding about nook-run.
    pub(super) fn settled(mut self, level: &Level) -> Result<Self> {
        self.processors = Processors::choose();
        if let Some(processors) = self.processors.filter(|_| *level != PROCESS_POLLED) {
            cpus::keep_on(self.between.id(), processors.nook).context("choosing nook-run's processor")?;
        }
        Ok(self)
    }

    /// Opens a connection for streams towards the far end.
    pub(super) fn connect(&self) -> Result<Flow> {
        Flow::connect(&self.between, self.processors)
    }

    /// Carries a stream of iperf3's out through the driver, as fast as it goes. Returns bits a second, as they arrived.
    pub(super) fn stream(&self, length: Duration) -> Result<f64> {
        self.iperf(length, &[])
    }

    /// Returns the same towards the driver, as fast as it goes.
    pub(super) fn stream_back(&self, length: Duration) -> Result<f64> {
        self.iperf(length, &["-R"])
    }

    fn iperf(&self, length: Duration, options: &[&str]) -> Result<f64> {
        let seconds = length.as_secs_f64().ceil().to_string();
        let told = self.between.iperf3(&[&["-l", MESSAGE, "-t", &seconds], options].concat())?;
        told["end"]["sum_received"]["bits_per_second"].as_f64().with_context(|| format!("iperf3: {told}"))
    }

    /// Requests and answers through the driver; the median and the 99th percentile, in µs.
    pub(super) fn requests(&self, length: Duration) -> Result<[f64; 2]> {
        let server = inside(&self.between.names().far, || UdpSocket::bind((Between::FAR, UDP_PORT)));
        let server = server.context("a socket for answers")?;
        let client = inside(&self.between.names().near, || {
            let client = UdpSocket::bind((Between::NEAR, 0))?;
            client.connect((Between::FAR, UDP_PORT))?;
            Ok(client)
        });
        let client = client.context("a socket for requests")?;
        requests::exchange(&client, &server, length, self.processors)
    }

    /// Returns the CPU time of nook-run until now, with the processes that it started.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let id = self.between.id();
        // Each thread has its own children.
        let of_thread = |thread: PathBuf| fs::read_to_string(thread.join("children")).unwrap_or_default();
        let children: Vec<String> = threads(&id.to_string())?.into_iter().map(of_thread).collect();
        // A child may end between the two looks; what it used is then lost to us.
        let children = children.iter().flat_map(|list| list.split_whitespace());
        let of_children: f64 = children.filter_map(|id| cpu_seconds(id).ok()).sum();
        Ok(cpu_seconds(&id.to_string())? + of_children)
    }

    /// Returns what nook-run has logged, for an error.
    pub(super) fn log(&self) -> String {
        told(self.folder.path())
    }

    /// Ends it and returns its report.
    pub(super) fn end(self) -> Result<Value> {
        let Session { between, folder, .. } = self;
        between.end();
        let report = fs::read(folder.path().join("report.json"));
        let report = report.with_context(|| format!("nook-run left no report: {}", told(folder.path())))?;
        serde_json::from_slice(&report).context("nook-run's report is not JSON")
    }
}

fn threads(id: &str) -> Result<Vec<PathBuf>> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).context("nook-run has ended")?;
    Ok(threads.flatten().map(|thread| thread.path()).collect())
}

/// Returns the time that the process's threads have run, to the nanosecond: a slice is as long as few of the ticks in
/// which `stat` counts. A thread that has ended is not in it; those of nook-run end with it.
fn cpu_seconds(id: &str) -> Result<f64> {
    let of_thread = |thread: PathBuf| {
        let file = thread.join("schedstat");
        // One that ends meanwhile is gone.
        let Ok(text) = fs::read_to_string(&file) else { return Ok(0.0) };
        let ns = text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
        Ok(ns.with_context(|| format!("{} has no time: {text}", file.display()))? as f64 / 1e9)
    };
    let seconds: f64 = threads(id)?.into_iter().map(of_thread).sum::<Result<f64>>()?;
    ensure!(seconds > 0.0, "the kernel does not say how long process {id} has run (CONFIG_SCHED_INFO)");
    Ok(seconds)
}

/// Returns what nook-run has logged.
fn told(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Returns whether a program can be started at all.
pub(super) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
