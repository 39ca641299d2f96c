//! Processes, by number and time of birth: a number alone may have been given to another process since.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        stat::fstat,
        statfs::{FsType, fstatfs},
    },
    unistd::{Pid, getpgid},
};

use super::{Attempt, LinuxError, netns, syscall, sysctl};
use crate::model::Process;

/// How long a process may take to go after SIGKILL: it may be waiting for a disk, which no signal interrupts.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// Signal numbers begin after this in exit statuses, as a shell has it.
pub(super) const SIGNALLED: i32 = 128;
/// Bytes that hold any line of `/proc/PID/stat`: 52 numbers of at most 20 digits, and a name of at most 64 bytes.
const STAT: usize = 2048;
/// `PID_FS_MAGIC` of `linux/magic.h`.
const PIDFS: FsType = FsType(0x5049_4446);
/// Rounds in which what is in a namespace is killed: each may find what the ones of the round before forked.
const KILL_ROUNDS: u32 = 10;

/// When a process began, in clock ticks since boot; none if there is no such process, or it has ended and its parent has
/// not heard of it yet.
pub fn start_time(pid: u32) -> Option<u64> {
    // In one read: portlane asks of every container's process.
    let mut line = [0; STAT];
    let read = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    let stat = parse_stat(&String::from_utf8_lossy(&line[..read]))?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(stat.start_time)
}

/// Whether the process that began at `start_time` runs.
pub fn alive(pid: u32, start_time: u64) -> bool {
    self::start_time(pid) == Some(start_time)
}

/// What no other process of this machine ever has: its number on the kernel's file system of processes (Linux 6.9), mixed with
/// that of the boot. None on an earlier kernel, where a descriptor tells nothing of its process; none for one that has ended.
pub fn identity(pid: u32) -> Option<u64> {
    let process = syscall::pidfd_open(pid).ok()?;
    if fstatfs(&process).ok()?.filesystem_type() == PIDFS { number(&process).ok()? } else { None }
}

/// Whether the process with this [`identity`] runs.
///
/// # Errors
/// It cannot be asked for: for want of files, say. It may well run then.
pub fn is_still(pid: u32, identity: u64) -> Result<bool, LinuxError> {
    let attempt = || format!("look at process {pid}");
    match syscall::pidfd_open(pid) {
        Ok(process) => Ok(number(&process).attempt(attempt)? == Some(identity)),
        // The last two: its number is that of another process's thread.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL | libc::ENOENT)) => Ok(false),
        Err(error) => Err(error).attempt(attempt),
    }
}

/// Whether there is a process of this number, which may have ended with its parent not having heard of it yet. Asked for
/// hundreds, so not by a signal 0, which takes twice as long: the kernel has each audited.
pub fn is_there(pid: u32) -> bool {
    getpgid(Some(Pid::from_raw(pid.cast_signed()))).is_ok()
}

/// Whether a container's process runs.
///
/// # Errors
/// As [`is_still`].
pub fn runs(process: &Process) -> Result<bool, LinuxError> {
    match *process {
        Process { pid, identity: Some(identity), .. } => is_still(pid, identity),
        Process { pid, start_time, identity: None } => Ok(alive(pid, start_time)),
    }
}

/// None for a process that has ended, whether or not its parent has heard of it.
fn number(process: &OwnedFd) -> io::Result<Option<u64>> {
    let [gone] = syscall::poll([process.as_fd()], Some(Duration::ZERO))?;
    Ok(if gone { None } else { Some(fstat(process)?.st_ino ^ boot()) })
}

/// 0 where it cannot be told.
fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let digits = sysctl::boot().unwrap_or_default().replace('-', "");
        // All 64 bits of this half are random but two (RFC 9562 §5.4).
        u128::from_str_radix(&digits, 16).map_or(0, |boot| boot as u64)
    })
}

