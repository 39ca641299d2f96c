//! A container's process: a command in the container's namespaces.

use std::{
    ffi::CString,
    fs,
    os::fd::{AsFd, OwnedFd},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sched::CloneFlags};

use super::{
    Attempt, LinuxError,
    forward::Forwarder,
    launch::{self, Launch, Launched, World},
    netns, syscall,
};

pub use super::pids::{alive, identity, is_still, is_there, kill_netns, pids_in_netns, runs, start_time, terminate};

/// Files of [`ContainerSpec::etc_dir`] that take the place of those under `/etc`.
pub const ETC_FILES: [&str; 3] = ["hosts", "resolv.conf", "hostname"];

/// Where a container's command runs.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its network namespace, by name or path; none for the host's.
    pub netns: Option<String>,
    /// Its host name; the host's if empty.
    pub hostname: String,
    /// Where its own [`ETC_FILES`] are. A file that is missing here, or on the host, is left as the host has it.
    ///
    /// They are mounted as files: to change one under a running container, write to it; a file renamed over it is not
    /// seen.
    pub etc_dir: PathBuf,
    /// Where a detached one writes to the end of.
    pub log: PathBuf,
}

/// A process that waits for [`Begun::enter`]. Dropped before, or left by a portlane that died, it ends without having run
/// anything.
#[derive(Debug)]
pub struct Begun {
    launched: Launched,
    foreground: bool,
}

/// A process that waits for [`Starting::go`]. Dropped before, or left by a portlane that died, it ends without having
/// run anything.
#[derive(Debug)]
pub struct Starting {
    launched: Launched,
    start_time: u64,
    foreground: bool,
}

/// A process that runs. Dropped, it goes on running.
#[derive(Debug)]
pub struct Running {
    launched: Launched,
    start_time: u64,
    process: OwnedFd,
    forwarder: Option<Forwarder>,
}

/// Where a command is to run for `portlane exec`.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the namespaces of a container's process.
    Process {
        /// The process.
        pid: u32,
        /// Its [`start_time`].
        start_time: u64,
    },
    /// In a network namespace, by name or path, and otherwise on the host.
    Netns(String),
}

/// Starts what is to be a container's process, before anything else of the container is there: it makes namespaces of its own
/// meanwhile. The command is looked up in `$PATH`.
///
/// One in the foreground reads from and writes to where portlane does, and gets the signals sent to portlane. A detached one has
/// a session of its own, reads nothing, and writes to a file. One `apart` has a network of its own: the host's named namespaces
/// are not among its mounts.
///
/// # Errors
/// [`LinuxError::CommandNotFound`], or [`LinuxError::Exec`] for a file that is not executable; the kernel refuses a process.
pub fn begin(command: &str, args: &[String], foreground: bool, apart: bool) -> Result<Begun, LinuxError> {
    let mut launch = Launch::new(command, args)?;
    // Each container would hold a mount for every other one.
    launch.unmount = Some(c_string(Path::new(netns::DIRECTORY))?);
    launch.apart = apart;
    launch.unshare = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    if !foreground {
        // A daemon's, to which a container is not to speak (sd_notify(3)).
        launch.without("NOTIFY_SOCKET");
    }
    Ok(Begun { launched: launch.start()?, foreground })
}

impl Begun {
    /// Brings it to the point where it would run the command. It has its number and its namespaces then, and waits for the word.
    ///
    /// # Errors
    /// The kernel refuses a namespace or a mount.
    pub fn enter(self, spec: &ContainerSpec) -> Result<Starting, LinuxError> {
        let hostname = Some(spec.hostname.as_str()).filter(|hostname| !hostname.is_empty()).map(CString::new);
        let world = World {
            netns: spec.netns.as_deref().map(open_netns).transpose()?,
            binds: binds(&spec.etc_dir)?,
            hostname: hostname.transpose().attempt(|| "use a host name with a zero byte".to_owned())?,
            detached: if self.foreground { None } else { Some(detached(&spec.log)?) },
        };
        Starting::of(self.launched, world, self.foreground)
    }
}

/// Runs a command where a container is, in the foreground, and returns its exit status: 128 + the signal's number if a
/// signal ended it.
///
/// # Errors
/// The command or the container is not there, or the kernel refuses.
pub fn exec_in(place: Place, command: &str, args: &[String]) -> Result<i32, LinuxError> {
    let mut launch = Launch::new(command, args)?;
    let mut world = World::default();
    match place {
        Place::Process { pid, start_time } => {
            let attempt = || format!("enter the namespaces of process {pid}");
            let process = syscall::pidfd_open(pid).attempt(attempt)?;
            // Once there is a descriptor, the number cannot change hands unseen.
            alive(pid, start_time).then_some(()).ok_or(Errno::ESRCH).attempt(attempt)?;
            let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS;
            launch.join = Some((process, kinds));
        }
        Place::Netns(netns) => {
            world.netns = Some(open_netns(&netns)?);
            launch.unshare = CloneFlags::CLONE_NEWNS;
        }
    }
    Starting::of(launch.start()?, world, true)?.go()?.wait()
}

