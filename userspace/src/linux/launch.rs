//! Starting a process in namespaces: fork, give it its namespaces, tell it the rest of its world, wait for its word, exec.
//!
//! The fork is vfork(2)'s, made by a thread of its own. Until the exec the child works in portlane's own memory, of which a copy
//! would take the longer the more containers portlane has read of, and the kernel holds up the thread, and no other. What it
//! does there is in [`child`].
//!
//! What is not known when it is forked, it is told ([`World`]): a copy of all the host's mounts, one for each container among
//! them, takes as long as to make a container's network, so the one is done beside the other.
#![expect(unsafe_code, reason = "a child that shares this process's memory")]

use std::{
    env,
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStringExt,
    },
    panic::resume_unwind,
    path::PathBuf,
    process, ptr,
    sync::{
        Arc, OnceLock,
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

use super::{
    Attempt, LinuxError,
    child::{self, Pipes, REPORT_LEN, Report, Stage, Told},
    limits, pids, which,
};

/// Bytes of a child's stack: it makes system calls, and little else.
const STACK: usize = 64 << 10;

/// What a process is to be, as far as that is known when it is forked.
#[derive(Debug)]
pub(super) struct Launch {
    /// As it was given, for error messages.
    command: String,
    pub(super) path: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    pub(super) cwd: CString,
    /// A pidfd, and which namespaces of the process to join.
    pub(super) join: Option<(OwnedFd, CloneFlags)>,
    /// Namespaces of its own.
    pub(super) unshare: CloneFlags,
    /// Takes away what the host has mounted over this folder, and will mount in it. Needs a mount namespace of its own.
    pub(super) unmount: Option<CString>,
    /// Does that at once, and not only when it joins a network namespace.
    pub(super) apart: bool,
    /// Limits of open files, if they are not this process's.
    pub(super) files: Option<libc::rlimit>,
    /// The rest, once that is known.
    pub(super) told: OnceLock<Told>,
}

/// What is known of a process's world only once it is forked.
#[derive(Debug, Default)]
pub(super) struct World {
    /// The network namespace to join, whose interfaces are then under `/sys/class/net`. Needs a mount namespace of its own.
    pub(super) netns: Option<OwnedFd>,
    /// Files mounted over others. Needs a mount namespace of its own.
    pub(super) binds: Vec<(CString, CString)>,
    /// Needs a UTS namespace of its own.
    pub(super) hostname: Option<CString>,
    /// A session of its own, away from the terminal: standard input, and output.
    pub(super) detached: Option<(OwnedFd, OwnedFd)>,
}

/// A child that waits for [`Launched::arrange`], and then for [`Launched::go`]. Dropped before, it ends without having run
/// anything.
#[derive(Debug)]
pub(super) struct Launched {
    /// 0 until it is ready.
    pid: u32,
    launch: Arc<Launch>,
    go: Option<OwnedFd>,
    status: OwnedFd,
    /// The child's parent is a thread, which stays until this is dropped: a program may ask for a signal when its parent ends
    /// (`PR_SET_PDEATHSIG`).
    hold: Option<Sender<()>>,
    /// Says which child it is, or why there is none. None once the command runs.
    parent: Option<JoinHandle<nix::Result<Pid>>>,
}

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
            unmount: None,
            apart: false,
            files: limits::started_with(),
            told: OnceLock::new(),
        })
    }

    /// Takes a variable out of the environment.
    pub(super) fn without(&mut self, variable: &str) {
        let is_it = |line: &CString| {
            line.to_bytes().strip_prefix(variable.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        self.envp.retain(|line| !is_it(line));
    }

    /// Forks. The child makes its namespaces meanwhile.
    pub(super) fn start(self) -> Result<Launched, LinuxError> {
        let launch = Arc::new(self);
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
        Ok(Launched { pid: 0, go: Some(go_writer), status, hold: Some(hold), parent, launch })
    }

    /// Returns once the child runs the command, or has ended. The thread gets no signals from here on.
    fn fork(&self, pipes: &Pipes) -> nix::Result<Pid> {
        let argv = pointers(&self.argv);
        let envp = pointers(&self.envp);
        let mut stack = vec![0; STACK];
        // In the child, a handler of portlane's would work on portlane's memory.
        SigSet::all().thread_block()?;
        let child = Box::new(|| child::run(self, &argv, &envp, pipes));
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: the child goes straight to `child::run`, which makes system calls only, on a stack that has room for that,
        // and never returns. This thread, which owns all that the child is given, goes on only when the child has memory of its
        // own, or none.
        unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }
    }

    fn explain(&self, report: Report) -> LinuxError {
        let [stage, errno, index] = report;
        let bind = usize::try_from(index).ok().and_then(|index| self.told.get()?.binds.get(index));
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

    /// Tells the child of its world, and returns once it is there.
    pub(super) fn arrange(&mut self, world: World) -> Result<(), LinuxError> {
        let launch = Arc::clone(&self.launch);
        let attempt = || format!("start `{}`", launch.command);
        // What was opened after the fork is not open in the child, and must stay open here until it is.
        let World { netns, binds, hostname, detached } = world;
        let lent = |file: &OwnedFd| CString::new(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()));
        let told = Told {
            netns: netns.as_ref().map(lent).transpose().attempt(attempt)?,
            binds,
            hostname,
            detached: match &detached {
                Some((input, output)) => Some((lent(input).attempt(attempt)?, lent(output).attempt(attempt)?)),
                None => None,
            },
        };
        launch.told.set(told).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists)).attempt(attempt)?;
        if let Some(go) = &self.go {
            // Refused if the child is gone: then it has said why, or says nothing.
            let _ = write(go, &[1]);
        }
        match self.report().attempt(attempt)? {
            Some([0, pid, _]) => {
                self.pid = pid.cast_unsigned();
                Ok(())
            }
            Some(report) => Err(launch.explain(report)),
            None => {
                self.end().attempt(attempt)?;
                Err(io::Error::from(io::ErrorKind::UnexpectedEof)).attempt(attempt)
            }
        }
    }

    /// Gives the word; returns once the command runs, or could not be executed.
    pub(super) fn go(&mut self) -> Result<(), LinuxError> {
        let attempt = || format!("start `{}`", self.launch.command);
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
                Err(LinuxError::Exec { command: self.launch.command.clone(), source })
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
