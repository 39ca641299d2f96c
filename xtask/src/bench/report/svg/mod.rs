//! A run as pictures: SVG whose texts are texts, in whatever font the reader has.

use std::{fmt::Debug, fs, path::Path};

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::{order::ordered, ratio::PORTS, table::circumstances};
use crate::bench::{
    peers::{BARE, PORTLANE},
    record::{Figure, Run, Section},
};

mod bars;
mod lines;

/// What pictures are drawn on.
type Canvas<'text> = DrawingArea<SVGBackend<'text>, plotters::coord::Shift>;

/// A picture: its file's name, and what draws it, if the run has what it shows.
type Picture = (&'static str, fn(&Run) -> Result<Option<String>>);

const PICTURES: [Picture; 2] = [("ports.svg", lines::by_ports), ("paths.svg", bars::by_path)];

const OURS: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const LIMIT: RGBColor = RGBColor(0x70, 0x70, 0x70);
/// Told apart by those who see fewer colours, too: Okabe and Ito, <https://jfly.uni-koeln.de/color>, and two of Tol's,
/// <https://personal.sron.nl/~pault>.
const OTHERS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x88, 0x22, 0x55),
    RGBColor(0x99, 0x99, 0x33),
];

/// Draws what the run has figures for into a folder, which is made if it is not there. Returns the names of the files.
///
/// # Errors
/// When a file cannot be written.
pub fn draw(run: &Run, folder: &Path) -> Result<Vec<&'static str>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut drawn = Vec::new();
    for (name, picture) in PICTURES {
        let Some(text) = picture(run)? else { continue };
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        drawn.push(name);
    }
    Ok(drawn)
}

/// The traffic that is drawn, all taken under the same circumstances, those of the first; and these in words.
fn drawn(run: &Run) -> (Vec<&Figure>, String) {
    let around = |figure: &Figure| circumstances(figure, &[PORTS]);
    let mut figures = ordered(run);
    figures.retain(|figure| figure.what.section == Section::Traffic);
    let chosen = figures.first().map(|figure| around(figure)).unwrap_or_default();
    figures.retain(|figure| around(figure) == chosen);
    (figures, chosen)
}

/// How many ports its subject had published, if it publishes any.
fn ports(figure: &Figure) -> Option<f64> {
    figure.what.at.get(PORTS)?.parse().ok()
}

/// Each once, in the order of their first.
fn once<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for one in all {
        if !list.contains(&one) {
            list.push(one);
        }
    }
    list
}

/// The colour that a subject has in every picture of a run.
fn colour(run: &Run, subject: &str) -> RGBColor {
    match subject {
        PORTLANE => OURS,
        BARE => LIMIT,
        _ => {
            let others = run.figures.iter().map(|figure| figure.what.subject.as_str());
            let others = once(others.filter(|other| ![PORTLANE, BARE].contains(other)));
            let at = others.iter().position(|other| *other == subject).unwrap_or_default();
            OTHERS[at % OTHERS.len()]
        }
    }
}

/// A white picture of this size, in pixels, as SVG.
fn picture(size: (u32, u32), paint: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
    canvas.fill(&WHITE).map_err(undrawn)?;
    paint(&canvas)?;
    canvas.present().map_err(undrawn)?;
    drop(canvas);
    Ok(text)
}

/// A line of text, its upper left corner there.
fn write(canvas: &Canvas, words: &str, at: (i32, i32), size: f64, colour: RGBColor) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&colour);
    canvas.draw(&Text::new(words.to_owned(), at, style)).map_err(undrawn)
}

/// Errors of the library hold a borrow of what they draw on.
fn undrawn(error: impl Debug) -> anyhow::Error {
    anyhow!("cannot draw: {error:?}")
}

#[cfg(test)]
mod tests;
