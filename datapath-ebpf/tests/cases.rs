//! The table of cases, through the host build of the packet path.

use portlane_common::reason::Reason;
use portlane_datapath::{
    testing::{
        bytes::Bytes,
        cases::cases,
        checksum,
        run::run,
        sequence::SECRET,
        tables::Memory,
        wire::Head,
        world::{Interfaces, Version, World},
    },
    verdict::Verdict,
};

/// What no packet brings about by itself in the small world, but full tables, taken ports and a host that is set up
/// otherwise: `tests/tests/program_runs.rs` has these, too.
const BY_CIRCUMSTANCES: [Reason; 5] =
    [Reason::FlowShare, Reason::FlowsExhausted, Reason::PortsExhausted, Reason::NoRoute, Reason::NotLoaded];

#[test]
fn every_reason_to_refuse_a_packet_has_a_case() {
    let cases = Version::BOTH.into_iter().flat_map(|version| cases(version, Interfaces::ANY));
    let shown: Vec<Reason> = cases.flat_map(|case| case.steps).filter_map(|step| step.reason).collect();
    for reason in Reason::ALL.iter().filter(|reason| !BY_CIRCUMSTANCES.contains(reason)) {
        assert!(shown.contains(reason), "no case shows {}: {}", reason.name(), reason.sentence());
    }
}

#[test]
fn every_case_comes_out_byte_for_byte() {
    let interfaces = Interfaces::ANY;
    for version in Version::BOTH {
        for case in cases(version, interfaces) {
            let mut tables = Memory::new(World::new(&interfaces));
            tables.secret = SECRET;
            for (number, step) in case.steps.iter().enumerate() {
                let mut packet = Bytes { bytes: step.input.clone(), ..Bytes::default() };
                let verdict = run(step.at, &mut packet, &tables);
                let bytes = packet.bytes;
                let reason = step.reason.map_or(0, |reason: Reason| reason as u32);
                let wanted = Verdict::new(step.action, step.ifindex, reason);
                assert_eq!(verdict, wanted, "{version:?}: {}, packet {number}", case.name);
                assert_eq!(bytes, step.output, "{version:?}: {}, packet {number}", case.name);
                if Head::read(&step.input).is_some() {
                    assert!(checksum::right(&bytes), "{version:?}: {}, packet {number}", case.name);
                }
            }
        }
    }
}
