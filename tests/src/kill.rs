//! Killing a program after its n-th system call: between any two steps, and the same two each time.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::{
    libc,
    sys::{
        ptrace,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::topology::Topology;

impl Topology {
    /// Runs a portlane command and kills it after so many system calls of its main thread; false if it ended before.
    ///
    /// # Errors
    /// It cannot be started or traced.
    pub fn killed_after(&self, calls: u32, arguments: &[&str]) -> Result<bool> {
        // The shell waits to be traced, so that no call is missed. `nsenter` and the shell are not counted.
        let script = "kill -STOP $$; exec \"$@\"";
        let entry = self.portlane_command();
        let (program, enter) = entry.split_first().context("no command")?;
        let mut command = Command::new(program);
        // All up to and with `--` leads into the namespace.
        let dashes = enter.iter().position(|word| word == "--").context("nsenter takes no command")?;
        command.args(&enter[..=dashes]).args(["sh", "-c", script, "sh"]).args(&enter[dashes + 1..]).args(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        trace(pid, calls).inspect_err(|_| {
            // Best effort: the error that is reported is the first one.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        })
    }
}

fn trace(pid: Pid, calls: u32) -> Result<bool> {
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    ensure!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "the shell did not stop: {stopped:?}");
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options)?;
    kill(pid, Signal::SIGCONT)?;
    let (mut counting, mut stops) = (false, 0);
    loop {
        let mut deliver = None;
        match waitpid(pid, None)? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(false),
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => counting = true,
            // One stop as a call begins, one as it ends.
            WaitStatus::PtraceSyscall(_) if counting => {
                stops += 1;
                if stops > 2 * calls {
                    kill(pid, Signal::SIGKILL)?;
                    let ended = waitpid(pid, None)?;
                    ensure!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "not killed: {ended:?}");
                    return Ok(true);
                }
            }
            // A stop by job control, of which a seized process reports its beginning and its end.
            WaitStatus::Stopped(_, Signal::SIGTRAP | Signal::SIGSTOP | Signal::SIGCONT) => {}
            WaitStatus::Stopped(_, signal) => deliver = Some(signal),
            _ => {}
        }
        ptrace::syscall(pid, deliver)?;
    }
}
