//! The report as a page: no file beside it, no script.

use std::fmt::Write;

use crate::summary::{Counts, Summary, Table, Times};
use crate::{Outcome, Record};

/// Outcomes of faults that were reached, and the colour of each.
const SHOWN: [(Outcome, &str, &str); 9] = [
    (Outcome::NoEffect, "no effect", "#c9d1d9"),
    (Outcome::Recovered, "recovered", "#2e8b57"),
    (Outcome::Refused, "refused at start", "#7fb3d5"),
    (Outcome::Quarantined, "quarantine", "#f0c05a"),
    (Outcome::NotRecovered, "not recovered", "#e67e22"),
    (Outcome::Undetected, "undetected", "#8e44ad"),
    (Outcome::Damaged, "damaged", "#d98880"),
    (Outcome::SilentCorruption, "silent corruption", "#c0392b"),
    (Outcome::HostHarmed, "host harmed", "#000000"),
];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child,td.text{text-align:left}code{font-size:.9em}svg text{font:12px system-ui,sans-serif}\
.key span{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 1em;vertical-align:-.1em}";

/// Writes the page. `title` says what was tried; `again` is the command that plays a trial again, without its number.
pub fn page(title: &str, again: &str, summary: &Summary, records: &[Record]) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style>\
         <h1>{0}</h1>",
        escaped(title)
    );
    out += "<p>Each trial plants one fault in the driver, its memory, its device or what the operating system does for it, \
            beside a second nook. Frames or blocks whose every byte is known go both ways meanwhile. <b>Recovered</b>: it was \
            reported, and a flow completed within 5 s of the first report, without help. <b>Undetected</b>: traffic failed and there was no \
            report within 30 s. <b>Damaged</b>: the disk holds something else than was \
            acknowledged, and something was reported. <b>Silent corruption</b>: something arrived that was not sent, or the disk holds \
            such, without a report. <b>Host harmed</b>: \
            the process died or leaked, or the second nook was disturbed.</p>";
    for (heading, about, table) in [
        ("Transient faults", "A restart loads the driver without the fault.", &summary.transient),
        ("Persistent faults", "The fault stays, and quarantine is its right end.", &summary.persistent),
    ] {
        let _ = write!(out, "<h2>{heading}</h2><p>{about}</p>");
        out += &numbers(&table.all);
        out += &bars(table);
    }
    out += &times(summary, records);
    out += &cases(again, summary);
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn share(part: usize, of: usize) -> String {
    if of == 0 { "–".into() } else { format!("{:.1} %", part as f64 * 100.0 / of as f64) }
}

fn numbers(all: &Counts) -> String {
    let failures = all.detected + all.undetected + all.damaged + all.silent_corruption + all.host_harmed;
    let mut out = String::from("<table><tr><th>trials<th>activated<th>failures<th>detected<th>recovered");
    out += "<th>undetected<th>damaged<th>silent corruption<th>host harmed</tr>";
    let _ = write!(
        out,
        "<tr><td>{}<td>{}<td>{failures}<td>{} ({})<td>{} ({} of detected)<td>{}<td>{}<td>{}<td>{}</tr></table>",
        all.trials,
        all.activated,
        all.detected,
        share(all.detected, failures),
        all.recovered,
        share(all.recovered, all.detected),
        all.undetected,
        all.damaged,
        all.silent_corruption,
        all.host_harmed
    );
    out
}

/// Class by outcome, of faults that were reached.
fn bars(table: &Table) -> String {
    const ROW: usize = 22;
    const LEFT: usize = 210;
    const WIDTH: usize = 640;
    let height = table.classes.len() * ROW + 4;
    let mut out = String::from("<p class=\"key\">");
    for (_, name, colour) in SHOWN {
        let _ = write!(out, "<span style=\"background:{colour}\"></span>{name}");
    }
    let _ = write!(out, "</p><svg width=\"{}\" height=\"{height}\" role=\"img\">", LEFT + WIDTH + 100);
    for (row, (class, counts)) in table.classes.iter().enumerate() {
        let (y, shown) = (row * ROW, SHOWN.iter().map(|(outcome, ..)| counts.with(*outcome)).sum::<usize>());
        let _ = write!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 8, y + 15, escaped(class));
        let mut x = LEFT as f64;
        for (outcome, name, colour) in SHOWN {
            let count = counts.with(outcome);
            if count == 0 {
                continue;
            }
            let width = count as f64 * WIDTH as f64 / shown as f64;
            let _ = write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"><title>{}: {name}, \
                 {count} of {shown}</title></rect>",
                y + 2,
                ROW - 4,
                escaped(class)
            );
            x += width;
        }
        let _ = write!(out, "<text x=\"{}\" y=\"{}\">{shown}</text>", LEFT + WIDTH + 8, y + 15);
    }
    out += "</svg>";
    out
}

