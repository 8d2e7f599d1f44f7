//! One run of `nook-run` between two namespaces.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nook_tests::namespaces::{Between, inside};
use serde_json::Value;
use tempfile::TempDir;

use super::Programs;
use super::requests;
use crate::levels::Level;

/// Where the answers come from.
const UDP_PORT: u16 = 7007;
/// Bytes of a message of the stream.
const MESSAGE: &str = "32K";

/// `nook-run` with both ends of its cable in the kernel. Fields are dropped in this order.
pub(super) struct Session {
    between: Between,
    folder: TempDir,
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
        Ok(Session { between, folder })
    }

    /// Returns a stream out through the driver, as fast as it goes or at a rate. Returns bits a second, as they
    /// arrived.
    pub(super) fn stream(&self, length: Duration, bits_per_second: Option<f64>) -> Result<f64> {
        let rate = bits_per_second.map(|rate| format!("{rate:.0}"));
        self.iperf(length, &rate.iter().flat_map(|rate| ["-b", rate]).collect::<Vec<_>>())
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
        requests::exchange(&client, &server, length)
    }

    /// User and system time of nook-run until now, with the processes that it started.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let id = self.between.id();
        // Each thread has its own.
        let threads = fs::read_dir(format!("/proc/{id}/task")).context("nook-run has ended")?;
        let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let children: Vec<String> = threads.flatten().map(of_thread).collect();
        // A child may end between the two looks; what it used is then lost to us.
        let children = children.iter().flat_map(|list| list.split_whitespace());
        let of_children: f64 = children.filter_map(|id| cpu_seconds(id).ok()).sum();
        Ok(cpu_seconds(&id.to_string())? + of_children)
    }

    /// Ends it and returns its report.
    pub(super) fn end(self) -> Result<Value> {
        let Session { between, folder } = self;
        between.end();
        let report = fs::read(folder.path().join("report.json"));
        let report = report.with_context(|| format!("nook-run left no report: {}", told(folder.path())))?;
        serde_json::from_slice(&report).context("nook-run's report is not JSON")
    }
}

/// Fields 14 and 15 of proc_pid_stat(5), which count from 1; the second one is a name that may hold anything.
fn cpu_seconds(id: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("nook-run has ended")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Returns what nook-run has logged.
fn told(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Returns whether a program can be started at all.
pub(super) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
