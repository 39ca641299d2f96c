//! A small run, for tests.

use std::collections::BTreeMap;

use crate::bench::{
    paths::Path,
    peers::{BARE, DOCKER, PORTLANE},
    record::{Figure, Run, SCHEMA, Section, Unit, What},
};

/// One of traffic, over IPv4, with a sample on either side of the middle one.
pub fn figure(subject: &str, case: &str, metric: &str, ports: Option<u32>, median: f64) -> Figure {
    let mut at = BTreeMap::from([("family".to_owned(), "IPv4".to_owned())]);
    at.extend(ports.map(|ports| ("ports".to_owned(), ports.to_string())));
    let unit = if metric.starts_with("RR") { Unit::Nanoseconds } else { Unit::PerSecond };
    let (subject, case, metric) = (subject.to_owned(), case.to_owned(), metric.to_owned());
    let samples = vec![median * 0.98, median, median * 1.02];
    Figure { what: What { section: Section::Traffic, subject, case, metric, at }, unit, samples }
}

/// Three subjects on one path, and one command.
pub fn run() -> Run {
    let published = Path::Published.label();
    let mut figures = vec![
        figure(BARE, published, "RR p50", None, 15_000.0),
        figure(BARE, published, "conn/s", None, 14_000.0),
        figure(DOCKER, published, "RR p50", Some(1), 21_750.0),
        figure(DOCKER, published, "conn/s", Some(1), 9_800.0),
        figure(DOCKER, published, "RR p50", Some(1_000), 30_000.0),
        figure(DOCKER, published, "conn/s", Some(1_000), 5_040.0),
        figure(PORTLANE, published, "RR p50", Some(1), 16_050.0),
        figure(PORTLANE, published, "conn/s", Some(1), 13_160.0),
        figure(PORTLANE, published, "RR p50", Some(1_000), 16_050.0),
        figure(PORTLANE, published, "conn/s", Some(1_000), 13_020.0),
    ];
    let mut command = figure(PORTLANE, "publish at once", "time", Some(16_000), 11.0);
    command.what.section = Section::Control;
    command.what.at.remove("family");
    command.unit = Unit::Milliseconds;
    figures.push(command);
    let (settings, left_out) = (vec!["GRO off".to_owned()], vec!["Podman is not installed".to_owned()]);
    Run { schema: SCHEMA, kernel: "6.18.0".to_owned(), processors: 2, quick: true, settings, left_out, figures }
}
