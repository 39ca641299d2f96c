//! The promise that a type may cross the kernel border: no padding, no pointers, any bit pattern valid.
#![expect(unsafe_code, reason = "Pod is an unsafe promise; this is the only place where it is given")]

use crate::{
    cone::{Cone, ConeKey},
    counter::{Counter, Traffic},
    endpoint::{Endpoint, Share, Veth, bpf_spin_lock},
    family::{Addr4, Addr6},
    flow::{Flow, FlowKey, Sweep, Timeouts, bpf_timer},
    fragment::{Datagram, DatagramKey, Held, HeldKey},
    network::{HostAddr, Uplink},
    policy::{Policy, PolicyKey},
    publish::{Publish, PublishKey},
    socket::{SocketKey, SocketOrigin},
    source::{Sender, Source, SourceKey},
};

macro_rules! plain {
    ($($t:ty = $size:literal),+ $(,)?) => {$(
        const _: () = assert!(size_of::<$t>() == $size, "size differs from the sum of the fields");
        // SAFETY: repr(C), made of integers and arrays of them; the size above is the sum of the fields' sizes,
        // so there is no padding.
        unsafe impl bytemuck::Zeroable for $t {}
        // SAFETY: as above.
        unsafe impl bytemuck::Pod for $t {}
        #[cfg(feature = "user")]
        // SAFETY: as above.
        unsafe impl aya::Pod for $t {}
    )+};
}

plain! {
    Addr4 = 4,
    Addr6 = 16,
    FlowKey<Addr4> = 20,
    FlowKey<Addr6> = 44,
    bpf_timer = 16,
    Timeouts = 20,
    Flow<Addr4> = 72,
    Flow<Addr6> = 96,
    Sweep = 24,
    ConeKey<Addr4> = 12,
    ConeKey<Addr6> = 24,
    Cone<Addr4> = 12,
    Cone<Addr6> = 24,
    DatagramKey<Addr4> = 20,
    DatagramKey<Addr6> = 44,
    Datagram<Addr4> = 1072,
    Datagram<Addr6> = 1096,
    HeldKey<Addr4> = 24,
    HeldKey<Addr6> = 48,
    Held = 2056,
    PublishKey<Addr4> = 8,
    PublishKey<Addr6> = 20,
    Publish<Addr4> = 20,
    Publish<Addr6> = 32,
    Sender<Addr4> = 8,
    Sender<Addr6> = 20,
    SourceKey<Addr4> = 12,
    SourceKey<Addr6> = 24,
    Source = 4,
    Endpoint = 24,
    Veth = 68,
    bpf_spin_lock = 4,
    Share = 8,
    Uplink = 28,
    HostAddr = 4,
    PolicyKey = 12,
    Policy = 4,
    Counter = 16,
    Traffic = 32,
    SocketKey<Addr4> = 16,
    SocketKey<Addr6> = 28,
    SocketOrigin<Addr4> = 8,
    SocketOrigin<Addr6> = 20,
    crate::config::Config = 36,
}
