//! The command line, parsed by hand: eighteen commands and eight flags do not earn a parser that takes longer to build
//! than the rest of this crate.

use crate::false_alarms;
use crate::flaky::Plan;
use crate::taps::Taps;
use crate::test::PARTS;

/// What the caller asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Print the usage text.
    Help,
    /// Find or make what building (`minimal`) or testing needs.
    Setup {
        /// Only what compiling drivers needs; no test tools, no root.
        minimal: bool,
    },
    /// Compile every driver to `target/drivers/<manifest name>.wasm`.
    Drivers {
        /// Those of this system too, from Debian's source package.
        with: Option<With>,
    },
    /// Build the book and the SDK's rustdoc, and check their links.
    Docs,
    /// Check the invariants of the tree.
    Tidy,
    /// Count the code that has to be right for what is promised.
    Trusted,
    /// Run every part of the tests, or the one that is named.
    Test {
        /// A name out of [`PARTS`].
        only: Option<String>,
    },
    /// Run tests again and again beside busy loops.
    Flaky(Plan),
    /// Run drivers that do nothing wrong beside busy loops, and look whether anything is reported of them.
    FalseAlarms(false_alarms::Plan),
    /// The first run: build the driver and the runtime, and exercise the embedded model.
    Demo,
    /// Play the hostile suite and print its table.
    Hostile {
        /// Where the table goes as JSON.
        json: Option<String>,
    },
    /// Crash a disk's driver again and again under load, and cut QEMU's disk's power.
    DiskCrashes {
        /// Arguments of `nook-disk-crashes`, which checks them.
        args: Vec<String>,
    },
    /// Measure TCP between two TAP interfaces, with what the card can do left to it and not.
    Taps(Taps),
    /// Measure what each isolation level costs.
    Bench {
        /// Arguments of `nook-bench`, which checks them.
        args: Vec<String>,
    },
    /// Compare DPDK's driver with our own, DPDK's testpmd and Linux's.
    Existing {
        /// The tables go into docs/existing-drivers.md, too.
        update_docs: bool,
    },
    /// Compare what ethtool says of Linux's drivers with what ours has.
    Ethtool {
        /// The tables go into docs/existing-drivers.md, too.
        update_docs: bool,
    },
    /// Fetch a QEMU with models that bookworm's has not, and say where it is.
    NewerQemu,
    /// Run the guest's cases that are named, or all.
    GuestTest {
        /// Names out of `tests/guest/cases.sh`.
        cases: Vec<String>,
    },
}

/// A system whose drivers can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// DPDK.
    Dpdk,
    /// Linux.
    Linux,
}

