//! `cargo xtask flaky`: the tests again and again beside busy loops, and how often each failed. A test that fails now
//! and then on a machine that does something else as well is wrong, or shows that the design is.

use crate::cargo::WORKSPACE;
use crate::{cargo, test, util};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long one run of one binary may take; what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How often each test runs.
    pub runs: u32,
    /// Busy loops beside them.
    pub load: u32,
    /// Parts of `binary test`; without any, all tests.
    pub filters: Vec<String>,
}

/// A test binary, and which of its tests are run.
struct Binary {
    name: String,
    file: PathBuf,
    /// Its package's folder, where cargo would run it.
    dir: PathBuf,
    tests: Vec<String>,
}

/// Failures of a test: how many, and where the output of the last one is.
type Failures = BTreeMap<String, (u32, PathBuf)>;

/// Processes that end when this value does, and when this process does.
pub struct Busy(Vec<Child>);

impl Busy {
    /// Starts this many loops.
    pub fn start(count: u32) -> Result<Busy> {
        let mut busy = Busy(Vec::new());
        for _ in 0..count {
            busy.0.push(util::spawn(mortal("sh").args(["-c", "while :; do :; done"]))?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may be gone already; either way it is reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Builds what is not built, then runs the tests. An error if any of them failed.
pub fn run(plan: &Plan) -> Result<()> {
    let root = test::has_namespaces();
    let binaries = chosen(built()?, &plan.filters, root)?;
    let count: usize = binaries.iter().map(|binary| binary.tests.len()).sum();
    if count == 0 {
        bail!("no test has {} in its name", plan.filters.join(" or "));
    }
    let folder = util::target_dir().join("flaky");
    fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
    println!("{count} tests in {} binaries, {} runs beside {} busy loops", binaries.len(), plan.runs, plan.load);
    let _busy = Busy::start(plan.load)?;
    let mut failures = Failures::new();
    for run in 1..=plan.runs {
        let begin = Instant::now();
        for binary in &binaries {
            let log = folder.join(format!("{}-{run}.log", binary.name));
            for failed in failed(binary, root, &log)? {
                println!("run {run}: {failed} FAILED, {}", log.display());
                let (count, last) = failures.entry(failed).or_default();
                *count += 1;
                last.clone_from(&log);
            }
        }
        println!("run {run} of {} took {:.0} s", plan.runs, begin.elapsed().as_secs_f32());
    }
    print!("{}", table(&failures, plan.runs));
    if failures.is_empty() { Ok(()) } else { bail!("{} of {count} tests failed", failures.len()) }
}

fn table(failures: &Failures, runs: u32) -> String {
    if failures.is_empty() {
        return format!("no failure in {runs} runs\n");
    }
    let line = |(name, (count, log)): (&String, &(u32, PathBuf))| {
        format!("{count:>4} of {runs}  {name}  (the last: {})\n", log.display())
    };
    failures.iter().map(line).collect()
}

/// Returns a command that is killed when this process ends, however that comes about.
pub fn mortal(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command
}

/// Returns the workspace's test binaries, as cargo says.
fn built() -> Result<Vec<Binary>> {
    let mut cargo = cargo::command();
    cargo.args(["test", "--tests", "--no-run", "--message-format=json"]).args(WORKSPACE).stderr(Stdio::inherit());
    let output = util::spawn(cargo.stdout(Stdio::piped()))?.wait_with_output().context("waiting for cargo")?;
    util::check(&cargo, output.status)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(|message| binary(&message)).collect())
}

fn binary(message: &Value) -> Option<Binary> {
    let file = PathBuf::from(message["executable"].as_str()?);
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let dir = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let package = dir.file_name()?.to_string_lossy().into_owned();
    let name = format!("{package}-{}", message["target"]["name"].as_str()?);
    Some(Binary { name, file, dir, tests: Vec::new() })
}

/// With the tests that are wanted; binaries without any are left out, as is what has its own `main` and lists none.
fn chosen(mut binaries: Vec<Binary>, filters: &[String], root: bool) -> Result<Vec<Binary>> {
    for binary in &mut binaries {
        let list = |which: &[&str]| {
            let mut list = Command::new(&binary.file);
            list.current_dir(&binary.dir).args(["--list", "--format", "terse"]).args(which);
            util::output(&mut list).map(|text| tests(&text))
        };
        let ignored = if root { Vec::new() } else { list(&["--ignored"])? };
        let mut tests = list(&[])?;
        let wanted = |test: &str| {
            let whole = format!("{} {test}", binary.name);
            filters.is_empty() || filters.iter().any(|part| whole.contains(part))
        };
        tests.retain(|test| !ignored.contains(test) && wanted(test));
        binary.tests = tests;
    }
    binaries.retain(|binary| !binary.tests.is_empty());
    Ok(binaries)
}

/// Returns the names out of lines like `tests::it_works: test`.
fn tests(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Runs a binary's tests once and says which failed. What it printed stays only then.
fn failed(binary: &Binary, root: bool, log: &Path) -> Result<Vec<String>> {
    let mut command = mortal(&binary.file);
    command.current_dir(&binary.dir).arg("--exact").args(&binary.tests);
    if root {
        command.arg("--include-ignored");
    }
    let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
    command.stderr(file.try_clone().context("sharing the log")?).stdout(file);
    if util::run_limited(&mut command, LIMIT).is_ok() {
        fs::remove_file(log).with_context(|| format!("removing {}", log.display()))?;
        return Ok(Vec::new());
    }
    let text = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let mut failed = failures(&String::from_utf8_lossy(&text), &binary.name);
    if failed.is_empty() {
        failed.push(format!("{} as a whole: killed, without an end, or with its own `main`", binary.name));
    }
    Ok(failed)
}

/// Returns the tests that failed, out of the list at the end of what a test binary prints.
fn failures(text: &str, binary: &str) -> Vec<String> {
    let list = text.rsplit_once("\nfailures:\n").map_or("", |(_, list)| list);
    let names = list.lines().take_while(|line| line.starts_with("    "));
    names.map(|name| format!("{binary} {}", name.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_failed_is_read_from_the_end_of_the_output() {
        let text = "test a ... ok\ntest b::c ... FAILED\n\nfailures:\n\n---- b::c stdout ----\nno\n\n\nfailures:\n    \
                    b::c\n    d\n\ntest result: FAILED.\n";
        assert_eq!(failures(text, "tests-x"), ["tests-x b::c", "tests-x d"]);
        assert!(failures("test a ... ok\n", "tests-x").is_empty());
    }

    #[test]
    fn only_what_was_built_as_a_test_is_one() {
        let message = |test| {
            json!({"reason": "compiler-artifact", "executable": "/t/deps/crash-1", "profile": {"test": test},
                   "manifest_path": "/r/tests/Cargo.toml", "target": {"name": "crash"}})
        };
        let made = binary(&message(true)).unwrap();
        assert_eq!((made.name.as_str(), made.dir.as_path()), ("tests-crash", Path::new("/r/tests")));
        assert!(binary(&message(false)).is_none());
    }

    #[test]
    fn busy_loops_end_with_what_they_disturb() {
        let busy = Busy(vec![util::spawn(mortal("sh").args(["-c", "while :; do :; done"])).unwrap()]);
        let place = format!("/proc/{}", busy.0[0].id());
        assert!(Path::new(&place).exists());
        drop(busy);
        assert!(!Path::new(&place).exists());
    }

    #[test]
    fn the_table_says_how_often() {
        let failures = Failures::from([("tests-x a".into(), (3, PathBuf::from("x-7.log")))]);
        assert_eq!(table(&failures, 20), "   3 of 20  tests-x a  (the last: x-7.log)\n");
        assert_eq!(table(&Failures::new(), 20), "no failure in 20 runs\n");
    }
}
