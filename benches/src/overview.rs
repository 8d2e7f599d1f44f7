//! What a level adds to a call, over what the call does: the one picture of the report, and what it says in words. What
//! is paid for entering a domain is the same however much is done inside, and what is paid for each access is not; so
//! the curves of the two kinds of isolation cross.

use std::error::Error;

use plotters::prelude::*;

use crate::crossover::Crossover;
use crate::goals::short;
use crate::levels::LEVELS;
use crate::plots::{FONT, colour, picture};
use crate::sample::Estimate;
use crate::tables::{Table, words};
use crate::{Curve, Report, Sweep};

/// The sweep that is drawn: loads and stores, as of a driver that moves frames itself.
const SWEEP: &str = "touch";
/// The sweeps whose cross-over points are listed, and what their calls do.
const LISTED: [(&str, &str); 2] = [(SWEEP, "reads and writes every byte"), ("checksum", "reads every byte")];
/// What the picture shows.
pub const TITLE: &str = "What isolation adds to a call, over what the call does";
const SIZE: (u32, u32) = (980, 470);
/// What is less is drawn as this: a difference of two times of some nanoseconds is not known better.
const LEAST_NS: f64 = 1.0;

/// Returns what the level adds to a call of each size, in nanoseconds: native's median times what the ratio is above 1.
fn added(sweep: &Sweep, curve: &Curve) -> Vec<Estimate> {
    let native = &sweep.curves[0].ns;
    let beyond = |ratio: f64, ns: f64| (ratio - 1.0) * ns;
    let of = |(ratio, ns): (&Estimate, &Estimate)| Estimate {
        value: beyond(ratio.value, ns.value),
        low: beyond(ratio.low, ns.value),
        high: beyond(ratio.high, ns.value),
        q1: beyond(ratio.q1, ns.value),
        q3: beyond(ratio.q3, ns.value),
    };
    curve.ratio.iter().zip(native).map(of).collect()
}

/// Returns the value between those at the sweep's sizes, on logarithmic scales.
fn at_size(sweep: &Sweep, values: &[f64], size: f64) -> f64 {
    let last = sweep.xs.len() - 1;
    let after = sweep.xs.iter().position(|&x| x >= size).unwrap_or(last).max(1);
    let before = after - 1;
    let share = (size / sweep.xs[before]).ln() / (sweep.xs[after] / sweep.xs[before]).ln();
    (values[before].ln() + share * (values[after] / values[before]).ln()).exp()
}

fn native(sweep: &Sweep) -> Vec<f64> {
    sweep.curves[0].ns.iter().map(|ns| ns.value).collect()
}

/// Returns a time in nanoseconds as people write it: `250 ns`, `12.5 µs`.
fn time(ns: f64) -> String {
    match ns {
        _ if ns < 1000.0 => format!("{} ns", trimmed(ns)),
        _ => format!("{} µs", trimmed(ns / 1e3)),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        _ if bytes < 1024.0 => format!("{} B", trimmed(bytes)),
        _ if bytes < 1048576.0 => format!("{} KiB", trimmed(bytes / 1024.0)),
        _ => format!("{} MiB", trimmed(bytes / 1048576.0)),
    }
}

fn trimmed(value: f64) -> String {
    short(value).trim_end_matches(".00").trim_end_matches(".0").to_owned()
}

/// Returns the cross-over points of a sweep whose levels both isolate.
fn points<'a>(report: &'a Report, sweep: &'a str) -> impl Iterator<Item = (&'a Crossover, [f64; 3])> {
    let isolates = |name: &str| LEVELS.iter().any(|level| level.name == name && level.isolates());
    report
        .crossovers
        .iter()
        .filter(move |found| found.sweep == sweep && isolates(&found.small) && isolates(&found.large))
        .filter_map(|found| Some((found, found.point?)))
}

