//! Host processes and published ports: a connection to one goes straight to the container, and nobody binds one.

use portlane_common::{
    family::{Address, Family},
    socket::{SocketKey, SocketOrigin},
};

use crate::{
    packet::{Net, Tables},
    stage::publish,
};

/// The address that a socket call names, in one family.
pub trait Socket<F: Family> {
    /// Address and port.
    fn address(&self) -> (F::Addr, u16);
    /// Replaces them.
    fn set_address(&mut self, addr: F::Addr, port: u16);
    /// The kernel's cookie of the socket.
    fn cookie(&self) -> u64;
    /// TCP or UDP.
    fn proto(&self) -> u8;
}

/// What sockets that were sent to a container asked for.
pub trait Origins<F: Family> {
    /// Remembers what a socket asked for.
    fn remember(&self, key: &SocketKey<F::Addr>, origin: &SocketOrigin<F::Addr>) -> bool;
    /// What the socket asked for when it was sent to this address.
    fn origin(&self, key: &SocketKey<F::Addr>) -> Option<&SocketOrigin<F::Addr>>;
}

#[inline(always)]
fn key<F: Net>(cookie: u64, addr: F::Addr, port: u16) -> SocketKey<F::Addr> {
    SocketKey { cookie_low: cookie as u32, cookie_high: (cookie >> 32) as u32, addr, port, pad: [0; 2] }
}

/// `connect` and `sendmsg`: to a published port of this host means to the container behind it.
#[inline(always)]
pub fn connect<F: Net, T: Tables<F> + Origins<F>, S: Socket<F>>(socket: &mut S, tables: &T) {
    let (addr, port) = socket.address();
    if !addr.is_loopback() && !tables.is_host(&addr) {
        return;
    }
    let Some(published) = publish::find::<F, T>(tables, &addr, socket.proto(), port, true) else { return };
    let target = published.container_port(port);
    let origin = SocketOrigin { addr, port, pad: [0; 2] };
    if tables.remember(&key::<F>(socket.cookie(), published.addr, target), &origin) {
        socket.set_address(published.addr, target);
    }
}

/// `recvmsg` and `getpeername`: the process sees the address that it called.
#[inline(always)]
pub fn restore<F: Net, T: Origins<F>, S: Socket<F>>(socket: &mut S, tables: &T) {
    let (addr, port) = socket.address();
    if let Some(origin) = tables.origin(&key::<F>(socket.cookie(), addr, port)) {
        socket.set_address(origin.addr, origin.port);
    }
}

/// `bind`: whether a published port is in the way.
#[inline(always)]
pub fn is_published<F: Net, T: Tables<F>, S: Socket<F>>(socket: &S, tables: &T) -> bool {
    let (addr, port) = socket.address();
    port != 0 && publish::find::<F, T>(tables, &addr, socket.proto(), port, true).is_some()
}
