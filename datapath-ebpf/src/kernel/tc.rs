//! tc: packets are `sk_buff`s, which may lie in pieces and carry half-done checksums.

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated,
    programs::TcContext,
};
use aya_log_ebpf::debug;
use bytemuck::Pod;
use portlane_common::{
    family::{Family, V4, V6},
    reason::{Hook, Reason},
};

use super::{
    HANDOVER, Handover,
    alone::{crc_difference, follow4, follow6},
    maps,
    tables::{self, Maps},
};
use crate::{
    header::{ETHERNET, fold},
    hook,
    packet::{Net, Packet, Shared, Tables},
    verdict::{self, Verdict, next},
};

/// `BPF_F_PSEUDO_HDR`.
const PSEUDO_HEADER: u64 = 16;
/// `BPF_F_MARK_MANGLED_0`: a UDP checksum of zero means none.
const MARK_MANGLED_0: u64 = 32;
/// `PACKET_HOST`.
const PACKET_HOST: u32 = 0;
/// `BPF_F_INGRESS`: received by the interface, not sent.
const INGRESS: u64 = 1;

/// A packet at a tc hook.
pub struct Skb {
    pub(super) skb: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    fn field<T: Copy>(&self, get: impl FnOnce(&__sk_buff) -> T) -> T {
        // SAFETY: the context lives as long as the program; the verifier checks which fields are read.
        get(unsafe { &*self.skb })
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.field(|skb| skb.len)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.field(|skb| skb.ifindex)
    }

    #[inline(always)]
    fn origin(&self) -> u32 {
        self.field(|skb| skb.ingress_ifindex)
    }

    #[inline(always)]
    fn tagged(&self) -> bool {
        self.field(|skb| skb.vlan_present) != 0
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        self.field(|skb| skb.gso_size)
    }

    #[inline(always)]
    fn pull(&mut self, length: u32) {
        let linear = self.field(|skb| skb.data_end) as usize - self.field(|skb| skb.data) as usize;
        let wanted = if length < self.length() { length } else { self.length() };
        if linear < wanted as usize {
            // SAFETY: the program's own context. On failure the reads that follow find nothing.
            unsafe { generated::bpf_skb_pull_data(self.skb, wanted) };
        }
    }

    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        let start = self.field(|skb| skb.data) as usize + offset;
        if start + size_of::<T>() > self.field(|skb| skb.data_end) as usize {
            return None;
        }
        // SAFETY: inside the packet, as just compared; the kernels' targets load unaligned words.
        Some(unsafe { *(start as *const T) })
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> bool {
        let start = self.field(|skb| skb.data) as usize + offset;
        if start + size_of::<T>() > self.field(|skb| skb.data_end) as usize {
            return false;
        }
        // SAFETY: as in `read`.
        unsafe { *(start as *mut T) = value };
        true
    }

    #[inline(always)]
    fn checksum(&mut self, offset: usize, pseudo: u16, ports: u16, optional: bool) -> bool {
        let six = self.field(|skb| skb.protocol) == u32::from(V6::ETHERTYPE.to_be());
        if optional && self.read::<u16>(offset) == Some(0) {
            // No checksum makes up for the ports, nor, without one of the IP header, for the addresses.
            let addresses = if six { u32::from(pseudo) } else { 0 };
            self.uncovered(fold(addresses + u32::from(ports)));
            return true;
        }
        let optional = if optional { MARK_MANGLED_0 } else { 0 };
        let both = fold(u32::from(pseudo) + u32::from(ports));
        // What changes the sum at all also tells who computes it. (0xffff is zero as well.) IPv4's addresses alone are had
        // for one call anyhow.
        if pseudo != 0 && both != 0xffff && (ports != 0 || six) {
            return self.checksum_at_once(offset, pseudo, both, optional, six);
        }
        // Two steps, because a checksum left to the hardware covers only the pseudo header so far.
        if pseudo != 0 {
            if !self.replace(offset, pseudo, PSEUDO_HEADER | optional) {
                return false;
            }
            if six {
                // The helper thinks of IPv4, where the IP header's checksum makes up for the addresses already, and
                // takes the difference out of the NIC's sum (Linux 6.16 has BPF_F_IPV6 for that).
                self.uncovered(pseudo);
            }
        }
        ports == 0 || self.replace(offset, ports, optional)
    }

