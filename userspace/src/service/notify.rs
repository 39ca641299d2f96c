//! Tells a service manager how far the daemon is: sd_notify(3), whose protocol is a datagram to `$NOTIFY_SOCKET`.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Requests are served from here on.
pub(super) fn ready() {
    tell("READY=1");
}

/// They are no more.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(word: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    let sent = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).and_then(|address| send(&address, word)),
        _ => SocketAddr::from_pathname(&socket).and_then(|address| send(&address, word)),
    };
    if let Err(error) = sent {
        log::warn!("the service manager at {} does not listen: {error}", socket.display());
    }
}

fn send(address: &SocketAddr, word: &str) -> io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), address).map(drop)
}
