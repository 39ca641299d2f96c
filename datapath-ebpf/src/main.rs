//! Entry points: one line a program. The name of a function is the name of its program.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("portlane-datapath is an eBPF object: it is built for, and run by, the kernel.");
}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        macros::{cgroup_sock_addr, classifier, xdp},
        programs::{SockAddrContext, TcContext, XdpContext},
    };
    use portlane_common::family::{Family, V4, V6};
    use portlane_datapath::kernel;

    macro_rules! tc {
        ($($name:ident)+) => {$(
            #[classifier]
            pub fn $name(context: TcContext) -> i32 {
                kernel::$name(&context)
            }
        )+};
    }

    macro_rules! next {
        ($($name:ident: $part:ident of $family:ty;)+) => {$(
            #[classifier]
            pub fn $name(context: TcContext) -> i32 {
                kernel::$part::<$family>(&context)
            }
        )+};
    }

    macro_rules! sockets {
        ($($name:ident: $call:ident of $family:ty;)+) => {$(
            #[cgroup_sock_addr($name)]
            pub fn $name(context: SockAddrContext) -> i32 {
                kernel::$call(&context, <$family>::AF)
            }
        )+};
    }

    tc! { from_container to_container from_uplink from_uplink_l3 behind_xdp to_uplink }

    next! {
        container_new4: container_new of V4;
        container_new6: container_new of V6;
        outside_new4: outside_new of V4;
        outside_new6: outside_new of V6;
        host_new4: host_new of V4;
        host_new6: host_new of V6;
        icmp_error4: icmp_error of V4;
        icmp_error6: icmp_error of V6;
        fragment4: fragment of V4;
        fragment6: fragment of V6;
    }

    #[xdp]
    pub fn from_uplink_xdp(context: XdpContext) -> u32 {
        kernel::from_uplink_xdp(&context)
    }

    #[xdp]
    pub fn outside_xdp4(context: XdpContext) -> u32 {
        kernel::outside_xdp::<V4>(&context)
    }

    #[xdp]
    pub fn outside_xdp6(context: XdpContext) -> u32 {
        kernel::outside_xdp::<V6>(&context)
    }

    sockets! {
        connect4: connect of V4;
        connect6: connect of V6;
        sendmsg4: connect of V4;
        sendmsg6: connect of V6;
        recvmsg4: restore of V4;
        recvmsg6: restore of V6;
        getpeername4: restore of V4;
        getpeername6: restore of V6;
        bind4: bind of V4;
        bind6: bind of V6;
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
