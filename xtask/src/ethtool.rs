//! `cargo xtask ethtool`: what `ethtool -k` and `ethtool -S` say of Linux's drivers in the guest, beside what our
//! driver has for the same cards: the features of its interface, and its statistics by name.

use crate::existing::{Marks, read, show};
use crate::guest;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The guest's cases: Linux's drivers, and ours.
const CASES: [&str; 2] = ["ethtool_of_linux", "ethtool_of_nook"];
/// The cards, by their slots in the guest.
const CARDS: [(&str, &str); 2] = [("05", "82540EM"), ("07", "82574L")];
/// What a feature is that is not there and cannot be turned on.
const NOT_THERE: &str = "off [fixed]";

pub const MARKS: Marks = Marks {
    begin: "<!-- ethtool: written by `cargo xtask ethtool --update-docs` -->\n",
    end: "<!-- end of ethtool -->\n",
};

/// Runs the cases, prints the tables, and puts them into the document if that is wanted.
pub fn run(update_docs: bool) -> Result<()> {
    guest::count(&CASES.map(String::from))?;
    let report = read(&guest::report_file())?;
    show(&MARKS, &tables(&report)?, update_docs)
}

/// What one driver says of one card: names, and what stands behind them.
type Said<'a> = &'a Map<String, Value>;

/// Returns what `what` is of each card and driver, in the order of the columns.
fn said<'a>(report: &'a Value, what: &str) -> Result<Vec<Said<'a>>> {
    let columns = CARDS.iter().flat_map(|(slot, _)| CASES.iter().map(move |case| (case, slot)));
    let of = |(case, slot): (&&str, &&str)| {
        let all = report[*case]["data"][*slot][what].as_object();
        all.with_context(|| format!("the guest's report has no {what} of slot {slot} in {case}"))
    };
    columns.map(|(case, slot)| of((case, slot))).collect()
}

/// As Markdown: features, then counters.
fn tables(report: &Value) -> Result<String> {
    let features = said(report, "features")?;
    let there = |name: &str| features.iter().any(|said| said.get(name).is_some_and(|is| is != NOT_THERE));
    let feature = |is: Option<&Value>| match is.and_then(Value::as_str) {
        None | Some(NOT_THERE) => "-".to_owned(),
        Some(is) => is.replace(" [fixed]", ", fixed").replace(" [requested on]", ", wanted"),
    };
    let mut text = table("feature", names(&features).filter(|name| there(name)), &features, feature);
    let counters = said(report, "counters")?;
    let counter = |counted: Option<&Value>| match counted.and_then(Value::as_str) {
        None => "-".to_owned(),
        Some("0") => "0".to_owned(),
        Some(_) => "counts".to_owned(),
    };
    text.push('\n');
    text += &table("counter", names(&counters), &counters, counter);
    Ok(text)
}

/// Returns each name once, sorted.
fn names<'a>(said: &[Said<'a>]) -> impl Iterator<Item = &'a str> + use<'a> {
    let names: BTreeSet<&str> = said.iter().flat_map(|said| said.keys().map(String::as_str)).collect();
    names.into_iter()
}

fn table<'a>(
    what: &str,
    names: impl Iterator<Item = &'a str>,
    said: &[Said<'_>],
    cell: impl Fn(Option<&Value>) -> String,
) -> String {
    let heads = CARDS.map(|(_, card)| format!(" {card}, Linux | {card}, ours |")).concat();
    let mut text = format!("| {what} |{heads}\n|---|{}\n", "---|".repeat(said.len()));
    for name in names {
        let cells: String = said.iter().map(|said| format!(" {} |", cell(said.get(name)))).collect();
        text += &format!("| `{name}` |{cells}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_one_of_them_has_is_a_row_and_what_nobody_has_is_none() {
        let linux = json!({
            "features": {"rx-checksumming": "on", "rx-fcs": "off", "ntuple-filters": "off [fixed]", "sg": "on"},
            "counters": {"rx_packets": "20", "rx_errors": "0"},
        });
        let ours = json!({
            "features": {"rx-checksumming": "off [fixed]", "sg": "on [fixed]"},
            "counters": {"rx_packets": "0", "rx_all_bytes": "9"},
        });
        let mut report = json!({});
        for (case, said) in CASES.iter().zip([linux, ours]) {
            for (slot, _) in CARDS {
                report[case]["data"][slot] = said.clone();
            }
        }
        let text = tables(&report).unwrap();
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `rx-checksumming` | on | - | on | - |",
                "| `rx-fcs` | off | - | off | - |",
                "| `sg` | on | on, fixed | on | on, fixed |",
                "| `rx_all_bytes` | - | counts | - | counts |",
                "| `rx_errors` | 0 | - | 0 | - |",
                "| `rx_packets` | counts | 0 | counts | 0 |",
            ]
        );
        assert!(tables(&json!({})).unwrap_err().to_string().contains("ethtool_of_linux"));
    }
}
