//! Network namespaces with a name under `/run/netns`, made as `ip netns add` makes them.

use std::{
    collections::BTreeSet,
    fs, io,
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{FsType, statfs},
};

use super::{Attempt, LinuxError, pids, syscall, sysctl};
use crate::{
    model::{NetnsIdentity, Process},
    parallel,
};

/// Where iproute2 keeps namespaces by name.
pub(super) const DIRECTORY: &str = "/run/netns";
/// That of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of `linux/magic.h`: what a namespace's file is on, and an empty file left behind is not.
const NSFS: FsType = FsType(0x6e73_6673);

/// The file of a namespace, which is given by name or, if there is a `/` in it, by path.
pub fn path(netns: &str) -> PathBuf {
    if netns.contains('/') { PathBuf::from(netns) } else { Path::new(DIRECTORY).join(netns) }
}

/// Whether there is a namespace of this name or path.
pub fn exists(netns: &str) -> bool {
    is_namespace(&path(netns))
}

/// Names under `/run/netns` that have a namespace.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn list() -> Result<BTreeSet<String>, LinuxError> {
    Ok(names()?.filter(|name| exists(name)).collect())
}

/// Names under `/run/netns`, whether or not a namespace is behind them.
///
/// # Errors
/// As [`list`].
pub fn names() -> Result<impl Iterator<Item = String>, LinuxError> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries.attempt(|| format!("list {DIRECTORY}"))?),
    };
    Ok(entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()))
}

/// Makes a namespace with this name, unless there is one.
///
/// # Errors
/// The directory or the file cannot be made, or the kernel refuses the namespace or the mount.
pub fn create(name: &str) -> Result<(), LinuxError> {
    mount_as(name, &format!("make network namespace {name}"), |file| {
        on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some(OWN), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        })
    })
}

/// Gives the namespace that a process is in its name back, unless there is one of this name.
///
/// # Errors
/// The process has ended; as [`create`].
pub fn rename(name: &str, process: &Process) -> Result<(), LinuxError> {
    let attempt = format!("name network namespace {name} again");
    let Some(inside) = of_process(process)? else {
        return Err(LinuxError::Unusable { attempt, problem: format!("process {} has ended meanwhile", process.pid) });
    };
    // By the descriptor: the process's number may have changed hands since.
    let descriptor = format!("/proc/self/fd/{}", inside.as_raw_fd());
    mount_as(name, &attempt, |file| {
        mount(Some(descriptor.as_str()), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    })
}

/// The first of these processes that runs in a namespace which is neither the host's nor one of the `named` ones: it would not be
/// the one that it was started in.
///
/// # Errors
/// It cannot be told, for want of files.
pub fn inhabitant(
    mut processes: impl Iterator<Item = Process>,
    named: &BTreeSet<String>,
) -> Result<Option<Process>, LinuxError> {
    let others = named.iter().map(|name| path(name)).chain([PathBuf::from(OWN)]);
    let others: BTreeSet<_> = others.filter_map(|file| identity(&file).ok()).collect();
    let is_in = |process: &Process| {
        let Some(inside) = of_process(process)? else { return Ok(false) };
        let found =
            inside.metadata().attempt(|| format!("look at the network namespace of process {}", process.pid))?;
        Ok(!others.contains(&(found.dev(), found.ino())))
    };
    processes.find_map(|process| is_in(&process).map(|is_in| is_in.then_some(process)).transpose()).transpose()
}

/// The network namespace of a process; none if it has ended.
fn of_process(process: &Process) -> Result<Option<fs::File>, LinuxError> {
    let file = match fs::File::open(format!("/proc/{}/ns/net", process.pid)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EACCES)) => {
            return Ok(None);
        }
        file => file.attempt(|| format!("open the network namespace of process {}", process.pid))?,
    };
    // Who runs now ran when it was opened.
    Ok(pids::runs(process)?.then_some(file))
}

/// Mounts a namespace at its name, unless there is one of this name.
fn mount_as(name: &str, attempt: &str, mount: impl FnOnce(&Path) -> nix::Result<()>) -> Result<(), LinuxError> {
    let file = named(name)?;
    // As iproute2 does: two that make their first namespaces at once would mount the directory twice.
    let _lock = prepare_directory()?;
    if is_namespace(&file) {
        return Ok(());
    }
    let attempt = || attempt.to_owned();
    // An empty file left behind will do: the namespace is mounted over it.
    fs::OpenOptions::new().create(true).append(true).mode(0o444).open(&file).attempt(attempt)?;
    let result = mount(&file);
    if result.is_err() {
        // Best effort; the error that is reported is the first one.
        drop(fs::remove_file(&file));
    }
    result.attempt(attempt)
}