/// Returns the usage text, with the parts of `test` as they are.
pub fn usage() -> String {
    let parts: Vec<_> = PARTS.iter().map(|part| part.name).collect();
    format!(
        "\
Usage: cargo xtask <command>

  setup [--minimal]    find or make a way to compile drivers to wasm; install what the tests use
                       (--minimal: only what compiling drivers needs)
  drivers [--with dpdk|linux]
                       compile every driver to target/drivers/<manifest name>.wasm
                       (--with: DPDK's or Linux's driver of the e1000 too, from Debian's source package)
  demo                 first run: bring up the e1000 driver on the embedded model and exercise it
  test [--only PART]   run every check and test, then print the ten slowest parts
  flaky [--runs N] [--load N] [FILTER...]
                       run the tests, or those with a FILTER in `binary test`, N times (20) beside N busy loops (2), and
                       print which failed how often
  false-alarms [--minutes N] [--load N]
                       run drivers that do nothing wrong, under traffic and on quiet links, for N minutes (60) beside N busy
                       loops (three for each processor), and print what was reported of them
  hostile [--json FILE]
                       play every hostile driver and print what came of it
  disk-crashes [--crashes N] [--device model|qemu] [--how rollback|restart|kill] [--workload checker|fio|ext4|power]
               [--json FILE]
                       crash the disk's driver N times (1000) under each load, on each device, recovered in each way, cut
                       the power of QEMU's disk N times, and print whether anything was lost; ext4 takes root
  taps [--seconds N] [--rounds N] [--against REV]
                       measure TCP through TAP, driver, model and TAP, with what the card can do left to it and not, beside a
                       forwarder between two TAP interfaces, and beside another build in turn: N seconds (5) a stream,
                       N rounds (5); it takes root and iperf3
  guest-test [CASE...] run the cases of tests/guest/cases.sh in an emulated machine with an IOMMU
                       (those named dpdk_...: only by name)
  bench [--full] ...   measure what each isolation level costs; the report is target/bench-report/index.html
                       (--help: what else it takes)
  bench --against REV  build this revision too, or take a folder with a checkout of it, and run both builds' calls of
                       the driver in turn
  existing [--update-docs]
                       compare DPDK's driver with ours, DPDK's testpmd and Linux's: counts in the guest, figures on the
                       model (--update-docs: the tables go into docs/existing-drivers.md)
  ethtool [--update-docs]
                       print what ethtool says of Linux's drivers in the guest, features and statistics, beside what
                       ours has (--update-docs: the tables go into docs/existing-drivers.md)
  newer-qemu           fetch the QEMU of bookworm-backports, which has a model of the 82576 (igb), without installing it, and
                       print its folder, for nook-run's --qemu-program
  docs                 build the book of docs/ with the SDK's rustdoc in it, target/book/index.html, and check its links;
                       mdbook is built into target/tools the first time
  tidy                 check the tree's invariants: which crate imports which, file sizes, links,
                       and the tests behind what docs/security.md promises
  trusted              count the code that has to be right for what docs/security.md promises
  help                 this text

Parts of test: {}

Environment:
  NOOK_WASM_TOOLCHAIN=rustup|debian   compile drivers this way only, instead of the first that works
  NOOK_LONG=1                         guest-test kills nook-run 20 times instead of 5",
        parts.join(", ")
    )
}

/// Parses the arguments after `cargo xtask`. The error says which word was not understood.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut args = args.into_iter();
    let Some(command) = args.next() else {
        return Err("which command?".into());
    };
    let task = match command.as_str() {
        "help" | "-h" | "--help" => Task::Help,
        "setup" => match args.next().as_deref() {
            None => Task::Setup { minimal: false },
            Some("--minimal") => Task::Setup { minimal: true },
            Some(other) => return Err(format!("setup does not know `{other}`; it takes --minimal")),
        },
        "drivers" => match args.next().as_deref() {
            None => Task::Drivers { with: None },
            Some("--with") => match args.next().as_deref() {
                Some("dpdk") => Task::Drivers { with: Some(With::Dpdk) },
                Some("linux") => Task::Drivers { with: Some(With::Linux) },
                other => return Err(format!("--with takes dpdk or linux, not `{}`", other.unwrap_or(""))),
            },
            Some(other) => return Err(format!("drivers does not know `{other}`; it takes --with dpdk or linux")),
        },
        "demo" => Task::Demo,
        "flaky" => Task::Flaky(flaky(args.by_ref())?),
        "false-alarms" => {
            let mut plan = false_alarms::Plan::default();
            while let Some(option) = args.next() {
                let number = |word: Option<String>| {
                    word.and_then(|word| word.parse().ok()).ok_or(format!("{option} takes a number"))
                };
                match option.as_str() {
                    "--minutes" => plan.minutes = number(args.next())?,
                    "--load" => plan.load = Some(number(args.next())?),
                    other => {
                        return Err(format!("false-alarms does not know `{other}`; it takes --minutes N and --load N"));
                    }
                }
            }
            Task::FalseAlarms(plan)
        }
        "taps" => {
            let mut taps = Taps::default();
            while let Some(option) = args.next() {
                let to = match option.as_str() {
                    "--seconds" => &mut taps.seconds,
                    "--rounds" => &mut taps.rounds,
                    "--against" => {
                        let revision = args.next().ok_or("--against needs a revision, or a folder with one")?;
                        taps.against = Some(revision);
                        continue;
                    }
                    other => {
                        let takes = "it takes --seconds N, --rounds N and --against REV";
                        return Err(format!("taps does not know `{other}`; {takes}"));
                    }
                };
                let number = args.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                *to = Some(number.ok_or(format!("{option} takes a number"))?);
            }
            Task::Taps(taps)
        }
        "disk-crashes" => Task::DiskCrashes { args: args.by_ref().collect() },
        "bench" => Task::Bench { args: args.by_ref().collect() },
        "guest-test" => Task::GuestTest { cases: args.by_ref().collect() },
        "existing" | "ethtool" => {
            let update_docs = match args.next().as_deref() {
                None => false,
                Some("--update-docs") => true,
                Some(other) => return Err(format!("{command} does not know `{other}`; it takes --update-docs")),
            };
            if command == "existing" { Task::Existing { update_docs } } else { Task::Ethtool { update_docs } }
        }
        "hostile" => match args.next().as_deref() {
            None => Task::Hostile { json: None },
            Some("--json") => Task::Hostile { json: Some(args.next().ok_or("--json needs the name of a file")?) },
            Some(other) => return Err(format!("hostile does not know `{other}`; it takes --json FILE")),
        },
        "newer-qemu" => Task::NewerQemu,
        "docs" => Task::Docs,
        "tidy" => Task::Tidy,
        "trusted" => Task::Trusted,
        "test" => match args.next().as_deref() {
            None => Task::Test { only: None },
            Some("--only") => Task::Test { only: Some(part(args.next())?) },
            Some(other) => return Err(format!("test does not know `{other}`; it takes --only PART")),
        },
        other => return Err(format!("there is no command `{other}`")),
    };
    match args.next() {
        None => Ok(task),
        Some(extra) => Err(format!("`{command}` does not take `{extra}`")),
    }
}

