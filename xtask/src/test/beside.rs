//! Parts that run beside the others: one after the other, each in a process for itself, whose output comes as a whole
//! when it has ended.

use crate::flaky::mortal;
use crate::util;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How a part ended.
#[derive(Debug)]
pub struct Ended {
    /// The part's.
    pub name: &'static str,
    /// From its begin to its end.
    pub time: Duration,
    /// What is wrong, if something is.
    pub failure: Option<String>,
}

/// The parts that are under way or wait for their turn.
pub struct Others(JoinHandle<Vec<Ended>>);

impl Others {
    /// Starts the first of these parts; each following one starts when the one before has ended.
    ///
    /// # Errors
    /// If there can be no folder for what they print, or it cannot be found out what program this is.
    pub fn start(names: Vec<&'static str>) -> Result<Others> {
        Others::start_by(std::env::current_exe().context("looking for this program's file")?, names)
    }

    /// With the program that runs a part when its arguments say so.
    fn start_by(program: PathBuf, names: Vec<&'static str>) -> Result<Others> {
        let folder = util::target_dir().join("test");
        fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
        println!("\nbeside what follows: {}", names.join(", "));
        Ok(Others(thread::spawn(move || {
            let ended = |name| {
                let begin = Instant::now();
                let failure = run(&program, name, &folder.join(name).with_extension("log"))
                    .err()
                    .map(|error| format!("{error:#}"));
                Ended { name, time: begin.elapsed(), failure }
            };
            names.into_iter().map(ended).collect()
        })))
    }

    /// Waits for the last of them.
    pub fn wait(self) -> Vec<Ended> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Runs a part with what it prints in this file, then shows the file. The tests have the processors first.
fn run(program: &Path, name: &str, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
    let mut command = mortal("nice");
    command.args(["-n", "5"]).arg(program).args(["test", "--only", name]);
    command.stdout(file.try_clone().context("sharing the file")?).stderr(file);
    let outcome = util::run(&mut command);
    let said = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    // A closed standard output is no reason to stop testing.
    let _ = std::io::stdout().lock().write_all(&said);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_run_after_the_other_and_what_it_printed_is_kept() {
        let ended = Others::start_by("echo".into(), vec!["fmt", "tidy"]).unwrap().wait();
        assert_eq!(
            ended.iter().map(|it| (it.name, &it.failure)).collect::<Vec<_>>(),
            [("fmt", &None), ("tidy", &None)]
        );
        for name in ["fmt", "tidy"] {
            let said = fs::read_to_string(util::target_dir().join(format!("test/{name}.log"))).unwrap();
            assert_eq!(said, format!("test --only {name}\n"));
        }
    }

    #[test]
    fn one_that_fails_is_named_with_its_status_and_keeps_none_from_running() {
        let ended = Others::start_by("false".into(), vec!["setup", "xtask"]).unwrap().wait();
        assert_eq!(ended.len(), 2);
        for it in ended {
            assert!(it.failure.is_some_and(|failure| failure.contains("exit status: 1")));
        }
    }
}
