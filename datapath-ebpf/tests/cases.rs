//! The table of cases, through the host build of the packet path.

use portlane_common::reason::Reason;
use portlane_datapath::{
    testing::{
        bytes::Bytes,
        cases::cases,
        checksum,
        run::run,
        tables::Memory,
        world::{Interfaces, Version, World},
    },
    verdict::Verdict,
};

#[test]
fn every_case_comes_out_byte_for_byte() {
    let interfaces = Interfaces::ANY;
    for version in Version::BOTH {
        for case in cases(version, interfaces) {
            let tables = Memory::new(World::new(&interfaces));
            for (number, step) in case.steps.iter().enumerate() {
                let mut packet = Bytes { bytes: step.input.clone(), ..Bytes::default() };
                let verdict = run(step.at, &mut packet, &tables);
                let bytes = packet.bytes;
                let reason = step.reason.map_or(0, |reason: Reason| reason as u32);
                let wanted = Verdict::new(step.action, step.ifindex, reason);
                assert_eq!(verdict, wanted, "{version:?}: {}, packet {number}", case.name);
                assert_eq!(bytes, step.output, "{version:?}: {}, packet {number}", case.name);
                if step.reason != Some(Reason::Malformed) {
                    assert!(checksum::right(&bytes), "{version:?}: {}, packet {number}", case.name);
                }
            }
        }
    }
}