/// Takes the name away, if it is there. The namespace goes when no process is in it any more.
///
/// # Errors
/// The mount or the file cannot be removed.
pub fn delete(name: &str) -> Result<(), LinuxError> {
    let file = named(name)?;
    let attempt = || format!("delete network namespace {name}");
    match umount2(&file, MntFlags::MNT_DETACH) {
        // EINVAL: a file on which nothing is mounted.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno).attempt(attempt),
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.attempt(attempt),
    }
}

/// Runs `f` in a namespace, given by name or path, on a thread of its own: sockets that it opens, and `/proc/sys/net`
/// that it writes, are the namespace's.
///
/// # Errors
/// There is no such namespace, or it cannot be entered.
pub fn within<T: Send>(netns: &str, f: impl FnOnce() -> T + Send) -> Result<T, LinuxError> {
    let file = fs::File::open(path(netns)).attempt(|| format!("open network namespace {netns}"))?;
    on_fresh_thread(|| setns(&file, CloneFlags::CLONE_NEWNET).map(|()| f()))
        .attempt(|| format!("enter network namespace {netns}"))
}

/// The cookie of the network namespace that portlane runs in: the socket programs know the host by it.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.14.
pub fn host_cookie() -> Result<u64, LinuxError> {
    cookie().attempt(|| "read the cookie of the host's network namespace".to_owned())
}

/// That of the calling thread's namespace.
fn cookie() -> io::Result<u64> {
    syscall::netns_cookie(UdpSocket::bind("0.0.0.0:0")?.as_fd())
}

/// Which namespace this is, given by name or path.
///
/// # Errors
/// It is no network namespace, or cannot be entered.
pub fn identify(netns: &str) -> Result<NetnsIdentity, LinuxError> {
    let attempt = || format!("enter network namespace {netns}");
    let none = || LinuxError::Unusable {
        attempt: attempt(),
        problem: format!("{} is none: `ip netns list` shows those that have a name", path(netns).display()),
    };
    if !exists(netns) {
        return Err(none());
    }
    let cookie = within(netns, cookie).map_err(|error| match error.errno() {
        // setns(2): a namespace of another kind.
        Some(libc::EINVAL) => none(),
        _ => error,
    })?;
    Ok(NetnsIdentity { boot: sysctl::boot()?, cookie: cookie.attempt(attempt)? })
}

/// Whether this is still the namespace that it was; not if it is none any more.
///
/// # Errors
/// It cannot be entered, for want of memory or files.
pub fn is_still(netns: &str, identity: &NetnsIdentity) -> Result<bool, LinuxError> {
    match identify(netns) {
        Ok(found) => Ok(found == *identity),
        Err(LinuxError::Unusable { .. }) => Ok(false),
        // It went after it was found.
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether two files are of the same namespace; not if one of them is of none.
pub fn is_same(one: &Path, other: &Path) -> bool {
    identity(one).is_ok_and(|one| identity(other).is_ok_and(|other| one == other))
}

/// What tells a namespace from every other that is there: device and inode of its file.
pub(super) fn identity(file: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(file).map(|found| (found.dev(), found.ino()))
}

fn is_namespace(file: &Path) -> bool {
    statfs(file).is_ok_and(|found| found.filesystem_type() == NSFS)
}

/// The file of a namespace that is to be made or deleted, which only its name can say.
fn named(name: &str) -> Result<PathBuf, LinuxError> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(LinuxError::Unusable {
            attempt: format!("use `{name}` as the name of a network namespace"),
            problem: "a name is not a path".to_owned(),
        });
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes the directory, and has what is mounted in it show up in other mount namespaces, without which a namespace
/// deleted here would live on there. Best effort: in a mount namespace of one's own nothing need show up.
fn prepare_directory() -> Result<Flock<fs::File>, LinuxError> {
    let attempt = || format!("make {DIRECTORY}");
    fs::DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY).attempt(attempt)?;
    let mut directory = fs::File::open(DIRECTORY).attempt(attempt)?;
    let lock = loop {
        match Flock::lock(directory, FlockArg::LockExclusive) {
            Ok(lock) => break lock,
            Err((unlocked, Errno::EINTR)) => directory = unlocked,
            Err((_, errno)) => return Err(errno).attempt(|| format!("lock {DIRECTORY}")),
        }
    };
    let none = None::<&str>;
    // Not what is mounted in it, each time: that is shared from when it was mounted.
    let share = || mount(none, DIRECTORY, none, MsFlags::MS_SHARED, none);
    // EINVAL: the directory is no mount point; it becomes one by being mounted on itself.
    if share() == Err(Errno::EINVAL)
        && mount(Some(DIRECTORY), DIRECTORY, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).is_ok()
    {
        let _ = share();
    }
    Ok(lock)
}

/// Namespaces are entered by a thread that ends with its task, so that no other task finds itself there.
fn on_fresh_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| parallel::joined(scope.spawn(f)))
}
