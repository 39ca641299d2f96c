//! The table of cases, through the host build of the packet path.

use portlane_common::reason::Reason;
use portlane_datapath::{
    hook,
    testing::{
        bytes::Bytes,
        cases::{At, Step, cases},
        frame::checksums_are_right,
        tables::Memory,
        world::{Interfaces, Version, World},
    },
    verdict::Verdict,
};

fn run(tables: &Memory, step: &Step) -> (Verdict, Vec<u8>) {
    let mut packet = Bytes { bytes: step.input.clone(), ..Bytes::default() };
    let verdict = match step.at {
        At::FromContainer(ifindex) => {
            (packet.ifindex, packet.origin) = (ifindex, ifindex);
            hook::from_container::run(&mut packet, tables)
        }
        At::ToContainer(ifindex, origin) => {
            (packet.ifindex, packet.origin) = (ifindex, origin);
            hook::to_container::run(&mut packet, tables)
        }
        At::FromUplink(ifindex) => {
            (packet.ifindex, packet.origin) = (ifindex, ifindex);
            hook::from_uplink::run(&mut packet, tables)
        }
        At::ToUplink(ifindex) => {
            packet.ifindex = ifindex;
            hook::to_uplink::run(&mut packet, tables)
        }
    };
    (verdict, packet.bytes)
}

#[test]
fn every_case_comes_out_byte_for_byte() {
    let interfaces = Interfaces::ANY;
    for version in Version::BOTH {
        for case in cases(version, interfaces) {
            let tables = Memory::new(World::new(&interfaces));
            for (number, step) in case.steps.iter().enumerate() {
                let (verdict, bytes) = run(&tables, step);
                let reason = step.reason.map_or(0, |reason: Reason| reason as u32);
                let wanted = Verdict::new(step.action, step.ifindex, reason);
                assert_eq!(verdict, wanted, "{version:?}: {}, packet {number}", case.name);
                assert_eq!(bytes, step.output, "{version:?}: {}, packet {number}", case.name);
                if step.reason != Some(Reason::Malformed) {
                    assert!(checksums_are_right(&bytes), "{version:?}: {}, packet {number}", case.name);
                }
            }
        }
    }
}
