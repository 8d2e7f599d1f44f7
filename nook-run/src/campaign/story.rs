//! What a campaign, and one trial of it, tell in words.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use nook_campaign::{Counts, Outcome, Record, Run, Summary};

use crate::output;
use crate::postmortem::lines_in_file;

/// Tells what came of a trial.
///
/// # Errors
/// If there is nobody to tell it to.
pub fn tell(record: &Record, file: &[u8]) -> Result<()> {
    let kind = format!("{:?}", record.kind).to_lowercase();
    let mut text = format!("trial {}: {kind}/{}: {}\n", record.trial, record.class, record.what);
    if let Some(lines) = record.offset.and_then(|offset| lines_in_file(file, offset)) {
        for line in lines {
            let _ = writeln!(text, "  at {line}");
        }
    }
    let begin = if record.from_start { "with the driver" } else { "amid traffic" };
    let _ = writeln!(text, "  it begins {begin}");
    for (name, run) in [("transient", &record.transient), ("persistent", &record.persistent)] {
        let _ = writeln!(text, "{name}: {}", words(run));
    }
    output::print(&text)
}

fn words(run: &Run) -> String {
    let mut text = format!("{}; reached {} times", run.outcome.name().replace('_', " "), run.hits);
    let millis = |ns: u64| format!("{:.3} ms", ns as f64 / 1e6);
    if let Some(report) = &run.report {
        let _ = write!(text, "\n  {} report(s), the first: {report}", run.reports);
    }
    if let Some(ns) = run.detection_ns {
        let _ = write!(text, "\n  reported {} after the failure", millis(ns));
    }
    if let Some(level) = run.level {
        let _ = write!(text, "\n  recovery went as far as: {level:?}");
    }
    if let Some(ns) = run.downtime_ns {
        let _ = write!(text, "\n  a flow had completed {} after it began", millis(ns));
    }
    let _ = write!(
        text,
        "\n  frames or requests: {} sent again, {} came twice, {} came changed",
        run.lost, run.duplicates, run.corrupted
    );
    if run.damaged > 0 {
        let _ = write!(text, "\n  blocks that hold something else than was acknowledged: {}", run.damaged);
    }
    if let Some(harm) = &run.harm {
        let _ = write!(text, "\n  harm: {harm}");
    }
    text
}

/// Tells what came of a campaign.
pub fn summary(title: &str, summary: &Summary, folder: &Path) -> String {
    let mut text = format!("{title}\n{:14}{:>12}{:>12}\n", "", "transient", "persistent");
    let (transient, persistent) = (&summary.transient.all, &summary.persistent.all);
    let mut line = |name: &str, of: &dyn Fn(&Counts) -> String| {
        let _ = writeln!(text, "{name:17}{:>9}{:>12}", of(transient), of(persistent));
    };
    line("trials", &|counts| counts.trials.to_string());
    line("activated", &|counts| counts.activated.to_string());
    for outcome in &Outcome::ALL[1..] {
        line(&outcome.name().replace('_', " "), &|counts| counts.with(*outcome).to_string());
    }
    line("  it crashed", &|counts| counts.crashed.to_string());
    line("  it hung", &|counts| counts.hung.to_string());
    let millis = |ns: Option<u64>| ns.map_or("-".into(), |ns| format!("{:.1} ms", ns as f64 / 1e6));
    line("detected, half", &|counts| millis(counts.detection_ns.map(|times| times.p50)));
    line("detected, 99 %", &|counts| millis(counts.detection_ns.map(|times| times.p99)));
    line("downtime, half", &|counts| millis(counts.downtime_ns.map(|times| times.p50)));
    line("downtime, 99 %", &|counts| millis(counts.downtime_ns.map(|times| times.p99)));
    for case in summary.cases.iter().filter(|case| case.transient >= Outcome::Undetected).take(20) {
        let place = case.place.as_deref().map(|place| format!(" at {place}")).unwrap_or_default();
        let _ = writeln!(text, "trial {}: {}: {}: {}{place}", case.trial, case.transient.name(), case.class, case.what);
    }
    let _ = writeln!(text, "report: {}", folder.join("index.html").display());
    text
}