/// Ends a process: SIGTERM, and SIGKILL to who is still there after `grace`. Returns once it is gone, at once if it was; with its
/// exit status, where that can be known: 128 + the signal's number if a signal ended it.
///
/// # Errors
/// The kernel refuses, or the process is still there 5 seconds after SIGKILL.
pub fn terminate(pid: u32, start_time: u64, grace: Duration) -> Result<Option<i32>, LinuxError> {
    let attempt = || format!("stop process {pid}");
    let process = match syscall::pidfd_open(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        process => process.attempt(attempt)?,
    };
    // Once there is a descriptor, the number cannot change hands unseen.
    if !alive(pid, start_time) {
        return Ok(None);
    }
    let status = || exit_status(pid, start_time, &process);
    for (signal, wait) in [(libc::SIGTERM, grace), (libc::SIGKILL, KILLED_WITHIN)] {
        match syscall::pidfd_send_signal(process.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(status()),
            sent => sent.attempt(attempt)?,
        }
        let [gone] = syscall::poll([process.as_fd()], Some(wait)).attempt(attempt)?;
        if gone {
            let killed = (signal == libc::SIGKILL).then_some(SIGNALLED + libc::SIGKILL);
            return Ok(status().or(killed));
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut)).attempt(attempt)
}

/// How a process ended, whosever child it is: until its parent has heard of it, `/proc` tells, and after that its descriptor.
fn exit_status(pid: u32, start_time: u64, process: &OwnedFd) -> Option<i32> {
    let unheard = || {
        let stat = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        (stat.state == 'Z' && stat.start_time == start_time).then_some(stat.wait_status)
    };
    let status = unheard().or_else(|| syscall::pidfd_wait_status(process.as_fd()))?;
    Some(match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => SIGNALLED + signal,
    })
}

/// Processes in a network namespace, given by name or path.
///
/// # Errors
/// There is no such namespace, or `/proc` cannot be read.
pub fn pids_in_netns(netns: &str) -> Result<Vec<u32>, LinuxError> {
    let attempt = || format!("look for processes in network namespace {netns}");
    let wanted = netns::identity(&netns::path(netns)).attempt(attempt)?;
    // Best effort on each: processes go while they are looked at.
    let is_in =
        |pid: &u32| netns::identity(Path::new(&format!("/proc/{pid}/ns/net"))).is_ok_and(|found| found == wanted);
    Ok(all().attempt(attempt)?.filter(is_in).collect())
}

/// Kills everything in a network namespace: what a container's process leaves behind. Returns once all of it is gone.
///
/// # Errors
/// There is no such namespace, it is the one that portlane itself is in, or something in it is not to be killed.
pub fn kill_netns(netns: &str) -> Result<(), LinuxError> {
    let attempt = || format!("kill what is in network namespace {netns}");
    let own = netns::identity(Path::new("/proc/thread-self/ns/net")).attempt(attempt)?;
    if netns::identity(&netns::path(netns)).attempt(attempt)? == own {
        let problem = "that is the host's: name a container's".to_owned();
        return Err(LinuxError::Unusable { attempt: attempt(), problem });
    }
    let deadline = Instant::now() + KILLED_WITHIN;
    for _ in 0..KILL_ROUNDS {
        let pids = pids_in_netns(netns)?;
        if pids.is_empty() {
            return Ok(());
        }
        let mut killed = Vec::new();
        for pid in pids {
            let Ok(process) = syscall::pidfd_open(pid) else { continue };
            // The number may have changed hands since; what the descriptor stands for must be in there.
            if !pids_in(netns, pid) {
                continue;
            }
            match syscall::pidfd_send_signal(process.as_fd(), libc::SIGKILL) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                sent => sent.attempt(attempt)?,
            }
            killed.push(process);
        }
        for process in killed {
            let left = deadline.saturating_duration_since(Instant::now());
            syscall::poll([process.as_fd()], Some(left)).attempt(attempt)?;
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut)).attempt(attempt)
}

fn pids_in(netns: &str, pid: u32) -> bool {
    let wanted = netns::identity(&netns::path(netns)).ok();
    wanted.is_some() && netns::identity(Path::new(&format!("/proc/{pid}/ns/net"))).ok() == wanted
}

