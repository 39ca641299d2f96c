//! System calls that no safe library has.
#![expect(
    unsafe_code,
    reason = "pidfds, poll, SO_NETNS_COOKIE, mounts by descriptor and ioctls have no safe wrapper among our dependencies"
)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Socket option (Linux 5.14), for which libc has no name.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A descriptor that stands for a process, whatever becomes of its number.
pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers, touches no memory of ours.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) })
}

/// A descriptor whose input can be waited for without a thread. Needs a tokio runtime around it, with I/O enabled.
pub(super) fn awaited<T: AsRawFd + AsFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the callers' types own one descriptor each, which they neither change nor close while they live.
    unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) }.map_err(io::Error::from)
}

/// Sends a signal; `ESRCH` if the process is gone.
pub(super) fn pidfd_send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means that of kill(2).
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, 0) }).map(drop)
}

/// How a process ended that its parent has heard of, as wait(2) has it, whoever is the parent; none if it has not, and before
/// Linux 6.15.
pub(super) fn pidfd_wait_status(process: BorrowedFd<'_>) -> Option<i32> {
    /// `struct pidfd_info` of `linux/pidfd.h`, as it first was: the mask and the control group, eleven numbers, the status.
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        numbers: [u32; 11],
        status: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(0xff, 11, struct pidfd_info)`, with the size of the structure above.
    const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
    let mut info = Info { mask: PIDFD_INFO_EXIT, cgroup: 0, numbers: [0; 11], status: 0 };
    // SAFETY: the structure is as large as the request says, and outlives the call.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO as libc::Ioctl, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.status)
}

/// Waits until one of the descriptors can be read (a pidfd: until its process is gone); which ones can.
pub(super) fn poll<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Option<Duration>) -> io::Result<[bool; N]> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up, so that the last millisecond is slept and not spun through.
        let timeout = left.map_or(-1, |left| i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
        // SAFETY: the array outlives the call and has as many elements as the call is told.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout) };
        match check(ready.into()) {
            Ok(_) => return Ok(polled.map(|fd| fd.revents != 0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The kernel's number of the network namespace that a socket is in; never used twice.
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    let (value, length) = (std::ptr::from_mut(&mut cookie).cast(), std::ptr::from_mut(&mut length));
    // SAFETY: value and length outlive the call, and the length is the value's.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, length) };
    check(result.into())?;
    Ok(cookie)
}

/// A `/proc` of this process's own, mounted nowhere (Linux 5.2), with whose folders nobody else is busy.
pub(super) fn own_proc() -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the name is a C string that outlives the call.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), FSOPEN_CLOEXEC) })?;
    // SAFETY: this command takes neither key nor value: both are null.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) })?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    // SAFETY: takes numbers, touches no memory of ours.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// Whether an interface of this name is in the network namespace of a socket (netdevice(7), `SIOCGIFINDEX`).
pub(super) fn is_interface(socket: BorrowedFd<'_>, name: &str) -> bool {
    let Some(mut request) = interface_request(name) else { return false };
    // SAFETY: the structure is the one that this request reads and writes, and outlives the call.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX as libc::Ioctl, &raw mut request) == 0 }
}

/// What an ioctl about an interface begins with; none for a name that none can have.
pub(super) fn interface_request(name: &str) -> Option<libc::ifreq> {
    // SAFETY: all bytes zero is a valid value: an empty name, and a number or no address.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte is left for the end of the name.
    let room = request.ifr_name.get_mut(..name.len()).filter(|room| room.len() < libc::IFNAMSIZ)?;
    room.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from.cast_signed());
    Some(request)
}

/// What a system call answered that makes a descriptor.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = libc::c_int::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
