//! A host of its own, with containers, in a sandbox within the bench's: so that two can be measured in turns, one with few and one with
//! many. A machine's pace changes within seconds, and the second of two figures that are taken one after the other is of another machine.
//!
//! ```text
//! bench-steps
//!  └ xtask sandbox -- xtask bench-host PORTLANE N     starts N containers, says so
//!      a line in: one more is started and removed; a line out: what its start took, in nanoseconds
//! ```

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _, stdin},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    control::{idle, run, timed},
    crowd::start,
};
use crate::{run::this_program, sandbox};

/// Said once all containers run.
const READY: &str = "ready";
/// How long the host is left alone before each start, and with it the processors.
const REST: Duration = Duration::from_millis(50);

/// One with containers, until it is dropped.
pub struct Host {
    process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Host {
    /// With so many.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn with(portlane: &Path, containers: usize) -> Result<Self> {
        let program = this_program()?;
        let mut process = Command::new(&program)
            .args(["sandbox", "--"])
            .arg(&program)
            .arg("bench-host")
            .arg(portlane)
            .arg(containers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a sandbox")?;
        let (to, from) = process.stdin.take().zip(process.stdout.take()).context("a sandbox without pipes")?;
        let mut host = Self { process, to, from: BufReader::new(from).lines() };
        ensure!(host.said()? == READY, "a host says something else than that it is ready");
        Ok(host)
    }

    /// What it takes to start another, which is removed again.
    ///
    /// # Errors
    /// When that fails.
    pub fn one_more(&mut self) -> Result<Duration> {
        writeln!(self.to).context("a host has ended")?;
        let took = self.said()?;
        took.parse().map(Duration::from_nanos).with_context(|| format!("a host says `{took}`"))
    }

    fn said(&mut self) -> Result<String> {
        self.from.next().context("a host ended before its time")?.context("a host cannot be heard")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // With it, the kernel ends all that is in the sandbox.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The host itself, inside its sandbox, until nobody asks it any more.
///
/// # Errors
/// When a command fails.
pub fn serve(portlane: &Path, containers: usize) -> Result<()> {
    sandbox::ensure_inside()?;
    sandbox::uncover_grace()?;
    (0..containers).try_for_each(|number| start(portlane, number))?;
    println!("{READY}");
    for line in stdin().lines() {
        line.context("the bench cannot be heard")?;
        idle(containers)?;
        sleep(REST);
        let took = timed(|| start(portlane, containers))?;
        run(portlane, &["rm", "-f", &format!("c{containers}")])?;
        println!("{}", took.as_nanos());
    }
    Ok(())
}
