//! The hostile suite: small drivers that each do one wrong thing, what comes of it, and that nobody else notices.
//!
//! `nook-hostile [--json FILE]` plays every case and prints the table (`cargo xtask hostile` calls it); the tests in
//! `tests.rs` play the same cases, and fail if a fault or a row of the tables has none. It is test equipment.

#[cfg(test)]
mod apart;
mod beside;
mod case;
mod cases;
mod disk;
mod neighbour;
mod scripted;
mod stage;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use serde::Serialize;

use crate::beside::Beside;
use crate::case::{Level, Txn};
use crate::neighbour::Neighbour;

/// How long each stream beside a hostile driver is offered.
const STREAM_NS: u64 = 1_000_000_000;

/// One line of the table.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    level: String,
    class: String,
    fault: Option<String>,
    rolled_back: bool,
    refusal: Option<String>,
    host_unharmed: bool,
    problems: Vec<String>,
}

/// Both tables.
#[derive(Default, Serialize)]
struct Report {
    cases: Vec<Line>,
    /// A good driver that is offered half of what it can do alone, beside some of the hostile ones.
    beside: Vec<Beside>,
    failed: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = match &arguments[..] {
        [] => None,
        [flag, file] if flag == "--json" => Some(file),
        _ => {
            eprintln!("usage: nook-hostile [--json FILE]");
            return ExitCode::from(2);
        }
    };
    match run(json) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nook-hostile: cannot write {}: {error}", json.map_or("the report", String::as_str));
            ExitCode::FAILURE
        }
    }
}

/// Plays everything, and says how much failed.
fn run(json: Option<&String>) -> io::Result<usize> {
    // That it cannot be written is reported before, and what an earlier run left does not pass for this one's.
    let file = json.map(File::create).transpose()?;
    let report = report();
    println!(
        "{} cases and {} streams beside a hostile driver: {} failed",
        report.cases.len(),
        report.beside.len(),
        report.failed
    );
    if let Some(mut file) = file {
        let text = serde_json::to_string_pretty(&report).map_err(io::Error::other)?;
        file.write_all((text + "\n").as_bytes())?;
    }
    Ok(report.failed)
}

fn report() -> Report {
    let mut report = Report::default();
    play_beside(&mut report);
    play_all(&mut report);
    report
}

/// A good driver beside hostile ones, while nothing else runs.
fn play_beside(report: &mut Report) {
    for level in Level::ALL {
        let told = |result: &Beside| {
            let Beside { name, faults, alone, beside, problems, .. } = result;
            let harm = if problems.is_empty() { "nothing lost" } else { "FAILED" };
            let (p99, hash) = beside.as_ref().map_or(("-".to_owned(), "-"), |stream| {
                (format!("{:.1}", stream.p99_ns as f64 / 1e3), &stream.sha256[..8])
            });
            println!(
                "beside {name:37} {level:7} {harm:13} p99 {p99:>9} µs, alone {:>8.1} µs; hash {hash}, alone {}; {faults} \
                 faults",
                alone.p99_ns as f64 / 1e3,
                &alone.sha256[..8]
            );
            problems.iter().for_each(|problem| println!("    {problem}"));
        };
        match beside::play(level, STREAM_NS, told) {
            Ok(results) => {
                report.failed += results.iter().filter(|result| !result.problems.is_empty()).count();
                report.beside.extend(results);
            }
            Err(error) => {
                println!("the good driver alone, {level}: FAILED: {error}");
                report.failed += 1;
            }
        }
    }
}

fn play_all(report: &mut Report) {
    let neighbour = Neighbour::new();
    for (level, case) in Level::ALL.into_iter().flat_map(|level| cases::all().map(move |case| (level, case))) {
        let played = catch_unwind(AssertUnwindSafe(|| stage::play(case, level, false, &neighbour)));
        let stage::CaseOutcome { fault, rolled_back, refusal, problems } =
            played.unwrap_or_else(|_| stage::CaseOutcome {
                problems: vec!["the host panicked; why stands on standard error".to_owned()],
                ..stage::CaseOutcome::default()
            });
        let fault = fault.map(|fault| fault.to_string());
        let host_unharmed = problems.is_empty();
        let harm = if host_unharmed { "host unharmed" } else { "FAILED" };
        let came = match (&fault, &refusal) {
            (Some(fault), _) => fault.clone(),
            (None, Some(refusal)) => format!("not run: {refusal}"),
            (None, None) => "no fault is due".to_owned(),
        };
        let back = if rolled_back { "; rolled back, and again" } else { "" };
        let why = match (level, case.txn) {
            (Level::SfiTxn, Txn::Stands(why) | Txn::Other(_, why)) => format!(" ({why})"),
            _ => String::new(),
        };
        println!("{:44} {level:7} {:18} {harm:13}  {came}{back}{why}", case.name, case.class);
        for problem in &problems {
            println!("    {problem}");
        }
        report.failed += usize::from(!host_unharmed);
        let (level, class) = (level.to_string(), case.class.to_string());
        report.cases.push(Line { name: case.name, level, class, fault, rolled_back, refusal, host_unharmed, problems });
    }
}
