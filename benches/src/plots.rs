//! The report's pictures, as SVG.

use std::error::Error;
use std::ops::Range;

use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;

use crate::goals::short;
use crate::levels::LEVELS;
use crate::paper::overload::Load;
use crate::sample::Estimate;
use crate::{Curve, Report, Sweep};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008), in the order of the levels.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(240, 228, 66),
];
const SIZE: (u32, u32) = (620, 400);
/// Where bars begin, on a logarithmic scale.
const LEAST_NS: f64 = 0.5;
pub(crate) const FONT: &str = "sans-serif";

pub(crate) fn colour(level: &str, fallback: usize) -> RGBColor {
    let at = LEVELS.iter().position(|it| it.name == level).unwrap_or(fallback);
    COLOURS[at % COLOURS.len()]
}

/// What is drawn of a curve, and how the axis is called.
struct View<'a> {
    title: String,
    y_label: String,
    points: &'a dyn Fn(&Curve, usize) -> Estimate,
}

/// Two pictures of a sweep: what a packet or a byte costs, and the ratio to the first level.
///
/// # Errors
/// If it cannot be drawn.
pub fn sweep(sweep: &Sweep) -> Result<[String; 2]> {
    let unit = sweep.each.as_deref().unwrap_or("call");
    let among = |at: usize| if sweep.each.is_some() { sweep.xs[at] } else { 1.0 };
    let cost = |curve: &Curve, at: usize| curve.ns[at].scaled(1.0 / among(at));
    let ratio = |curve: &Curve, at: usize| curve.ratio[at];
    let base = sweep.curves.first().map_or("", |curve| &curve.level);
    Ok([
        curves(sweep, &View { title: format!("ns a {unit}"), y_label: format!("ns a {unit}"), points: &cost })?,
        curves(
            sweep,
            &View { title: format!("cost over {base}'s"), y_label: format!("ratio to {base}"), points: &ratio },
        )?,
    ])
}

fn range(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(0.0, f64::max);
    low * 0.85..high * 1.2
}

/// Returns what `draw` draws, on white.
pub(crate) fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    draw(&root)?;
    root.present()?;
    drop(root);
    Ok(svg)
}

fn legend<'a, D, T>(chart: &mut ChartContext<'a, D, T>, place: SeriesLabelPosition) -> Result<()>
where
    D: DrawingBackend + 'a,
    D::ErrorType: 'static,
    T: CoordTranslate,
{
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 12))
        .draw()?;
    Ok(())
}

