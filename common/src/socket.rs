//! Host processes' sockets that were sent straight to a container (`pl_socket4`, `pl_socket6`).

/// A socket and the container address that its traffic goes to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketKey<A> {
    /// The kernel's cookie of the socket, lower half.
    pub cookie_low: u32,
    /// Upper half of the cookie: two halves, because a `u64` would leave padding behind an IPv6 address.
    pub cookie_high: u32,
    /// The container's address.
    pub addr: A,
    /// The container's port.
    pub port: u16,
    /// Always zero.
    pub pad: [u8; 2],
}

/// The address that the process asked for, which it keeps seeing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOrigin<A> {
    /// Host address.
    pub addr: A,
    /// Host port.
    pub port: u16,
    /// Always zero.
    pub pad: [u8; 2],
}
