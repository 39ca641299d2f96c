//! The hooks as the kernel runs them: each first program, and the one that carries on where it leaves off.

use portlane_common::family::{V4, V6};

use super::{bytes::Bytes, cases::At, tables::Memory};
use crate::{
    hook,
    packet::{Net, Packet, Tables},
    verdict::{self, Verdict, next},
};

/// Has a packet meet a hook.
pub fn run(at: At, packet: &mut Bytes, tables: &Memory) -> Verdict {
    tables.frame.set(packet.length());
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
        let place = verdict.ifindex();
        verdict = if place & 1 == 0 {
            part::<V4, P>(place, packet, tables)
        } else {
            part::<V6, P>(place - 1, packet, tables)
        };
    }
    verdict
}

fn part<F: Net, P: Packet>(place: u32, packet: &mut P, tables: &Memory) -> Verdict
where
    Memory: Tables<F>,
{
    match place {
        next::CONTAINER_NEW => hook::container_new::run::<F, _, _>(packet, tables),
        next::OUTSIDE_NEW => hook::outside_new::run::<F, _, _>(packet, tables),
        next::HOST_NEW => hook::host_new::run::<F, _, _>(packet, tables),
        next::ICMP_ERROR => hook::icmp_error::run::<F, _, _>(packet, tables),
        _ => hook::fragment::run::<F, _, _>(packet, tables),
    }
}