    #[inline(always)]
    fn uncovered(&mut self, delta: u16) {
        // SAFETY: the program's own context. Without such a sum (CHECKSUM_COMPLETE) the kernel does nothing.
        unsafe { generated::bpf_csum_update(self.skb, u32::from(delta)) };
    }

    #[inline(always)]
    fn crc_difference(change: u32, behind: u32) -> u32 {
        crc_difference(change, behind)
    }

    #[inline(always)]
    fn follow<F: Net, T: Tables<F>>(&mut self, _tables: &T, table: u32) -> Verdict {
        Verdict::from_bits(if F::AF == V4::AF { follow4(self.skb, table) } else { follow6(self.skb, table) })
    }
}

impl Skb {
    /// Asks the kernel to adapt an L4 checksum; false if it cannot.
    #[inline(always)]
    fn replace(&mut self, offset: usize, delta: u16, flags: u64) -> bool {
        // SAFETY: the program's own context; the kernel checks the offset.
        unsafe { generated::bpf_l4_csum_replace(self.skb, offset as u32, 0, u64::from(delta), flags) == 0 }
    }

    /// Both differences by one call, for the price of two.
    ///
    /// The kernel is told that none is of the pseudo header: a checksum that is left to the hardware then stays as it was,
    /// which shows that it is, and any other is done.
    #[inline(always)]
    fn checksum_at_once(&mut self, offset: usize, pseudo: u16, both: u16, optional: u64, six: bool) -> bool {
        let Some(before) = self.read::<u16>(offset) else { return false };
        if !self.replace(offset, both, optional) {
            return false;
        }
        let Some(after) = self.read::<u16>(offset) else { return false };
        if after == before {
            return self.write(offset, fold(u32::from(before) + u32::from(pseudo)));
        }
        if !six {
            // The IP header's checksum makes up for the addresses already: this one takes them out of the NIC's sum.
            self.uncovered(!pseudo);
        }
        true
    }
}

/// Counts, reports and spells a verdict.
#[inline(always)]
fn act(context: &TcContext, hook: Hook, verdict: Verdict) -> i32 {
    let skb = context.as_ptr().cast::<__sk_buff>();
    if verdict.action() == verdict::NEXT {
        // SAFETY: the program's own context; it does not come back, unless the program is missing.
        unsafe { maps::NEXT.tail_call(context, verdict.ifindex()) };
        tables::count_reason(hook, Reason::NotLoaded as u32, context.len());
        return TC_ACT_SHOT;
    }
    if verdict.reason() != 0 {
        tables::count_reason(hook, verdict.reason(), context.len());
        debug!(context, "{}: action {} for reason {}", hook.name(), verdict.action(), verdict.reason());
    }
    // SAFETY: helpers on the program's own context.
    unsafe {
        match verdict.action() {
            verdict::PASS | verdict::HOST => TC_ACT_UNSPEC,
            verdict::ENDPOINT => {
                // A bridged packet bears the peer's MAC, so this veth took it for somebody else's.
                if (*skb).pkt_type != PACKET_HOST {
                    generated::bpf_skb_change_type(skb, PACKET_HOST);
                }
                generated::bpf_redirect_peer(verdict.ifindex(), 0) as i32
            }
            verdict::UPLINK => generated::bpf_redirect(verdict.ifindex(), 0) as i32,
            verdict::BRIDGE => generated::bpf_redirect(verdict.ifindex(), INGRESS) as i32,
            verdict::NEIGHBOUR => generated::bpf_redirect_neigh(verdict.ifindex(), core::ptr::null_mut(), 0, 0) as i32,
            _ => TC_ACT_SHOT,
        }
    }
}

#[inline(always)]
fn seams(context: &TcContext) -> (Skb, Maps) {
    (Skb { skb: context.as_ptr().cast() }, Maps { context: context.as_ptr() })
}

/// The hook whose first program left a packet to one that serves two of them.
#[inline(always)]
fn hook_of(packet: &Skb, tables: &Maps) -> Hook {
    if tables.veth(packet.ifindex()).is_some() { Hook::FromContainer } else { Hook::FromUplink }
}

/// tc ingress of a container's veth.
#[inline(always)]
pub fn from_container(context: &TcContext) -> i32 {
    let (mut packet, tables) = seams(context);
    act(context, Hook::FromContainer, hook::from_container::run(&mut packet, &tables))
}

/// tc egress of a container's veth.
#[inline(always)]
pub fn to_container(context: &TcContext) -> i32 {
    let (mut packet, tables) = seams(context);
    act(context, Hook::ToContainer, hook::to_container::run(&mut packet, &tables))
}

