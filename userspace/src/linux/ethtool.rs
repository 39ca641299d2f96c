//! Features of an interface that only `SIOCETHTOOL` speaks of (ethtool(8)).
#![expect(unsafe_code, reason = "ethtool's requests are ioctls")]

use std::{io, os::fd::AsRawFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use super::syscall;

/// `ETHTOOL_GGRO` and `ETHTOOL_SGRO`.
const GET_GRO: u32 = 0x2b;
const SET_GRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether an interface puts segments together (generic receive offload).
pub(super) fn gro(interface: &str) -> io::Result<bool> {
    ask(interface, Value { command: GET_GRO, data: 0 }).map(|on| on != 0)
}

/// Has an interface put segments together, or leave them.
pub(super) fn set_gro(interface: &str, on: bool) -> io::Result<()> {
    ask(interface, Value { command: SET_GRO, data: on.into() }).map(drop)
}

fn ask(interface: &str, mut value: Value) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = syscall::interface_request(interface).ok_or(Errno::ENODEV)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value that it points to outlive the call, which writes to these alone.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as libc::Ioctl, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}
