//! The binary: options in, exit status out.
#![deny(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use nook_process::compiler;
use nook_run::cli::{Cli, Command, LogFormat};
use nook_run::{
    RunOutcome, build, call, inspect, logging, maps, new, output, pci, postmortem, registers, replay, trace,
};

fn command(command: &Command) -> Result<RunOutcome> {
    let text = match command {
        Command::Selftest(args) => {
            logging::set_up(0, LogFormat::Text);
            return nook_run::selftest(args);
        }
        Command::Campaign(args) => return nook_run::campaign(args),
        Command::Build(args) => build::text(args),
        Command::Call(args) => call::text(args),
        Command::New(args) => new::text(args),
        Command::Map(args) => maps::text(&args.command),
        Command::Trace(args) => return trace::print(args).map(|()| RunOutcome::Done),
        Command::Replay(args) => {
            logging::set_up(0, LogFormat::Text);
            return replay::run(args).map(|()| RunOutcome::Done);
        }
        Command::Inspect(args) => {
            let (text, refused) = inspect::text(args)?;
            output::print(&text)?;
            return refused.map(|()| RunOutcome::Done);
        }
        Command::Postmortem(args) => postmortem::text(&args.bundle, args.driver.as_deref()),
        Command::Registers(args) => registers::text(args),
        Command::Devices(args) => pci::devices(args),
        Command::Bind(args) => pci::bind(args),
        Command::Unbind(args) => pci::unbind(args),
        Command::Doctor(args) => pci::check(args),
    }?;
    output::print(&text)?;
    Ok(RunOutcome::Done)
}

/// Backtraces would make each trap of a driver ten times as dear; a fault says where it was.
#[expect(unsafe_code, reason = "the environment is changed while the process has one thread")]
fn without_backtraces() {
    // SAFETY: `main` calls this first, when there is no other thread that could read the environment.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
}

fn main() -> ExitCode {
    if compiler::is_compiler() {
        return compiler::serve();
    }
    without_backtraces();
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Some(asked) => command(asked),
        None => {
            logging::set_up(cli.run.verbose, cli.run.log_format);
            nook_run::run(&cli.run)
        }
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.status()),
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}
