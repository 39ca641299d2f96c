//! Network namespaces with a name under `/run/netns`, made as `ip netns add` makes them.

use std::{
    collections::BTreeSet,
    fs, io,
    net::UdpSocket,
    os::fd::AsFd,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    panic,
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

use super::{Attempt, LinuxError, syscall};

/// Where iproute2 keeps namespaces by name.
const DIRECTORY: &str = "/run/netns";
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
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.attempt(|| format!("list {DIRECTORY}"))?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| exists(name)).collect())
}

/// Makes a namespace with this name, unless there is one.
///
/// # Errors
/// The directory or the file cannot be made, or the kernel refuses the namespace or the mount.
pub fn create(name: &str) -> Result<(), LinuxError> {
    let file = named(name)?;
    // As iproute2 does: two that make their first namespaces at once would mount the directory twice.
    let _lock = prepare_directory()?;
    if is_namespace(&file) {
        return Ok(());
    }
    let attempt = || format!("make network namespace {name}");
    // An empty file left behind will do: the namespace is mounted over it.
    fs::OpenOptions::new().create(true).append(true).mode(0o444).open(&file).attempt(attempt)?;
    let result = on_fresh_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
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
    let attempt = || "read the cookie of the host's network namespace".to_owned();
    let socket = UdpSocket::bind("0.0.0.0:0").attempt(attempt)?;
    syscall::netns_cookie(socket.as_fd()).attempt(attempt)
}

/// What tells a namespace from every other: device and inode of its file.
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
    let share = || mount(none, DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
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
    thread::scope(|scope| scope.spawn(f).join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
}
