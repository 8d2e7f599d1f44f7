//! `cargo xtask test`: every check and test, one after the other, with the ten slowest parts at the end.
//!
//! A part that fails does not keep the others from running. Tests that need root (they make network namespaces) are
//! marked `#[ignore = "needs root"]`: root runs them. For anyone else, and for root in a container that forbids
//! namespaces, the summary lists which were left out.
//!
//! The parts select the same packages with the same features in the same profile wherever they can, so that the wasm
//! engine is compiled once for all of them and checked once for clippy and rustdoc. The demo alone has another.
//!
//! Tests wait for much of their time, and compiling never does: what is compiled and checked only goes on beside the
//! tests ([`beside`]).

mod beside;

use crate::cargo::WORKSPACE;
use crate::{cargo, demo, dpdk, drivers, guest, linux, setup, tidy, util, virtio};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// One step of the tests.
pub struct Part {
    /// What `--only` calls it.
    pub name: &'static str,
    /// Parts that must have run before, when it is run alone.
    needs: &'static [&'static str],
    /// Whether it runs beside the tests, when all parts are run.
    beside: bool,
    run: fn(&mut Report) -> Result<()>,
}

/// The parts, in the order in which they run: the quick ones first. Those beside the tests begin with them; the demo is
/// the first of them, since what compiles it can go on while the tests are compiled, and the others' cannot.
pub const PARTS: &[Part] = &[
    part("setup", &[], |_| setup::full()),
    part("fmt", &[], |_| cargo_run(&["fmt", "--all", "--check"])),
    part("tidy", &[], |_| tidy::run()),
    part("xtask", &[], |_| cargo_run(&["test", "--package", "xtask", "--profile", "xtask"])),
    part("drivers", &[], |_| drivers::build_all().map(|_| ())),
    part("build", &[], |_| cargo_run(&[&["build"], WORKSPACE].concat())),
    beside_tests("demo", |_| demo::test()),
    beside_tests("clippy", |_| cargo_run(CLIPPY).and_then(|()| drivers::lint())),
    beside_tests("rustdoc", |_| run_rustdoc()),
    beside_tests("doc", |_| cargo_run(&[&["test", "--doc"], WORKSPACE].concat())),
    // Compiled only: what they measure is for a quiet machine.
    beside_tests("benches", |_| cargo_run(BENCHES)),
    part("test", &["setup", "drivers"], run_tests),
    part("virtio", &["setup", "drivers"], |_| virtio::test()),
    part("existing", &["setup", "drivers"], |_| dpdk::test().and_then(|()| linux::test())),
    part("guest", &["setup", "drivers"], |_| guest::run(&[])),
];

const fn part(name: &'static str, needs: &'static [&'static str], run: fn(&mut Report) -> Result<()>) -> Part {
    Part { name, needs, beside: false, run }
}

const fn beside_tests(name: &'static str, run: fn(&mut Report) -> Result<()>) -> Part {
    Part { name, needs: &[], beside: true, run }
}

const CLIPPY: &[&str] = &["clippy", "--release", "--workspace", "--all-targets", "--test", "*", "--", "-D", "warnings"];
const RUSTDOC: &[&str] = &["doc", "--no-deps", "--document-private-items"];
const RUSTDOC_FLAGS: &str = "-Dwarnings -Arustdoc::private_intra_doc_links";
const BENCHES: &[&str] = &["bench", "--workspace", "--exclude", "xtask", "--bench", "*", "--no-run"];
/// Documentation tests are their own part: `--include-ignored` would run the ignored ones among them.
const TEST: &[&str] = &["test", "--tests", "--no-fail-fast"];

/// What the summary at the end tells.
#[derive(Default)]
struct Report {
    /// Names and times of parts; of the part `test`, its compilation and each test binary.
    times: Vec<(String, Duration)>,
    /// Parts that failed, with the error.
    failures: Vec<(String, String)>,
    /// Tests that need root and did not have it.
    left_out: Vec<String>,
}

/// Runs all parts, or one with what it needs. An error names the parts that failed.
pub fn run(only: Option<&str>) -> Result<()> {
    let start = Instant::now();
    let mut report = Report::default();
    let mut others = None;
    for part in chosen(only) {
        if only.is_none() && part.beside {
            if others.is_none() {
                let names = PARTS.iter().filter(|part| part.beside).map(|part| part.name).collect();
                others = Some(beside::Others::start(names)?);
            }
            continue;
        }
        println!("\n== {} ==", part.name);
        let (begin, lines) = (Instant::now(), report.times.len());
        let outcome = (part.run)(&mut report);
        if report.times.len() == lines {
            report.times.push((part.name.to_string(), begin.elapsed()));
        }
        if let Err(error) = outcome {
            println!("{} FAILED: {error:#}", part.name);
            report.failures.push((part.name.to_string(), format!("{error:#}")));
        }
    }
    for beside::Ended { name, time, failure } in others.map(beside::Others::wait).unwrap_or_default() {
        report.times.push((format!("{name}, beside others"), time));
        report.failures.extend(failure.map(|failure| (name.to_string(), failure)));
    }
    print!("\n{}", summary(&report, start.elapsed()));
    if report.failures.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = report.failures.iter().map(|(name, _)| name.as_str()).collect();
    bail!("failed: {} (one alone: `cargo xtask test --only {}`)", names.join(", "), names[0])
}

fn chosen(only: Option<&str>) -> impl Iterator<Item = &'static Part> {
    let wanted = only.and_then(|name| PARTS.iter().find(|part| part.name == name));
    let needed = move |part: &&Part| wanted.is_none_or(|it| it.name == part.name || it.needs.contains(&part.name));
    PARTS.iter().filter(needed)
}

