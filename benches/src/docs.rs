//! The parts of docs/performance.md that a run writes.

use crate::{Report, overview, tables};

const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --update-docs` -->\n";
const END: &str = "<!-- end of figures -->\n";
const OVERVIEW_BEGIN: &str = "<!-- overview: written by `cargo xtask bench --update-docs` -->\n";
const OVERVIEW_END: &str = "<!-- end of overview -->\n";
/// The picture's name, beside the document.
pub const PICTURE: &str = "cost-of-a-call.svg";

/// Returns the document with this report's tables in place of those between its marks; None if it has no marks. What
/// the picture says in words goes between the marks of the overview, if the document has them and the report has it.
pub fn updated(document: &str, report: &Report) -> Option<String> {
    let tables: String = tables::of(report).iter().map(tables::Table::markdown).collect();
    let intro = match report.extent.as_str() {
        tables::EXISTING => format!("Measured on a {}.\n\n", report.machine.describe()),
        extent => format!("A {extent} run on a {}.\n\n", report.machine.describe()),
    };
    let document = between(document, BEGIN, END, &format!("\n{intro}{tables}"))?;
    let table = overview::table(report);
    if table.rows.is_empty() {
        return Some(document);
    }
    let overview = format!("\n![{}]({PICTURE})\n\n{}", overview::TITLE, table.markdown());
    Some(between(&document, OVERVIEW_BEGIN, OVERVIEW_END, &overview).unwrap_or(document))
}

fn between(document: &str, begin: &str, end: &str, content: &str) -> Option<String> {
    let (before, rest) = document.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{content}{end}{after}"))
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
