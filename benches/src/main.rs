//! `nook-bench`: measures, and writes the report. `cargo xtask bench` builds what it needs and runs it.
#![deny(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nook_benches::against::{self, Builds};
use nook_benches::paper::{self, Plan, Programs, existing};
use nook_benches::{
    Extent, Machine, OF_DISKS, Report, compare, docs, measure, measure_suites, names, nbd, overview, page, tables,
};

/// Measures what each isolation level costs, all levels in turn, and writes index.html and report.json.
#[derive(Debug, Parser)]
#[command(name = "nook-bench", after_help = "Exit status: 0 done, 1 failed or, with --compare, something got slower.")]
struct Args {
    /// Measures longer, makes the paper's experiment, which needs root, and measures a disk through NBD.
    #[arg(long)]
    full: bool,

    /// Makes the paper's experiment, which needs root, and nothing else unless --full is there too.
    #[arg(long)]
    paper: bool,

    /// Offers more datagrams than the interface can carry, which needs root, and nothing else unless --full or --paper
    /// is there too, which do so as well.
    #[arg(long)]
    overload: bool,

    /// Measures disks, also through NBD, which needs fio and nbdkit; and nothing else unless --full or --paper is there
    /// too.
    #[arg(long)]
    disks: bool,

    /// Measures this suite alone; may be repeated. Nothing else unless --paper or --disks is there too.
    #[arg(long, value_name = "SUITE", value_parser = clap::builder::PossibleValuesParser::new(names()), conflicts_with = "full")]
    suite: Vec<String>,

    /// Measures DPDK's driver of the e1000 beside our own, which needs root, and nothing else; prints the tables.
    #[arg(long, conflicts_with_all = ["full", "paper", "disks", "overload", "suite", "compare"])]
    existing: bool,

    /// Runs the driver's calls of this build and of REV's in turn, and compares them; nothing else unless --full or
    /// --paper is there too. `cargo xtask bench --against REV` builds REV, or takes a folder with a checkout of it.
    #[arg(long, value_name = "REV", requires = "slice", conflicts_with = "existing")]
    against: Option<String>,

    /// That build's `nook-slice`; `cargo xtask bench` says it.
    #[arg(long, value_name = "PROGRAM")]
    slice: Option<PathBuf>,

    /// Adds what is measured to this earlier report of the same machine, in place of what it had under the same names.
    #[arg(long, value_name = "REPORT.json", conflicts_with_all = ["full", "existing"])]
    onto: Option<PathBuf>,

    /// Makes few rounds of the paper's experiment, of --disks and of --against: to see that everything works, not how
    /// fast it is.
    #[arg(long)]
    short: bool,

    /// Where the report goes.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench-report")]
    out: PathBuf,

    /// Prints what got slower since this report, beyond the spread, and fails if anything did.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,

