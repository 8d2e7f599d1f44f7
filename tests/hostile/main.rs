//! The hostile suite: small drivers that each do one wrong thing, what comes of it, and that nobody else notices.
//!
//! `nook-hostile [--json FILE]` plays every case and prints the table (`cargo xtask hostile` calls it); the tests in
//! `tests.rs` play the same cases, and fail if a fault or a row of the tables has none. It is test equipment.

mod case;
mod cases;
mod neighbour;
mod scripted;
mod stage;
mod template;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use crate::neighbour::Neighbour;

/// One line of the table.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    class: String,
    fault: Option<String>,
    problems: Vec<String>,
}

/// The whole table.
#[derive(Serialize)]
struct Report {
    cases: Vec<Line>,
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
    let report = report();
    println!("{} cases, {} failed", report.cases.len(), report.failed);
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report).map_err(io::Error::other);
        if let Err(error) = text.and_then(|text| fs::write(file, text)) {
            eprintln!("cannot write {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report() -> Report {
    let neighbour = Neighbour::new();
    let mut report = Report { cases: Vec::new(), failed: 0 };
    for case in cases::all() {
        let stage::Outcome { fault, problems } = stage::play(case, false, &neighbour);
        let fault = fault.map(|fault| fault.to_string());
        let harm = if problems.is_empty() { "host unharmed" } else { "FAILED" };
        println!("{:44} {:18} {harm:13}  {}", case.name, case.class, fault.as_deref().unwrap_or("no fault is due"));
        for problem in &problems {
            println!("    {problem}");
        }
        report.failed += usize::from(!problems.is_empty());
        report.cases.push(Line { name: case.name, class: case.class.to_string(), fault, problems });
    }
    report
}
