//! What the kernel tells by itself: changes of interfaces and addresses, and of a file in a directory.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent},
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
    },
};
use tokio::io::unix::AsyncFd;

use super::{Attempt, LinuxError, syscall::awaited};

/// Messages that are taken off the queue before somebody else has a turn.
const AT_ONCE: usize = 4096;

/// Interfaces and addresses of the network namespace, as they change.
#[derive(Debug)]
pub struct LinkEvents(AsyncFd<OwnedFd>);

impl LinkEvents {
    /// Listens from here on. Needs a tokio runtime around it, with I/O enabled.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> Result<Self, LinuxError> {
        let attempt = || "listen to changes of interfaces".to_owned();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let events = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol).attempt(attempt)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        bind(events.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned())).attempt(attempt)?;
        Ok(Self(awaited(events).attempt(attempt)?))
    }

    /// Waits until something has changed. What was told up to now is forgotten then: a burst is one event, and so is one
    /// that was too large for the queue.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub async fn next(&mut self) -> Result<(), LinuxError> {
        loop {
            let mut guard = self.0.readable().await.attempt(|| "hear of interfaces".to_owned())?;
            if let Ok(drained) = guard.try_io(|events| drain(events.get_ref())) {
                return drained.attempt(|| "hear of interfaces".to_owned());
            }
        }
    }
}

fn drain(events: &OwnedFd) -> io::Result<()> {
    let mut any = false;
    for _ in 0..AT_ONCE {
        // What does not fit is cut off, and was not to be read anyway.
        match recv(events.as_raw_fd(), &mut [0; 16], MsgFlags::MSG_DONTWAIT) {
            Ok(_) | Err(Errno::ENOBUFS) => any = true,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if any => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A file in a directory, as it is written.
#[derive(Debug)]
pub struct FileWatch {
    notify: AsyncFd<Notify>,
    name: &'static str,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// It was written.
    Written,
    /// It is gone, or the directory is.
    Gone,
}

#[derive(Debug)]
struct Notify(Inotify);

impl AsRawFd for Notify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl FileWatch {
    /// Watches from here on. Needs a tokio runtime around it, with I/O enabled.
    ///
    /// # Errors
    /// There is no such directory, or the kernel watches no more of them.
    pub fn new(directory: &Path, name: &'static str) -> Result<Self, LinuxError> {
        let attempt = || format!("watch {}", directory.display());
        let notify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).attempt(attempt)?;
        // A directory's own end is told late: not while somebody has a file open that was in it.
        let ends = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        let what = ends | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ONLYDIR;
        notify.add_watch(directory, what).attempt(attempt)?;
        Ok(Self { notify: awaited(Notify(notify)).attempt(attempt)?, name })
    }

    /// Waits until the file is written or gone. A burst is one event.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub async fn next(&mut self) -> Result<FileEvent, LinuxError> {
        let attempt = || format!("watch `{}`", self.name);
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        loop {
            let mut guard = self.notify.readable().await.attempt(attempt)?;
            let Ok(events) = guard.try_io(|notify| Ok(notify.get_ref().0.read_events()?)) else { continue };
            let events = events.attempt(attempt)?;
            let named = |event: &InotifyEvent| event.name.as_deref() == Some(OsStr::new(self.name));
            let deleted = |event: &InotifyEvent| named(event) && event.mask.contains(AddWatchFlags::IN_DELETE);
            if events.iter().any(|event| event.mask.intersects(gone) || deleted(event)) {
                return Ok(FileEvent::Gone);
            }
            // Told too much at once, the kernel forgets some of it.
            let lost = |event: &InotifyEvent| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            if events.iter().any(|event| lost(event) || named(event)) {
                return Ok(FileEvent::Written);
            }
        }
    }
}
