//! `cargo xtask sandbox -- CMD`: a machine within the machine, for whatever touches networks, BPF or mounts.
//!
//! ```text
//! xtask sandbox        unshares net, mount, pid, uts, ipc, cgroup; waits
//!  └ xtask sandbox-init   process 1 in there: fresh /proc, /sys, bpffs, cgroup2, /run; `lo` up; reaps
//!     └ CMD
//! ```
//!
//! However it ends, SIGKILL included, the kernel then ends process 1, with it all others, and with them the namespaces
//! and all that was pinned or mounted in them. The rest of the file system is the machine's own.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        wait::{WaitStatus, wait},
    },
    unistd::{Pid, Uid, getpid, sethostname},
};

use crate::run::{done, search_path, this_program, tool};

/// Set for everything inside, so that tests can refuse to run on the machine's own network.
const MARK: &str = "PORTLANE_SANDBOX";
/// Where portlane keeps its state inside: on the sandbox's own tmpfs, so that it ends with the sandbox.
const STATE: (&str, &str) = ("PORTLANE_ROOT", "/run/portlane");
/// The one switch of the whole machine that portlane turns (`rcupdate.rcu_expedited`), and what covers it inside: a command
/// that a test kills would leave it turned.
const GRACE: (&str, &str) = ("/sys/kernel/rcu_expedited", "/run/rcu_expedited");
/// Exit status of a command that could not be started, as a shell has it.
const NOT_STARTED: u8 = 127;

/// Runs the command in namespaces of its own and hands its exit status on (128 + N after signal N).
///
/// # Errors
/// When not root, or the kernel refuses a namespace.
pub fn run(command: &[OsString]) -> Result<ExitCode> {
    ensure!(Uid::effective().is_root(), "a sandbox needs root: type `sudo` before it");
    let program = this_program()?;
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        // The root of a cgroup2 mounted inside is the cgroup that this process is in: programs attached there see no
        // more of the machine than that.
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(own).context("the kernel refuses new namespaces (is CAP_SYS_ADMIN missing?)")?;
    let status = Command::new(program)
        .arg("sandbox-init")
        .arg(std::process::id().to_string())
        .arg("--")
        .args(command)
        .env("PATH", search_path())
        .env(MARK, "1")
        .env(STATE.0, STATE.1)
        .status()
        .context("cannot start the sandbox's first process")?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// What process 1 of the sandbox does. `parent` is the pid of [`run`] outside.
///
/// # Errors
/// When started by hand, or a mount fails.
pub fn init(parent: u32, command: &[OsString]) -> Result<ExitCode> {
    ensure!(getpid() == Pid::from_raw(1), "this is the inner half of `cargo xtask sandbox`: use that");
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot bind the sandbox's life to its parent's")?;
    ensure!(outer_parent()? == parent, "the sandbox's parent is gone");

    sethostname("sandbox").context("cannot set the sandbox's host name")?;
    mounts()?;
    done(tool("ip").args(["link", "set", "lo", "up"])).context("`lo` cannot be set up (is iproute2 installed?)")?;

    let [program, arguments @ ..] = command else { bail!("no command given") };
    match Command::new(program).args(arguments).spawn() {
        Ok(child) => reap_until(Pid::from_raw(child.id().cast_signed())),
        Err(error) => {
            eprintln!("xtask: cannot start `{}`: {error}", program.to_string_lossy());
            Ok(ExitCode::from(NOT_STARTED))
        }
    }
}

/// The parent's pid as the machine's own /proc, not yet covered, tells it. Inside the pid namespace `getppid` is 0
/// from the start, and a parent that died before `PR_SET_PDEATHSIG` would never be noticed.
fn outer_parent() -> Result<u32> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc is not mounted")?;
    let after_name = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let parent = after_name.and_then(|fields| fields.split(' ').nth(1)?.parse().ok());
    parent.context("/proc/self/stat has no parent")
}

fn mounts() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make the mounts private (is `/` a mount point?)")?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let shared_memory = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (kind, target, flags, options) in [
        ("proc", "/proc", plain, None),
        ("sysfs", "/sys", plain, None), // a sysfs shows the network devices of the namespace it was mounted in
        ("bpf", "/sys/fs/bpf", plain, Some("mode=700")),
        ("cgroup2", "/sys/fs/cgroup", plain, None),
        ("tmpfs", "/run", shared_memory, Some("mode=755")), // /run/netns is in there
    ] {
        // What is merely covered would still be in /proc/mounts, for whoever looks for a cgroup2 there.
        match umount2(target, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount the machine's {target}")),
        }
        mount(Some(kind), target, Some(kind), flags, options)
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    if Path::new(GRACE.0).exists() {
        fs::write(GRACE.1, "0\n").with_context(|| format!("cannot write {}", GRACE.1))?;
        mount(Some(GRACE.1), GRACE.0, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("cannot cover {}", GRACE.0))?;
    }
    Ok(())
}

/// Refuses to do inside's work outside.
///
/// # Errors
/// When this is no sandbox: typed by hand, it would work on the machine's own network.
pub fn ensure_inside() -> Result<()> {
    ensure!(
        env::var_os(MARK).is_some(),
        "this is the inner half of a verb: type `cargo xtask demo` or `cargo xtask bench`"
    );
    Ok(())
}

/// Has portlane turn the machine's own switch of grace periods, for who measures how long its commands take.
///
/// # Errors
/// It stays covered.
pub fn uncover_grace() -> Result<()> {
    match umount2(GRACE.0, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot uncover {}", GRACE.0)),
    }
}

/// Process 1 inherits every orphan: collect them all, and end with the command.
fn reap_until(main: Pid) -> Result<ExitCode> {
    loop {
        let code = match wait().context("lost the sandbox's command")? {
            WaitStatus::Exited(pid, code) if pid == main => code,
            WaitStatus::Signaled(pid, signal, _) if pid == main => 128 + signal as i32,
            _ => continue,
        };
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
}
