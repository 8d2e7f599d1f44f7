//! `cargo xtask false-alarms`: drivers that do nothing wrong, under the traffic of the suite and on quiet links, beside
//! three busy loops for each processor. Whatever is reported of them is a false alarm.

use crate::flaky::{Busy, mortal};
use crate::{cargo, drivers, existing, util};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For how long.
    pub minutes: u32,
    /// Busy loops beside the runs; three for each processor if nothing is said.
    pub load: Option<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { minutes: 60, load: None }
    }
}

/// A driver, and how `nook-run` runs it.
type Run = (&'static str, &'static [&'static str]);

/// One of each class, on the models and on devices of QEMU, at each level that is everywhere; and nothing to do.
const RUNS: [Run; 18] = [
    ("e1000", &["--exercise", "ping,tcp,rr"]),
    ("e1000", &["--duration", "20s"]),
    ("e1000", &["--exercise", "ping,tcp,rr", "--isolation", "sfi"]),
    ("e1000", &["--exercise", "ping,tcp,rr", "--isolation", "wrapped"]),
    ("e1000", &["--exercise", "ping,tcp,rr", "--isolation", "native"]),
    ("e1000", &["--exercise", "ping,tcp,rr", "--isolation", "process"]),
    ("e1000", &["--exercise", "ping,tcp,rr", "--qemu", "e1000"]),
    ("e1000", &["--duration", "20s", "--qemu", "e1000"]),
    ("e1000", &["--exercise", "ping,tcp,rr", "--qemu", "e1000e"]),
    ("virtio-net", &["--exercise", "ping,tcp,rr", "--qemu", "virtio-net-pci"]),
    ("nvme", &["--exercise", "write,read,verify,fsync"]),
    ("nvme", &["--exercise", "write,read,verify,fsync", "--isolation", "sfi"]),
    ("nvme", &["--exercise", "write,read,verify,fsync", "--isolation", "native"]),
    ("nvme", &["--duration", "20s"]),
    ("serial", &["--exercise", "loop", "--qemu", "pci-serial"]),
    ("edu", &["--call", "factorial:05000000", "--qemu", "edu"]),
    // Where they were built: `cargo xtask drivers --with dpdk`, `--with linux`.
    ("dpdk-e1000", &["--exercise", "ping,tcp,rr"]),
    ("linux-e1000", &["--exercise", "ping,tcp,rr"]),
];

/// Runs all of them in turn until the time is over. An error says how many ended with a report of a fault.
pub fn run(plan: Plan) -> Result<()> {
    drivers::build_all()?;
    let nook_run = cargo::binary("nook-run")?;
    let folder = util::target_dir().join("false-alarms");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let drivers = util::target_dir().join("drivers");
    let there: Vec<Run> =
        RUNS.into_iter().filter(|(name, _)| drivers.join(name).with_extension("wasm").exists()).collect();
    let load =
        plan.load.unwrap_or_else(|| 3 * std::thread::available_parallelism().map_or(1, |count| count.get() as u32));
    println!("{} runs in turn for {} min beside {load} busy loops", there.len(), plan.minutes);
    let _busy = Busy::start(load)?;
    let (begin, limit) = (Instant::now(), Duration::from_secs(60 * u64::from(plan.minutes)));
    let (mut runs, mut alarms) = (0, 0);
    while begin.elapsed() < limit {
        for &(name, options) in &there {
            if begin.elapsed() >= limit {
                break;
            }
            runs += 1;
            let module = drivers.join(name).with_extension("wasm");
            if let Some(why) = alarm(&nook_run, &module, options, &folder)? {
                alarms += 1;
                println!("{name} {}: {why}", options.join(" "));
            }
        }
    }
    println!("{alarms} false alarms in {runs} runs, {:.0} min", begin.elapsed().as_secs_f64() / 60.0);
    if alarms == 0 { Ok(()) } else { bail!("{alarms} false alarms in {runs} runs") }
}

/// Runs one. Says what was reported of it, if anything was.
fn alarm(nook_run: &Path, module: &Path, options: &[&str], folder: &Path) -> Result<Option<String>> {
    let report = folder.join("report.json");
    let _ = fs::remove_file(&report);
    let mut command = mortal(nook_run);
    command.arg(module).args(options).arg("--json").arg(&report).env("NOOK_STATE", folder.join("state"));
    let Output { status, stderr, .. } = captured(&mut command)?;
    let faults = existing::read(&report).map(|report| report["fault_count"].as_u64());
    Ok(match faults {
        Ok(Some(0)) if status.success() => None,
        faults => {
            let said = String::from_utf8_lossy(&stderr);
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            Some(format!("{status}, faults: {faults:?}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | ")))
        }
    })
}

fn captured(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("running {}", util::shown(command)))
}
