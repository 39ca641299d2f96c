//! How fast each peer is on each path, the bare veth pair being 1: a row of charts a path, a chart a metric.

use anyhow::Result;
use plotters::prelude::*;

use super::{Canvas, LIMIT, colour, drawn, once, picture, ports, undrawn, write};
use crate::bench::{
    paths::Path,
    peers::BARE,
    record::{Figure, Run},
    report::{METRICS, ratio::ratio},
};

/// Pixels above the first chart, and of the names at the left.
const HEAD: i32 = 64;
const NAMES: i32 = 270;
/// Pixels of a chart's width, of a bar of length 1, and of the longest, which ends there however fast it is; its number
/// follows, and those of shorter ones stand below it.
const CHART: i32 = 170;
const ONE: f64 = 100.0;
const LONGEST: f64 = 115.0;
/// Pixels from a bar to the next, and of a path's head.
const BAR: i32 = 16;
const PATH: i32 = 34;

/// `None` where nobody can be compared with the bare pair.
///
/// # Errors
/// When the library fails.
pub fn by_path(run: &Run) -> Result<Option<String>> {
    let (figures, around) = drawn(run);
    let bars = bars(run, &figures);
    if bars.is_empty() {
        return Ok(None);
    }
    let paths = once(bars.iter().map(|bar| bar.figure.what.case.as_str()));
    let measured = |metric: &&str| bars.iter().any(|bar| bar.figure.what.metric == *metric);
    let metrics: Vec<&str> = METRICS.into_iter().filter(measured).collect();
    let rows: usize = paths.iter().map(|path| subjects(&bars, path).len()).sum();
    let height = HEAD + PATH * paths.len() as i32 + BAR * rows as i32 + BAR;
    let width = NAMES + CHART * metrics.len() as i32;
    let paint = |canvas: &Canvas| {
        let title = format!("Speed, {BARE} = 1: longer is faster ({around}, Linux {})", run.kernel);
        write(canvas, &title, (16, 12), 18.0, BLACK)?;
        for (column, metric) in metrics.iter().enumerate() {
            write(canvas, metric, (left(column), HEAD - 18), 14.0, BLACK)?;
        }
        let mut top = HEAD;
        for path in paths {
            top = row(run, canvas, top, path, &metrics, &bars)?;
        }
        Ok(())
    };
    picture((width.unsigned_abs(), height.unsigned_abs()), paint).map(Some)
}

/// A figure and its speed.
struct Bar<'run> {
    figure: &'run Figure,
    speed: f64,
}

/// Those of the fewest ports.
fn bars<'run>(run: &Run, figures: &[&'run Figure]) -> Vec<Bar<'run>> {
    let fewest = figures.iter().filter_map(|figure| ports(figure)).fold(f64::MAX, f64::min);
    let of_it = figures.iter().filter(|figure| ports(figure).is_none_or(|count| count <= fewest));
    let known = |figure: &&&Figure| METRICS.contains(&figure.what.metric.as_str());
    let bar = |figure: &&'run Figure| {
        let ratio = ratio(run, figure).filter(|ratio| *ratio > 0.0)?;
        let speed = if figure.unit.is_cost() { 1.0 / ratio } else { ratio };
        (figure.what.subject != BARE).then_some(Bar { figure, speed })
    };
    of_it.filter(known).filter_map(bar).collect()
}

fn subjects<'run>(bars: &[Bar<'run>], path: &str) -> Vec<&'run str> {
    once(bars.iter().filter(|bar| bar.figure.what.case == path).map(|bar| bar.figure.what.subject.as_str()))
}

/// Where a chart's bars begin.
fn left(column: usize) -> i32 {
    NAMES + CHART * column as i32
}

/// The charts of a path; returns where the next ones begin.
fn row(run: &Run, canvas: &Canvas, top: i32, path: &str, metrics: &[&str], bars: &[Bar<'_>]) -> Result<i32> {
    let reference =
        if path == Path::Loopback.label() { format!(" (1 = {})", Path::Direct.label()) } else { String::new() };
    write(canvas, &format!("{path}{reference}"), (16, top + 8), 15.0, BLACK)?;
    let (first, subjects) = (top + PATH - 6, subjects(bars, path));
    let end = first + BAR * subjects.len() as i32;
    for (number, subject) in subjects.iter().enumerate() {
        let y = first + BAR * number as i32;
        write(canvas, subject, (28, y), 13.0, BLACK)?;
        let of_subject = bars.iter().filter(|bar| bar.figure.what.subject == *subject && bar.figure.what.case == path);
        for bar in of_subject {
            let column = metrics.iter().position(|other| *other == bar.figure.what.metric).unwrap_or_default();
            draw(canvas, bar, (left(column), y), colour(run, subject))?;
        }
    }
    for column in 0..metrics.len() {
        let x = left(column) + ONE as i32;
        canvas.draw(&PathElement::new([(x, first - 3), (x, end)], LIMIT)).map_err(undrawn)?;
    }
    Ok(end + 6)
}

fn draw(canvas: &Canvas, bar: &Bar<'_>, (x, y): (i32, i32), colour: RGBColor) -> Result<()> {
    let length = (bar.speed * ONE).min(LONGEST) as i32;
    let shape = Rectangle::new([(x, y), (x + length, y + BAR - 3)], colour.filled());
    canvas.draw(&shape).map_err(undrawn)?;
    write(canvas, &format!("{:.2}", bar.speed), (x + LONGEST as i32 + 6, y), 12.0, BLACK)
}