fn curves(sweep: &Sweep, view: &View<'_>) -> Result<String> {
    let of = |curve| (0..sweep.xs.len()).map(move |at| (view.points)(curve, at));
    let all = sweep.curves.iter().flat_map(|curve| of(curve).flat_map(|it| [it.low, it.high])).collect::<Vec<_>>();
    let xs = sweep.xs.first().copied().unwrap_or(1.0)..sweep.xs.last().copied().unwrap_or(2.0);
    picture(SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(&view.title, (FONT, 16))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(xs.log_scale().base(2.0), range(all.iter().copied()).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(&sweep.x_label)
            .y_desc(&view.y_label)
            .x_labels(sweep.xs.len())
            .x_label_formatter(&|x| short(*x).trim_end_matches(".00").trim_end_matches(".0").to_owned())
            .y_label_formatter(&|y| short(*y))
            .label_style((FONT, 12))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        for (at, curve) in sweep.curves.iter().enumerate() {
            let colour = colour(&curve.level, at);
            let points: Vec<(f64, Estimate)> = sweep.xs.iter().copied().zip(of(curve)).collect();
            let upper = points.iter().map(|(x, y)| (*x, y.high));
            let lower = points.iter().rev().map(|(x, y)| (*x, y.low));
            chart.draw_series([Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour.mix(0.18).filled())])?;
            let line = LineSeries::new(points.iter().map(|(x, y)| (*x, y.value)), colour.stroke_width(2)).point_size(2);
            let legend = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
            chart.draw_series(line)?.label(&curve.level).legend(legend);
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}

/// What arrives over what is offered, in datagrams a second.
///
/// # Errors
/// If it cannot be drawn.
pub fn overload(loads: &[Load]) -> Result<String> {
    let greatest = |of: fn(&Load) -> f64| loads.iter().map(of).fold(1.0, f64::max) * 1.05;
    let (right, top) = (greatest(|load| load.offered.high), greatest(|load| load.delivered.high));
    let mut levels: Vec<&str> = loads.iter().map(|load| &*load.level).collect();
    levels.dedup();
    picture(SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption("Datagrams that arrive, of those that are offered", (FONT, 16))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        let thousands = |rate: &f64| format!("{:.0}", rate / 1e3);
        chart
            .configure_mesh()
            .x_desc("thousand offered a second")
            .y_desc("thousand that arrive a second")
            .x_label_formatter(&thousands)
            .y_label_formatter(&thousands)
            .label_style((FONT, 12))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        for (at, level) in levels.iter().enumerate() {
            let colour = colour(level, at);
            let points: Vec<_> = loads.iter().filter(|load| load.level == *level).collect();
            let upper = points.iter().map(|load| (load.offered.value, load.delivered.high));
            let lower = points.iter().rev().map(|load| (load.offered.value, load.delivered.low));
            chart.draw_series([Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour.mix(0.18).filled())])?;
            let line = points.iter().map(|load| (load.offered.value, load.delivered.value));
            let legend = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
            let line = LineSeries::new(line, colour.stroke_width(2)).point_size(2);
            chart.draw_series(line)?.label(*level).legend(legend);
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight)
    })
}

/// Crossings as bars, a group for each kind.
///
/// # Errors
/// If it cannot be drawn.
pub fn crossings(report: &Report) -> Result<String> {
    const KINDS: [(&str, &str); 4] = [
        ("null_call", "null call"),
        ("hostcall", "call back into the host"),
        ("register_read", "register read"),
        ("register_write", "register write"),
    ];
    let value = |kind: &str, level: &str| report.figures.get(&format!("{kind}_{level}")).map(|figure| figure.estimate);
    let mut names: Vec<(String, String)> = LEVELS.iter().map(|level| (level.key(), level.name.to_owned())).collect();
    names.push(("direct".into(), "sfi, direct registers".into()));
    let all = KINDS.iter().flat_map(|(kind, _)| names.iter().filter_map(|(key, _)| value(kind, key)));
    let top = all.map(|estimate| estimate.q3).fold(1.0, f64::max) * 2.0;
    let groups = KINDS.len() as f64;
    picture((SIZE.0 * 2, SIZE.1), |root| {
        let mut chart = ChartBuilder::on(root)
            .caption("ns a crossing", (FONT, 16))
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(56)
            .build_cartesian_2d(-0.5..groups - 0.5, (LEAST_NS..top).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(KINDS.len())
            .x_label_formatter(&|x| KINDS.get(x.round() as usize).map_or(String::new(), |(_, name)| (*name).to_owned()))
            .y_desc("ns")
            .label_style((FONT, 13))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        let width = 0.8 / names.len() as f64;
        for (at, (key, name)) in names.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let left = |group: usize| group as f64 - 0.4 + at as f64 * width;
            let found: Vec<_> =
                (0..).zip(KINDS).filter_map(|(group, (kind, _))| Some((group, value(kind, key)?))).collect();
            let bars = found.iter().map(|(group, it)| {
                Rectangle::new(
                    [(left(*group), LEAST_NS), (left(*group) + width * 0.9, it.value.max(LEAST_NS))],
                    colour.filled(),
                )
            });
            let legend = move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled());
            chart.draw_series(bars)?.label(name).legend(legend);
            let labels = found.iter().map(|(group, it)| {
                Text::new(short(it.value), (left(*group) + width * 0.08, it.value.max(LEAST_NS) * 1.28), (FONT, 11))
            });
            chart.draw_series(labels)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}
