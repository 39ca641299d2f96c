//! Latency and connections a second against the number of ports published.

use anyhow::Result;
use plotters::prelude::*;

use super::{Canvas, colour, drawn, once, picture, ports, undrawn, write};
use crate::bench::{
    paths::Path,
    record::{Figure, Run, Unit},
    report::number::shown,
};

/// Lines behind the charts'.
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const SIZE: (u32, u32) = (1000, 460);
/// Above and below the two charts.
const HEAD: u32 = 44;
const FOOT: u32 = 56;
/// The two charts: metric and head.
const CHARTS: [(&str, &str); 2] = [("RR p50", "request and answer, median"), ("conn/s", "connections a second")];
/// Peers in a line of the legend, and pixels from one to the next.
const IN_LINE: usize = 4;
const LEGEND: (i32, i32) = (240, 20);

/// `None` unless somebody was measured with two numbers of ports.
///
/// # Errors
/// When the library fails.
pub fn by_ports(run: &Run) -> Result<Option<String>> {
    let (mut figures, around) = drawn(run);
    figures.retain(|figure| figure.what.case == Path::Published.label());
    figures.retain(|figure| CHARTS.iter().any(|(metric, _)| figure.what.metric == *metric));
    let counts = figures.iter().filter_map(|figure| ports(figure));
    let (least, most) = counts.fold((f64::MAX, 0.0_f64), |(least, most), count| (least.min(count), most.max(count)));
    if least >= most {
        return Ok(None);
    }
    let subjects = once(figures.iter().map(|figure| figure.what.subject.as_str()));
    let paint = |canvas: &Canvas| {
        let title = format!("{} against ports published ({around}, Linux {})", Path::Published.label(), run.kernel);
        write(canvas, &title, (16, 12), 18.0, BLACK)?;
        let (_, below) = canvas.split_vertically(HEAD);
        let (charts, foot) = below.split_vertically(SIZE.1 - HEAD - FOOT);
        for (area, (metric, head)) in charts.split_evenly((1, 2)).iter().zip(CHARTS) {
            let of_metric: Vec<&Figure> =
                figures.iter().copied().filter(|figure| figure.what.metric == metric).collect();
            chart(run, area, head, &of_metric, (least, most))?;
        }
        legend(run, &foot, &subjects)
    };
    picture(SIZE, paint).map(Some)
}

fn chart(run: &Run, area: &Canvas, head: &str, figures: &[&Figure], (least, most): (f64, f64)) -> Result<()> {
    let top = figures.iter().map(|figure| figure.median()).fold(1.0, f64::max) * 1.1;
    let unit = figures.first().map_or(Unit::PerSecond, |figure| figure.unit);
    let mut chart = ChartBuilder::on(area)
        .caption(head, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(66)
        .build_cartesian_2d((least..most).log_scale(), 0.0..top)
        .map_err(undrawn)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_desc("ports published")
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_label_formatter(&|value| shown(*value, unit))
        .draw()
        .map_err(undrawn)?;
    for subject in once(figures.iter().map(|figure| figure.what.subject.as_str())) {
        let style = colour(run, subject).stroke_width(2);
        let points = line(figures, subject, (least, most));
        chart.draw_series(LineSeries::new(points.clone(), style)).map_err(undrawn)?;
        let measured = figures.iter().filter(|figure| figure.what.subject == subject && ports(figure).is_some());
        let dots =
            measured.filter_map(|figure| Some(Circle::new((ports(figure)?, figure.median()), 3, style.filled())));
        chart.draw_series(dots).map_err(undrawn)?;
    }
    Ok(())
}

/// A subject's line; one that publishes nothing has a level one.
fn line(figures: &[&Figure], subject: &str, (least, most): (f64, f64)) -> Vec<(f64, f64)> {
    let of_subject = figures.iter().filter(|figure| figure.what.subject == subject);
    let mut points: Vec<(f64, f64)> = of_subject
        .flat_map(|figure| {
            let at = ports(figure).map_or(vec![least, most], |count| vec![count]);
            at.into_iter().map(|count| (count, figure.median()))
        })
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

fn legend(run: &Run, foot: &Canvas, subjects: &[&str]) -> Result<()> {
    for (number, subject) in subjects.iter().enumerate() {
        let (column, row) = ((number % IN_LINE) as i32, (number / IN_LINE) as i32);
        let (x, y) = (24 + column * LEGEND.0, 4 + row * LEGEND.1);
        let swatch = Rectangle::new([(x, y + 3), (x + 18, y + 8)], colour(run, subject).filled());
        foot.draw(&swatch).map_err(undrawn)?;
        write(foot, subject, (x + 26, y), 13.0, BLACK)?;
    }
    Ok(())
}