fn cargo_run(args: &[&str]) -> Result<()> {
    let mut cargo = cargo::command();
    cargo.args(args);
    println!("{}", util::shown(&cargo));
    util::run(&mut cargo)
}

/// Builds the documentation. A link in a comment that leads nowhere is an error; one to a private item is not, as these
/// are for readers of the code.
fn run_rustdoc() -> Result<()> {
    let mut cargo = cargo::command();
    cargo.args(RUSTDOC).args(WORKSPACE).env("RUSTDOCFLAGS", RUSTDOC_FLAGS);
    println!("RUSTDOCFLAGS='{RUSTDOC_FLAGS}' {}", util::shown(&cargo));
    util::run(&mut cargo)
}

/// Returns whether tests can do what root can: a network namespace is the measure.
pub fn has_namespaces() -> bool {
    util::is_root() && util::output(Command::new("unshare").args(["--net", "true"])).is_ok()
}

fn run_tests(report: &mut Report) -> Result<()> {
    let mut cargo = cargo::command();
    cargo.args(TEST).args(WORKSPACE);
    // Without a terminal's colours the lines can be read by us too.
    cargo.env("CARGO_TERM_COLOR", "never");
    if has_namespaces() {
        cargo.args(["--", "--include-ignored"]);
    }
    println!("{}", util::shown(&cargo));
    let mut stopwatch = Stopwatch::new(Instant::now());
    let outcome = stream(cargo, |line| stopwatch.line(line, Instant::now()));
    stopwatch.end(Instant::now());
    report.times.append(&mut stopwatch.times);
    report.left_out.append(&mut stopwatch.left_out);
    outcome
}

/// Runs the command, prints its output line by line as it comes, and shows each line to `see`. Both streams go
/// through one pipe, so the lines keep their order.
fn stream(mut command: Command, mut see: impl FnMut(&str)) -> Result<()> {
    let (reader, writer) = std::io::pipe().context("making a pipe for the output")?;
    command.stdout(writer.try_clone().context("sharing the pipe")?).stderr(writer);
    let mut child = util::spawn(&mut command)?;
    // The command holds the pipe's other end, which must close when the child ends.
    let named = Command::new(command.get_program());
    let named = command.get_args().fold(named, |mut named, arg| {
        named.arg(arg);
        named
    });
    drop(command);
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || read_lines(reader, &sender));
    let mut ended = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                let text = String::from_utf8_lossy(&line);
                see(text.trim_end());
                // A closed standard output is no reason to stop testing.
                let _ = std::io::stdout().write_all(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // A process that a test left behind may hold the pipe open for ever: the child's end is the end.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => ended = child.try_wait().context("waiting for the tests")?,
        }
    }
    let status = match ended {
        Some(status) => status,
        None => child.wait().context("waiting for the tests")?,
    };
    util::check(&named, status)
}

fn read_lines(reader: PipeReader, sender: &mpsc::Sender<Vec<u8>>) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if sender.send(line).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// Follows the output of `cargo test`: which binary runs how long, and which tests were ignored for want of root.
struct Stopwatch {
    current: String,
    since: Instant,
    times: Vec<(String, Duration)>,
    left_out: Vec<String>,
}

impl Stopwatch {
    fn new(now: Instant) -> Stopwatch {
        Stopwatch { current: "test: compile".into(), since: now, times: Vec::new(), left_out: Vec::new() }
    }

    fn line(&mut self, line: &str, now: Instant) {
        if let Some(binary) = running(line) {
            self.end(now);
            self.current = format!("test: {binary}");
            self.since = now;
        } else if let Some((name, reason)) = ignored(line)
            && reason.contains("needs root")
        {
            self.left_out.push(name.to_string());
        }
    }

    fn end(&mut self, now: Instant) {
        self.times.push((std::mem::take(&mut self.current), now.duration_since(self.since)));
    }
}

/// `nook_abi unittests src/lib.rs` out of `     Running unittests src/lib.rs (target/release/deps/nook_abi-0123)`.
fn running(line: &str) -> Option<String> {
    let (source, file) = line.trim_start().strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let file = file.rsplit('/').next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    Some(format!("{name} {source}"))
}

/// Name and reason out of `test carries_iperf3 ... ignored, needs root`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ignored, ")
}

