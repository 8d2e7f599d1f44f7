//! One run of `nook-run` between two namespaces.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nook_tests::namespaces::{Between, Namespaces, inside};
use serde_json::Value;
use tempfile::TempDir;

use super::flow::Flow;
use super::{Programs, requests};
use crate::cpus::{self, Processors};
use crate::levels::{Level, PROCESS_POLLED};
use crate::processes;

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

    /// Returns the namespaces.
    pub(super) fn names(&self) -> &Namespaces {
        self.between.names()
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
        processes::cpu_seconds(self.between.id())
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

/// Returns what nook-run has logged.
fn told(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