/// Returns the picture; None if the sweep was not measured.
///
/// # Errors
/// If it cannot be drawn.
pub fn drawn(report: &Report) -> Result<Option<String>, Box<dyn Error>> {
    let Some(sweep) = report.sweeps.iter().find(|sweep| sweep.name == SWEEP) else { return Ok(None) };
    let work = native(sweep);
    // Who does not isolate is the floor of the picture.
    let isolates = |curve: &&Curve| LEVELS.iter().any(|level| level.name == curve.level && level.isolates());
    let curves: Vec<(&Curve, Vec<Estimate>)> =
        sweep.curves.iter().filter(isolates).map(|curve| (curve, added(sweep, curve))).collect();
    let most = curves.iter().flat_map(|(_, added)| added.iter().map(|it| it.high)).fold(LEAST_NS, f64::max);
    let xs = work.iter().copied().fold(f64::INFINITY, f64::min) * 0.9..work.iter().copied().fold(0.0, f64::max) * 1.1;
    let svg = picture(SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(TITLE, (FONT, 18))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(70)
            .build_cartesian_2d(xs.clone().log_scale(), (LEAST_NS * 5.0..most * 3.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(format!(
                "time that the same call takes without isolation (it {}: {} to {})",
                LISTED[0].1,
                size(sweep.xs[0]),
                size(sweep.xs[sweep.xs.len() - 1])
            ))
            .y_desc("added to each call")
            .x_label_formatter(&|x| time(*x))
            .y_label_formatter(&|y| time(*y))
            .label_style((FONT, 13))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        for (at, (curve, added)) in curves.iter().enumerate() {
            let colour = colour(&curve.level, at);
            let line: Vec<(f64, f64)> =
                work.iter().copied().zip(added.iter().map(|it| it.value.max(LEAST_NS))).collect();
            // Where two begin close together, the dearer one's name stands above its line and the other's below.
            let next = curves.iter().map(|(_, other)| other[0].value).filter(|other| *other > added[0].value);
            let is_crowded = next.fold(f64::INFINITY, f64::min) < added[0].value * 1.6;
            let label = (line[0].0 * 1.02, line[0].1 * if is_crowded { 0.85 } else { 1.45 });
            chart.draw_series(LineSeries::new(line, colour.stroke_width(3)))?;
            chart.draw_series([Text::new(
                curve.level.clone(),
                label,
                (FONT, 16).into_font().style(FontStyle::Bold).color(&colour),
            )])?;
        }
        for (found, [point, ..]) in points(report, SWEEP) {
            let Some((_, added)) = curves.iter().find(|(curve, _)| curve.level == found.small) else { continue };
            let heights: Vec<f64> = added.iter().map(|it| it.value.max(LEAST_NS)).collect();
            let at = (at_size(sweep, &work, point), at_size(sweep, &heights, point));
            chart.draw_series([Circle::new(at, 5, BLACK.filled())])?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// Returns where one level overtakes another, of those that isolate: the time that the same call takes without
/// isolation, and the call's size.
pub fn table(report: &Report) -> Table {
    let sweep_of = |name: &str| report.sweeps.iter().find(|sweep| sweep.name == name);
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (found, _) in LISTED.iter().flat_map(|(name, _)| points(report, name)) {
        let pair = (found.small.as_str(), found.large.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let row = |&(small, large): &(&str, &str)| {
        let cell = |(name, _): &(&'static str, &str)| {
            let found =
                points(report, name).find(|(found, _)| (found.small.as_str(), found.large.as_str()) == (small, large));
            let Some(([point, low, high], sweep)) = found.map(|(_, point)| point).zip(sweep_of(name)) else {
                return "nowhere".into();
            };
            let native = native(sweep);
            let [at, from, to] = [point, low, high].map(|bytes| time(at_size(sweep, &native, bytes)));
            format!("{at} [{from}, {to}], {}", size(point))
        };
        [vec![small.to_owned(), large.to_owned()], LISTED.iter().map(cell).collect()].concat()
    };
    let columns = LISTED.iter().map(|(_, work)| format!("a call that {work}"));
    Table {
        title: "Where one overtakes another",
        note: "Up to this much work in a call the first level costs less, and beyond it the second. Work is the time that \
               the same call takes without isolation, with its 95 % confidence interval; the bytes are what it handles.",
        head: [words(&["smaller calls", "larger calls"]), columns.collect()].concat(),
        rows: pairs.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let xs: Vec<f64> = vec![64.0, 1024.0, 16384.0];
        let work = [10.0, 100.0, 1000.0];
        let curve = |level: &str, ratios: [f64; 3]| Curve {
            level: level.into(),
            ns: work.iter().zip(ratios).map(|(ns, ratio)| Estimate::exactly(ns * ratio)).collect(),
            ratio: ratios.map(Estimate::exactly).to_vec(),
        };
        let curves = vec![curve("native", [1.0; 3]), curve("sfi", [2.0; 3]), curve("process", [11.0, 2.0, 1.1])];
        let (title, x_label) = ("Checksum".into(), "bytes in a call".into());
        let sweep = Sweep { name: SWEEP.into(), title, x_label, each: Some("byte".into()), xs, curves };
        let found = Crossover {
            sweep: SWEEP.into(),
            small: "sfi".into(),
            large: "process".into(),
            point: Some([1024.0, 1024.0, 4096.0]),
            ratios: [5.5, 0.55],
        };
        Report { sweeps: vec![sweep], crossovers: vec![found], ..Report::default() }
    }

    #[test]
    fn what_is_added_is_the_time_above_natives() {
        let report = report();
        let sweep = &report.sweeps[0];
        let values = |at: usize| added(sweep, &sweep.curves[at]).iter().map(|it| it.value.round()).collect::<Vec<_>>();
        assert_eq!((values(1), values(2)), (vec![10.0, 100.0, 1000.0], vec![100.0, 100.0, 100.0]));
    }

    #[test]
    fn a_point_is_listed_in_time_and_in_bytes_with_its_interval() {
        let rows = table(&report()).rows;
        assert_eq!(rows, [["sfi", "process", "100 ns [100 ns, 316 ns], 1 KiB", "nowhere"]]);
        assert!(table(&Report::default()).rows.is_empty());
    }

    #[test]
    fn the_picture_names_each_level_that_isolates_and_marks_the_point() {
        let svg = drawn(&report()).unwrap().unwrap();
        assert!(svg.contains("sfi\n") && svg.contains("process\n") && !svg.contains("native\n"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(drawn(&Report::default()).unwrap().is_none());
    }
}
