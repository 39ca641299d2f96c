//! Helpers whose arguments need assembling.

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_UNSUPP_LWT, bpf_fib_lookup, bpf_sock_tuple,
    },
    helpers::generated,
};
use portlane_common::{family::Family, flow::FlowKey};

use crate::{
    header::{TCP, UDP},
    packet::{Route, route},
};

/// `struct bpf_fib_lookup` (Linux 4.18), its unions spelt out.
#[repr(C)]
struct Fib {
    family: u8,
    l4_protocol: u8,
    sport: u16,
    dport: u16,
    total_length: u16,
    ifindex: u32,
    tos: u32,
    src: [u32; 4],
    dst: [u32; 4],
    vlan: u32,
    /// Source and destination.
    macs: MaybeUninit<[[u8; 6]; 2]>,
}

const _: () = assert!(size_of::<Fib>() == size_of::<bpf_fib_lookup>());

/// An address's words at the front of four. Word by word, since LLVM calls a function to copy or clear more, which takes a frame of
/// the stack.
#[inline(always)]
fn words<F: Family>(addr: &F::Addr) -> [u32; 4] {
    let words = ptr::from_ref(addr).cast::<u32>();
    // SAFETY: an address is 4 or 16 bytes of plain data aligned to a word.
    unsafe {
        if size_of::<F::Addr>() == 16 {
            [words.read(), words.add(1).read(), words.add(2).read(), words.add(3).read()]
        } else {
            [words.read(), 0, 0, 0]
        }
    }
}

/// Asks the FIB where a packet that comes in by `from` goes.
#[inline(always)]
pub fn fib<F: Family>(context: *mut c_void, from: u32, src: &F::Addr, dst: &F::Addr, proto: u8) -> Route {
    let mut fib = Fib {
        family: F::AF,
        l4_protocol: proto,
        sport: 0,
        dport: 0,
        total_length: 0,
        ifindex: from,
        tos: 0,
        src: words::<F>(src),
        dst: words::<F>(dst),
        vlan: 0,
        macs: MaybeUninit::uninit(),
    };
    for half in 0..3 {
        // SAFETY: three words, cleared as in `words`; one that the compiler leaves out the kernel would find missing.
        unsafe { fib.macs.as_mut_ptr().cast::<u32>().add(half).write_volatile(0) };
    }
    // SAFETY: the context is the program's own, the parameters have the size the kernel knows.
    let result =
        unsafe { generated::bpf_fib_lookup(context, (&raw mut fib).cast(), size_of::<Fib>() as i32, 0) } as i32;
    let status = if result < 0 {
        route::REFUSED
    } else {
        match result as u32 {
            // Without a neighbour yet, or for a packet that is too large, the interface is known all the same.
            BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED => route::FOUND,
            BPF_FIB_LKUP_RET_FWD_DISABLED | BPF_FIB_LKUP_RET_UNSUPP_LWT => route::REFUSED,
            _ => route::STACK,
        }
    };
    let known = result as u32 == BPF_FIB_LKUP_RET_SUCCESS;
    // SAFETY: cleared above.
    let [src_mac, dst_mac] = unsafe { fib.macs.assume_init() };
    Route {
        status,
        ifindex: fib.ifindex,
        mtu: 0,
        dst_mac: if known { dst_mac } else { [0; 6] },
        src_mac: if known { src_mac } else { [0; 6] },
    }
}

/// The interface's MTU (Linux 5.12); 0 if there is no such interface.
#[inline(always)]
pub fn mtu(context: *mut c_void, ifindex: u32) -> u32 {
    // Zero asks about the packet itself. Whether that fits is not of interest: for a train it would be its whole length.
    let mut mtu = 0;
    // SAFETY: the context is the program's own, which an sk_buff's or XDP's is; the kernel writes one word.
    let result = unsafe { generated::bpf_check_mtu(context, ifindex, &raw mut mtu, 0, 0) };
    if result < 0 { 0 } else { mtu }
}

/// `struct bpf_sock_tuple`'s halves: addresses, then ports in network order.
#[repr(C)]
struct SocketTuple<A> {
    src: A,
    dst: A,
    sport: u16,
    dport: u16,
}

const ESTABLISHED: u32 = 1;
/// `TCP_LISTEN`.
const LISTEN: u32 = 10;
/// `BPF_F_CURRENT_NETNS`.
const CURRENT_NETNS: u64 = -1i32 as u32 as u64;

/// No socket of the host takes what comes with a tuple.
pub const NONE: u32 = 0;
/// A socket is connected to exactly this tuple.
pub const CONNECTED: u32 = 1;
/// A socket listens, or has no peer.
pub const WAITING: u32 = 2;

/// Which socket of the host takes what comes with this tuple: [`NONE`], [`CONNECTED`] or [`WAITING`].
#[inline(always)]
pub fn host_state<F: Family>(context: *mut c_void, key: &FlowKey<F::Addr>) -> u32 {
    if key.proto != TCP && key.proto != UDP {
        return NONE;
    }
    let mut tuple = SocketTuple { src: key.src, dst: key.dst, sport: key.sport.to_be(), dport: key.dport.to_be() };
    let size = size_of::<SocketTuple<F::Addr>>() as u32;
    let pointer = (&raw mut tuple).cast::<bpf_sock_tuple>();
    let netns = u64::from(u32::MAX) & CURRENT_NETNS | 0xffff_ffff_0000_0000;
    // SAFETY: the tuple is as large as `size` says, which is one of the two sizes that the kernel takes.
    let socket = unsafe {
        if key.proto == TCP {
            generated::bpf_sk_lookup_tcp(context, pointer, size, netns, 0)
        } else {
            generated::bpf_sk_lookup_udp(context, pointer, size, netns, 0)
        }
    };
    if socket.is_null() {
        return NONE;
    }
    // SAFETY: not null, and released below.
    let state = unsafe { (*socket).state };
    // SAFETY: the reference that the look-up took.
    unsafe { generated::bpf_sk_release(socket.cast()) };
    let connected = if key.proto == TCP { state != LISTEN } else { state == ESTABLISHED };
    if connected { CONNECTED } else { WAITING }
}
