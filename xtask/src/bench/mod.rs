//! `cargo xtask bench`: what commands cost, as medians of one run on one machine, in a sandbox.
//!
//! Compare the numbers of one run with each other: another machine, or the same one under load, has others.

use std::{
    env, fs,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

mod record;

use crate::{
    run::{built, cargo, done, step, this_program, tool},
    sandbox, setup,
};

/// Where [`steps`] finds the program that [`run`] built.
const BINARY: &str = "PORTLANE_BIN";
/// Each command is run so many times.
const ROUNDS: u32 = 21;
/// What [`crowd`] makes, and how often it then runs each command.
const CONTAINERS: usize = 500;
const PORTS: usize = 10;
const FIRST_PORT: usize = 10_000;
const MANY_ROUNDS: usize = 5;
const MAP: &str = "/sys/fs/bpf/portlane/maps/pl_publish4";

/// Builds portlane as it is shipped, and measures it inside a sandbox.
///
/// # Errors
/// When set-up, build or sandbox fails; a command that fails is the exit status.
pub fn run() -> Result<ExitCode> {
    step("setup", setup::run)?;
    step("build portlane", || done(cargo().args(["build", "--release", "--package", "portlane"])))?;
    let debug = built("portlane")?;
    let target = debug.parent().and_then(|folder| folder.parent()).context("cannot find the target folder")?;
    let binary = format!("{BINARY}={}", target.join("release/portlane").to_string_lossy());
    sandbox::run(&["env".into(), binary.into(), this_program()?.into_os_string(), "bench-steps".into()])
}

/// The measurements; inside the sandbox.
///
/// # Errors
/// When a command fails.
pub fn steps() -> Result<()> {
    let portlane = env::var(BINARY).with_context(|| format!("{BINARY} is not set: use `cargo xtask bench`"))?;
    let portlane = |arguments: &[&str]| {
        let mut command = tool(&portlane);
        command.args(arguments).stdout(Stdio::null());
        command
    };
    let first = timed(&mut portlane(&["run", "--rm", "--", "true"]))?;
    println!("the first command, which loads the programs: {}", milliseconds(first));

    timed(&mut portlane(&["run", "-d", "--name", "web", "--", "sleep", "600"]))?;
    let (mut run, mut one, mut many, mut off) = (vec![], vec![], vec![], vec![]);
    let mut row = vec![];
    for _ in 0..ROUNDS {
        row.push(timed(&mut portlane(&["run", "--rm", "--", "true"]))?);
    }
    for _ in 0..ROUNDS {
        idle()?;
        run.push(timed(&mut portlane(&["run", "--rm", "--", "true"]))?);
    }
    idle()?;
    // Interleaved, so that whatever else the machine does meets all alike.
    for _ in 0..ROUNDS {
        one.push(timed(&mut portlane(&["publish", "web", "10080:80/udp"]))?);
        let entries_of_one = entries()?;
        off.push(timed(&mut portlane(&["unpublish", "web", "10080:80/udp"]))?);
        many.push(timed(&mut portlane(&["publish", "web", "40000-55999:40000-55999/udp"]))?);
        ensure!(entries()? == entries_of_one, "16,000 ports take more map entries than one");
        off.push(timed(&mut portlane(&["unpublish", "web", "40000-55999:40000-55999/udp"]))?);
    }
    let (run, row, one, many, off) = (median(run), median(row), median(one), median(many), median(off));
    println!("median of {ROUNDS}:");
    println!("  portlane run --rm -- true            {} (aim: under 50 ms)", milliseconds(run));
    println!("  the same, one right after another    {}", milliseconds(row));
    println!("  portlane publish, 1 port             {} (aim: under 20 ms)", milliseconds(one));
    println!("  portlane publish, 16,000 ports       {}, one map entry", milliseconds(many));
    println!("  portlane unpublish                   {}", milliseconds(off));
    println!("  16,000 ports to 1: {:.2} (aim: 0.80 to 1.20)", many.as_secs_f64() / one.as_secs_f64());
    done(&mut portlane(&["rm", "-f", "web"]))?;
    crowd(&portlane)?;
    done(&mut portlane(&["uninstall", "--force"]))
}

/// What commands cost when there are many containers already.
fn crowd(portlane: &impl Fn(&[&str]) -> Command) -> Result<()> {
    let mut add = vec![];
    for number in 0..CONTAINERS {
        let name = format!("c{number}");
        let first = FIRST_PORT + number * PORTS;
        let specs: Vec<String> = (0..PORTS).map(|port| format!("{}:{}", first + port, 80 + port)).collect();
        let mut arguments = vec!["run", "-d", "--name", &name];
        arguments.extend(specs.iter().flat_map(|spec| ["-p", spec]));
        arguments.extend(["--", "sleep", "infinity"]);
        add.push(timed(&mut portlane(&arguments))?);
    }
    // Five each, in the middle of which is the one that is meant.
    let (few, most) = (median(add[2..7].to_vec()), median(add[add.len() - 5..].to_vec()));
    println!("{CONTAINERS} containers with {PORTS} published ports each, on one host:");
    println!("  portlane run -d, the 5th             {}", milliseconds(few));
    println!("  portlane run -d, the {CONTAINERS}th           {}", milliseconds(most));
    println!("  the last to the 5th: {:.2} (aim: 1.50 at most)", most.as_secs_f64() / few.as_secs_f64());
    let (mut publish, mut unpublish) = (vec![], vec![]);
    for _ in 0..MANY_ROUNDS {
        publish.push(timed(&mut portlane(&["publish", "c0", "53:53/udp"]))?);
        unpublish.push(timed(&mut portlane(&["unpublish", "c0", "53:53/udp"]))?);
    }
    println!("  portlane publish, 1 port             {}", milliseconds(median(publish)));
    println!("  portlane unpublish                   {}", milliseconds(median(unpublish)));
    for arguments in [&["ps"][..], &["stats"], &["status"], &["repair", "--dry-run"]] {
        let times = (0..MANY_ROUNDS).map(|_| timed(&mut portlane(arguments))).collect::<Result<Vec<_>>>()?;
        println!("  portlane {:<28}{} (aim: under 1 s)", arguments.join(" "), milliseconds(median(times)));
    }
    Ok(())
}

/// Waits until the kernel has taken down the interfaces of containers that ended, which it does in the background.
fn idle() -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let links = fs::read_dir("/sys/class/net").context("cannot list interfaces")?.flatten();
        // The one of the container that runs.
        if links.filter(|link| link.file_name().to_string_lossy().starts_with("veth")).count() <= 1 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("interfaces of containers that ended are still there after 10 s")
}

fn entries() -> Result<usize> {
    let output = tool("bpftool").args(["-j", "map", "dump", "pinned", MAP]).output().context("cannot start bpftool")?;
    Ok(String::from_utf8_lossy(&output.stdout).matches("\"formatted\"").count())
}

fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    done(command)?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> String {
    format!("{:6.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let seconds = |numbers: &[u64]| numbers.iter().map(|s| Duration::from_secs(*s)).collect::<Vec<_>>();
        assert_eq!(median(seconds(&[9, 1, 5])), Duration::from_secs(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