/// tc ingress of an uplink.
#[inline(always)]
pub fn from_uplink(context: &TcContext) -> i32 {
    let (mut packet, tables) = seams(context);
    act(context, Hook::FromUplink, hook::from_uplink::run(&mut packet, &tables))
}

/// tc ingress of an uplink with XDP: what that has translated goes where it said.
///
/// This program writes to no packet. Before the first instruction of one that does, the kernel gives packets whose bytes
/// somebody else has too, as tcpdump has, bytes of their own, and loses what XDP left in front of them.
#[inline(always)]
pub fn behind_xdp(context: &TcContext) -> i32 {
    let (packet, _) = seams(context);
    let verdict = match handover(&packet) {
        Some(0) => Verdict::to(verdict::HOST, 0),
        Some(ifindex) => Verdict::to(verdict::ENDPOINT, ifindex),
        None => Verdict::to(verdict::NEXT, next::FROM_UPLINK),
    };
    act(context, Hook::BehindXdp, verdict)
}

/// tc ingress of an uplink whose packets have no Ethernet header. They get one, and `from_uplink` carries on; the kernel
/// takes it off what goes up its stack (`mac_len` says how much there is).
#[inline(always)]
pub fn from_uplink_l3(context: &TcContext) -> i32 {
    let (mut packet, _) = seams(context);
    let protocol = packet.field(|skb| skb.protocol) as u16;
    if protocol != V4::ETHERTYPE.to_be() && protocol != V6::ETHERTYPE.to_be() {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: the program's own context.
    if unsafe { generated::bpf_skb_change_head(packet.skb, ETHERNET as u32, 0) } != 0 {
        return TC_ACT_SHOT;
    }
    packet.pull(ETHERNET as u32);
    if !packet.write(ETHERNET - 2, protocol) {
        return TC_ACT_SHOT;
    }
    act(context, Hook::FromUplinkL3, Verdict::to(verdict::NEXT, next::FROM_UPLINK))
}

/// tc egress of an uplink.
#[inline(always)]
pub fn to_uplink(context: &TcContext) -> i32 {
    let (mut packet, tables) = seams(context);
    act(context, Hook::ToUplink, hook::to_uplink::run(&mut packet, &tables))
}

/// Behind `from_container`: packets without a flow.
#[inline(always)]
pub fn container_new<F: Net>(context: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    let (mut packet, tables) = seams(context);
    act(context, Hook::FromContainer, hook::container_new::run::<F, _, _>(&mut packet, &tables))
}

/// Behind `from_uplink`: packets without a flow.
#[inline(always)]
pub fn outside_new<F: Net>(context: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    let (mut packet, tables) = seams(context);
    act(context, Hook::FromUplink, hook::outside_new::run::<F, _, _>(&mut packet, &tables))
}

/// Behind `to_uplink`: packets without a flow.
#[inline(always)]
pub fn host_new<F: Net>(context: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    let (mut packet, tables) = seams(context);
    act(context, Hook::ToUplink, hook::host_new::run::<F, _, _>(&mut packet, &tables))
}

/// Behind `from_container` and `from_uplink`: ICMP errors.
#[inline(always)]
pub fn icmp_error<F: Net>(context: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    let (mut packet, tables) = seams(context);
    let hook = hook_of(&packet, &tables);
    act(context, hook, hook::icmp_error::run::<F, _, _>(&mut packet, &tables))
}

/// Behind `from_container` and `from_uplink`: fragments.
#[inline(always)]
pub fn fragment<F: Net>(context: &TcContext) -> i32
where
    Maps: Tables<F>,
{
    let (mut packet, tables) = seams(context);
    let hook = hook_of(&packet, &tables);
    act(context, hook, hook::fragment::run::<F, _, _>(&mut packet, &tables))
}

/// The veth that XDP has chosen, or 0 for the host's own stack, if XDP rewrote this packet.
#[inline(always)]
fn handover(packet: &Skb) -> Option<u32> {
    let meta = packet.field(|skb| skb.data_meta) as usize;
    if meta + size_of::<Handover>() > packet.field(|skb| skb.data) as usize {
        return None;
    }
    // SAFETY: between the metadata's start and the packet's, as just compared.
    let handover = unsafe { *(meta as *const Handover) };
    (handover.mark == HANDOVER).then_some(handover.ifindex)
}

const _: () = assert!(TC_ACT_OK == 0);