/// Who has each open socket, by the socket's number: `nginx (pid 123)`. Best effort: processes go while they are looked
/// at, and some may not be looked into.
pub(super) fn socket_holders() -> HashMap<u64, String> {
    let mut holders = HashMap::new();
    for pid in all().into_iter().flatten() {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let sockets = open.flatten().filter_map(|fd| {
            let target = fs::read_link(fd.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
        });
        let mut name = None;
        for inode in sockets {
            let name = name.get_or_insert_with(|| format!("{} (pid {pid})", command_name(pid)));
            holders.entry(inode).or_insert_with(|| name.clone());
        }
    }
    holders
}

fn command_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim_end().is_empty() { "a process".to_owned() } else { name.trim_end().to_owned() }
}

fn all() -> io::Result<impl Iterator<Item = u32>> {
    Ok(fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start_time: u64,
    /// As wait(2) has it; 0 while it runs, and for who may not know.
    wait_status: i32,
}

/// `pid (comm) state ppid …`: the name may hold spaces and brackets, so what counts is the last bracket.
fn parse_stat(stat: &str) -> Option<Stat> {
    /// Field 22 of proc_pid_stat(5), counted from the state, which is field 3.
    const START_TIME: usize = 22 - 3;
    /// Field 52.
    const EXIT_CODE: usize = 52 - 3;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(START_TIME - 1)?.parse().ok()?;
    // The last of them; what came before Linux 3.5 has none.
    let wait_status = fields.nth(EXIT_CODE - START_TIME - 1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Some(Stat { state, start_time, wait_status })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor_whatever_its_name_is() {
        let rest = "S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200 18446744073709551615";
        let expected = Some(Stat { state: 'S', start_time: 987_654, wait_status: 0 });
        for name in ["bash", "tmux: server", "a) R 1 (b", ""] {
            assert_eq!(parse_stat(&format!("42 ({name}) {rest}\n")), expected, "{name}");
        }
        assert_eq!(parse_stat("42 (bash) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_not_one_born_at_another_time() {
        let pid = std::process::id();
        let born = start_time(pid).expect("this process runs");
        assert!(alive(pid, born));
        assert!(!alive(pid, born + 1));
    }

    #[test]
    fn who_is_stopped_has_the_exit_status_that_it_had() {
        let stop = |script: &str, grace: u64| {
            let mut child =
                Command::new("sh").args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().expect("starts");
            // It tells when it listens to signals.
            let told = child.stdout.as_mut().map(|told| told.read(&mut [0; 1]));
            assert!(matches!(told, Some(Ok(1))));
            let status = terminate(child.id(), start_time(child.id()).expect("it runs"), Duration::from_secs(grace));
            child.wait().expect("is heard of");
            status.expect("it can be stopped")
        };
        let ready = "echo; while :; do sleep 0.02; done";
        assert_eq!(stop(&format!("trap 'exit 5' TERM; {ready}"), 20), Some(5));
        assert_eq!(stop(&format!("trap 'exit 0' TERM; {ready}"), 20), Some(0));
        assert_eq!(stop(ready, 20), Some(143));
        assert_eq!(stop(&format!("trap '' TERM; {ready}"), 0), Some(137));
    }

    #[test]
    fn a_process_keeps_its_identity_until_it_ends_and_shares_it_with_nobody() {
        let own = identity(std::process::id());
        let mut child = Command::new("sleep").arg("60").spawn().expect("starts");
        let process = syscall::pidfd_open(child.id()).expect("it is there");
        let other = identity(child.id());
        // Before Linux 6.9 nobody has one.
        assert_eq!(other.is_some(), own.is_some());
        assert!(own.is_none() || own != other);
        assert_eq!((identity(std::process::id()), identity(child.id())), (own, other));
        let runs = |identity: u64| is_still(child.id(), identity).expect("it can be asked for");
        assert!(other.is_none_or(|other| runs(other) && !runs(other + 1)));
        child.kill().expect("is killed");
        syscall::poll([process.as_fd()], None).expect("ends");
        // Its parent has not heard of its end yet.
        assert_eq!(identity(child.id()), None);
        assert!(other.is_none_or(|other| !is_still(child.id(), other).expect("it can be asked for")));
        child.wait().expect("is heard of");
        assert_eq!(identity(child.id()), None);
    }
}
