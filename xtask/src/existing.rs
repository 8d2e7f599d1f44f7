//! `cargo xtask existing`: DPDK's driver of the e1000 in a nook, beside our own, DPDK's where it was written for, and
//! Linux's. What each does for a frame is counted in the guest; what the two in wasm carry on the model is measured by
//! `nook-bench --existing`. The same counts for DPDK's and Linux's driver of the 82576, where there is a QEMU that has
//! a model of it.

use crate::{bench, guest, newer_qemu, util};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The guest's cases, in the table's order, and who it is.
const COUNTED: [(&str, &str); 4] = [
    ("dpdk_counts_of_e1000", "our driver, in a nook"),
    ("dpdk_counts_of_dpdk_e1000", "DPDK's driver, in a nook"),
    ("dpdk_counts_of_testpmd", "DPDK's driver, in DPDK's testpmd"),
    ("dpdk_counts_of_linux", "Linux's own driver"),
];
/// The same for the 82576.
const COUNTED_IGB: [(&str, &str); 3] = [
    ("dpdk_igb_counts_of_nook", "DPDK's driver, in a nook"),
    ("dpdk_igb_counts_of_testpmd", "DPDK's driver, in DPDK's testpmd"),
    ("dpdk_igb_counts_of_linux", "Linux's own driver"),
];
/// What is counted of a frame, by the names of the columns.
const COLUMNS: [(&str, &str); 4] = [
    ("reads", "register reads"),
    ("writes", "register writes"),
    ("interrupts", "interrupts"),
    ("crossings", "crossings"),
];
/// What `nook-bench` calls the throughput of the first two, which alone can be run on the model.
const THROUGHPUT: [&str; 2] = ["existing_exercise_ours_sfi_txn", "existing_exercise_dpdk_sfi_txn"];

const DOCUMENT: &str = "docs/existing-drivers.md";
const MEASURED: &str = "target/existing";
const MARKS: Marks = Marks {
    begin: "<!-- counts: written by `cargo xtask existing --update-docs` -->\n",
    end: "<!-- end of counts -->\n",
};
const MARKS_IGB: Marks = Marks {
    begin: "<!-- counts of the 82576: written by `cargo xtask existing --update-docs` -->\n",
    end: "<!-- end of counts of the 82576 -->\n",
};

/// Between which the document has a table.
pub struct Marks {
    /// The line before it.
    pub begin: &'static str,
    /// The line after it.
    pub end: &'static str,
}

/// Counts, measures, prints the tables, and puts them into the document if that is wanted.
pub fn run(update_docs: bool) -> Result<()> {
    match newer_qemu::fetch() {
        Ok(_) => show(&MARKS_IGB, &table(&COUNTED_IGB, &count(&COUNTED_IGB)?, None)?, update_docs)?,
        Err(error) => println!("existing: LEFT OUT, because there is no QEMU with a model of it: the 82576: {error:#}"),
    }
    let counted = count(&COUNTED)?;
    let mut arguments = vec!["--existing", "--out", MEASURED];
    if update_docs {
        arguments.extend(["--update-docs", DOCUMENT]);
    }
    bench::run(&arguments.into_iter().map(String::from).collect::<Vec<_>>())?;
    let measured = read(&util::root().join(MEASURED).join("report.json"))?;
    show(&MARKS, &table(&COUNTED, &counted, Some(&measured))?, update_docs)
}

/// Runs the guest's cases and returns what they reported.
fn count(cases: &[(&str, &str)]) -> Result<Value> {
    guest::count(&cases.iter().map(|(case, _)| case.to_string()).collect::<Vec<_>>())?;
    read(&guest::report_file())
}

/// Prints a table, and puts it into the document if that is wanted.
pub fn show(marks: &Marks, table: &str, update_docs: bool) -> Result<()> {
    println!("{table}");
    if update_docs {
        let path = util::root().join(DOCUMENT);
        let document = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let updated = updated(&document, marks, table)
            .with_context(|| format!("{DOCUMENT} has no marks between which the counts could go"))?;
        util::write_if_changed(&path, updated.as_bytes())?;
    }
    Ok(())
}

