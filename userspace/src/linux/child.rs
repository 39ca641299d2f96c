//! What a child does between fork and exec.
//!
//! It works in portlane's own memory, beside portlane's threads. So it allocates nothing, takes no lock, runs no signal handler,
//! and writes to its own stack alone and to its thread's errno: all that it needs is made before, or made by others and left
//! alone from when it is told of it. It speaks in numbers.
#![expect(unsafe_code, reason = "between fork and exec only bare system calls are allowed")]

use std::{
    ffi::{CStr, CString},
    mem,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    ptr,
};

use nix::{
    errno::Errno,
    sched::CloneFlags,
    unistd::{read, write},
};

use super::launch::Launch;

/// The child's ends of the pipes, and the other end of the one that must not stay open in it.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) go: OwnedFd,
    pub(super) go_writer: RawFd,
    pub(super) status: OwnedFd,
}

/// How far the child came.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
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
pub(super) type Report = [i32; 3];
pub(super) const REPORT_LEN: usize = size_of::<Report>();

/// What the child is told of its world: files by paths that lead to them whatever it has mounted.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) netns: Option<CString>,
    pub(super) binds: Vec<(CString, CString)>,
    pub(super) hostname: Option<CString>,
    pub(super) detached: Option<(CString, CString)>,
}

/// Runs the command, or ends the child.
pub(super) fn run(launch: &Launch, argv: &[*const libc::c_char], envp: &[*const libc::c_char], pipes: &Pipes) -> ! {
    // The child's copy would keep the pipe open after the parent is gone.
    // SAFETY: closes the child's own copy of a descriptor that it never uses again.
    unsafe { libc::close(pipes.go_writer) };
    // SAFETY: this is the child.
    if let Err(failed) = unsafe { live(launch, argv, envp, pipes) } {
        report(&pipes.status, failed);
    }
    // SAFETY: ends the child without running what the parent registered for its own end.
    unsafe { libc::_exit(127) }
}

/// Comes back only without the command.
///
/// # Safety
/// In the child, whose memory is its parent's.
unsafe fn live(
    launch: &Launch,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
    pipes: &Pipes,
) -> Result<(), Report> {
    // SAFETY: this is the child; paths, and arrays that end with a null pointer, were made before the fork.
    unsafe {
        separate(launch)?;
        if !wait_for_word(&pipes.go) {
            return Ok(());
        }
        let Some(told) = launch.told.get() else { return Ok(()) };
        enter(launch, told)?;
        report(&pipes.status, [Stage::Ready as i32, libc::getpid(), -1]);
        if !wait_for_word(&pipes.go) {
            return Ok(());
        }
        libc::execve(launch.path.as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    Err([Stage::Exec as i32, Errno::last_raw(), -1])
}

/// Leaves the host's namespaces, of which those of the container's own are made.
///
/// # Safety
/// As [`live`].
unsafe fn separate(launch: &Launch) -> Result<(), Report> {
    // SAFETY: all of these are system calls with pointers to strings that outlive them, made before the fork.
    unsafe {
        admit_signals();
        if let Some(files) = &launch.files {
            // It was in force before, so it is refused only by who filters system calls; then it may have more.
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const *files);
        }
        if let Some((process, kinds)) = &launch.join {
            check(Stage::Join, libc::setns(process.as_raw_fd(), kinds.bits()))?;
        }
        if !launch.unshare.is_empty() {
            check(Stage::Unshare, libc::unshare(launch.unshare.bits()))?;
        }
        if launch.unshare.contains(CloneFlags::CLONE_NEWNS) {
            // What is mounted here stays here; what the host mounts later still shows up.
            check(Stage::Private, mount(None, c"/", None, libc::MS_SLAVE | libc::MS_REC))?;
            if launch.apart {
                unmount(launch);
            }
        }
    }
    Ok(())
}

/// Takes its place in the world that it is told of.
///
/// # Safety
/// As [`live`].
unsafe fn enter(launch: &Launch, told: &Told) -> Result<(), Report> {
    // SAFETY: system calls with pointers to strings that outlive them, which nobody changes.
    unsafe {
        if let Some(netns) = &told.netns {
            let file = libc::open(netns.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            check(Stage::Join, file)?;
            check(Stage::Join, libc::setns(file, libc::CLONE_NEWNET))?;
            libc::close(file);
            // The host's first namespace with a name makes the mount that the others are in.
            unmount(launch);
            // Best effort: in a user namespace of somebody else's it is refused, and only /sys/class/net misleads then.
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags);
        }
        for (index, (from, to)) in told.binds.iter().enumerate() {
            let result = mount(Some(from), to, None, libc::MS_BIND);
            check(Stage::Bind, result)
                .map_err(|[stage, errno, _]| [stage, errno, i32::try_from(index).unwrap_or(-1)])?;
        }
        if let Some(hostname) = &told.hostname {
            check(Stage::Hostname, libc::sethostname(hostname.as_ptr(), hostname.count_bytes()))?;
        }
        // Joining a mount namespace leads to its root; a directory that isn't there is no reason to fail.
        if libc::chdir(launch.cwd.as_ptr()) != 0 {
            libc::chdir(c"/".as_ptr());
        }
        if let Some((input, output)) = &told.detached {
            check(Stage::Session, libc::setsid())?;
            let input = libc::open(input.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let output = libc::open(output.as_ptr(), libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC);
            for (from, to) in [(input, 0), (output, 1), (output, 2)] {
                check(Stage::Stdio, from)?;
                check(Stage::Stdio, libc::dup2(from, to))?;
            }
        }
    }
    Ok(())
}

/// Best effort: nothing may be mounted there.
///
/// # Safety
/// As [`live`].
unsafe fn unmount(launch: &Launch) {
    if let Some(folder) = &launch.unmount {
        // SAFETY: a string that outlives the call.
        unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH) };
    }
}

/// # Safety
/// As [`live`].
unsafe fn mount(from: Option<&CStr>, to: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> libc::c_int {
    let pointer = |string: Option<&CStr>| string.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: strings that outlive the call, or null where mount(2) ignores the argument.
    unsafe { libc::mount(pointer(from), to.as_ptr(), pointer(kind), flags, ptr::null()) }
}

fn check(stage: Stage, result: libc::c_int) -> Result<(), Report> {
    if result < 0 { Err([stage as i32, Errno::last_raw(), -1]) } else { Ok(()) }
}

/// A signal does there what it does in a program that knows of none.
///
/// # Safety
/// As [`live`].
unsafe fn admit_signals() {
    // SAFETY: system calls with pointers to what is on this stack.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let mut action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, ptr::null(), &raw mut action);
            // Rust ignores SIGPIPE, and a blocked or ignored signal stays so through exec.
            if signal == libc::SIGPIPE || !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

fn report(status: &OwnedFd, report: Report) {
    let bytes: [u8; REPORT_LEN] = bytemuck::cast(report);
    // Shorter than a pipe's buffer, so written whole or, if the parent is gone, not at all.
    let _ = write(status, &bytes);
}

/// False at EOF: the parent is gone, or thinks better of it.
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
