//! What commands cost when there are many containers already.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use super::control::{Control, PINS, idle, timed};

/// Containers, and ports that each publishes.
const CONTAINERS: usize = 500;
const FEWER: usize = 50;
const PORTS: usize = 10;
const FIRST_PORT: usize = 10_000;
/// The n-th container and as many on both sides of it are one figure.
const EARLY: usize = 5;
const AROUND: usize = 4;

/// Starts containers, and measures commands beside them.
///
/// # Errors
/// When a command fails.
pub fn measure(control: &mut Control<'_>) -> Result<()> {
    let containers = if control.plan.quick { FEWER } else { CONTAINERS };
    let first = start(control, containers)?;
    let around = |nth: usize| nth - 1 - AROUND..nth + AROUND;
    let last = containers - AROUND;
    control.note("run -d with 10 ports", &[("containers", last.to_string())], &first[around(last)]);
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
    // A machine's pace changes within seconds: the early ones are measured before and after the late ones.
    idle(0)?;
    let again = start(control, EARLY + AROUND)?;
    let early = [&first[around(EARLY)], &again[around(EARLY)]].concat();
    control.note("run -d with 10 ports", &[("containers", EARLY.to_string())], &early);
    remove(control, EARLY + AROUND).map(drop)
}

/// Starts so many containers, one after another; returns how long each took.
fn start(control: &Control<'_>, containers: usize) -> Result<Vec<Duration>> {
    let timed = |number| control.timed(&words(number).iter().map(String::as_str).collect::<Vec<_>>());
    (0..containers).map(timed).collect()
}

/// What starts a container.
fn words(number: usize) -> Vec<String> {
    let first = FIRST_PORT + number * PORTS;
    let specs = (0..PORTS).flat_map(|port| ["-p".to_owned(), format!("{}:{}", first + port, 80 + port)]);
    let begin = ["run", "-d", "--name", &format!("c{number}")].map(str::to_owned);
    let end = ["--", "sleep", "infinity"].map(str::to_owned);
    begin.into_iter().chain(specs).chain(end).collect()
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
