//! What commands cost when there are many containers already.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

use super::{
    control::{Control, PINS, run, timed},
    host::Host,
};

/// Containers, and ports that each publishes.
const CONTAINERS: usize = 500;
const FEWER: usize = 50;
const PORTS: usize = 10;
const FIRST_PORT: usize = 10_000;
/// The container whose start the last one's is compared with.
const EARLY: usize = 5;
/// How the record calls the two.
pub const IN_TURNS: &str = "run -d with 10 ports, in turns";
/// Starts of each of them.
const TURNS: usize = 25;

/// Starts containers, and measures commands beside them.
///
/// # Errors
/// When a command fails.
pub fn measure(control: &mut Control<'_>) -> Result<()> {
    let containers = if control.plan.quick { FEWER } else { CONTAINERS };
    in_turns(control, containers)?;
    (0..containers).try_for_each(|number| start(&control.plan.portlane, number))?;
    let at = [("containers", containers.to_string())];
    let (mut publish, mut unpublish) = (vec![], vec![]);
    for _ in 0..control.plan.rounds {
        publish.push(control.timed(&["publish", "c0", "53:53/udp"])?);
        unpublish.push(control.timed(&["unpublish", "c0", "53:53/udp"])?);
    }
    control.note("publish, among containers", &at, &publish);
    control.note("unpublish, among containers", &at, &unpublish);
    for arguments in [&["ps"][..], &["stats"], &["status"], &["repair", "--dry-run"]] {
        let times = (0..control.plan.rounds).map(|_| control.timed(arguments)).collect::<Result<Vec<_>>>()?;
        control.note(&arguments.join(" "), &at, &times);
    }
    restart(control, &at)?;
    let all = remove(control, containers)?;
    control.note("rm -f, all containers", &at, &[all]);
    Ok(())
}

/// The early and the last start, on two hosts in turns.
fn in_turns(control: &mut Control<'_>, containers: usize) -> Result<()> {
    let counts = [EARLY, containers];
    let mut hosts =
        counts.map(|nth| Host::with(&control.plan.portlane, nth - 1)).into_iter().collect::<Result<Vec<_>>>()?;
    let mut times = counts.map(|_| Vec::<Duration>::new());
    for _ in 0..TURNS {
        for (host, times) in hosts.iter_mut().zip(&mut times) {
            times.push(host.one_more()?);
        }
    }
    for (nth, times) in counts.iter().zip(&times) {
        control.note(IN_TURNS, &[("containers", nth.to_string())], times);
    }
    Ok(())
}

/// Starts the container of this number.
pub fn start(portlane: &Path, number: usize) -> Result<()> {
    let first = FIRST_PORT + number * PORTS;
    let specs = (0..PORTS).flat_map(|port| ["-p".to_owned(), format!("{}:{}", first + port, 80 + port)]);
    let begin = ["run", "-d", "--name", &format!("c{number}")].map(str::to_owned);
    let end = ["--", "sleep", "infinity"].map(str::to_owned);
    let words: Vec<String> = begin.into_iter().chain(specs).chain(end).collect();
    run(portlane, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// All of it anew while the containers run: programs, maps, their contents and every attachment, as after an update
/// that keeps nothing.
fn restart(control: &mut Control<'_>, at: &[(&str, String)]) -> Result<()> {
    fs::remove_dir_all(PINS).context("cannot take the programs away")?;
    let repair = control.timed(&["repair"])?;
    control.note("repair, after everything in the kernel was lost", at, &[repair]);
    Ok(())
}

/// Removes so many containers; returns how long that took.
fn remove(control: &Control<'_>, containers: usize) -> Result<Duration> {
    let names: Vec<String> = (0..containers).map(|number| format!("c{number}")).collect();
    let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    timed(|| control.run(&words))
}
