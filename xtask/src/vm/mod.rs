//! `cargo xtask vm`: the root tests inside virtual machines, with the kernels that people run.
//!
//! ```text
//! debian   which kernels there are, and QEMU: Debian's packages, by package lists of our own
//! kernel   a kernel unpacked: vmlinuz, its modules as a disk, an initramfs               kept in the cache
//! disk     Debian's user land, out of the packages that are installed here               kept in the cache
//!          portlane and the test programs                                                made each time
//! machine  QEMU: boots, reads what the guest tells by a serial line, ends it
//!  └ guest    process 1 in there: runs the suites, each program in a sandbox, turns the machine off
//! report   kernel × suite, and what the programs cost each verifier
//! ```
//!
//! The cache is `$XDG_CACHE_HOME/portlane` or `~/.cache/portlane`; whoever removes it loses a minute of downloads.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use nix::unistd::Uid;

pub use self::suite::Choice;
use self::{kernel::Kernel, machine::Machine, programs::Programs, report::Outcome, suite::Part};
use crate::{run::step, setup};

mod debian;
mod disk;
pub mod guest;
mod kernel;
mod machine;
mod programs;
mod report;
mod suite;

/// The matrix: the oldest that is supported, Debian 13's, the last long-term one, the newest there is; and one that is
/// too old and has to be refused.
pub const MATRIX: [&str; 5] = ["6.1", "6.12", "6.18", kernel::NEWEST, "5.10"];
/// Both ends of it, for every run of all tests.
pub const ENDS: [&str; 2] = ["6.1", kernel::NEWEST];
/// Virtual processors of a machine.
const PROCESSORS: usize = 2;

/// What to run, and in which machines.
#[derive(Args, Debug, Default)]
pub struct Arguments {
    /// Kernels, as `6.12` or `newest` [default: 6.1 6.12 6.18 newest, and 5.10, which is to be refused]
    kernels: Vec<String>,
    /// All tests of the suites, not only those that a kernel could make a difference to
    #[arg(long, conflicts_with = "tests")]
    all: bool,
    /// Boot one machine and give a shell in it
    #[arg(long, conflicts_with_all = ["all", "tests"])]
    shell: bool,
    /// Build programs that kernels before 6.8 refuse, to see what is said then
    #[arg(long)]
    broken: bool,
    /// Only these: names of test programs (`publish`), or parts of tests' names
    #[arg(last = true, value_name = "TEST")]
    tests: Vec<String>,
}

/// Setup, build, then the machines.
///
/// # Errors
/// Something cannot be installed, built or fetched; a test fails, or a machine runs none.
pub fn run(arguments: &Arguments) -> Result<()> {
    step("setup", setup::run)?;
    ensure!(Uid::effective().is_root(), "virtual machines need root, for their disks: type `sudo` before it");
    let names: Vec<&str> = match &*arguments.kernels {
        [] if arguments.shell => vec![kernel::NEWEST],
        [] => MATRIX.to_vec(),
        kernels => kernels.iter().map(String::as_str).collect(),
    };
    let choice = match (&*arguments.tests, arguments.all) {
        ([], false) => Choice::Kernels,
        ([], true) => Choice::All,
        (tests, _) => Choice::Named(tests.to_vec()),
    };
    if arguments.shell {
        let [name] = *names else { bail!("--shell takes one kernel") };
        return shell(name);
    }
    matrix(&names, &choice, arguments.broken)
}

/// Runs suites on kernels and prints the tables.
///
/// # Errors
/// As [`run`].
pub fn matrix(names: &[&str], choice: &Choice, broken: bool) -> Result<()> {
    let count = Cell::new(0);
    let jobs = |programs: &Programs| {
        let jobs = suite::jobs(choice, programs)?;
        count.set(jobs.lines().count());
        Ok(jobs)
    };
    with_machine(names, broken, jobs, |machine, kernels| {
        let outcomes = step("virtual machines", || side_by_side(machine, kernels, count.get()))?;
        report::print(&outcomes);
        report::verdict(&outcomes)
    })
}

fn shell(name: &str) -> Result<()> {
    with_machine(
        &[name],
        false,
        |_| Ok(String::new()),
        |machine, kernels| {
            println!("portlane, xtask and the test programs are on the PATH; `exit` ends the machine");
            kernels.iter().try_for_each(|kernel| machine.shell(kernel))
        },
    )
}

/// Installs what machines need, brings the kernels, and makes the disks, that of the programs with `jobs` on it.
fn with_machine(
    names: &[&str],
    broken: bool,
    jobs: impl FnOnce(&Programs) -> Result<String>,
    work: impl FnOnce(&Machine<'_>, &[Kernel]) -> Result<()>,
) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "virtual machines are made for x86_64 alone so far");
    let cache = cache()?;
    let kernels = step("kernels", || prepare(&cache, names))?;
    let programs = step("build for the machines", || programs::build(broken))?;
    let disks = step("disks", || Ok((disk::user_land(&cache)?, programs.disk(&jobs(&programs)?)?)))?;
    work(&Machine::new(&cache, &disks.0, &disks.1, &kernels)?, &kernels)
}

fn prepare(cache: &Path, names: &[&str]) -> Result<Vec<Kernel>> {
    debian::install_tools(cache)?;
    kernel::prepare(cache, names)
}

/// One machine at a time for each processor here. As many share a kernel's jobs, so that none has to wait for another at
/// the end.
fn side_by_side(machine: &Machine<'_>, kernels: &[Kernel], jobs: usize) -> Result<Vec<Outcome>> {
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    println!("   {lanes} at a time, each with {PROCESSORS} processors, by {}", machine.accelerator());
    let parts = |kernel: &Kernel| if kernel.is_supported() { lanes.min(jobs).max(1) } else { 1 };
    let machines = (0..lanes).flat_map(|number| {
        let with = kernels.iter().filter(move |kernel| number < parts(kernel));
        with.map(move |kernel| (kernel, Part { number, count: parts(kernel) }))
    });
    let waiting = Mutex::new(machines);
    let ended = Mutex::new(BTreeMap::<&str, Outcome>::new());
    let next = || waiting.lock().ok()?.next();
    let lane = || {
        while let Some((kernel, part)) = next() {
            let start = Instant::now();
            let outcome = machine.run(kernel, part).unwrap_or_else(|error| Outcome::broken(kernel, &error));
            let (verdict, seconds) = (outcome.verdict(), start.elapsed().as_secs_f32());
            println!("   {}, part {} of {}: {verdict} in {seconds:.0} s", kernel.name, part.number + 1, part.count);
            if let Ok(mut ended) = ended.lock() {
                match ended.get_mut(&*kernel.name) {
                    Some(outcomes) => outcomes.join(outcome),
                    None => drop(ended.insert(&kernel.name, outcome)),
                }
            }
        }
    };
    thread::scope(|scope| (0..lanes).for_each(|_| drop(scope.spawn(lane))));
    let mut ended = ended.into_inner().map_err(|_| anyhow!("a thread that ran a machine broke off"))?;
    Ok(kernels.iter().filter_map(|kernel| ended.remove(&*kernel.name)).collect())
}

/// Where kernels and disks are kept.
fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).context("HOME is not set")?;
    let folder = folder.join("portlane");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}