fn summary(report: &Report, total: Duration) -> String {
    let mut text = String::new();
    let mut times: Vec<_> = report.times.iter().collect();
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    text += "The ten slowest parts:\n";
    for (name, time) in times.iter().take(10) {
        text += &format!("{:>8.1} s  {name}\n", time.as_secs_f64());
    }
    if !report.left_out.is_empty() {
        let (count, names) = (report.left_out.len(), report.left_out.join(", "));
        text += &format!("LEFT OUT, because they need root and network namespaces: {count} tests ({names})\n");
    }
    for (name, error) in &report.failures {
        text += &format!("FAILED: {name}: {error}\n");
    }
    let verdict = if report.failures.is_empty() { "All parts passed" } else { "Not all parts passed" };
    text + &format!("{verdict}, in {:.0} s\n", total.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_alone_runs_what_it_needs_before_it() {
        let names = |only| chosen(only).map(|part| part.name).collect::<Vec<_>>();
        assert_eq!(names(Some("tidy")), ["tidy"]);
        assert_eq!(names(Some("test")), ["setup", "drivers", "test"]);
        assert_eq!(names(None).len(), PARTS.len());
    }

    #[test]
    fn what_a_part_needs_is_a_part_that_comes_before_it() {
        for (index, part) in PARTS.iter().enumerate() {
            assert!(!part.beside || part.needs.is_empty(), "{} runs beside what it needs", part.name);
            for need in part.needs {
                assert!(PARTS[..index].iter().any(|before| before.name == *need), "{} needs {need}", part.name);
            }
        }
    }

    #[test]
    fn each_test_binary_gets_the_time_until_the_next_begins() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stopwatch = Stopwatch::new(start);
        stopwatch.line("   Compiling nook-abi v0.1.0", at(1));
        stopwatch.line("     Running unittests src/lib.rs (target/release/deps/nook_abi-0123456789abcdef)", at(5));
        stopwatch.line("test result: ok. 3 passed", at(6));
        stopwatch.line("     Running tests/end_to_end.rs (target/release/deps/end_to_end-0123456789abcdef)", at(7));
        stopwatch.end(at(20));
        let times: Vec<_> = stopwatch.times.iter().map(|(name, time)| (name.as_str(), time.as_secs())).collect();
        assert_eq!(
            times,
            [
                ("test: compile", 5),
                ("test: nook_abi unittests src/lib.rs", 2),
                ("test: end_to_end tests/end_to_end.rs", 13)
            ]
        );
    }

    #[test]
    fn tests_left_out_for_want_of_root_are_collected_and_others_are_not() {
        let mut stopwatch = Stopwatch::new(Instant::now());
        stopwatch.line("test tap_carries_iperf3 ... ignored, needs root", Instant::now());
        stopwatch.line("test slow ... ignored, takes an hour", Instant::now());
        stopwatch.line("test quick ... ok", Instant::now());
        assert_eq!(stopwatch.left_out, ["tap_carries_iperf3"]);
    }

    #[test]
    fn the_summary_has_the_ten_slowest_the_failures_and_what_was_left_out() {
        let times = (1..=12).map(|n| (format!("part{n}"), Duration::from_secs(n))).collect();
        let report = Report {
            times,
            failures: vec![("clippy".into(), "it ended with 101".into())],
            left_out: vec!["tap_carries_iperf3".into()],
        };
        let text = summary(&report, Duration::from_secs(78));
        let first = text.lines().nth(1).unwrap();
        assert_eq!(first.trim(), "12.0 s  part12");
        assert!(text.contains("part3\n") && !text.contains("part2\n"), "{text}");
        assert!(text.contains("FAILED: clippy: it ended with 101"), "{text}");
        assert!(text.contains("need root and network namespaces: 1 tests (tap_carries_iperf3)"), "{text}");
        assert!(text.ends_with("Not all parts passed, in 78 s\n"), "{text}");
        assert!(summary(&Report::default(), Duration::ZERO).ends_with("All parts passed, in 0 s\n"));
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_streams_are_seen_in_order_and_the_status_is_kept() {
        let mut seen = Vec::new();
        let outcome = stream(sh("echo a; echo b >&2; echo c; exit 7"), |line| seen.push(line.to_string()));
        assert_eq!(seen, ["a", "b", "c"]);
        assert!(format!("{:#}", outcome.unwrap_err()).contains("exit status: 7"));
    }

    #[test]
    fn a_process_left_behind_does_not_hold_up_the_end() {
        // It would hold the pipe for ten minutes; it is ended through the file that holds its number.
        let file = std::env::temp_dir().join(format!("nook-xtask-left-{}", std::process::id()));
        stream(sh(&format!("sleep 600 & echo $! > {}", file.display())), |_| {}).unwrap();
        let pid = std::fs::read_to_string(&file).unwrap();
        assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success(), "it still ran when we ended");
        std::fs::remove_file(file).unwrap();
    }
}
