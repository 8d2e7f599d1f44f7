//! Campaigns of one driver at several isolation levels, beside each other: by class, for no fault of one level is
//! that of another.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use nook_campaign::{Counts, Outcome, Record, Summary};

use super::results;

/// Columns behind class, level and how many faults were reached.
const COLUMNS: [&str; 8] =
    ["nothing", "recovered", "ended", "undetected", "corrupted", "crashed", "hung", "otherwise harmed"];

/// Returns the table of these folders, of transient faults.
///
/// # Errors
/// If one is not of a campaign, or they are of several drivers.
pub fn table(folders: &[PathBuf]) -> Result<String> {
    let mut columns = Vec::new();
    let mut driver: Option<String> = None;
    for folder in folders {
        let (plan, records) = results::read(folder)?;
        let about = plan.about;
        if driver.get_or_insert_with(|| about.driver.clone()) != &about.driver {
            bail!("--compare: {} is of another driver, `{}`", folder.display(), about.driver);
        }
        let records: Vec<Record> = records.into_values().collect();
        columns.push((about.isolation, Summary::of(&records, |_| None).transient));
    }
    let classes: BTreeSet<&str> =
        columns.iter().flat_map(|(_, table)| table.classes.keys().map(String::as_str)).collect();
    let mut text = format!("| faults in {} | isolation | reached |", driver.unwrap_or_default());
    for column in COLUMNS {
        let _ = write!(text, " {column} |");
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(COLUMNS.len() + 1));
    let mut row = |class: &str, level: &str, counts: &Counts| {
        if counts.activated == 0 {
            return;
        }
        let with = |outcomes: &[Outcome]| outcomes.iter().map(|outcome| counts.with(*outcome)).sum::<usize>();
        let cells = [
            with(&[Outcome::NoEffect]),
            counts.recovered,
            with(&[Outcome::Refused, Outcome::Quarantined, Outcome::NotRecovered]),
            counts.undetected,
            counts.silent_corruption + counts.damaged,
            counts.crashed,
            counts.hung,
            counts.host_harmed - counts.crashed - counts.hung,
        ];
        let _ = write!(text, "| {class} | {level} | {} |", counts.activated);
        for count in cells {
            let _ = write!(text, " {count} |");
        }
        text.push('\n');
    };
    for (level, table) in &columns {
        row("all", level, &table.all);
    }
    for class in classes {
        for (level, table) in &columns {
            if let Some(counts) = table.classes.get(class) {
                row(class, level, counts);
            }
        }
    }
    Ok(text)
}
