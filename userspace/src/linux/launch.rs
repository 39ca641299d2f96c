//! Starting a process in namespaces: fork, arrange its world, wait for the word, exec.
//!
//! Between fork and exec the child allocates nothing and takes no lock, since another thread may have held one at the
//! fork (signal-safety(7)): all that it needs is made before, and it speaks in numbers.
#![expect(unsafe_code, reason = "between fork and exec only bare system calls are allowed")]

use std::{
    env,
    ffi::{CStr, CString, OsStr, OsString},
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    ptr,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::CloneFlags,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::{AccessFlags, ForkResult, Pid, access, fork, pipe2, read, write},
};

use super::{Attempt, LinuxError, limits};

/// Where commands are looked for without `$PATH`: Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a process is to be.
#[derive(Debug)]
pub(super) struct Launch {
    /// As it was given, for error messages.
    command: String,
    path: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    cwd: CString,
    /// A namespace's file or a pidfd, and which namespaces of it to join.
    pub(super) join: Option<(OwnedFd, CloneFlags)>,
    /// Namespaces of its own.
    pub(super) unshare: CloneFlags,
    /// Shows the interfaces of the network namespace under `/sys/class/net`. Needs a mount namespace of its own.
    pub(super) sysfs: bool,
    /// Takes away what the host has mounted over this folder, and will mount in it. Needs a mount namespace of its own.
    pub(super) unmount: Option<CString>,
    /// Files mounted over others. Needs a mount namespace of its own.
    pub(super) binds: Vec<(CString, CString)>,
    /// Limits of open files, if they are not this process's.
    files: Option<libc::rlimit>,
    /// Needs a UTS namespace of its own.
    pub(super) hostname: Option<CString>,
    /// A session of its own, away from the terminal: standard input, and output.
    pub(super) detached: Option<(OwnedFd, OwnedFd)>,
}

/// A child that is ready and waits for [`Launched::go`]. Dropped before, it ends without having run anything.
#[derive(Debug)]
pub(super) struct Launched {
    pid: Pid,
    command: String,
    go: Option<OwnedFd>,
    status: OwnedFd,
}

/// How far the child came.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
enum Stage {
    Ready = 0,
    Join,
    Unshare,
    Private,
    Bind,
    Hostname,
    Session,
    Stdio,
    Exec,
}

/// Stage, error number, and which of several; -1 where there is one.
type Report = [i32; 3];
const REPORT_LEN: usize = size_of::<Report>();

impl Launch {
    /// Looks the command up in `$PATH`; nothing is started.
    pub(super) fn new(command: &str, args: &[String]) -> Result<Self, LinuxError> {
        let path = find(command)?;
        let c_string = |bytes: Vec<u8>| CString::new(bytes).attempt(|| format!("pass a zero byte to `{command}`"));
        let argv = std::iter::once(command).chain(args.iter().map(String::as_str));
        let envp = env::vars_os().map(|(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            name
        });
        Ok(Self {
            command: command.to_owned(),
            path: c_string(path.into_os_string().into_vec())?,
            argv: argv.map(|arg| c_string(arg.into())).collect::<Result<_, _>>()?,
            envp: envp.map(|line| c_string(line.into_vec())).collect::<Result<_, _>>()?,
            cwd: c_string(env::current_dir().unwrap_or_else(|_| PathBuf::from("/")).into_os_string().into_vec())?,
            join: None,
            unshare: CloneFlags::empty(),
            sysfs: false,
            unmount: None,
            binds: Vec::new(),
            files: limits::started_with(),
            hostname: None,
            detached: None,
        })
    }

