//! The report as a page that needs nothing beside it.

use std::error::Error;

use crate::levels::{DIRECT, LEVELS};
use crate::tables::{self, escaped};
use crate::{Report, overview, plots};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0 0 1rem; } svg { max-width: 100%; height: auto; border-radius: 6px; background: white; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { background: var(--soft); }
";

/// Returns all of it.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn of(report: &Report) -> Result<String, Box<dyn Error>> {
    let mut body = format!(
        "<h1>What isolation costs</h1>\n<p>A {} run of {:.0} s on a {}. Times are this run's; what counts are ratios \
         between levels that were measured in turn, in one process.</p>\n",
        escaped(&report.extent),
        report.duration_ns as f64 / 1e9,
        escaped(&report.machine.describe())
    );
    let levels = LEVELS.iter().chain([&DIRECT]).map(|level| format!("{} ({})", level.name, level.about));
    body += &format!("<p>Levels: {}.</p>\n", escaped(&levels.collect::<Vec<_>>().join("; ")));
    if !report.left_out.is_empty() {
        let items: String = report.left_out.iter().map(|what| format!("<li>{}</li>", escaped(what))).collect();
        body += &format!("<p>Not measured:</p><ul>{items}</ul>\n");
    }
    if let Some(picture) = overview::drawn(report)? {
        body += &format!("<figure>{picture}</figure>\n{}", overview::table(report).html());
    }
    let mut tables = tables::of(report).into_iter();
    body += &tables.next().map(|table| table.html()).unwrap_or_default();
    body += &format!("<h2>Crossings</h2>\n<figure>{}</figure>\n", plots::crossings(report)?);
    for sweep in &report.sweeps {
        let [cost, ratio] = plots::sweep(sweep)?;
        body += &format!(
            "<h2>{}</h2>\n<div class=\"pair\"><figure>{cost}</figure><figure>{ratio}</figure></div>\n",
            escaped(&sweep.title)
        );
    }
    if !report.overload.is_empty() {
        let picture = plots::overload(&report.overload)?;
        body += &format!("<h2>More than can be carried</h2>\n<figure>{picture}</figure>\n");
    }
    tables.for_each(|table| body += &table.html());
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>What isolation costs</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style></head>\n<body>\n{body}\
         <p>The raw figures are in <code>report.json</code> beside this page.</p>\n</body>\n</html>\n"
    ))
}
