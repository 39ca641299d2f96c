//! What is aimed at, beside what was measured.

use std::fmt::{self, Write as _};

use super::{
    crowd::IN_TURNS,
    paths::{Family, Path},
    peers::{DOCKER, DOCKER_EACH, PORTLANE},
    record::{Figure, Run, Section, Unit},
    report::{METRICS, number::shown, ratio},
};

/// Ratios to the bare veth pair, and for the loopback address to the container's own: RR p50, conn/s, UDP, and streams
/// without and with offloads. `None` where nothing is aimed at.
const PATHS: [(Path, [Option<f64>; 5]); 4] = [
    (Path::Container, [Some(1.05), Some(0.96), Some(0.95), Some(0.93), Some(0.98)]),
    (Path::Published, [Some(1.08), Some(0.93), Some(0.93), Some(0.90), Some(0.97)]),
    (Path::Masquerade, [Some(1.08), Some(0.91), Some(0.88), Some(0.84), Some(0.97)]),
    (Path::Loopback, [Some(1.02), Some(0.98), Some(0.98), None, Some(0.98)]),
];

/// Ratios to Docker's rules, for a published port: subject, metric, how many are published, the aim.
const DOCKERS: [(&str, &str, &str, f64); 6] = [
    (DOCKER, "RR p50", "1", 0.76),
    (DOCKER, "conn/s", "1", 1.35),
    (DOCKER, "UDP 64 B", "1", 1.4),
    (DOCKER, "stream, offloads off", "1", 1.9),
    (DOCKER, "conn/s", "1000", 2.5),
    (DOCKER_EACH, "conn/s", "1000", 2.5),
];

/// Figures as they are: section, case, what it is at, the most that it may be, in its own unit.
type Cost = (Section, &'static str, &'static [(&'static str, &'static str)], f64);
const COSTS: [Cost; 4] = [
    (Section::Control, "attach: a container's network", &[], 15.0),
    (Section::Control, "publish", &[("ports", "1"), ("others", "0")], 5.0),
    (Section::Scale, "published, established", &[("family", "IPv4"), ("ports", "1")], 120.0),
    (Section::Scale, "masquerade, established", &[("family", "IPv4"), ("ports", "1")], 120.0),
];

/// What 16,000 ports may take longer than one.
const MANY_PORTS: f64 = 1.2;
/// What a start beside 499 containers may take longer than one beside 4.
const MANY_CONTAINERS: f64 = 1.5;

/// A target and what was reached.
struct Line {
    name: String,
    aim: f64,
    /// Whether less is better.
    cost: bool,
    reached: f64,
    /// `None` for ratios.
    unit: Option<Unit>,
}

/// A line for each target that the run has figures for; how many others there are.
pub fn table(run: &Run) -> String {
    let all: Vec<Option<Line>> =
        paths(run).chain(dockers(run)).chain(costs(run)).chain([many_ports(run), many_containers(run)]).collect();
    let (lines, count) = (all.iter().flatten().collect::<Vec<_>>(), all.len());
    let (missing, met) = (count - lines.len(), lines.iter().filter(|line| line.met()).count());
    let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for line in &lines {
        let _ = writeln!(text, "{:width$}   {line}", line.name);
    }
    let _ = writeln!(text, "targets: {met} met, {} missed, {missing} not measured", lines.len() - met);
    text
}

impl Line {
    /// As it is shown: ratios have two digits, as the aims do.
    fn met(&self) -> bool {
        let reached = if self.unit.is_none() { (self.reached * 100.0).round() / 100.0 } else { self.reached };
        if self.cost { reached <= self.aim } else { reached >= self.aim }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = |value| self.unit.map_or_else(|| format!("{value:.2}"), |unit| shown(value, unit));
        let bound = if self.cost { '≤' } else { '≥' };
        let verdict = if self.met() { "met" } else { "missed" };
        write!(f, "{:>9}   {bound} {:>7}   {verdict}", written(self.reached), written(self.aim))
    }
}

fn paths(run: &Run) -> impl Iterator<Item = Option<Line>> {
    let rows = PATHS.into_iter().flat_map(|(path, aims)| METRICS.into_iter().zip(aims).map(move |aim| (path, aim)));
    let aims = rows.filter_map(|(path, (metric, aim))| Some((path, metric, aim?)));
    aims.flat_map(move |(path, metric, aim)| {
        Family::BOTH.map(|family| {
            let figure = traffic(run, PORTLANE, path, metric, "1", family)?;
            let to = if path == Path::Loopback { "the container's address" } else { "the bare pair" };
            let name = format!("{} to that of {to}, {}, {}", metric, path.label(), family.label());
            Some(Line { name, aim, cost: figure.unit.is_cost(), reached: ratio::ratio(run, figure)?, unit: None })
        })
    })
}

fn dockers(run: &Run) -> impl Iterator<Item = Option<Line>> {
    DOCKERS.into_iter().flat_map(move |(subject, metric, ports, aim)| {
        Family::BOTH.map(|family| {
            let of = |subject| traffic(run, subject, Path::Published, metric, ports, family);
            let (figure, base) = (of(PORTLANE)?, of(subject)?);
            let ports = if ports == "1" { "1 port".to_owned() } else { format!("{ports} ports") };
            let name = format!("{metric} to that of {subject}, {ports}, {}", family.label());
            Some(Line { name, aim, cost: figure.unit.is_cost(), reached: ratio::over(figure, base)?, unit: None })
        })
    })
}

