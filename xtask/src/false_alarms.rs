//! `cargo xtask false-alarms`: drivers that do nothing wrong, under the traffic of the suite and on quiet links, beside
//! three busy loops for each processor. Whatever is reported of them is a false alarm. That an exercise does not
//! complete is none: a ping may take longer than its second there.

use crate::flaky::{Busy, mortal};
use crate::{cargo, drivers, existing, util};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Output;
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
    let (mut runs, mut alarms, mut incomplete) = (0, 0, 0);
    while begin.elapsed() < limit {
        for &(name, options) in &there {
            if begin.elapsed() >= limit {
                break;
            }
            runs += 1;
            let module = drivers.join(name).with_extension("wasm");
            let (ended, why) = run_once(&nook_run, &module, options, &folder)?;
            match ended {
                Ended::Well => continue,
                Ended::Incomplete => incomplete += 1,
                Ended::Alarm => alarms += 1,
            }
            println!("{name} {}: {why}", options.join(" "));
        }
    }
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    println!("{alarms} false alarms in {runs} runs, {minutes:.0} min; {incomplete} exercises did not complete");
    if alarms == 0 { Ok(()) } else { bail!("{alarms} false alarms in {runs} runs") }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Without a word.
    Well,
    /// Without a report of a fault, and its exercise did not complete.
    Incomplete,
    /// With a report of a fault, or before it began.
    Alarm,
}

impl Ended {
    /// What `nook-run` ends with when an exercise does not complete.
    const INCOMPLETE: i32 = 3;

    /// With these faults in its report, if it wrote one.
    fn with(status: Option<i32>, faults: Option<u64>) -> Ended {
        match (status, faults) {
            (Some(0), Some(0)) => Ended::Well,
            (Some(Ended::INCOMPLETE), Some(0)) => Ended::Incomplete,
            _ => Ended::Alarm,
        }
    }
}

/// Runs one. Says how it ended, and with which words.
fn run_once(nook_run: &Path, module: &Path, options: &[&str], folder: &Path) -> Result<(Ended, String)> {
    let report = folder.join("report.json");
    let _ = fs::remove_file(&report);
    let mut command = mortal(nook_run);
    command.arg(module).args(options).arg("--json").arg(&report).env("NOOK_STATE", folder.join("state"));
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("running {}", util::shown(&command)))?;
    let faults = existing::read(&report).ok().and_then(|report| report["fault_count"].as_u64());
    let said = faults.map_or("no report".to_owned(), |count| format!("{count} faults"));
    // What an exercise came to, and the log.
    let words = format!("{status}, {said}: {} | {}", last_lines(&stdout), last_lines(&stderr));
    Ok((Ended::with(status.code(), faults), words))
}

fn last_lines(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_fault_is_an_alarm_however_the_run_ends_and_an_exercise_that_is_too_slow_is_none() {
        assert_eq!(Ended::with(Some(0), Some(0)), Ended::Well);
        assert_eq!(Ended::with(Some(3), Some(0)), Ended::Incomplete);
        for (status, faults) in
            [(Some(0), Some(1)), (Some(3), Some(2)), (Some(4), Some(0)), (None, Some(0)), (Some(0), None)]
        {
            assert_eq!(Ended::with(status, faults), Ended::Alarm, "{status:?}, {faults:?}");
        }
    }

    #[test]
    fn of_what_was_said_the_end_is_kept() {
        assert_eq!(last_lines(b"a\nb\n"), "a | b");
        assert_eq!(last_lines(b"1\n2\n3\n4\n5\n6\n7"), "2 | 3 | 4 | 5 | 6 | 7");
    }
}
