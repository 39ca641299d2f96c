//! The hooks as the kernel runs them: each first program, and the one that carries on where it leaves off.

use super::{bytes::Bytes, cases::At, tables::Memory};
use crate::{
    hook,
    packet::Packet,
    verdict::{self, Verdict, next},
};

/// Has a packet meet a hook.
pub fn run(at: At, packet: &mut Bytes, tables: &Memory) -> Verdict {
    let verdict = match at {
        At::FromContainer(ifindex) => {
            (packet.ifindex, packet.origin) = (ifindex, ifindex);
            hook::from_container::run(packet, tables)
        }
        At::ToContainer(ifindex, origin) => {
            (packet.ifindex, packet.origin) = (ifindex, origin);
            hook::to_container::run(packet, tables)
        }
        At::FromUplink(ifindex) => {
            (packet.ifindex, packet.origin) = (ifindex, ifindex);
            hook::from_uplink::run(packet, tables)
        }
        At::ToUplink(ifindex) => {
            packet.ifindex = ifindex;
            hook::to_uplink::run(packet, tables)
        }
    };
    carry_on(verdict, packet, tables)
}

/// Has a packet meet the programs that a verdict leaves it to.
pub fn carry_on<P: Packet>(mut verdict: Verdict, packet: &mut P, tables: &Memory) -> Verdict {
    while verdict.action() == verdict::NEXT {
        verdict = match verdict.ifindex() {
            next::CONTAINER_OPENS => hook::container_opens::run(packet, tables),
            next::OUTSIDE_OPENS => hook::outside_opens::run(packet, tables),
            next::HOST_OPENS => hook::host_opens::run(packet, tables),
            next::ICMP_ERROR => hook::icmp_error::run(packet, tables),
            _ => hook::fragment::run(packet, tables),
        };
    }
    verdict
}
