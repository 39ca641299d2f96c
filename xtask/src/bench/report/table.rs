//! A run as tables for a terminal.

use std::fmt::Write;

use super::{
    number::shown,
    order::ordered,
    ratio::{PORTS, ratio},
};
use crate::bench::record::{Figure, Run, Section};

/// Characters of a line; columns that go beyond come below.
const WIDTH: usize = 130;
/// Between two columns.
const GAP: usize = 3;

/// All figures: medians, the spread of the middle half in percent of them, and for traffic the ratio to the bare veth
/// pair, with link settings to portlane without. Paths have a table each, with a line for each peer; of commands and programs, lines are what was done.
pub fn tables(run: &Run) -> String {
    let mut text = String::new();
    for grid in grids(run) {
        let _ = writeln!(text, "{}", grid.title);
        for columns in grid.pages() {
            grid.page(&columns, &mut text);
        }
        text.push('\n');
    }
    text
}

/// One table, in the order in which its parts came up.
#[derive(Debug, Default)]
struct Grid {
    title: String,
    rows: Vec<String>,
    columns: Vec<String>,
    /// Row, column, text.
    cells: Vec<(usize, usize, String)>,
}

fn grids(run: &Run) -> Vec<Grid> {
    let mut grids: Vec<Grid> = Vec::new();
    for figure in ordered(run) {
        let [title, row, column] = place(figure);
        let at = position(&mut grids, |grid| grid.title == title, || Grid { title: title.clone(), ..Grid::default() });
        let grid = &mut grids[at];
        let row = position(&mut grid.rows, |other| *other == row, || row.clone());
        let column = position(&mut grid.columns, |other| *other == column, || column.clone());
        grid.cells.push((row, column, cell(run, figure)));
    }
    grids
}

/// Where there is such a one, or where it was put at the end.
fn position<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}

/// Table, line and column of a figure.
fn place(figure: &Figure) -> [String; 3] {
    let what = &figure.what;
    match what.section {
        Section::Traffic | Section::Beyond => {
            let settings = if what.section == Section::Beyond { "link settings" } else { "" };
            let title = [what.case.clone(), settings.to_owned(), circumstances(figure, &[PORTS])];
            [joined(&title), subject(figure), what.metric.clone()]
        }
        Section::Control | Section::Scale => {
            let title = if what.section == Section::Control { "commands and memory" } else { "program runs" };
            let row = [what.case.clone(), circumstances(figure, &[])];
            [title.to_owned(), joined(&row), joined(&[what.subject.clone(), what.metric.clone()])]
        }
    }
}

/// Whose a figure of traffic is: `portlane, 1000 ports`.
pub fn subject(figure: &Figure) -> String {
    let ports = |ports: &String| if ports == "1" { "1 port".to_owned() } else { format!("{ports} ports") };
    joined(&[figure.what.subject.clone(), figure.what.at.get(PORTS).map(ports).unwrap_or_default()])
}

/// All of `at` but some: `cpus 1, IPv4`.
pub fn circumstances(figure: &Figure, without: &[&str]) -> String {
    let named = |(name, value): (&String, &String)| {
        if value.starts_with(|first: char| first.is_ascii_digit()) { format!("{name} {value}") } else { value.clone() }
    };
    let rest = figure.what.at.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    joined(&rest.map(named).collect::<Vec<_>>())
}

/// With commas between those that say something.
fn joined(parts: &[String]) -> String {
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
}

/// `16.1 µs ±2% 1.07`.
fn cell(run: &Run, figure: &Figure) -> String {
    let median = figure.median();
    let (low, high) = figure.spread();
    let spread = if median > 0.0 { (high - low) / 2.0 / median * 100.0 } else { 0.0 };
    let ratio = ratio(run, figure).map(|ratio| format!(" {ratio:.2}")).unwrap_or_default();
    format!("{} ±{spread:.0}%{ratio}", shown(median, figure.unit))
}

impl Grid {
    /// Columns that fit side by side, with their widths.
    fn pages(&self) -> Vec<Vec<(usize, usize)>> {
        let mut pages: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
        let mut room = WIDTH.saturating_sub(self.names());
        for column in 0..self.columns.len() {
            let width = self.width(column);
            if room < width + GAP {
                pages.push(Vec::new());
                room = WIDTH.saturating_sub(self.names());
            }
            room = room.saturating_sub(width + GAP);
            if let Some(page) = pages.last_mut() {
                page.push((column, width));
            }
        }
        pages.retain(|page| !page.is_empty());
        pages
    }

    /// Width of the first column.
    fn names(&self) -> usize {
        2 + longest(self.rows.iter())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.cells.iter().filter(|(_, of, _)| *of == column).map(|(_, _, text)| text);
        longest(cells.chain([&self.columns[column]]))
    }

    fn page(&self, columns: &[(usize, usize)], text: &mut String) {
        let mut line = format!("{:1$}", "", self.names());
        for (column, width) in columns {
            let _ = write!(line, "{:GAP$}{:>width$}", "", self.columns[*column]);
        }
        let _ = writeln!(text, "{line}");
        for (row, name) in self.rows.iter().enumerate() {
            let of_row = |column| self.cells.iter().find(|(r, c, _)| (*r, *c) == (row, column));
            if columns.iter().all(|(column, _)| of_row(*column).is_none()) {
                continue;
            }
            let mut line = format!("  {name:0$}", self.names() - 2);
            for (column, width) in columns {
                let cell = of_row(*column).map_or("–", |(_, _, text)| text);
                let _ = write!(line, "{:GAP$}{cell:>width$}", "");
            }
            let _ = writeln!(text, "{line}");
        }
    }
}

fn longest<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::sample::{figure, run};

    #[test]
    fn paths_have_a_line_for_each_peer_and_commands_a_line_each() {
        let wanted = "\
inbound published, IPv4
                                    RR p50              conn/s
  bare veth pair          15.0 µs ±1% 1.00   14.0 k/s ±1% 1.00
  Docker 28, 1 port       21.8 µs ±1% 1.45   9.80 k/s ±1% 0.70
  Docker 28, 1000 ports   30.0 µs ±1% 2.00   5.04 k/s ±1% 0.36
  portlane, 1 port        16.1 µs ±1% 1.07   13.2 k/s ±1% 0.94
  portlane, 1000 ports    16.1 µs ±1% 1.07   13.0 k/s ±1% 0.93

commands and memory
                                 portlane, time
  publish at once, ports 16000      11.0 ms ±1%

";
        assert_eq!(tables(&run()), wanted);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_columns_stand_below_their_heads() {
        let mut run = run();
        for number in 0..20 {
            run.figures.push(figure("portlane", "inbound published", &format!("metric {number}"), Some(1), 1.0));
        }
        let text = tables(&run);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("metric 19"), "{text}");
        let head = text.lines().nth(1).expect("a head");
        let row = text.lines().nth(2).expect("a row");
        let ends = |line: &str, word: &str| {
            let at = line.find(word).unwrap_or_else(|| panic!("no `{word}` in {line}"));
            line[..at + word.len()].chars().count()
        };
        assert_eq!(ends(head, "RR p50"), ends(row, "1.00"), "{text}");
    }
}