fn flaky(mut args: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan { runs: 20, load: 2, filters: Vec::new() };
    while let Some(arg) = args.next() {
        let number = match arg.as_str() {
            "--runs" => &mut plan.runs,
            "--load" => &mut plan.load,
            flag if flag.starts_with('-') => return Err(format!("flaky does not know `{flag}`")),
            _ => {
                plan.filters.push(arg);
                continue;
            }
        };
        *number = args.next().and_then(|value| value.parse().ok()).ok_or_else(|| format!("{arg} needs a number"))?;
    }
    Ok(plan)
}

fn part(name: Option<String>) -> Result<String, String> {
    let name = name.ok_or("--only needs the name of a part")?;
    if PARTS.iter().any(|part| part.name == name) { Ok(name) } else { Err(format!("test has no part `{name}`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn every_command_in_the_usage_text_is_understood() {
        assert_eq!(parsed("setup"), Ok(Task::Setup { minimal: false }));
        assert_eq!(parsed("setup --minimal"), Ok(Task::Setup { minimal: true }));
        assert_eq!(parsed("drivers"), Ok(Task::Drivers { with: None }));
        assert_eq!(parsed("drivers --with dpdk"), Ok(Task::Drivers { with: Some(With::Dpdk) }));
        assert_eq!(parsed("drivers --with linux"), Ok(Task::Drivers { with: Some(With::Linux) }));
        assert_eq!(parsed("demo"), Ok(Task::Demo));
        assert_eq!(parsed("guest-test"), Ok(Task::GuestTest { cases: vec![] }));
        assert_eq!(parsed("guest-test a b"), Ok(Task::GuestTest { cases: vec!["a".into(), "b".into()] }));
        let args = ["--crashes", "5"].map(String::from).to_vec();
        assert_eq!(parsed("disk-crashes --crashes 5"), Ok(Task::DiskCrashes { args }));
        assert_eq!(parsed("bench --full"), Ok(Task::Bench { args: vec!["--full".into()] }));
        let plan = |runs, load, filters: &[&str]| {
            Ok(Task::Flaky(Plan { runs, load, filters: filters.iter().map(|part| part.to_string()).collect() }))
        };
        assert_eq!(parsed("flaky"), plan(20, 2, &[]));
        assert_eq!(parsed("flaky crash --runs 3 --load 0 tap"), plan(3, 0, &["crash", "tap"]));
        assert_eq!(parsed("taps"), Ok(Task::Taps(Taps::default())));
        let taps = Taps { seconds: Some(2), rounds: Some(3), against: Some("main".into()) };
        assert_eq!(parsed("taps --rounds 3 --against main --seconds 2"), Ok(Task::Taps(taps)));
        let alarms = |minutes, load| Ok(Task::FalseAlarms(false_alarms::Plan { minutes, load }));
        assert_eq!(parsed("false-alarms"), alarms(60, None));
        assert_eq!(parsed("false-alarms --load 4 --minutes 1"), alarms(1, Some(4)));
        assert!(parsed("false-alarms --minutes").is_err() && parsed("false-alarms now").is_err());
        assert_eq!(parsed("hostile"), Ok(Task::Hostile { json: None }));
        assert_eq!(parsed("hostile --json a"), Ok(Task::Hostile { json: Some("a".into()) }));
        assert_eq!(parsed("existing"), Ok(Task::Existing { update_docs: false }));
        assert_eq!(parsed("existing --update-docs"), Ok(Task::Existing { update_docs: true }));
        assert_eq!(parsed("ethtool --update-docs"), Ok(Task::Ethtool { update_docs: true }));
        assert_eq!(parsed("newer-qemu"), Ok(Task::NewerQemu));
        assert_eq!(parsed("docs"), Ok(Task::Docs));
        assert_eq!(parsed("tidy"), Ok(Task::Tidy));
        assert_eq!(parsed("trusted"), Ok(Task::Trusted));
        assert_eq!(parsed("test"), Ok(Task::Test { only: None }));
        assert_eq!(parsed("help"), Ok(Task::Help));
    }

    #[test]
    fn every_part_of_test_can_be_run_alone() {
        for part in PARTS {
            let task = parsed(&format!("test --only {}", part.name));
            assert_eq!(task, Ok(Task::Test { only: Some(part.name.into()) }));
        }
    }

    #[test]
    fn a_word_that_is_not_understood_is_named() {
        for (line, word) in [
            ("tset", "tset"),
            ("setup --fast", "--fast"),
            ("test --only nothing", "nothing"),
            ("test --only", "--only"),
            ("tidy now", "now"),
            ("docs now", "now"),
            ("drivers --with minix", "minix"),
            ("drivers dpdk", "dpdk"),
            ("hostile --json", "--json"),
            ("existing now", "now"),
            ("ethtool -S", "-S"),
            ("taps --seconds 0", "--seconds"),
            ("taps --turns", "--turns"),
            ("taps --against", "--against"),
            ("flaky --runs", "--runs"),
            ("flaky --load much", "--load"),
            ("flaky --fast", "--fast"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(word), "{line}: {message}");
        }
        assert!(parsed("").is_err());
    }
}
