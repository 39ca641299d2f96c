//! Packets that nobody should send: no hook panics, and what is translated keeps its checksums right.

use portlane_datapath::{
    stage::parse::SYN,
    testing::{
        bytes::Bytes,
        cases::{At, cases},
        checksum,
        frame::{Body, Frame},
        run::run,
        tables::Memory,
        talk::{INTERFACES, arriving, meets_bytes, memory},
        world::{Version, WEB},
    },
    verdict::{self, Verdict},
};
use proptest::prelude::*;

/// Runs every hook over a packet; the bytes that come out of each, and its verdict.
fn every_hook(tables: &Memory, bytes: &[u8]) -> [(Verdict, Vec<u8>); 4] {
    let at = |ifindex, origin| Bytes { bytes: bytes.to_vec(), ifindex, origin, ..Bytes::default() };
    let (veth, uplink) = (INTERFACES.veth(WEB), INTERFACES.uplink);
    let mut packets = [at(veth, veth), at(veth, 12), at(uplink, uplink), at(uplink, 0)];
    let [from_container, to_container, from_uplink, to_uplink] = &mut packets;
    let verdicts = [
        run(At::FromContainer(veth), from_container, tables),
        run(At::ToContainer(veth, 12), to_container, tables),
        run(At::FromUplink(uplink), from_uplink, tables),
        run(At::ToUplink(uplink), to_uplink, tables),
    ];
    let mut outcomes = verdicts.into_iter().zip(packets);
    std::array::from_fn(|_| outcomes.next().map(|(verdict, packet)| (verdict, packet.bytes)).expect("four of each"))
}

#[test]
fn a_packet_cut_short_anywhere_is_not_translated() {
    for version in Version::BOTH {
        for case in cases(version, INTERFACES) {
            let step = &case.steps[0];
            for length in 0..step.input.len() {
                let tables = memory();
                for (verdict, bytes) in every_hook(&tables, &step.input[..length]) {
                    assert_eq!(bytes, step.input[..length], "{version:?}: {}: {length} bytes: {verdict:?}", case.name);
                }
                assert_eq!(tables.flows(), 0, "{version:?}: {}: {length} bytes open a flow", case.name);
            }
        }
    }
}

#[test]
fn padding_after_the_packet_travels_along() {
    // Ethernet's least frame has 60 bytes: what is after the IP packet is the wire's.
    for version in Version::BOTH {
        let frame = Frame { payload: Vec::new(), ..arriving(version, version.host(), Body::Tcp(1, 8080, SYN)) };
        let padded = [frame.bytes(), vec![0xaa; 6]].concat();
        let (verdict, bytes) = meets_bytes(&memory(), At::FromUplink(INTERFACES.uplink), padded);
        assert_eq!(verdict.action(), verdict::ENDPOINT);
        let (packet, padding) = bytes.split_at(frame.bytes().len());
        assert!(checksum::right(packet));
        assert_eq!(padding, [0xaa; 6]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        every_hook(&memory(), &bytes);
    }

    #[test]
    fn a_damaged_packet_does_no_harm_and_a_good_one_stays_good(
        six: bool,
        which: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let version = if six { Version::Six } else { Version::Four };
        let cases = cases(version, INTERFACES);
        let steps: Vec<_> = cases.iter().flat_map(|case| &case.steps).collect();
        let step = steps[which.index(steps.len())];
        let mut bytes = step.input.clone();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let good = damage.is_empty() && checksum::right(&bytes) && !matches!(step.at, At::ToContainer(..));
        for (_, out) in every_hook(&memory(), &bytes) {
            prop_assert_eq!(out.len(), bytes.len());
            prop_assert!(!good || checksum::right(&out));
        }
    }
}
