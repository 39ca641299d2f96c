//! A cgroup for each portlane. Its programs at sockets are run for whoever is in there, its own host and containers, and not
//! for those that it is compared with, nor for another portlane's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use nix::unistd::getpid;

/// Inside the sandbox.
const ROOT: &str = "/sys/fs/cgroup";
/// Lists the processes in a cgroup; who is written to it, moves there.
const PROCESSES: &str = "cgroup.procs";
/// Begins the names: unlike all else in the sandbox, a cgroup stays when its last process ends.
const PREFIX: &str = "portlane-bench-";
/// Holds the prefix and the pid of the bench, as the machine outside the sandbox knows it.
pub const NAME: &str = "PORTLANE_BENCH_CGROUP";

/// Dropped, it is gone.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

/// This process is in a cgroup, and so is whom it starts. Dropped, it is back.
#[derive(Debug)]
pub struct Inside;

impl Cgroup {
    /// # Errors
    /// The kernel refuses one.
    pub fn new(name: &str) -> Result<Self> {
        let path = Path::new(ROOT).join(format!("{}-{name}", env::var(NAME).with_context(|| format!("no {NAME}"))?));
        fs::create_dir(&path).with_context(|| format!("cannot make cgroup {}", path.display()))?;
        Ok(Self(path))
    }

    /// Has a command take this cgroup for the machine's.
    pub fn shown_to(&self, command: &Command) -> Command {
        let mut shown = Command::new("unshare");
        let script = format!("mount --bind \"$0\" {ROOT} && exec \"$@\"");
        shown.args(["--mount", "--", "sh", "-c", &script]).arg(&self.0).arg(command.get_program());
        shown.args(command.get_args());
        shown
    }

    /// Moves this process.
    ///
    /// # Errors
    /// The kernel does not let it.
    pub fn enter(&self) -> Result<Inside> {
        enter(&self.0)?;
        Ok(Inside)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What is left is swept by the next bench.
        drop(fs::remove_dir(&self.0));
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = enter(Path::new(ROOT)) {
            eprintln!("xtask: {error:#}");
        }
    }
}

fn enter(cgroup: &Path) -> Result<()> {
    let file = cgroup.join(PROCESSES);
    fs::write(&file, "0").with_context(|| format!("cannot enter {}", cgroup.display()))
}

/// What begins the names of this bench's cgroups; outside the sandbox.
pub fn prefix() -> String {
    format!("{PREFIX}{}", getpid())
}

/// Takes away what benches that were killed left behind; outside the sandbox. Best effort.
pub fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let Some(root) = mounts.lines().find_map(|line| line.split_once(" cgroup2 ")?.0.split(' ').nth(1)) else { return };
    for cgroup in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = cgroup.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(fs::remove_dir(cgroup.path()));
        }
    }
}