    /// Writes the tables into this document, between its marks.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/performance.md")]
    update_docs: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(slower) if slower.is_empty() => ExitCode::SUCCESS,
        Ok(slower) => {
            println!("slower:\n{}", slower.join("\n"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("nook-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Vec<String>> {
    // What cannot be read is reported before minutes of measuring.
    let old = args.compare.as_deref().map(read).transpose()?;
    let document = args.update_docs.as_deref().map(|path| Ok::<_, anyhow::Error>((path, text(path)?))).transpose()?;
    let onto = args.onto.as_deref().map(of_this_machine).transpose()?;
    let begin = Instant::now();
    let extent = if args.full { Extent::Full } else { Extent::Quick };
    let tell = |what: &str| eprintln!("{:5.1} s: {what}", begin.elapsed().as_secs_f64());
    let alone = |extent: &str| Report { extent: extent.into(), machine: Machine::this(), ..Report::default() };
    let part = if args.against.is_some() {
        "against"
    } else if args.disks {
        "disks"
    } else if !args.suite.is_empty() {
        "partial"
    } else {
        "paper"
    };
    let is_partial = args.paper
        || args.disks
        || args.overload
        || !args.suite.is_empty()
        || args.against.is_some()
        || args.onto.is_some();
    let everything = args.full || !is_partial;
    let mut report = match (args.existing, onto) {
        (true, _) => alone(tables::EXISTING),
        (_, Some(earlier)) => earlier,
        _ if everything => measure(extent, tell),
        _ => alone(part),
    };
    if args.existing {
        existing(&mut report, tell)?;
    }
    if let Some(name) = &args.against {
        let other = args.slice.clone().context("--against needs --slice")?;
        let builds = Builds { own: beside("nook-slice")?, other, name: name.clone() };
        tell(&format!("this build and {name}'s in turn"));
        let limits = if args.short { against::Limits::short() } else { against::Limits::default() };
        against::measure(&mut report, &builds, limits, tell)?;
    }
    if args.full || args.paper {
        report.left_out.retain(|what| !what.starts_with(paper::NAME));
        experiment(&mut report, args.short, tell)?;
    } else if everything && !args.existing {
        report.left_out.push(format!("{}: it is part of --full, and --paper makes it alone", paper::NAME));
    }
    if args.overload && !(args.full || args.paper) {
        report.left_out.retain(|what| !what.starts_with(paper::overload::NAME));
        let programs = programs()?;
        match paper::obstacle(&programs) {
            Some(why) => report.left_out.push(format!("{}: as {why}", paper::overload::NAME)),
            None => overload(&mut report, &programs, &plan(args.short), &tell),
        }
    }
    let of_disks = if args.disks && !everything { OF_DISKS } else { &[] };
    let suites: Vec<&str> = args.suite.iter().map(String::as_str).chain(of_disks.iter().copied()).collect();
    measure_suites(&mut report, extent, &suites, tell);
    if args.full || args.disks {
        report.left_out.retain(|what| !what.starts_with(nbd::NAME));
        through_nbd(&mut report, args.short, tell)?;
    } else if everything && !args.existing {
        report.left_out.push(format!("{}: it is part of --full, and of --disks", nbd::NAME));
    }
    report.duration_ns = begin.elapsed().as_nanos() as u64;
    write(&report, &args.out)?;
    for what in &report.left_out {
        println!("left out: {what}");
    }
    println!("{}/index.html and report.json, in {:.0} s", args.out.display(), report.duration_ns as f64 / 1e9);
    if let Some((path, document)) = document {
        let Some(document) = docs::updated(&document, &report) else {
            bail!("{} has no marks between which the tables could go", path.display())
        };
        fs::write(path, document).with_context(|| format!("writing {}", path.display()))?;
        if let Some(picture) = overview::drawn(&report).map_err(|error| anyhow::anyhow!("drawing: {error}"))? {
            let path = path.with_file_name(docs::PICTURE);
            fs::write(&path, picture).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    let Some(old) = old else { return Ok(Vec::new()) };
    let slower = compare::slower(&old, &report);
    if slower.is_empty() {
        println!("nothing got slower beyond the spread");
    }
    Ok(slower)
}

/// DPDK's driver beside our own.
fn existing(report: &mut Report, tell: impl Fn(&str)) -> Result<()> {
    let programs = programs()?;
    if let Some(why) = paper::obstacle(&programs) {
        bail!("existing drivers are measured as in the paper's experiment, which cannot be made here: {why}");
    }
    existing::measure(report, &programs, &nook_tests::driver_file("dpdk-e1000"), tell)?;
    tables::of(report).iter().for_each(|table| println!("{}", table.markdown()));
    Ok(())
}

fn programs() -> Result<Programs> {
    let nook_run = std::env::var_os("NOOK_RUN").map(PathBuf::from);
    let nook_run = nook_run.map_or_else(|| beside("nook-run"), Ok)?;
    Ok(Programs { nook_run, driver: nook_tests::driver_file("e1000") })
}

/// Returns where a program lies that was built together with this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().with_context(|| format!("looking for {name}"))?;
    Ok(own.with_file_name(name))
}

/// Reads a report to which what this machine finds can be added.
fn of_this_machine(path: &Path) -> Result<Report> {
    let report = read(path)?;
    let here = Machine::this();
    let (found, expected) = ((&report.machine.cpu, &report.machine.kernel), (&here.cpu, &here.kernel));
    if found != expected {
        bail!("{} was made on another machine or kernel: {}", path.display(), report.machine.describe());
    }
    Ok(report)
}

fn plan(short: bool) -> Plan {
    if short { Plan::short() } else { Plan::default() }
}

/// Makes the paper's experiment, if it can be made here.
fn experiment(report: &mut Report, short: bool, tell: impl Fn(&str)) -> Result<()> {
    let programs = programs()?;
    if let Some(why) = paper::obstacle(&programs) {
        report.left_out.push(why);
        return Ok(());
    }
    tell("the paper's experiment");
    let plan = plan(short);
    // What was measured until then stays.
    if let Err(error) = paper::measure(report, &programs, &plan, &tell) {
        report.left_out.push(format!("{}: {error:#}", paper::NAME));
    }
    overload(report, &programs, &plan, &tell);
    tell("streams while the driver crashes");
    if let Err(error) = paper::crashes(report, &programs, &plan, &tell) {
        report.left_out.push(format!("{}: streams while the driver crashes: {error:#}", paper::NAME));
    }
    Ok(())
}

/// More than the interface can carry; what was measured until then stays.
fn overload(report: &mut Report, programs: &Programs, plan: &Plan, tell: &impl Fn(&str)) {
    tell("more datagrams than can be carried");
    if let Err(error) = paper::overload(report, programs, plan, tell) {
        report.left_out.push(format!("{}: {error:#}", paper::overload::NAME));
    }
}

/// A disk through NBD, if it can be measured here.
fn through_nbd(report: &mut Report, short: bool, tell: impl Fn(&str)) -> Result<()> {
    let programs = Programs { driver: nook_tests::driver_file("nvme"), ..programs()? };
    if let Some(why) = nbd::obstacle(&programs) {
        report.left_out.push(why);
        return Ok(());
    }
    tell("a disk through NBD");
    let plan = if short { nbd::Plan::short() } else { nbd::Plan::default() };
    // What was measured until then stays.
    let measured = nbd::measure(report, &programs, &plan, &tell);
    if let Err(error) = measured.and_then(|()| nbd::crashes(report, &programs, &plan, &tell)) {
        report.left_out.push(format!("{}: {error:#}", nbd::NAME));
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn read(path: &Path) -> Result<Report> {
    serde_json::from_str(&text(path)?).with_context(|| format!("{} is not a report of this program", path.display()))
}

fn write(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let page = page::of(report).map_err(|error| anyhow::anyhow!("drawing: {error}"))?;
    for (name, content) in [("report.json", serde_json::to_string_pretty(report)? + "\n"), ("index.html", page)] {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
