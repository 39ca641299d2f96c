//! `cargo xtask bench`: what packets and commands cost, beside what carries containers' packets elsewhere, in a sandbox.
//!
//! Compare the figures of one run with each other: another machine, or the same one under load, has others.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

mod beyond;
mod cgroup;
mod control;
mod crowd;
mod engines;
pub mod host;
mod load;
mod memory;
mod offloads;
mod paths;
mod peers;
mod record;
mod report;
mod scale;
mod targets;
mod topology;
mod traffic;

use crate::{
    run::{built, cargo, done, output, step, this_program},
    sandbox, setup,
};
use paths::Path;
use record::{Run, SCHEMA};
use report::{compare, json, svg, table};

/// Where [`steps`] finds the program that [`run`] built.
const PORTLANE: &str = "PORTLANE_BIN";
/// What [`run`] builds, beside portlane: what makes traffic.
const LOAD: &str = "load";

/// The command line.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench --quick                        all of it, in two minutes
  cargo xtask bench --only published               one path of the packets
  cargo xtask bench --json new.json --compare old.json

Ratios are of figures of one run. Figures taken while the machine does other work say little.")]
pub struct Options {
    /// Fewer peers and rounds: two minutes
    #[arg(long)]
    quick: bool,
    /// Only this section, or this path of the packets (repeatable)
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw pictures of the figures into this folder
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Say what differs from an earlier run's JSON
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// What `--only` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Packets between namespaces, on all paths
    Traffic,
    /// Packets with what links carry beyond an ordinary veth pair: large packets, GRO, BIG TCP
    Beyond,
    /// Commands, and what the maps take
    Control,
    /// Programs run by the kernel on one packet
    Scale,
    /// From a container to another one on the same network
    Container,
    /// From outside to a published port
    Published,
    /// From a container to outside
    Masquerade,
    /// From a process of the host to a published port at its loopback address
    Host,
    /// From a container to the host's address and back to a container
    Hairpin,
}

impl Part {
    fn path(self) -> Option<Path> {
        match self {
            Self::Traffic | Self::Beyond | Self::Control | Self::Scale => None,
            Self::Container => Some(Path::Container),
            Self::Published => Some(Path::Published),
            Self::Masquerade => Some(Path::Masquerade),
            Self::Host => Some(Path::Loopback),
            Self::Hairpin => Some(Path::Hairpin),
        }
    }
}

/// How much is measured.
pub struct Plan {
    /// Whether it has to end in two minutes.
    pub quick: bool,
    /// How often each figure is taken.
    pub rounds: usize,
    /// How often those that targets are set for are taken once more each time, in turns with what they are compared with.
    pub repeats: usize,
    /// How long traffic is measured each time.
    pub seconds: f64,
    /// How many ports are published, one after another.
    pub ports: &'static [usize],
    /// The release build of portlane.
    pub portlane: PathBuf,
    only: Vec<Part>,
}

impl Plan {
    fn new(options: &Options) -> Result<Self> {
        let portlane =
            env::var_os(PORTLANE).with_context(|| format!("{PORTLANE} is not set: use `cargo xtask bench`"))?;
        let (rounds, repeats, seconds, ports): (_, _, _, &'static [usize]) =
            if options.quick { (3, 0, 0.12, &[1, 1_000]) } else { (4, 3, 0.3, &[1, 100, 1_000, 5_000]) };
        let only = options.only.clone();
        Ok(Self { quick: options.quick, rounds, repeats, seconds, ports, portlane: portlane.into(), only })
    }

    /// The paths on which traffic is measured.
    fn paths(&self) -> Vec<Path> {
        let all = has(&self.only, Part::Traffic);
        let named = |path: &Path| self.only.iter().any(|part| part.path() == Some(path.section()));
        Path::ALL.into_iter().filter(|path| all || named(path)).collect()
    }
}

/// Whether a section is measured: all are unless some are named.
fn has(only: &[Part], section: Part) -> bool {
    only.is_empty() || only.contains(&section)
}

/// Builds portlane as it is shipped, and measures it inside a sandbox.
///
/// # Errors
/// When set-up, build or sandbox fails; a measurement that fails is the exit status.
pub fn run(options: &Options) -> Result<ExitCode> {
    cgroup::sweep();
    step("setup", setup::run)?;
    step("build portlane", || done(cargo().args(["build", "--release", "--package", "portlane"])))?;
    step("build what measures it", || {
        let programs = ["--bin", LOAD, "--bin", scale::PROGRAM];
        done(cargo().args(["build", "--release", "--package", "portlane-tests"]).args(programs))
    })?;
    let binary = format!("{PORTLANE}={}", release("portlane")?.to_string_lossy());
    let cgroup = format!("{}={}", cgroup::NAME, cgroup::prefix());
    let mut command = vec!["env".into(), binary.into(), cgroup.into()];
    if has(&options.only, Part::Control) {
        command.push(step("container engines of this machine", || engines::measure().assignment())?);
    }
    command.extend([this_program()?.into_os_string(), "bench-steps".into()]);
    // The same options, behind the verb.
    command.extend(env::args_os().skip(2));
    sandbox::run(&command)
}

/// The measurements; inside the sandbox.
///
/// # Errors
/// When one fails, or the file cannot be written.
pub fn steps(options: &Options) -> Result<()> {
    sandbox::ensure_inside()?;
    let plan = Plan::new(options)?;
    // Before a run of many minutes.
    let earlier = options.compare.as_deref().map(json::read).transpose()?;
    sandbox::uncover_grace()?;
    let record = measured(&plan)?;
    print!("{}", table::tables(&record));
    print!("{}", targets::table(&record));
    for setting in &record.settings {
        println!("set: {setting}");
    }
    for sentence in &record.left_out {
        println!("left out: {sentence}");
    }
    if let Some(earlier) = earlier {
        print!("{}", compare::compared(&earlier, &record));
    }
    if let Some(file) = &options.json {
        json::write(&record, file)?;
    }
    if let Some(folder) = &options.pictures {
        println!("drawn: {}", svg::draw(&record, folder)?.join(" "));
    }
    Ok(())
}

/// All sections of the plan.
fn measured(plan: &Plan) -> Result<Run> {
    let mut record = begun(plan)?;
    if !plan.paths().is_empty() {
        step("packets between namespaces", || traffic::measure(plan, &mut record))?;
    }
    if has(&plan.only, Part::Beyond) && (!plan.quick || !plan.only.is_empty()) {
        step("packets by link settings", || beyond::measure(plan, &mut record))?;
    }
    if has(&plan.only, Part::Control) {
        step("commands", || control::measure(plan, &mut record))?;
    }
    if has(&plan.only, Part::Scale) {
        step("programs run on one packet", || scale::measure(plan, &mut record))?;
    }
    Ok(record)
}

/// A run without figures.
fn begun(plan: &Plan) -> Result<Run> {
    Ok(Run {
        schema: SCHEMA,
        kernel: output(Command::new("uname").arg("-r")).context("`uname -r` fails")?,
        processors: thread::available_parallelism().context("cannot count processors")?.get(),
        quick: plan.quick,
        settings: Vec::new(),
        left_out: Vec::new(),
        figures: Vec::new(),
    })
}

/// A program of the release build.
fn release(name: &str) -> Result<PathBuf> {
    let debug = built(name)?;
    let target = debug.parent().and_then(|folder| folder.parent()).context("cannot find the target folder")?;
    let program = target.join("release").join(name);
    ensure!(program.is_file(), "{} is not built", program.display());
    Ok(program)
}
