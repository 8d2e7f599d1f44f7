//! One run of `nook-run` between two namespaces.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::Programs;
use super::namespaces::{Namespaces, inside, ip, run, within};
use super::requests;
use crate::levels::Level;

const NEAR: &str = "10.99.0.1";
const FAR: &str = "10.99.0.2";
/// Where the answers come from.
const UDP_PORT: u16 = 7007;
/// iperf3's port, as /proc/net/tcp6 writes it.
const IPERF_PORT: &str = ":1451 ";
/// Bytes of a message of the stream.
const MESSAGE: &str = "32K";
const PATIENCE: Duration = Duration::from_secs(30);

/// A child that is asked to end with the value.
struct Running(Child);

impl Running {
    fn interrupt(&mut self) {
        // SAFETY: a plain system call; the child was not waited for yet, so the number is still its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.interrupt();
        }
    }
}

/// `nook-run` with both ends of its cable in the kernel. Fields are dropped in this order.
pub(super) struct Session {
    server: Running,
    nook: Running,
    folder: TempDir,
    names: Namespaces,
}

impl Session {
    /// Starts it, and waits until the far end answers.
    pub(super) fn start(programs: &Programs, level: &Level, options: &[&str]) -> Result<Self> {
        let names = Namespaces::new()?;
        let folder = tempfile::tempdir().context("a folder for the report")?;
        let mut command = within(&names.near, path(&programs.nook_run)?);
        command.arg(&programs.driver).args(["--tap", "nook0", "--wire", "tap:nook1", "--calm"]);
        command.args(level.options()).args(options).arg("--json").arg(folder.path().join("report.json"));
        let log = fs::File::create(folder.path().join("log")).context("a file for nook-run's log")?;
        let spawned = command.stdout(Stdio::null()).stderr(log).spawn();
        let mut nook = Running(spawned.context("cannot start nook-run")?);
        let there =
            |name| within(&names.near, "ip").args(["link", "show", name]).output().is_ok_and(|it| it.status.success());
        wait_until("nook-run makes its interfaces", &mut nook, folder.path(), || there("nook0") && there("nook1"))?;
        ip(&["-n", &names.near, "link", "set", "nook1", "netns", &names.far])?;
        for (namespace, name, address) in [(&names.near, "nook0", NEAR), (&names.far, "nook1", FAR)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", name])?;
            ip(&["-n", namespace, "link", "set", name, "up"])?;
        }
        wait_until("the far end answers", &mut nook, folder.path(), || {
            let mut ping = within(&names.near, "ping");
            ping.args(["-c", "1", "-W", "1", FAR]).output().is_ok_and(|it| it.status.success())
        })?;
        let mut server = within(&names.far, "iperf3");
        let spawned = server.arg("-s").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Running(spawned.context("cannot start iperf3: is it installed?")?);
        wait_until("iperf3 listens", &mut nook, folder.path(), || {
            let listening = run(within(&names.far, "cat").arg("/proc/net/tcp6"));
            listening.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(IPERF_PORT))
        })?;
        Ok(Session { server, nook, folder, names })
    }

    /// A stream out through the driver, as fast as it goes or at a rate. Returns bits a second, as they arrived.
    pub(super) fn stream(&self, length: Duration, bits_per_second: Option<f64>) -> Result<f64> {
        let mut client = within(&self.names.near, "iperf3");
        client.args(["-c", FAR, "-J", "-l", MESSAGE, "-t", &length.as_secs_f64().ceil().to_string()]);
        if let Some(rate) = bits_per_second {
            client.args(["-b", &format!("{rate:.0}")]);
        }
        let output = run(&mut client)?;
        let told: Value = serde_json::from_slice(&output.stdout).context("iperf3 printed what is not JSON")?;
        told["end"]["sum_received"]["bits_per_second"].as_f64().with_context(|| format!("iperf3: {told}"))
    }

    /// Requests and answers through the driver; the median and the 99th percentile, in µs.
    pub(super) fn requests(&self, length: Duration) -> Result<[f64; 2]> {
        let server = inside(&self.names.far, || UdpSocket::bind((FAR, UDP_PORT)).context("a socket for answers"))?;
        let client = inside(&self.names.near, || {
            let client = UdpSocket::bind((NEAR, 0)).context("a socket for requests")?;
            client.connect((FAR, UDP_PORT)).context("connecting it")?;
            Ok(client)
        })?;
        requests::exchange(&client, &server, length)
    }

    /// User and system time of nook-run until now, with the processes that it started.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let id = self.nook.0.id();
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
    pub(super) fn end(mut self) -> Result<Value> {
        self.server.interrupt();
        self.nook.interrupt();
        let told = fs::read(self.folder.path().join("report.json"));
        let told = told.with_context(|| format!("nook-run left no report: {}", log(self.folder.path())))?;
        serde_json::from_slice(&told).context("nook-run's report is not JSON")
    }
}

/// Fields 14 and 15 of proc_pid_stat(5), which count from 1; the second one is a name that may hold anything.
fn cpu_seconds(id: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("nook-run has ended")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    // SAFETY: no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks / per_second as f64)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn wait_until(what: &str, nook: &mut Running, folder: &Path, mut done: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !done() {
        if nook.0.try_wait().context("looking after nook-run")?.is_some() || begin.elapsed() > PATIENCE {
            bail!("waiting until {what}: {}", log(folder));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether a program can be started at all.
pub(super) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
