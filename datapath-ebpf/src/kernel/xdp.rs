//! XDP: packets are linear frames as the driver received them.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    helpers::generated,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use bytemuck::Pod;
use portlane_common::{
    family::{Family, V4},
    reason::{Hook, Reason},
};

use super::{
    HANDOVER, Handover,
    alone::{crc_difference, follow_xdp4, follow_xdp6},
    maps,
    tables::{self, Maps},
};
use crate::{
    header, hook,
    packet::{Net, Packet, Tables},
    verdict::{self, Verdict, next},
};

/// A packet at XDP.
pub struct Frame {
    pub(super) frame: *mut xdp_md,
}

impl Frame {
    #[inline(always)]
    fn data(&self) -> usize {
        // Volatile: read where it is needed. Handed to a function, the verifier would take it for a number.
        // SAFETY: the context lives as long as the program.
        (unsafe { (&raw const (*self.frame).data).read_volatile() }) as usize
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        (unsafe { (&raw const (*self.frame).data_end).read_volatile() }) as usize
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn length(&self) -> u32 {
        (self.end() - self.data()) as u32
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context lives as long as the program.
        unsafe { (*self.frame).ingress_ifindex }
    }

    #[inline(always)]
    fn origin(&self) -> u32 {
        self.ifindex()
    }

    #[inline(always)]
    fn tagged(&self) -> bool {
        // A tag is still in the payload here, and makes it another Ethernet type.
        false
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn pull(&mut self, _length: u32) {}

    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        let start = self.data() + offset;
        if start + size_of::<T>() > self.end() {
            return None;
        }
        // SAFETY: inside the frame, as just compared; the kernels' targets load unaligned words.
        Some(unsafe { *(start as *const T) })
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> bool {
        let start = self.data() + offset;
        if start + size_of::<T>() > self.end() {
            return false;
        }
        // SAFETY: as in `read`.
        unsafe { *(start as *mut T) = value };
        true
    }

    #[inline(always)]
    fn checksum(&mut self, offset: usize, pseudo: u16, ports: u16, optional: bool) -> bool {
        let Some(old) = self.read::<u16>(offset) else { return false };
        if optional && old == 0 {
            return true;
        }
        let new = header::update(old, header::fold(u32::from(pseudo) + u32::from(ports)));
        // RFC 768: a computed zero is sent as all ones.
        self.write(offset, if optional && new == 0 { 0xffff } else { new })
    }

    #[inline(always)]
    fn crc_difference(change: u32, behind: u32) -> u32 {
        crc_difference(change, behind)
    }

    #[inline(always)]
    fn follow<F: Net, T: Tables<F>>(&mut self, _tables: &T, table: u32) -> Verdict {
        let frame = self.frame;
        Verdict::from_bits(if F::AF == V4::AF { follow_xdp4(frame, table) } else { follow_xdp6(frame, table) })
    }
}

/// XDP of an uplink.
#[inline(always)]
pub fn from_uplink_xdp(context: &XdpContext) -> u32 {
    let mut packet = Frame { frame: context.as_ptr().cast() };
    let room = size_of::<Handover>() as i32;
    // A driver without room for metadata leaves it all to tc. Asked first: a rewritten packet could not go there.
    // SAFETY: the program's own context.
    if unsafe { generated::bpf_xdp_adjust_meta(packet.frame, -room) } != 0 {
        return XDP_PASS;
    }
    let tables = Maps { context: context.as_ptr() };
    let verdict = hook::from_uplink::run(&mut packet, &tables);
    let place = verdict.ifindex().wrapping_sub(next::OUTSIDE_NEW);
    if verdict.action() == verdict::NEXT && place < 2 {
        // SAFETY: the program's own context; it does not come back, unless the program is missing, and then tc sees to it.
        unsafe { maps::NEXT_XDP.tail_call(context, place) };
    }
    finish(context, &packet, verdict)
}

/// Behind `from_uplink_xdp`: packets without a flow.
#[inline(always)]
pub fn outside_xdp<F: Net>(context: &XdpContext) -> u32
where
    Maps: Tables<F>,
{
    let mut packet = Frame { frame: context.as_ptr().cast() };
    let tables = Maps { context: context.as_ptr() };
    let verdict = hook::outside_new::run::<F, _, _>(&mut packet, &tables);
    finish(context, &packet, verdict)
}

/// Counts, reports and spells a verdict, with the room for a [`Handover`] made.
#[inline(always)]
fn finish(context: &XdpContext, packet: &Frame, verdict: Verdict) -> u32 {
    let kept = verdict.action() == verdict::ENDPOINT || verdict.action() == verdict::HOST;
    if kept && hand_over(packet, verdict.ifindex()) {
        return XDP_PASS;
    }
    // SAFETY: the program's own context; what is not handed over carries nothing.
    unsafe { generated::bpf_xdp_adjust_meta(packet.frame, size_of::<Handover>() as i32) };
    let verdict = if kept { Verdict::drop(Reason::Malformed) } else { verdict };
    // What it passes on meets tc, which comes to the same end, and counts it.
    if verdict.action() == verdict::DROP {
        tables::count_reason(Hook::FromUplinkXdp, verdict.reason(), packet.length());
        debug!(context, "from_uplink_xdp: action {} for reason {}", verdict.action(), verdict.reason());
    }
    // What another program is to carry on is left to tc, untouched.
    if verdict.action() == verdict::PASS || verdict.action() == verdict::NEXT { XDP_PASS } else { XDP_DROP }
}

/// Leaves the chosen veth in front of the packet, where there is room by now.
#[inline(always)]
fn hand_over(packet: &Frame, ifindex: u32) -> bool {
    // SAFETY: the context lives as long as the program.
    let meta = unsafe { (*packet.frame).data_meta } as usize;
    if meta + size_of::<Handover>() > packet.data() {
        return false;
    }
    // SAFETY: between the metadata's start and the frame's, as just compared.
    unsafe { *(meta as *mut Handover) = Handover { mark: HANDOVER, ifindex } };
    true
}
