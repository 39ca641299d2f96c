//! Two runs side by side.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    number::shown,
    ratio::{PORTS, base, ratio},
    table::{circumstances, subject},
};
use crate::bench::record::{Figure, Run, Section};

/// What changed from one run to another: of traffic the ratio to the bare veth pair, since the machine may have been faster
/// then, and of all else the figure itself. What lies within the spread of both has not changed.
pub fn compared(then: &Run, now: &Run) -> String {
    let mut text = String::new();
    for sentence in differences(then, now) {
        let _ = writeln!(text, "{sentence}");
    }
    let pairs: Vec<(&Figure, &Figure)> =
        now.figures.iter().filter_map(|figure| Some((of(then, figure)?, figure))).collect();
    let changes: Vec<Change> = pairs.iter().filter_map(|(old, new)| Change::between((then, old), (now, new))).collect();
    for change in &changes {
        let _ = writeln!(text, "{change}");
    }
    let alone = |run: &Run| run.figures.len() - pairs.len();
    let _ = writeln!(
        text,
        "{} figures changed, {} did not; {} are in the earlier run only, {} in this one only",
        changes.len(),
        pairs.len() - changes.len(),
        alone(then),
        alone(now)
    );
    text
}

/// What makes all figures differ.
fn differences(then: &Run, now: &Run) -> Vec<String> {
    let mut sentences = Vec::new();
    if then.kernel != now.kernel {
        sentences.push(format!("another kernel: {} then, {} now", then.kernel, now.kernel));
    }
    if then.processors != now.processors {
        sentences.push(format!("another machine: {} processors then, {} now", then.processors, now.processors));
    }
    if then.quick != now.quick {
        let long = |run: &Run| if run.quick { "quick" } else { "full" };
        sentences.push(format!("a {} run then, a {} one now", long(then), long(now)));
    }
    let only = |one: &Run, other: &Run, when: &str| {
        let missing = one.settings.iter().filter(|setting| !other.settings.contains(setting));
        missing.map(|setting| format!("only {when}: {setting}")).collect::<Vec<_>>()
    };
    sentences.extend(only(then, now, "then"));
    sentences.extend(only(now, then, "now"));
    sentences
}

fn of<'run>(run: &'run Run, figure: &Figure) -> Option<&'run Figure> {
    run.figures.iter().find(|other| other.what == figure.what && other.unit == figure.unit)
}

/// A figure that is not what it was.
#[derive(Debug)]
struct Change {
    what: String,
    /// As they are shown.
    values: [String; 2],
    factor: f64,
    better: bool,
}

impl Change {
    /// `None` if it may be chance.
    fn between((then, old): (&Run, &Figure), (now, new): (&Run, &Figure)) -> Option<Self> {
        let relative = ratio(then, old).zip(ratio(now, new));
        let (before, after) = relative.unwrap_or((old.median(), new.median()));
        let scale = |run, figure| if relative.is_some() { base(run, figure).map_or(1.0, Figure::median) } else { 1.0 };
        let ((low, high), (lowest, highest)) = (range(old, scale(then, old)), range(new, scale(now, new)));
        let apart = high < lowest || highest < low;
        let show = |value| if relative.is_some() { format!("{value:.2}") } else { shown(value, new.unit) };
        let values = [show(before), show(after)];
        (apart && before > 0.0).then(|| Self {
            what: name(new),
            values,
            factor: after / before,
            better: (after < before) == new.unit.is_cost(),
        })
    }
}

/// Where the middle half lies, in units of `scale`.
fn range(figure: &Figure, scale: f64) -> (f64, f64) {
    let (low, high) = figure.spread();
    (low / scale, high / scale)
}

fn name(figure: &Figure) -> String {
    let what = &figure.what;
    let (subject, at) = match what.section {
        Section::Traffic | Section::Beyond => (subject(figure), circumstances(figure, &[PORTS])),
        Section::Control | Section::Scale => (what.subject.clone(), circumstances(figure, &[])),
    };
    let parts = [subject.as_str(), &what.case, &what.metric, &at];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ([before, after], verdict) = (&self.values, if self.better { "better" } else { "worse" });
        write!(f, "{verdict:6} {:5.2}×  {before} → {after}  {}", self.factor, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{peers::PORTLANE, report::sample::run};

    /// The run with each of portlane's medians of a metric times something.
    fn with(metric: &str, factor: f64) -> Run {
        let mut run = run();
        let mine = |figure: &&mut Figure| figure.what.subject == PORTLANE && figure.what.metric == metric;
        for figure in run.figures.iter_mut().filter(mine) {
            figure.samples.iter_mut().for_each(|sample| *sample *= factor);
        }
        run
    }

    #[test]
    fn more_latency_is_worse_and_more_connections_are_better() {
        let text = compared(&run(), &with("RR p50", 1.2));
        assert!(
            text.contains("worse   1.20×  1.07 → 1.28  portlane, 1 port: inbound published: RR p50: IPv4"),
            "{text}"
        );
        let text = compared(&run(), &with("conn/s", 1.1));
        assert!(
            text.contains("better  1.10×  0.94 → 1.03  portlane, 1 port: inbound published: conn/s: IPv4"),
            "{text}"
        );
        let text = compared(&run(), &with("time", 0.5));
        assert!(
            text.contains("better  0.50×  11.0 ms → 5.50 ms  portlane: publish at once: time: ports 16000"),
            "{text}"
        );
    }

    #[test]
    fn what_lies_within_the_spread_has_not_changed() {
        let text = compared(&run(), &with("RR p50", 1.005));
        assert_eq!(text, "0 figures changed, 11 did not; 0 are in the earlier run only, 0 in this one only\n");
    }

    #[test]
    fn a_machine_that_is_slower_for_all_has_changed_no_ratio() {
        let mut slower = run();
        for figure in slower.figures.iter_mut().filter(|figure| figure.what.section == Section::Traffic) {
            figure.samples.iter_mut().for_each(|sample| *sample *= 3.0);
        }
        assert!(compared(&run(), &slower).starts_with("0 figures changed"));
    }

    #[test]
    fn another_kernel_and_figures_that_are_in_one_run_only_are_said() {
        let settings = vec!["GRO off".to_owned(), "MTU 9000".to_owned()];
        let mut now = Run { kernel: "6.19.0".to_owned(), quick: false, settings, ..run() };
        now.figures.pop();
        let text = compared(&run(), &now);
        assert!(text.contains("another kernel: 6.18.0 then, 6.19.0 now"), "{text}");
        assert!(text.contains("a quick run then, a full one now"), "{text}");
        assert!(text.contains("only now: MTU 9000") && !text.contains("GRO off"), "{text}");
        assert!(text.contains("1 are in the earlier run only, 0 in this one only"), "{text}");
    }
}