fn costs(run: &Run) -> impl Iterator<Item = Option<Line>> {
    COSTS.into_iter().map(|(section, case, at, aim)| {
        let figure = of_portlane(run, section, case, at)?;
        let name = format!("{case}, {}", figure.what.metric);
        Some(Line { name, aim, cost: true, reached: figure.median(), unit: Some(figure.unit) })
    })
}

fn many_ports(run: &Run) -> Option<Line> {
    let [many, one] =
        ["16000", "1"].map(|ports| of_portlane(run, Section::Control, "publish", &[("ports", ports), ("others", "0")]));
    let name = "publish 16,000 ports, time to that of 1".to_owned();
    Some(Line { name, aim: MANY_PORTS, cost: true, reached: ratio::over(many?, one?)?, unit: None })
}

fn many_containers(run: &Run) -> Option<Line> {
    let [many, few] = ["500", "5"].map(|nth| of_portlane(run, Section::Control, IN_TURNS, &[("containers", nth)]));
    let name = "start of the 500th container, time to that of the 5th".to_owned();
    Some(Line { name, aim: MANY_CONTAINERS, cost: true, reached: ratio::over(many?, few?)?, unit: None })
}

/// With client and server on one processor.
fn traffic<'r>(
    run: &'r Run,
    subject: &str,
    path: Path,
    metric: &str,
    ports: &str,
    family: Family,
) -> Option<&'r Figure> {
    let at = [("cpus", "1"), ("family", family.label()), ("ports", ports)];
    run.figures.iter().find(|figure| {
        let what = &figure.what;
        what.section == Section::Traffic
            && (&*what.subject, &*what.case, &*what.metric) == (subject, path.label(), metric)
            && is_at(figure, &at)
    })
}

fn of_portlane<'r>(run: &'r Run, section: Section, case: &str, at: &[(&str, &str)]) -> Option<&'r Figure> {
    run.figures.iter().find(|figure| {
        let what = &figure.what;
        (what.section, &*what.subject, &*what.case) == (section, PORTLANE, case) && is_at(figure, at)
    })
}

fn is_at(figure: &Figure, at: &[(&str, &str)]) -> bool {
    at.iter().all(|(name, value)| figure.what.at.get(*name).is_some_and(|found| found == value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{control::note, report::sample};

    fn run() -> Run {
        let mut run = sample::run();
        run.figures.iter_mut().for_each(|figure| drop(figure.what.at.insert("cpus".to_owned(), "1".to_owned())));
        run
    }

    fn line(run: &Run, name: &str) -> String {
        let table = table(run);
        table
            .lines()
            .find(|line| line.starts_with(name))
            .map(str::to_owned)
            .unwrap_or_else(|| panic!("{name}: {table}"))
    }

    #[test]
    fn each_target_is_met_or_missed_by_the_figures_of_the_run() {
        let mut run = run();
        let rr = "RR p50 to that of the bare pair, inbound published, IPv4";
        assert!(line(&run, rr).ends_with("1.07   ≤    1.08   met"), "{}", line(&run, rr));
        let connections = "conn/s to that of Docker 28, 1 port, IPv4";
        assert!(line(&run, connections).ends_with("1.34   ≥    1.35   missed"), "{}", line(&run, connections));
        let slower = run.figures.iter_mut().find(|figure| figure.what.subject == PORTLANE && figure.unit.is_cost());
        slower.expect("portlane's latency").samples = vec![16_500.0];
        assert!(line(&run, rr).ends_with("1.10   ≤    1.08   missed"), "{}", line(&run, rr));
        let nearly = run.figures.iter_mut().find(|figure| figure.what.subject == PORTLANE && figure.unit.is_cost());
        nearly.expect("portlane's latency").samples = vec![16_260.0];
        assert!(line(&run, rr).ends_with("1.08   ≤    1.08   met"), "what is shown as 1.08 is 1.08");
    }

    #[test]
    fn the_500th_start_is_compared_with_the_5th() {
        let mut run = run();
        let name = "start of the 500th container, time to that of the 5th";
        assert!(!table(&run).contains(name));
        for (nth, milliseconds) in [("5", 12), ("500", 18)] {
            let took = [std::time::Duration::from_millis(milliseconds)];
            note(&mut run.figures, PORTLANE, IN_TURNS, &[("containers", nth.to_owned())], &took);
        }
        assert!(line(&run, name).ends_with("1.50   ≤    1.50   met"), "{}", line(&run, name));
    }

    #[test]
    fn what_was_not_measured_is_counted() {
        let mut run = run();
        run.figures.clear();
        let all = 2 * (4 * METRICS.len() - 1) + 2 * DOCKERS.len() + COSTS.len() + 2;
        assert_eq!(table(&run), format!("targets: 0 met, 0 missed, {all} not measured\n"));
    }
}
