//! The part of docs/performance.md that a run writes.

use crate::{Report, tables};

const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --update-docs` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Returns the document with this report's tables in place of those between its marks; None if it has no marks.
pub fn updated(document: &str, report: &Report) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let tables: String = tables::of(report).iter().map(tables::Table::markdown).collect();
    let intro = match report.extent.as_str() {
        tables::EXISTING => format!("Measured on a {}.\n\n", report.machine.describe()),
        extent => format!("A {extent} run on a {}.\n\n", report.machine.describe()),
    };
    Some(format!("{before}{BEGIN}\n{intro}{tables}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays() {
        let document = format!("# P\n\n{BEGIN}\nold\n{END}\nMore.\n");
        let once = updated(&document, &Report::default()).unwrap();
        assert!(once.starts_with("# P\n\n<!--") && once.ends_with("-->\n\nMore.\n") && !once.contains("old"), "{once}");
        assert_eq!(updated(&once, &Report::default()).unwrap(), once);
        assert_eq!(updated("# P\n", &Report::default()), None);
    }
}
