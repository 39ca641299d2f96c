//! Starting a process in namespaces: fork, arrange its world, wait for the word, exec.
//!
//! The fork is vfork(2)'s, made by a thread of its own. Until the exec the child works in portlane's own memory, of which a copy
//! would take the longer the more containers portlane has read of, and the kernel holds up the thread, and no other. So
//! between fork and exec the child allocates nothing, takes no lock, runs no signal handler, and writes to its own stack alone
//! and to the thread's errno: all that it needs is made before, and is the thread's until the exec. It speaks in numbers.
#![expect(unsafe_code, reason = "between fork and exec only bare system calls are allowed")]

use std::{
    env,
    ffi::{CStr, CString, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    panic::resume_unwind,
    path::PathBuf,
    ptr,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, clone},
    sys::{
        signal::SigSet,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, pipe2, read, write},
};

use super::{Attempt, LinuxError, limits, pids, which};

/// Bytes of a child's stack: it makes system calls, and little else.
const STACK: usize = 64 << 10;

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
    /// 0 until it is ready.
    pid: u32,
    command: String,
    go: Option<OwnedFd>,
    status: OwnedFd,
    /// The child's parent is a thread, which stays until this is dropped: a program may ask for a signal when its parent ends
    /// (`PR_SET_PDEATHSIG`).
    hold: Option<Sender<()>>,
    /// Says which child it is, or why there is none. None once the command runs.
    parent: Option<JoinHandle<nix::Result<Pid>>>,
}

/// The child's ends of the pipes, and the other end of the one that must not stay open in it.
#[derive(Debug)]
struct Pipes {
    go: OwnedFd,
    go_writer: RawFd,
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

/// Stage, error number, and which of several; -1 where there is one. In the place of an error number, who is ready says its own.
type Report = [i32; 3];
const REPORT_LEN: usize = size_of::<Report>();

impl Launch {
    /// Looks the command up in `$PATH`; nothing is started.
    pub(super) fn new(command: &str, args: &[String]) -> Result<Self, LinuxError> {
        let path = which::find(command)?;
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
        let launch = Arc::new(self);
        let command = launch.command.clone();
        let attempt = || format!("start `{}`", launch.command);
        let (go, go_writer) = pipe2(OFlag::O_CLOEXEC).attempt(attempt)?;
        let (status, status_writer) = pipe2(OFlag::O_CLOEXEC).attempt(attempt)?;
        let pipes = Pipes { go, go_writer: go_writer.as_raw_fd(), status: status_writer };
        let (hold, held) = channel();
        let forker = Arc::clone(&launch);
        let parent = thread::Builder::new().spawn(move || {
            let child = forker.fork(&pipes);
            // The child has ended, or has its own of all this.
            drop((forker, pipes));
            let _ = held.recv();
            child
        });
        let parent = Some(parent.attempt(attempt)?);
        let mut launched = Launched { pid: 0, command, go: Some(go_writer), status, hold: Some(hold), parent };
        match launched.report().attempt(attempt)? {
            Some([0, pid, _]) => {
                launched.pid = pid.cast_unsigned();
                Ok(launched)
            }
            Some(report) => Err(launch.explain(report)),
            None => {
                launched.end().attempt(attempt)?;
                Err(io::Error::from(io::ErrorKind::UnexpectedEof)).attempt(attempt)
            }
        }
    }

    /// Returns once the child runs the command, or has ended. The thread gets no signals from here on.
    fn fork(&self, pipes: &Pipes) -> nix::Result<Pid> {
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        let mut stack = vec![0; STACK];
        // In the child, a handler of portlane's would work on portlane's memory.
        SigSet::all().thread_block()?;
        let child = Box::new(|| self.child(&argv, &envp, pipes));
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: the child goes straight to `Launch::child`, which makes system calls only, on a stack that has room for that,
        // and never returns. This thread, which owns all that the child is given, goes on only when the child has memory of its
        // own, or none.
        unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }
    }

    fn child(&self, argv: &[*const libc::c_char], envp: &[*const libc::c_char], pipes: &Pipes) -> ! {
        // The child's copy would keep the pipe open after the parent is gone.
        // SAFETY: closes the child's own copy of a descriptor that it never uses again.
        unsafe { libc::close(pipes.go_writer) };
        let failed = match self.arrange() {
            Ok(()) => {
                // SAFETY: has no arguments.
                report(&pipes.status, [Stage::Ready as i32, unsafe { libc::getpid() }, -1]);
                // EOF: the parent is gone, or thinks better of it.
                if wait_for_word(&pipes.go) {
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
            report(&pipes.status, failed);
        }
        // SAFETY: ends the child without running what the parent registered for its own end.
        unsafe { libc::_exit(127) }
    }

    /// Runs in the child.
    fn arrange(&self) -> Result<(), Report> {
        // SAFETY: all of these are system calls with pointers to strings that outlive them, made before the fork.
        unsafe {
            admit_signals();
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
        self.pid
    }

    /// Gives the word; returns once the command runs, or could not be executed.
    pub(super) fn go(&mut self) -> Result<(), LinuxError> {
        let attempt = || format!("start `{}`", self.command);
        if let Some(go) = self.go.take() {
            // Refused if the child is gone: killed while it waited.
            write(&go, &[1]).attempt(attempt)?;
        }
        match self.report().attempt(attempt)? {
            // The pipe closed on exec.
            None => {
                self.parent = None;
                Ok(())
            }
            Some([_, errno, _]) => {
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

    /// Waits for the end of a child that does not run the command: one that waits for the word is told so by the end of the pipe.
    /// The error is why there was none.
    fn end(&mut self) -> nix::Result<()> {
        let Some(parent) = self.parent.take() else { return Ok(()) };
        drop((self.go.take(), self.hold.take()));
        let child = parent.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        while waitpid(child, None) == Err(Errno::EINTR) {}
        Ok(())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// How a child that is gone ended, as a shell says it: 128 + the signal's number if a signal ended it.
pub(super) fn exit_status(pid: u32) -> io::Result<i32> {
    let pid = Pid::from_raw(pid.cast_signed());
    loop {
        match waitpid(pid, Some(WaitPidFlag::empty())).map(exit_code) {
            Ok(Some(code)) => return Ok(code),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The exit status of a child that has ended; none for anybody else's child.
pub(super) fn reap(pid: u32) -> Option<i32> {
    waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG)).ok().and_then(exit_code)
}

const fn exit_code(status: WaitStatus) -> Option<i32> {
    match status {
        WaitStatus::Exited(_, code) => Some(code),
        WaitStatus::Signaled(_, signal, _) => Some(pids::SIGNALLED + signal as i32),
        _ => None,
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn check(stage: Stage, result: libc::c_int) -> Result<(), Report> {
    if result < 0 { Err([stage as i32, Errno::last_raw(), -1]) } else { Ok(()) }
}

/// Runs in the child: a signal does there what it does in a program that knows of none.
///
/// # Safety
/// As [`Launch::arrange`]: in the child.
unsafe fn admit_signals() {
    // SAFETY: system calls with pointers to what is on this stack.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, ptr::null(), &raw mut action);
            // Rust ignores SIGPIPE, and a blocked or ignored signal stays so through exec.
            if signal == libc::SIGPIPE || !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
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
