//! Kernel settings under `/proc/sys`: those of `net/` belong to the calling thread's network namespace.
//!
//! The kernel keeps the folders `net/ipv4` of all network namespaces that somebody has looked at in one chain of a mounted `/proc`, and
//! goes along it to find this one's: with 500 containers for half a millisecond, each time. So settings are looked for in a `/proc`
//! of this process's own, whose chains are short.

use std::{
    fs,
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, openat},
    sys::{
        stat::Mode,
        statvfs::{FsFlags, fstatvfs},
    },
};

use super::{Attempt, LinuxError, syscall};

/// Where the administrator sees the settings.
const ROOT: &str = "/proc/sys";

/// A folder of settings: those of the network namespace in which it was opened, wherever they are read or written.
///
/// Its path is walked once: the more network namespaces there are, the longer the kernel looks for this one's `net/ipv4` and
/// `net/ipv6`.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    file: fs::File,
}

impl Folder {
    /// # Errors
    /// There is no such folder.
    pub fn open(name: &str) -> Result<Self, LinuxError> {
        let path = path(name);
        let file = openat(sys(), name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let file = file.map_err(io::Error::from).attempt(|| format!("open {}", path.display()))?;
        Ok(Self { path, file: file.into() })
    }

    /// Reads a setting, without the newline.
    ///
    /// # Errors
    /// There is no such setting, or it cannot be read.
    pub fn get(&self, name: &str) -> Result<String, LinuxError> {
        let mut value = String::new();
        let open = || openat(&self.file, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let read = open().map_err(io::Error::from).and_then(|file| fs::File::from(file).read_to_string(&mut value));
        read.attempt(|| format!("read {}", self.path.join(name).display()))?;
        Ok(value.trim_end().to_owned())
    }

    /// `net` of the network namespace that portlane runs in, looked for once.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn own_net() -> Result<&'static Self, LinuxError> {
        static NET: OnceLock<Folder> = OnceLock::new();
        Self::once(&NET, "net")
    }

    /// `net/ipv4` in there, of which every change reads.
    ///
    /// # Errors
    /// As there.
    pub fn own_ipv4() -> Result<&'static Self, LinuxError> {
        static IPV4: OnceLock<Folder> = OnceLock::new();
        Self::once(&IPV4, "net/ipv4")
    }

    fn once(known: &'static OnceLock<Self>, name: &str) -> Result<&'static Self, LinuxError> {
        match known.get() {
            Some(folder) => Ok(folder),
            None => Self::open(name).map(|folder| known.get_or_init(|| folder)),
        }
    }

    /// [`set_if_present`] of a setting in here.
    ///
    /// # Errors
    /// As there.
    pub fn set_if_present(&self, name: &str, value: &str) -> Result<(), LinuxError> {
        let set = set_at(&self.file, name, value);
        unless_missing(set.attempt(|| format!("set {} to {value}", self.path.join(name).display())))
    }
}

/// Another one each time that the kernel starts.
///
/// # Errors
/// It cannot be read.
pub fn boot() -> Result<String, LinuxError> {
    let path = path("kernel/random/boot_id");
    let boot = fs::read_to_string(&path).attempt(|| format!("read {}", path.display()))?;
    Ok(boot.trim_end().to_owned())
}

/// Writes a setting, unless it has that value already: where `/proc/sys` is read-only, that is all that can be hoped for.
///
/// # Errors
/// There is no such setting, or it cannot be written.
pub fn set(name: &str, value: &str) -> Result<(), LinuxError> {
    let path = path(name);
    set_at(sys(), name, value).attempt(|| format!("set {} to {value}", path.display()))
}

/// Like [`set`], for what a kernel may lack (IPv6 can be off): what is not there needs no setting.
///
/// # Errors
/// The setting is there and cannot be written.
pub fn set_if_present(name: &str, value: &str) -> Result<(), LinuxError> {
    unless_missing(set(name, value))
}

/// [`set_if_present`] of several settings in one folder.
///
/// # Errors
/// As there.
pub fn set_those_present(folder: &str, settings: &[(&str, &str)]) -> Result<(), LinuxError> {
    match Folder::open(folder) {
        Ok(folder) => settings.iter().try_for_each(|(name, value)| folder.set_if_present(name, value)),
        missing => unless_missing(missing.map(drop)),
    }
}

fn set_at(folder: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let open = |how| openat(&folder, name, how | OFlag::O_CLOEXEC, Mode::empty()).map(fs::File::from);
    let writable = open(OFlag::O_RDWR);
    let mut found = String::new();
    match &writable {
        Ok(file) => { file }.read_to_string(&mut found)?,
        Err(_) => open(OFlag::O_RDONLY)?.read_to_string(&mut found)?,
    };
    if found.split_whitespace().eq(value.split_whitespace()) {
        return Ok(());
    }
    writable?.write_all_at(value.as_bytes(), 0)
}

fn unless_missing(set: Result<(), LinuxError>) -> Result<(), LinuxError> {
    match set {
        Err(LinuxError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The folder of all settings. Where an administrator made `/proc/sys` read-only, that one, and where it is nowhere, whatever has its
/// place: what is sought there is not found.
fn sys() -> BorrowedFd<'static> {
    static SYS: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let folder = |parent: BorrowedFd<'_>, name| {
        openat(parent, name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()
    };
    let look = || {
        let mounted = folder(AT_FDCWD, ROOT)?;
        let read_only = fstatvfs(&mounted).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY));
        let own = || {
            let own_proc = syscall::own_proc().ok()?;
            let found = folder(own_proc.as_fd(), "sys");
            close_aside(own_proc);
            found
        };
        if read_only { None } else { own() }.or(Some(mounted))
    };
    SYS.get_or_init(look).as_ref().map_or(AT_FDCWD, AsFd::as_fd)
}

/// Closes a mount that is nowhere, which waits for all who change mounts (a container's process that copies those of hundreds),
/// and then for an RCU grace period: on a thread of its own, if there is one to be had.
fn close_aside(mount: OwnedFd) {
    // Where there is none, it is closed with the closure.
    drop(thread::Builder::new().spawn(move || drop(mount)));
}

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}