/// Waits for the end of a process, whoever's child it is, without a thread; returns its exit status if it is this
/// process's child.
///
/// # Errors
/// The kernel does not let it be watched.
pub async fn ended(pid: u32, start_time: u64) -> Result<Option<i32>, LinuxError> {
    let attempt = || format!("watch process {pid}");
    let process = match syscall::pidfd_open(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        process => process.attempt(attempt)?,
    };
    // Once there is a descriptor, the number cannot change hands unseen.
    if alive(pid, start_time) {
        let process = syscall::awaited(process).attempt(attempt)?;
        drop(process.readable().await.attempt(attempt)?);
    }
    Ok(launch::reap(pid))
}

impl Starting {
    fn of(mut launched: Launched, world: World, foreground: bool) -> Result<Self, LinuxError> {
        launched.arrange(world)?;
        let start_time = start_time(launched.pid()).ok_or(Errno::ESRCH);
        let start_time = start_time.attempt(|| format!("watch process {}", launched.pid()))?;
        Ok(Self { launched, start_time, foreground })
    }

    /// Number of the process.
    pub fn pid(&self) -> u32 {
        self.launched.pid()
    }

    /// When it began, in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Has it run the command. From here on, signals to a foreground portlane are kept for [`Running::wait`].
    ///
    /// # Errors
    /// [`LinuxError::Exec`]: the command cannot be executed.
    pub fn go(mut self) -> Result<Running, LinuxError> {
        let pid = self.pid();
        let attempt = || format!("watch process {pid}");
        let process = syscall::pidfd_open(pid).attempt(attempt)?;
        let forwarder = if self.foreground { Some(Forwarder::install().attempt(attempt)?) } else { None };
        self.launched.go()?;
        Ok(Running { launched: self.launched, start_time: self.start_time, process, forwarder })
    }
}

impl Running {
    /// Number of the process.
    pub fn pid(&self) -> u32 {
        self.launched.pid()
    }

    /// When it began, in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Waits for its end, passing on signals if it is in the foreground, and returns its exit status: 128 + the
    /// signal's number if a signal ended it.
    ///
    /// # Errors
    /// Somebody else has waited for it.
    pub fn wait(self) -> Result<i32, LinuxError> {
        let attempt = || format!("wait for process {}", self.pid());
        let process = self.process.as_fd();
        loop {
            let (gone, signals) = match &self.forwarder {
                Some(forwarder) => syscall::poll([process, forwarder.as_fd()], None).attempt(attempt)?.into(),
                None => (syscall::poll([process], None).attempt(attempt)?[0], false),
            };
            if gone {
                return launch::exit_status(self.pid()).attempt(attempt);
            }
            if let Some(forwarder) = self.forwarder.as_ref().filter(|_| signals) {
                forwarder.forward(process);
            }
        }
    }
}

fn open_netns(netns: &str) -> Result<OwnedFd, LinuxError> {
    let file = fs::File::open(netns::path(netns)).attempt(|| format!("open network namespace {netns}"))?;
    Ok(file.into())
}

/// A mount needs something to be mounted over, and making that would change the host: what it lacks, a container lacks.
/// Where `/etc/resolv.conf` is a symbolic link, the mount is over what it leads to.
fn binds(etc_dir: &Path) -> Result<Vec<(CString, CString)>, LinuxError> {
    let pairs = ETC_FILES.map(|name| (etc_dir.join(name), Path::new("/etc").join(name)));
    let there = pairs.iter().filter(|(from, to)| from.is_file() && to.is_file());
    there.map(|(from, to)| Ok((c_string(from)?, c_string(to)?))).collect()
}

fn c_string(path: &Path) -> Result<CString, LinuxError> {
    CString::new(path.as_os_str().as_bytes()).attempt(|| format!("use {} with a zero byte", path.display()))
}

fn detached(log: &Path) -> Result<(OwnedFd, OwnedFd), LinuxError> {
    let input = fs::File::open("/dev/null").attempt(|| "open /dev/null".to_owned())?;
    let output = fs::OpenOptions::new().create(true).append(true).mode(0o640).open(log);
    Ok((input.into(), output.attempt(|| format!("open {}", log.display()))?.into()))
}
