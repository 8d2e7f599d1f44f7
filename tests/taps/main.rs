//! `nook-taps`: TCP through TAP ⇄ driver ⇄ model ⇄ TAP between two network namespaces, beside a small forwarder between
//! two such interfaces, which is what this rig can carry at most. It takes root and iperf3.
//!
//! Each round runs every way once, so that what else the machine does strikes all of them. A way's figures are medians;
//! processor time is that of the process between the interfaces. `cargo xtask taps` builds what it needs and calls it.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use nook_net::{FarEnd, Tap};
use nook_net_api::Wire;
use nook_tests::namespaces::{Between, run, within};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

/// What this program is called with to be the forwarder, in the place of a driver.
const FORWARD: &str = "forward";

/// A build of `nook-run`, with its driver.
struct Build {
    nook_run: PathBuf,
    driver: PathBuf,
}

/// A way for frames from one interface to the other.
struct Way<'a> {
    name: String,
    /// What drives the card between them, and how; the forwarder has none.
    driven: Option<(&'a Build, &'static str, &'static str)>,
}

/// Returns all that is measured: the forwarder first, and another build, with a name, last.
fn ways<'a>(build: &'a Build, other: Option<&'a (String, Build)>) -> Vec<Way<'a>> {
    const SANDBOX: &str = "sfi+txn";
    let rows = [("sfi+txn", SANDBOX, ""), ("sfi+txn, by the host", SANDBOX, HOST)];
    let native = [("native", "native", ""), ("native, by the host", "native", HOST)];
    let ours = rows.into_iter().chain(native);
    let ours =
        ours.map(|(name, isolation, policy)| Way { name: name.into(), driven: Some((build, isolation, policy)) });
    let theirs =
        other.map(|(name, build)| Way { name: format!("sfi+txn of {name}"), driven: Some((build, SANDBOX, "")) });
    std::iter::once(Way { name: "forwarder".into(), driven: None }).chain(ours).chain(theirs).collect()
}

/// Has the host do what the device could.
const HOST: &str = "[net]\noffloads = \"host\"\nchecksums = \"host\"\n";

/// Of one stream: bits in a second, and seconds of processor time for each 10^9 bits.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu: f64,
}

fn build(nook_run: &str, driver: &str) -> Build {
    Build { nook_run: nook_run.into(), driver: driver.into() }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [FORWARD, "--tap", near, "--wire", far] => forward(near, far.trim_start_matches("tap:")),
        [seconds, rounds, nook_run, driver] => measure((seconds, rounds), &build(nook_run, driver), None),
        [seconds, rounds, nook_run, driver, name, other, its_driver] => {
            let other = (name.to_owned(), build(other, its_driver));
            measure((seconds, rounds), &build(nook_run, driver), Some(&other))
        }
        _ => Err(Error::other(
            "nook-taps SECONDS ROUNDS NOOK_RUN DRIVER [NAME NOOK_RUN DRIVER]; `cargo xtask taps` calls it",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nook-taps: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Carries frames between two interfaces until it is ended.
fn forward(near: &str, far: &str) -> Result<()> {
    let open = |name| Tap::cable(name, Arc::<FarEnd>::default()).map_err(Error::other);
    let (mut near, mut far) = (open(near)?, open(far)?);
    let mut frame = vec![0; 65536];
    loop {
        let mut fds = Vec::new();
        near.event_fds(&mut fds);
        far.event_fds(&mut fds);
        #[expect(unsafe_code, reason = "descriptors of interfaces that live longer")]
        // SAFETY: the descriptors belong to `near` and `far`, which are not closed before this program ends.
        let borrowed = fds.iter().map(|&fd| unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) });
        let borrowed: Vec<_> = borrowed.collect();
        let mut waits: Vec<_> = borrowed.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        poll(&mut waits, None)?;
        for _ in 0..256 {
            let out = near.recv(&mut frame)?;
            out.map(|len| far.send(&frame[..len])).transpose()?;
            let back = far.recv(&mut frame)?;
            back.map(|len| near.send(&frame[..len])).transpose()?;
            if out.is_none() && back.is_none() {
                break;
            }
        }
    }
}

/// Returns the processor time that a process has used, in seconds (proc(5), /proc/pid/stat).
fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after_name.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Without the name and the state, which are no numbers: fields 14 and 15, of which a tick is 10 ms on Linux.
    match fields.get(10..12) {
        Some([user, system]) => Ok((user + system) / 100.0),
        _ => Err(Error::other(format!("/proc/{id}/stat is not understood: {stat}"))),
    }
}

fn stream(between: &Between, seconds: &str, back: bool) -> Result<Figures> {
    let before = cpu_seconds(between.id())?;
    let direction: &[&str] = if back { &["-R"] } else { &[] };
    let report: Value = between.iperf3(&[&["-t", seconds], direction].concat())?;
    let received = &report["end"]["sum_received"];
    let (Some(rate), Some(bytes)) = (received["bits_per_second"].as_f64(), received["bytes"].as_f64()) else {
        return Err(Error::other(format!("iperf3's report has no rate: {received}")));
    };
    let cpu = (cpu_seconds(between.id())? - before) / (bytes * 8.0 / 1e9);
    Ok(Figures { rate, cpu })
}

fn start(way: &Way<'_>, folder: &Path) -> Result<Between> {
    let Some((Build { nook_run, driver }, isolation, policy)) = way.driven else {
        return Between::start(&std::env::current_exe()?, Path::new(FORWARD), |_| ());
    };
    let file: PathBuf = folder.join("policy.toml");
    std::fs::write(&file, format!("[bundles]\nkeep = 0\n{policy}"))?;
    Between::start(nook_run, driver, |command| {
        command.args(["--calm", "--isolation", isolation, "--policy"]).arg(&file);
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure((seconds, rounds): (&str, &str), build: &Build, other: Option<&(String, Build)>) -> Result<()> {
    let rounds: u32 = rounds.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(|| Error::other("no rounds"))?;
    let folder = tempfile::tempdir()?;
    let ways = ways(build, other);
    let mut figures: Vec<_> = ways.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for round in 1..=rounds {
        for (way, [out, back]) in ways.iter().zip(&mut figures) {
            eprintln!("round {round} of {rounds}: {}", way.name);
            let between = start(way, folder.path())?;
            out.push(stream(&between, seconds, false)?);
            back.push(stream(&between, seconds, true)?);
            // The interfaces go with the process, and their addresses with them.
            run(within(&between.names().near, "ip").args(["link", "show", "nook0"]))?;
        }
    }
    println!("| way | out, Mbit/s | back, Mbit/s | of the forwarder | CPU out, s/Gbit | CPU back, s/Gbit |");
    println!("|---|---|---|---|---|---|");
    let of = |figures: &[Figures], part: fn(&Figures) -> f64| median(figures.iter().map(part).collect());
    let [most_out, most_back] = [0, 1].map(|way| of(&figures[0][way], |figures| figures.rate));
    for (way, [out, back]) in ways.iter().zip(&figures) {
        let [out_rate, back_rate] = [out, back].map(|figures| of(figures, |figures| figures.rate));
        let [out_cpu, back_cpu] = [out, back].map(|figures| of(figures, |figures| figures.cpu));
        println!(
            "| {} | {:.0} | {:.0} | {:.2}, {:.2} | {out_cpu:.2} | {back_cpu:.2} |",
            way.name,
            out_rate / 1e6,
            back_rate / 1e6,
            out_rate / most_out,
            back_rate / most_back,
        );
    }
    Ok(())
}
