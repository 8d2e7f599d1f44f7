//! `cargo xtask <command>`: the project's own tasks, so that set-up, build, checks and tests are one command each.
//!
//! It is not part of nook: no crate imports it, and it imports no crate of the workspace, so it builds in seconds and
//! works while the rest does not compile. People, `.ci/run` and the README call it.
#![forbid(unsafe_code)]

use anyhow::Result;
use std::io::Write;
use std::process::ExitCode;

mod against;
mod apt;
mod bench;
mod cargo;
mod cli;
mod demo;
mod disk_crashes;
mod docs;
mod dpdk;
mod drivers;
mod ethtool;
mod existing;
mod false_alarms;
mod flaky;
mod foreign;
mod guest;
mod hostile;
mod in_c;
mod linux;
mod newer_qemu;
mod setup;
mod taps;
mod test;
mod tidy;
mod trusted;
mod util;
mod virtio;
mod wasm_toolchain;

use cli::{Task, With};

fn main() -> ExitCode {
    let task = match cli::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(message) => {
            eprintln!("xtask: {message}\n\n{}", cli::usage());
            return ExitCode::from(2);
        }
    };
    match run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Help => {
            // Who reads only the first lines closes the pipe: that is no error.
            let _ = writeln!(std::io::stdout(), "{}", cli::usage());
            Ok(())
        }
        Task::Setup { minimal: true } => setup::minimal().map(|_| ()),
        Task::Setup { minimal: false } => setup::full(),
        Task::Drivers { with } => {
            drivers::build_all()?;
            match with {
                Some(With::Dpdk) => dpdk::build().map(|_| ()),
                Some(With::Linux) => linux::build(),
                None => Ok(()),
            }
        }
        Task::NewerQemu => newer_qemu::fetch().map(|folder| println!("{}", folder.display())),
        Task::Docs => docs::run(),
        Task::Tidy => tidy::run(),
        Task::Trusted => trusted::run(),
        Task::Test { only } => test::run(only.as_deref()),
        Task::Demo => demo::run(),
        Task::Flaky(plan) => flaky::run(&plan),
        Task::FalseAlarms(plan) => false_alarms::run(plan),
        Task::Hostile { json } => hostile::run(json.as_deref()),
        Task::DiskCrashes { args } => disk_crashes::run(&args),
        Task::Taps(taps) => taps::run(&taps),
        Task::Bench { args } => bench::run(&args),
        Task::GuestTest { cases } => guest::run(&cases),
        Task::Existing { update_docs } => existing::run(update_docs),
        Task::Ethtool { update_docs } => ethtool::run(update_docs),
    }
}
