//! `nook-disk-crashes`: campaigns against the disk's driver, with as many crashes and power cuts as are asked for
//! (`cargo xtask disk-crashes` calls it). It is test equipment; what is tried is in `tests/src/disk_crashes`.

use std::fs::File;
use std::io::{Error, Result, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use nook_tests::disk_crashes::{
    Campaign, Device, How, Outcome, PowerOutcome, Programs, Times, Workload, controller_resets_ns, power_cuts, run,
};
use serde::Serialize;

const USAGE: &str = "\
usage: nook-disk-crashes --nook-run FILE --driver FILE [options]
  --crashes N                     crashes of each campaign, with requests under way, and power cuts (1000)
  --device model|qemu             only on this device
  --how rollback|restart|kill     only recovered in this way; kill: the driver is in a process, which is killed
  --workload checker|fio|ext4|power
                                  only under this load; ext4 takes root; power: power cuts of QEMU's disk
  --json FILE                     writes the table there, too";

/// How often a controller is reset for comparison.
const RESETS: usize = 20;

#[derive(Default)]
struct Args {
    nook_run: PathBuf,
    driver: PathBuf,
    crashes: u64,
    device: Option<String>,
    how: Option<String>,
    workload: Option<String>,
    json: Option<PathBuf>,
}

/// What a controller needs for a reset without a driver.
#[derive(Serialize)]
struct Reset {
    device: Device,
    #[serde(flatten)]
    times: Times,
}

#[derive(Default, Serialize)]
struct Report {
    resets: Vec<Reset>,
    campaigns: Vec<Outcome>,
    power_cuts: Vec<PowerOutcome>,
    /// Campaigns that could not be run to their end.
    broken: Vec<String>,
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(what) => {
            eprintln!("nook-disk-crashes: {what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match play(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nook-disk-crashes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> std::result::Result<Args, String> {
    let mut args = Args { crashes: 1000, ..Args::default() };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} is no option, or needs a value"))?;
        let one_of = |names: &[&str]| match names.contains(&&*value) {
            true => Ok(Some(value.clone())),
            false => Err(format!("{word} is one of {}, not `{value}`", names.join(", "))),
        };
        match &*word {
            "--nook-run" => args.nook_run = absolute(&value)?,
            "--driver" => args.driver = absolute(&value)?,
            "--crashes" => {
                let number = value.parse().ok().filter(|number| *number > 0);
                args.crashes = number.ok_or_else(|| format!("--crashes needs a number from 1, not `{value}`"))?;
            }
            "--device" => args.device = one_of(&["model", "qemu"])?,
            "--how" => args.how = one_of(&["rollback", "restart", "kill"])?,
            "--workload" => args.workload = one_of(&["checker", "fio", "ext4", "power"])?,
            "--json" => args.json = Some(value.into()),
            _ => return Err(format!("there is no option {word}")),
        }
    }
    match [&args.nook_run, &args.driver].iter().any(|path| path.as_os_str().is_empty()) {
        true => Err("--nook-run and --driver have to be given".into()),
        false => Ok(args),
    }
}

/// Programs run in another folder.
fn absolute(path: &str) -> std::result::Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{path}: {error}"))
}

impl Args {
    fn wants(&self, device: &str, how: &str, workload: &str) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
        is(&self.device, device) && is(&self.how, how) && is(&self.workload, workload)
    }
}

/// Returns whether everything was as it has to be.
fn play(args: &Args) -> Result<bool> {
    // That it cannot be written is reported before, and what an earlier run left does not pass for this one's.
    let json = args.json.as_ref().map(File::create).transpose()?;
    let campaigns: Vec<Campaign> = Campaign::all()
        .filter(|it| args.wants(device_name(it.device), how_name(it.how), workload_name(it.workload)))
        .collect();
    let power: Vec<How> = How::ALL.into_iter().filter(|how| args.wants("qemu", how_name(*how), "power")).collect();
    if campaigns.is_empty() && power.is_empty() {
        return Err(Error::other("there is no such campaign: power cuts are QEMU's"));
    }
    let report = report(args, &campaigns, &power)?;
    if let Some(mut json) = json {
        json.write_all((serde_json::to_string_pretty(&report)? + "\n").as_bytes())?;
    }
    Ok(report.broken.is_empty()
        && report.campaigns.iter().all(Outcome::is_good)
        && report.power_cuts.iter().all(PowerOutcome::is_good))
}