    /// Takes a variable out of the environment.
    pub(super) fn without(&mut self, variable: &str) {
        let is_it = |line: &CString| {
            line.to_bytes().strip_prefix(variable.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        self.envp.retain(|line| !is_it(line));
    }

    /// Forks, and returns once the child's world is arranged.
    pub(super) fn start(self) -> Result<Launched, LinuxError> {
        let attempt = || format!("start `{}`", self.command);
        let (go_reader, go) = pipe2(OFlag::O_CLOEXEC).attempt(attempt)?;
        let (status, status_writer) = pipe2(OFlag::O_CLOEXEC).attempt(attempt)?;
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        // SAFETY: the child goes straight to `Launch::child`, which makes system calls only, and never returns.
        let pid = match unsafe { fork() }.attempt(attempt)? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                // The child's copy would keep the pipe open after the parent is gone.
                // SAFETY: closes the child's own copy of a descriptor that it never uses again.
                unsafe { libc::close(go.as_raw_fd()) };
                self.child(&argv, &envp, &go_reader, &status_writer)
            }
        };
        drop((go_reader, status_writer));
        let launched = Launched { pid, command: self.command.clone(), go: Some(go), status };
        match launched.report().attempt(attempt)? {
            Some([0, ..]) => Ok(launched),
            Some(report) => Err(self.explain(report)),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).attempt(attempt),
        }
    }

    fn child(&self, argv: &[*const libc::c_char], envp: &[*const libc::c_char], go: &OwnedFd, status: &OwnedFd) -> ! {
        let failed = match self.arrange() {
            Ok(()) => {
                report(status, [Stage::Ready as i32, 0, -1]);
                // EOF: the parent is gone, or thinks better of it.
                if wait_for_word(go) {
                    // SAFETY: path, and arrays that end with a null pointer; all were made before the fork.
                    unsafe { libc::execve(self.path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
                    Some([Stage::Exec as i32, Errno::last_raw(), -1])
                } else {
                    None
                }
            }
            Err(failed) => Some(failed),
        };
        if let Some(failed) = failed {
            report(status, failed);
        }
        // SAFETY: ends the child without running what the parent registered for its own end.
        unsafe { libc::_exit(127) }
    }

    /// Runs in the child.
    fn arrange(&self) -> Result<(), Report> {
        // SAFETY: all of these are system calls with pointers to strings that outlive them, made before the fork.
        unsafe {
            // Rust ignores SIGPIPE, and a blocked or ignored signal stays so through exec.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());

            if let Some(files) = &self.files {
                // It was in force before, so it is refused only by who filters system calls; then it may have more.
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const *files);
            }
            if let Some((namespace, kinds)) = &self.join {
                check(Stage::Join, libc::setns(namespace.as_raw_fd(), kinds.bits()))?;
            }
            if !self.unshare.is_empty() {
                check(Stage::Unshare, libc::unshare(self.unshare.bits()))?;
            }
            if self.unshare.contains(CloneFlags::CLONE_NEWNS) {
                self.mounts()?;
            }
            if let Some(hostname) = &self.hostname {
                check(Stage::Hostname, libc::sethostname(hostname.as_ptr(), hostname.count_bytes()))?;
            }
            // Joining a mount namespace leads to its root; a directory that isn't there is no reason to fail.
            if libc::chdir(self.cwd.as_ptr()) != 0 {
                libc::chdir(c"/".as_ptr());
            }
            if let Some((input, output)) = &self.detached {
                check(Stage::Session, libc::setsid())?;
                for (from, to) in [(input, 0), (output, 1), (output, 2)] {
                    check(Stage::Stdio, libc::dup2(from.as_raw_fd(), to))?;
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`Launch::arrange`]: in the child.
    unsafe fn mounts(&self) -> Result<(), Report> {
        let none = ptr::null();
        let mount = |from: *const _, to: &CStr, kind: *const _, flags| {
            // SAFETY: strings that outlive the call, or null where mount(2) ignores the argument.
            unsafe { libc::mount(from, to.as_ptr(), kind, flags, ptr::null()) }
        };
        // What is mounted here stays here; what the host mounts later still shows up.
        check(Stage::Private, mount(none, c"/", none, libc::MS_SLAVE | libc::MS_REC))?;
        if let Some(folder) = &self.unmount {
            // Best effort: nothing may be mounted there.
            // SAFETY: a string that outlives the call.
            unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH) };
        }
        if self.sysfs {
            // Best effort: in a user namespace of somebody else's it is refused, and only /sys/class/net misleads then.
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            mount(c"sysfs".as_ptr(), c"/sys", c"sysfs".as_ptr(), flags);
        }
        for (index, (from, to)) in self.binds.iter().enumerate() {
            let result = mount(from.as_ptr(), to, none, libc::MS_BIND);
            check(Stage::Bind, result)
                .map_err(|[stage, errno, _]| [stage, errno, i32::try_from(index).unwrap_or(-1)])?;
        }
        Ok(())
    }

    fn explain(&self, report: Report) -> LinuxError {
        let [stage, errno, index] = report;
        let bind = usize::try_from(index).ok().and_then(|index| self.binds.get(index));
        let attempt = match stage {
            stage if stage == Stage::Join as i32 => "enter the container's namespaces".to_owned(),
            stage if stage == Stage::Unshare as i32 => "make mount and UTS namespaces".to_owned(),
            stage if stage == Stage::Private as i32 => "keep the container's mounts to itself".to_owned(),
            stage if stage == Stage::Bind as i32 => bind.map_or_else(
                || "mount the container's files".to_owned(),
                |(from, to)| format!("mount {} over {}", from.to_string_lossy(), to.to_string_lossy()),
            ),
            stage if stage == Stage::Hostname as i32 => "set the container's host name".to_owned(),
            stage if stage == Stage::Session as i32 => "give the container a session of its own".to_owned(),
            _ => "connect the container's standard input and output".to_owned(),
        };
        LinuxError::System { attempt, source: io::Error::from_raw_os_error(errno) }
    }
}

impl Launched {
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Gives the word; returns once the command runs, or could not be executed.
    pub(super) fn go(mut self) -> Result<u32, LinuxError> {
        let attempt = || format!("start `{}`", self.command);
        if let Some(go) = self.go.take()
            && let Err(errno) = write(&go, &[1])
        {
            // It is gone: killed while it waited.
            self.reap();
            return Err(errno).attempt(attempt);
        }
        match self.report().attempt(attempt)? {
            // The pipe closed on exec.
            None => Ok(self.pid()),
            Some([_, errno, _]) => {
                self.reap();
                let source = io::Error::from_raw_os_error(errno);
                Err(LinuxError::Exec { command: self.command.clone(), source })
            }
        }
    }

    /// What the child says next; none if it has nothing more to say.
    fn report(&self) -> io::Result<Option<Report>> {
        let mut bytes = [0; REPORT_LEN];
        loop {
            match read(&self.status, &mut bytes) {
                Ok(REPORT_LEN) => return Ok(Some(bytemuck::cast(bytes))),
                Ok(_) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn reap(&self) {
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Still waiting for the word: closing the pipe ends it.
        if self.go.take().is_some() {
            self.reap();
        }
    }
}

/// How a child that is gone ended, as a shell says it: 128 + the signal's number if a signal ended it.
pub(super) fn exit_status(pid: u32) -> io::Result<i32> {
    let pid = Pid::from_raw(pid.cast_signed());
    loop {
        match waitpid(pid, Some(WaitPidFlag::empty())) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The exit status of a child that has ended; none for anybody else's child.
pub(super) fn reap(pid: u32) -> Option<i32> {
    match waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
        _ => None,
    }
}

/// The file that a command names: by `$PATH`, unless there is a `/` in it.
pub(super) fn find(command: &str) -> Result<PathBuf, LinuxError> {
    if command.contains('/') {
        let path = PathBuf::from(command);
        let runs = match fs::metadata(&path) {
            Ok(found) if !found.is_file() => Err(Errno::EACCES),
            _ => access(&path, AccessFlags::X_OK),
        };
        let command = command.to_owned();
        return match runs {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(LinuxError::CommandNotFound { command }),
            Err(errno) => Err(LinuxError::Exec { command, source: errno.into() }),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let is_file = |candidate: &PathBuf| fs::metadata(candidate).is_ok_and(|found| found.is_file());
    let mut refused = None;
    for candidate in path.as_bytes().split(|byte| *byte == b':').filter(|_| !command.is_empty()) {
        let directory = if candidate.is_empty() { b".".as_slice() } else { candidate };
        let candidate = Path::new(OsStr::from_bytes(directory)).join(command);
        if !is_file(&candidate) {
            continue;
        }
        match access(&candidate, AccessFlags::X_OK) {
            Ok(()) => return Ok(candidate),
            Err(errno) => refused = Some(errno),
        }
    }
    let command = command.to_owned();
    Err(match refused {
        Some(errno) => LinuxError::Exec { command, source: errno.into() },
        None => LinuxError::CommandNotFound { command },
    })
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn check(stage: Stage, result: libc::c_int) -> Result<(), Report> {
    if result < 0 { Err([stage as i32, Errno::last_raw(), -1]) } else { Ok(()) }
}

/// Runs in the child.
fn report(status: &OwnedFd, report: Report) {
    let bytes: [u8; REPORT_LEN] = bytemuck::cast(report);
    // Shorter than a pipe's buffer, so written whole or, if the parent is gone, not at all.
    let _ = write(status, &bytes);
}

/// Runs in the child.
fn wait_for_word(go: &OwnedFd) -> bool {
    let mut word = [0];
    loop {
        match read(go, &mut word) {
            Ok(count) => return count == 1,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
