//! Signals sent to a foreground `portlane run`, passed on to the container's process.
#![expect(unsafe_code, reason = "a signal handler with access to who sent the signal cannot be had safely")]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd},
    sync::atomic::{AtomicI32, Ordering},
};

use nix::{
    fcntl::OFlag,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    unistd::{pipe2, read},
};

use super::syscall;

/// What is passed on. The rest either cannot be caught or is about portlane itself.
const FORWARDED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Where the handler writes the numbers of signals; -1 until the first [`Forwarder`]. Never closed, so that a handler
/// never writes to a descriptor that has become something else.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// While it lives, signals do not end portlane but are kept to be passed on. One at a time.
#[derive(Debug)]
pub(super) struct Forwarder {
    signals: OwnedFd,
    before: Vec<(Signal, SigAction)>,
}

impl Forwarder {
    pub(super) fn install() -> io::Result<Self> {
        let (signals, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // One descriptor for each forwarder stays open; a process makes one, or two.
        PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
        let action = SigAction::new(
            SigHandler::SigAction(on_signal),
            SaFlags::SA_SIGINFO | SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        let mut forwarder = Self { signals, before: Vec::new() };
        for signal in FORWARDED {
            // SAFETY: the handler calls only what a signal handler may call (signal-safety(7)).
            let before = unsafe { sigaction(signal, &action) }?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                // Under nohup: whoever started portlane wants this signal to do nothing.
                // SAFETY: ignoring a signal runs no code.
                unsafe { sigaction(signal, &before) }?;
            } else {
                forwarder.before.push((signal, before));
            }
        }
        Ok(forwarder)
    }

    /// Becomes readable when there are signals to pass on.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Passes on what came.
    pub(super) fn forward(&self, process: BorrowedFd<'_>) {
        let mut signals = [0; 16];
        while let Ok(count @ 1..) = read(&self.signals, &mut signals) {
            for signal in &signals[..count] {
                // Best effort: a process that is gone gets no signal, and is about to be waited for.
                drop(syscall::pidfd_send_signal(process, i32::from(*signal)));
            }
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: puts back what was in force when this was made.
            let _ = unsafe { sigaction(*signal, before) };
        }
    }
}

extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let sender = unsafe { (*info).si_code };
    // What a terminal sends (Ctrl-C), it sends to the whole foreground group: the container's process has it already.
    if sender == libc::SI_KERNEL {
        return;
    }
    let Ok(number) = u8::try_from(signal) else { return };
    // SAFETY: errno belongs to the thread; write is async-signal-safe and is given one byte that outlives it. The pipe
    // does not block; when it is full, thousands of signals are waiting already.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::SeqCst), std::ptr::from_ref(&number).cast(), 1);
        *libc::__errno_location() = errno;
    }
}