fn millis(ns: u64) -> String {
    format!("{:.1} ms", ns as f64 / 1e6)
}

fn times(summary: &Summary, records: &[Record]) -> String {
    let all = &summary.transient.all;
    let mut out = String::from("<h2>How long it took</h2><table><tr><th>transient faults<th>trials<th>half<th>90 %");
    out += "<th>99 %<th>longest</tr>";
    for (name, times) in [("until it was reported", all.detection_ns), ("until a flow had completed", all.downtime_ns)]
    {
        let Some(Times { count, p50, p90, p99, max }) = times else { continue };
        let [p50, p90, p99, max] = [p50, p90, p99, max].map(millis);
        let _ = write!(out, "<tr><td>{name}<td>{count}<td>{p50}<td>{p90}<td>{p99}<td>{max}</tr>");
    }
    out += "</table><p>Levels of recovery: ";
    let levels: Vec<_> = all.levels.iter().map(|(level, count)| format!("{level:?} {count}").to_lowercase()).collect();
    out += &levels.join(", ");
    out += ".</p>";
    let detected = records.iter().map(|record| &record.transient).filter(|run| run.outcome.is_detected());
    out += &curve("Share of reports by the time since the failure", detected.filter_map(|run| run.detection_ns));
    let recovered = records.iter().map(|record| &record.transient).filter(|run| run.outcome == Outcome::Recovered);
    out += &curve("Share of recoveries by downtime", recovered.filter_map(|run| run.downtime_ns));
    out
}

/// A distribution as a curve, over powers of ten from 1 µs to 100 s.
fn curve(title: &str, times: impl Iterator<Item = u64>) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 160.0;
    const DECADES: f64 = 8.0;
    let mut sorted: Vec<_> = times.collect();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return String::new();
    }
    let mut out = format!("<h3>{title}</h3><svg width=\"{}\" height=\"{}\" role=\"img\">", WIDTH + 80.0, HEIGHT + 34.0);
    for (decade, name) in
        ["1 µs", "10 µs", "0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s", "10 s", "100 s"].iter().enumerate()
    {
        let x = 30.0 + decade as f64 * WIDTH / DECADES;
        let _ = write!(
            out,
            "<line x1=\"{x:.0}\" x2=\"{x:.0}\" y1=\"4\" y2=\"{:.0}\" stroke=\"#ddd\"/><text x=\"{x:.0}\" y=\"{:.0}\" \
             text-anchor=\"middle\">{name}</text>",
            HEIGHT + 4.0,
            HEIGHT + 22.0
        );
    }
    let x = |ns: u64| 30.0 + ((ns.max(1000) as f64 / 1000.0).log10() / DECADES).min(1.0) * WIDTH;
    let mut points = String::new();
    for (before, ns) in sorted.iter().enumerate() {
        let y = |part: usize| 4.0 + HEIGHT - part as f64 * HEIGHT / sorted.len() as f64;
        let _ = write!(points, "{0:.1},{1:.1} {0:.1},{2:.1} ", x(*ns), y(before), y(before + 1));
    }
    let _ = write!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\"/></svg>");
    out
}

/// Trials to act on.
fn cases(again: &str, summary: &Summary) -> String {
    let mut out = String::from("<h2>Trials to look at</h2>");
    if summary.cases.is_empty() {
        return out + "<p>None: every fault that had an effect was reported, and the driver recovered.</p>";
    }
    let _ = write!(out, "<p>Each can be played again: <code>{} --trial NUMBER</code>.</p>", escaped(again));
    out += "<table><tr><th>trial<th>transient<th>persistent<th>class<th>fault<th>where<th>said</tr>";
    for case in &summary.cases {
        let _ = write!(
            out,
            "<tr><td>{}<td class=\"text\">{}<td class=\"text\">{}<td class=\"text\">{}<td class=\"text\">{}\
             <td class=\"text\">{}<td class=\"text\">{}</tr>",
            case.trial,
            case.transient.name(),
            case.persistent.name(),
            escaped(&case.class),
            escaped(&case.what),
            escaped(case.place.as_deref().unwrap_or_default()),
            escaped(case.said.as_deref().unwrap_or_default())
        );
    }
    out + "</table>"
}
