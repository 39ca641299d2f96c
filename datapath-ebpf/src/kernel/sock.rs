//! cgroup hooks: the addresses of socket calls. Sockets of other network namespaces are left alone.

use aya_ebpf::{EbpfContext, bindings::bpf_sock_addr, helpers::generated, programs::SockAddrContext};
use portlane_common::family::{Addr4, Addr6, Address, Family, V4, V6};

use super::{maps, tables::Maps};
use crate::hook::socket::{self, Socket};

/// `EADDRINUSE`.
const ADDRESS_IN_USE: i32 = 98;
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
/// The words in front of the IPv4 address in an IPv4-mapped one (RFC 4291 §2.5.5.2).
const MAPPED: [u32; 3] = [0, 0, 0x0000_ffff_u32.to_be()];

/// A socket call's address.
struct Call {
    call: *mut bpf_sock_addr,
    /// The call is an IPv6 one.
    six: bool,
}

impl Call {
    #[inline(always)]
    fn new(context: &SockAddrContext, six: bool) -> Self {
        Self { call: context.as_ptr().cast(), six }
    }

    #[inline(always)]
    fn context(&self) -> Maps {
        Maps { context: self.call.cast() }
    }

    /// Whether the socket is the host's.
    #[inline(always)]
    fn is_ours(&self) -> bool {
        // SAFETY: the program's own context.
        unsafe { generated::bpf_get_netns_cookie(self.call.cast()) == maps::NETNS_COOKIE.load() }
    }

    #[inline(always)]
    fn words(&self) -> [u32; 4] {
        // SAFETY: the context lives as long as the program; the verifier wants each word read by itself.
        unsafe {
            [
                (&raw const (*self.call).user_ip6[0]).read_volatile(),
                (&raw const (*self.call).user_ip6[1]).read_volatile(),
                (&raw const (*self.call).user_ip6[2]).read_volatile(),
                (&raw const (*self.call).user_ip6[3]).read_volatile(),
            ]
        }
    }

    /// An IPv6 socket that speaks IPv4, as Java's do.
    #[inline(always)]
    fn is_mapped(&self) -> bool {
        let [a, b, c, _] = self.words();
        self.six && [a, b, c] == MAPPED
    }

    #[inline(always)]
    fn port(&self) -> u16 {
        // SAFETY: the context lives as long as the program.
        u16::from_be(unsafe { (*self.call).user_port } as u16)
    }

    #[inline(always)]
    fn set_port(&mut self, port: u16) {
        // SAFETY: the context lives as long as the program.
        unsafe { (*self.call).user_port = u32::from(port.to_be()) };
    }
}

macro_rules! identity {
    () => {
        #[inline(always)]
        fn cookie(&self) -> u64 {
            // SAFETY: the program's own context.
            unsafe { generated::bpf_get_socket_cookie(self.call.cast()) }
        }

        #[inline(always)]
        fn proto(&self) -> u8 {
            // SAFETY: the context lives as long as the program.
            (unsafe { (*self.call).protocol }) as u8
        }
    };
}

impl Socket<V4> for Call {
    #[inline(always)]
    fn address(&self) -> (Addr4, u16) {
        // SAFETY: the context lives as long as the program.
        let word = if self.six { self.words()[3] } else { unsafe { (*self.call).user_ip4 } };
        (Addr4 { octets: word.to_ne_bytes() }, self.port())
    }

    #[inline(always)]
    fn set_address(&mut self, addr: Addr4, port: u16) {
        let word = u32::from_ne_bytes(addr.octets);
        // SAFETY: the context lives as long as the program; both fields may be written.
        unsafe {
            if self.six {
                (&raw mut (*self.call).user_ip6[3]).write_volatile(word);
            } else {
                (*self.call).user_ip4 = word;
            }
        }
        self.set_port(port);
    }

    identity!();
}

impl Socket<V6> for Call {
    #[inline(always)]
    fn address(&self) -> (Addr6, u16) {
        (Addr6 { octets: bytemuck::cast(self.words()) }, self.port())
    }

    #[inline(always)]
    fn set_address(&mut self, addr: Addr6, port: u16) {
        let words: [u32; 4] = bytemuck::cast(addr.octets);
        // SAFETY: the context lives as long as the program; the verifier wants each word written by itself.
        unsafe {
            (&raw mut (*self.call).user_ip6[0]).write_volatile(words[0]);
            (&raw mut (*self.call).user_ip6[1]).write_volatile(words[1]);
            (&raw mut (*self.call).user_ip6[2]).write_volatile(words[2]);
            (&raw mut (*self.call).user_ip6[3]).write_volatile(words[3]);
        }
        self.set_port(port);
    }

    identity!();
}

/// `connect` and `sendmsg`.
#[inline(always)]
pub fn connect(context: &SockAddrContext, family: u8) -> i32 {
    let mut call = Call::new(context, family == V6::AF);
    if call.is_ours() {
        let tables = call.context();
        if family == V4::AF || call.is_mapped() {
            socket::connect::<V4, _, _>(&mut call, &tables);
        } else {
            socket::connect::<V6, _, _>(&mut call, &tables);
        }
    }
    ALLOW
}

/// `recvmsg` and `getpeername`.
#[inline(always)]
pub fn restore(context: &SockAddrContext, family: u8) -> i32 {
    let mut call = Call::new(context, family == V6::AF);
    if call.is_ours() {
        let tables = call.context();
        if family == V4::AF || call.is_mapped() {
            socket::restore::<V4, _, _>(&mut call, &tables);
        } else {
            socket::restore::<V6, _, _>(&mut call, &tables);
        }
    }
    ALLOW
}

/// `bind`: a published port is in use, as if a proxy of ours listened on it.
#[inline(always)]
pub fn bind(context: &SockAddrContext, family: u8) -> i32 {
    let call = Call::new(context, family == V6::AF);
    if !call.is_ours() {
        return ALLOW;
    }
    let tables = call.context();
    let taken = if family == V4::AF || call.is_mapped() {
        socket::is_published::<V4, _, _>(&call, &tables)
    } else {
        // A socket on [::] takes IPv4 too.
        let (addr, _) = Socket::<V6>::address(&call);
        socket::is_published::<V6, _, _>(&call, &tables)
            || (addr == Addr6::ANY && socket::is_published::<V4, _, _>(&call, &tables))
    };
    if !taken {
        return ALLOW;
    }
    // SAFETY: takes a number. Without it the refusal would read EPERM.
    unsafe { generated::bpf_set_retval(-ADDRESS_IN_USE) };
    REFUSE
}