fn report(args: &Args, campaigns: &[Campaign], power: &[How]) -> Result<Report> {
    let mut report = Report::default();
    let programs = Programs { nook_run: &args.nook_run, driver: &args.driver };
    for device in [Device::Model, Device::Qemu] {
        if campaigns.iter().any(|it| it.device == device) {
            let resets = controller_resets_ns(device, RESETS)?;
            let times = Times { p50_ns: resets[resets.len() / 2], max_ns: resets[resets.len() - 1] };
            println!("a reset of the controller, {}: {}", device_name(device), told(times));
            report.resets.push(Reset { device, times });
        }
    }
    if !campaigns.is_empty() {
        println!("device how      load     crashes at work   requests  errors  lost wrong mixed   rounds  downtime");
    }
    for campaign in campaigns {
        match run(programs, *campaign, args.crashes) {
            Ok(outcome) => {
                println!("{}", line(&outcome));
                outcome.failures.iter().for_each(|failure| println!("    {failure}"));
                report.campaigns.push(outcome);
            }
            Err(error) => {
                println!("{campaign:?}: {error}");
                report.broken.push(format!("{campaign:?}: {error}"));
            }
        }
    }
    for how in power {
        let outcome = power_cuts(programs, *how, args.crashes)?;
        println!(
            "qemu   {:8} power    {} cuts among {} writes and {} flushes, {} crashes, {} requests, {} errors; {} \
             blocks judged: {} lost, {} wrong; {} of what was not durable",
            how_name(*how),
            outcome.cuts,
            outcome.logged_writes,
            outcome.logged_flushes,
            outcome.crashes,
            outcome.requests,
            outcome.errors,
            outcome.judged,
            outcome.lost,
            outcome.wrong,
            outcome.not_durable
        );
        outcome.failures.iter().for_each(|failure| println!("    {failure}"));
        report.power_cuts.push(outcome);
    }
    Ok(report)
}

fn line(outcome: &Outcome) -> String {
    let Outcome { campaign, crashes, at_work, requests, errors, host_errors, lost, wrong, mixed, rounds, .. } = outcome;
    let bridge = match outcome.bridge_ended {
        0 => String::new(),
        times => format!("; nbdfuse ended {times} times"),
    };
    let downtime = [("rollback", outcome.rollback, outcome.rollbacks), ("restart", outcome.restart, outcome.restarts)];
    let downtime = downtime.iter().filter(|(.., count)| *count > 0);
    let downtime: Vec<_> = downtime.map(|(name, times, _)| format!("{name} {}", told(*times))).collect();
    format!(
        "{:6} {:8} {:8} {crashes:7} {at_work:7} {requests:10} {:7} {lost:5} {wrong:5} {mixed:5} {rounds:8}  {}{bridge}",
        device_name(campaign.device),
        how_name(campaign.how),
        workload_name(campaign.workload),
        errors + host_errors,
        downtime.join(", ")
    )
}

fn told(times: Times) -> String {
    let us = |ns: u64| ns as f64 / 1e3;
    format!("{:.1} us (median), {:.1} us (worst)", us(times.p50_ns), us(times.max_ns))
}

fn device_name(device: Device) -> &'static str {
    match device {
        Device::Model => "model",
        Device::Qemu => "qemu",
    }
}

fn how_name(how: How) -> &'static str {
    match how {
        How::Rollback => "rollback",
        How::Restart => "restart",
        How::Kill => "kill",
    }
}

fn workload_name(workload: Workload) -> &'static str {
    match workload {
        Workload::Checker => "checker",
        Workload::Fio => "fio",
        Workload::Ext4 => "ext4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> std::result::Result<Args, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_word_that_is_not_understood_is_named() {
        let both = "--nook-run a --driver b";
        assert!(parsed(both).is_ok_and(|args| args.crashes == 1000 && args.wants("qemu", "kill", "power")));
        let args = parsed(&format!("{both} --crashes 5 --device model --how restart --workload fio")).unwrap();
        assert!(args.crashes == 5 && args.wants("model", "restart", "fio") && !args.wants("model", "restart", "ext4"));
        for (line, word) in [
            ("", "--nook-run"),
            ("--nook-run a --driver b --crashes 0", "`0`"),
            ("--nook-run a --driver b --device cloud", "model, qemu"),
            ("--nook-run a --driver b --how", "--how"),
            ("--frob 1", "--frob"),
        ] {
            let what = parsed(line).err().unwrap_or_default();
            assert!(what.contains(word), "{line}: {what}");
        }
    }
}
