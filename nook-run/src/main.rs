//! The binary: options in, exit status out.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use nook_run::cli::{Cli, Command, LogFormat};
use nook_run::{Outcome, inspect, logging, output, pci, postmortem};

fn command(command: &Command) -> Result<Outcome> {
    let text = match command {
        Command::Selftest(args) => {
            logging::set_up(0, LogFormat::Text);
            return nook_run::selftest(args);
        }
        Command::Inspect(args) => inspect::text(&args.driver),
        Command::Postmortem(args) => postmortem::text(&args.bundle, args.driver.as_deref()),
        Command::Devices(args) => pci::devices(args),
        Command::Bind(args) => pci::bind(args),
        Command::Unbind(args) => pci::unbind(args),
        Command::Doctor(args) => pci::check(args),
    }?;
    output::print(&text)?;
    Ok(Outcome::Done)
}

fn main() -> ExitCode {
    // Backtraces would make each trap of a driver ten times as dear; a fault says where it was.
    // SAFETY: nothing else runs yet, so nobody reads the environment.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
    let cli = Cli::parse();
    let outcome = match (&cli.command, &cli.run) {
        (Some(asked), _) => command(asked),
        (None, Some(args)) => {
            logging::set_up(args.verbose, args.log_format);
            nook_run::run(args)
        }
        (None, None) => unreachable!("clap asks for a driver or a command"),
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.status()),
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}