/// Reads a file of JSON.
pub fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// As Markdown. In each cell: requests that come one at a time, and those that come 32 at once. With what was measured,
/// the throughput is in the last column.
fn table(cases: &[(&str, &str)], counted: &Value, measured: Option<&Value>) -> Result<String> {
    let heads: String = COLUMNS.iter().map(|(_, head)| format!(" {head} |")).collect();
    let (last, columns) = if measured.is_some() { (" TCP on the model |", 2) } else { ("", 1) };
    let mut text = format!("| a frame costs |{heads}{last}\n|{}\n", "---|".repeat(COLUMNS.len() + columns));
    for (at, (case, who)) in cases.iter().enumerate() {
        let data = &counted[case]["data"];
        text += &format!("| {who} |");
        for (name, _) in COLUMNS {
            let of = |traffic: &str| {
                let here = &data[traffic][format!("{name}_per_frame")];
                here.as_f64().or_else(|| data[format!("{traffic}_{name}_per_frame")].as_f64()).map(short)
            };
            text += &match (of("apart"), of("together")) {
                (Some(apart), Some(together)) => format!(" {apart}; {together} |"),
                // What does not run in a nook crosses nothing of one.
                _ if name == "crossings" => " - |".into(),
                _ => anyhow::bail!("the guest's report has no {name} of {case}: {data}"),
            };
        }
        if let Some(measured) = measured {
            let figure = |name| measured["figures"][name]["value"].as_f64().context("no throughput");
            let rate = THROUGHPUT.get(at).map(figure).transpose()?;
            text += &rate.map_or(" - |".into(), |rate| format!(" {rate:.0} Mbit/s |"));
        }
        text.push('\n');
    }
    Ok(text)
}

/// Three digits, and no more decimals than those need.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 || value == 0.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

fn updated(document: &str, marks: &Marks, table: &str) -> Option<String> {
    let Marks { begin, end } = marks;
    let (before, rest) = document.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_has_both_kinds_of_traffic_and_only_what_is_in_a_nook_has_crossings() {
        let counts = |reads: f64| json!({"reads_per_frame": reads, "writes_per_frame": 1, "interrupts_per_frame": 0});
        let mut counted = json!({});
        for (case, _) in COUNTED {
            counted[case] = json!({"data": {"apart": counts(250.4), "together": counts(0.0123)}});
        }
        counted[COUNTED[0].0]["data"]["apart_crossings_per_frame"] = json!(6.4);
        counted[COUNTED[0].0]["data"]["together_crossings_per_frame"] = json!(12.34);
        let measured = json!({"figures": {THROUGHPUT[0]: {"value": 880.4}, THROUGHPUT[1]: {"value": 790}}});
        let text = table(&COUNTED, &counted, Some(&measured)).unwrap();
        let rows: Vec<_> = text.lines().skip(2).collect();
        let expected = "| our driver, in a nook | 250; 0.012 | 1.00; 1.00 | 0.00; 0.00 | 6.40; 12.3 | 880 Mbit/s |";
        assert_eq!(rows[0], expected);
        assert!(rows[3].ends_with("| 0.00; 0.00 | - | - |"), "{}", rows[3]);
        let without = table(&COUNTED, &counted, None).unwrap();
        assert!(without.lines().nth(2).unwrap().ends_with("| 6.40; 12.3 |"), "{without}");
        assert!(table(&COUNTED, &json!({}), Some(&measured)).unwrap_err().to_string().contains(COUNTED[0].0));
    }

    #[test]
    fn the_document_has_marks_for_the_table_and_keeps_the_rest() {
        let document = fs::read_to_string(util::root().join(DOCUMENT)).unwrap();
        for marks in [MARKS, MARKS_IGB, crate::ethtool::MARKS] {
            let once = updated(&document, &marks, "| x |\n").unwrap();
            assert!(once.contains("\n| x |\n"));
            assert_eq!(updated(&once, &marks, "| x |\n").unwrap(), once);
            assert_eq!(updated("# E\n", &marks, ""), None);
        }
    }
}
