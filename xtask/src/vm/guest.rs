//! Process 1 of a virtual machine: mounts what tests expect, does what the kernel's command line says, turns off.
//!
//! It tells about the tests on the second serial line, a line each: `= suite program` before a test program, then what
//! that prints, and `! done` at the end of all.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio, exit},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
    unistd::{getpid, sync},
};

use super::suite::{Job, Part, REFUSAL};
use crate::run::done;

/// The kernel's parameter that says what a machine is for.
pub const PURPOSE: &str = "portlane.purpose=";
/// The kernel's parameter that says which of the jobs are this machine's: see [`Part`].
pub const PART: &str = "portlane.part=";
/// To turn itself off again.
pub const PROBE: &str = "probe";
/// To run its jobs.
pub const TEST: &str = "test";
/// To see portlane refuse a kernel that is too old.
pub const REFUSE: &str = "refuse";
/// For a person.
pub const SHELL: &str = "shell";

/// Begins the line before a test program's output: suite and program follow, with a tab between them.
pub const BEGIN: &str = "= ";
/// Begins the line after it: `ok` or `failed`, and seconds, with a tab between them.
pub const END: &str = ". ";
/// The last line of a machine that came to its end.
pub const DONE: &str = "! done";

/// The disk with the programs.
const PROGRAMS: &str = "/portlane";
/// The line that the test reports leave by.
const LINE: &str = "/dev/ttyS1";
/// The machine's network cards, for tests on a real driver.
pub const CARDS: (&str, &str) = ("PORTLANE_CARDS", "52:54:00:00:00:0a 52:54:00:00:00:0b");
/// How many times as long as outside anything may take: emulation takes up to twenty times as long.
const SLOWNESS: &str = "5";
/// Of the only user.
const HOME: &str = "/tmp";
const PATH: &str = "/portlane:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything; the machine is off afterwards.
///
/// # Errors
/// When started anywhere but in a machine.
pub fn run() -> Result<()> {
    ensure!(getpid().as_raw() == 1, "this is the inner half of `cargo xtask vm`: use that");
    if let Err(error) = serve() {
        eprintln!("xtask: {error:#}");
    }
    sync();
    reboot(RebootMode::RB_POWER_OFF).context("the machine cannot be turned off")?;
    exit(1)
}

fn serve() -> Result<()> {
    let parameters = fs::read_to_string("/proc/cmdline").context("cannot read the kernel's parameters")?;
    let parameter = |name| parameters.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default();
    let purpose = parameter(PURPOSE);
    if purpose != PROBE {
        mounts()?;
        done(inside("ip").args(["link", "set", "lo", "up"]))?;
        // There is no udev here that would do so.
        done(inside("modprobe").args(["-a", "virtio_net"]))?;
    }
    if purpose == SHELL {
        // A session of its own has this line as its terminal.
        let status = inside("setsid").args(["--ctty", "bash", "-l"]).current_dir(HOME).env("PS1", "\\w # ").status();
        return status.map(drop).context("cannot start a shell");
    }
    let mut line = OpenOptions::new().write(true).open(LINE).with_context(|| format!("cannot open {LINE}"))?;
    match purpose {
        TEST => Part::parse(parameter(PART))?.of(&jobs()?).try_for_each(|job| test(job, &mut line))?,
        REFUSE => refusal(&mut line)?,
        _ => {}
    }
    writeln!(line, "{DONE}").context("cannot write to the line")
}

fn jobs() -> Result<Vec<Job>> {
    let text = fs::read_to_string(Path::new(PROGRAMS).join("jobs")).context("there are no jobs")?;
    text.lines().map(|line| Job::parse(line).with_context(|| format!("not a job: {line}"))).collect()
}

/// Runs a test program, and hands on what it prints.
fn test(job: &Job, line: &mut File) -> Result<()> {
    let program = Path::new(PROGRAMS).join("deps").join(&job.program);
    // Network cards belong to the machine's own network namespace, and a sandbox would leave them behind there.
    let mut command = if job.cards { cards(&program)? } else { inside("xtask") };
    if !job.cards {
        command.args(["sandbox", "--"]).arg(&program);
    }
    // One at a time: a machine has its processors, and the time limits of tests mean something.
    command.arg("--test-threads=1").args(&job.tests);
    command.env("PORTLANE_BIN", Path::new(PROGRAMS).join("portlane")).env("RUST_BACKTRACE", "0");
    command.env("PORTLANE_SLOWNESS", SLOWNESS).env("PORTLANE_SCRIPTS", Path::new(PROGRAMS).join("scripts"));
    tell(&job.suite, &job.program, &mut command, line)
}

/// A command whose output goes to the line, between two of ours.
fn tell(suite: &str, name: &str, command: &mut Command, line: &mut File) -> Result<()> {
    writeln!(line, "{BEGIN}{suite}\t{name}")?;
    let start = Instant::now();
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    // Its copies of the pipe's other end would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for text in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        line.write_all(&[&text, &b"\n"[..]].concat())?;
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    let verdict = if status.success() { "ok" } else { "failed" };
    writeln!(line, "{END}{verdict}\t{:.1}", start.elapsed().as_secs_f32()).context("cannot write to the line")
}

/// A test program on the machine's own cards.
fn cards(program: &Path) -> Result<Command> {
    let mut command = inside(program);
    command.env("PORTLANE_SANDBOX", "1").env("PORTLANE_ROOT", "/run/portlane").env(CARDS.0, CARDS.1);
    Ok(command)
}

/// A kernel that is too old: one sentence says so, and nothing is left behind.
fn refusal(line: &mut File) -> Result<()> {
    let script = format!(
        "said=$({PROGRAMS}/portlane run -- true 2>&1); status=$?\n\
         echo \"portlane says: $said\"\n\
         [ $status -eq 1 ] && [ \"$(echo \"$said\" | wc -l)\" -eq 1 ] && echo \"$said\" | grep -q 'lacks' \
         && [ -z \"$(ip -o link show type bridge)$(ip netns)$(ls -A /sys/fs/bpf)\" ] && {{\n\
         echo 'test an_old_kernel_is_refused_in_one_sentence ... ok'\n\
         echo 'test result: ok. 1 passed; 0 failed; 0 ignored'\n\
         exit 0; }}\n\
         echo 'test an_old_kernel_is_refused_in_one_sentence ... FAILED'\n\
         echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'\n\
         exit 1"
    );
    tell(REFUSAL, "portlane", inside("sh").args(["-c", &script]), line)
}

/// A command with a shell's environment.
fn inside(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let environment = BTreeMap::from([("PATH", PATH), ("HOME", HOME), ("TERM", "linux")]);
    command.env_clear().envs(environment);
    command
}

/// What is mounted on any Linux host.
fn mounts() -> Result<()> {
    let none: Option<&str> = None;
    for (kind, target) in [
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("bpf", "/sys/fs/bpf"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
    ] {
        if target.starts_with("/dev/") {
            fs::create_dir_all(target)?;
        }
        mount(Some(kind), target, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    Ok(())
}
