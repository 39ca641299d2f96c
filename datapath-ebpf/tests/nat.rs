//! What a NAT promises about ports, handshakes and errors, through the host build of the packet path.

use portlane_common::{endpoint::veth, flow, reason::Reason};
use portlane_datapath::{
    packet::table,
    stage::parse::{ACK, RST, SYN},
    testing::{
        cases::At,
        checksum,
        frame::{Body, Frame},
        quote::{IcmpError, fragments},
        tables::Memory,
        talk::{
            INTERFACES, arriving, by_host, from_container, from_uplink, meets_bytes, memory, port, sent, to_uplink,
        },
        world::{OTHER, OUTSIDE_MAC, PEER, UPLINK_MAC, Version, WEB},
    },
    verdict::{self, Verdict},
};

fn into(member: portlane_datapath::testing::world::Member) -> Verdict {
    Verdict::to(verdict::ENDPOINT, INTERFACES.veth(member))
}

#[test]
fn a_port_taken_instead_is_of_the_same_class_and_parity() {
    for version in Version::BOTH {
        for wanted in [700, 701, 30_000, 30_001] {
            let tables = memory();
            for by in [WEB, PEER] {
                let (_, bytes) =
                    from_container(&tables, by, &sent(version, by, version.outside(), Body::Udp(wanted, 53)));
                let got = port(&bytes);
                assert_eq!(got == wanted, by == WEB, "{version:?} {wanted}: {got}");
                assert_eq!((got < 1024, got % 2), (wanted < 1024, wanted % 2), "{version:?} {wanted}: {got}");
            }
        }
    }
}

#[test]
fn a_port_taken_instead_depends_on_a_secret() {
    let version = Version::Four;
    let drawn = |secret| {
        let mut tables = memory();
        tables.secret = secret;
        from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Udp(30_001, 53)));
        port(&from_container(&tables, PEER, &sent(version, PEER, version.outside(), Body::Udp(30_001, 53))).1)
    };
    assert_eq!(drawn(1), drawn(1), "it is no matter of chance");
    assert_ne!(drawn(1), drawn(2));
    assert_ne!(drawn(2), drawn(3));
}

#[test]
fn two_containers_keep_the_same_source_port_towards_different_servers() {
    for version in Version::BOTH {
        let tables = memory();
        for (by, server) in [(WEB, version.outside()), (PEER, version.address(0, 3))] {
            let (verdict, bytes) = from_container(&tables, by, &sent(version, by, server, Body::Udp(30_001, 53)));
            assert_eq!((verdict.reason(), port(&bytes)), (0, 30_001), "{version:?} {server}");
        }
    }
}

#[test]
fn published_reserved_and_taken_ports_are_no_masquerade_ports() {
    for version in Version::BOTH {
        let tables = memory();
        tables.reserved.borrow_mut().push(30_003);
        tables.waiting.borrow_mut().push(30_005);
        for (wanted, kept) in [(8080, false), (45_001, false), (30_003, false), (30_005, false), (30_007, true)] {
            let asked = sent(version, WEB, version.outside(), Body::Udp(wanted, 53));
            let (verdict, bytes) = from_container(&tables, WEB, &asked);
            assert_eq!(verdict.action(), verdict::UPLINK, "{version:?} {wanted}");
            assert_eq!(port(&bytes) == wanted, kept, "{version:?} {wanted}: {}", port(&bytes));
            assert!(checksum::right(&bytes));
        }
    }
}

#[test]
fn what_somebody_outside_opens_stays_apart_until_both_sides_mean_it() {
    let version = Version::Four;
    let confirmed = |tables: &Memory| tables.flows4(table::MAIN).len();
    let hears = |tables: &Memory, body| from_uplink(tables, &arriving(version, version.host(), body)).0;
    let says = |tables: &Memory, body| from_container(tables, WEB, &sent(version, WEB, version.outside(), body)).0;
    // The builder's SYN ACK has sequence number 1, and every segment acknowledges 2.
    let tables = memory();
    assert_eq!(hears(&tables, Body::Tcp(5, 8080, SYN)), into(WEB));
    assert_eq!(hears(&tables, Body::Tcp(5, 8080, ACK)), into(WEB), "forged, for nothing was answered");
    assert_eq!((confirmed(&tables), tables.flows()), (0, 2));
    says(&tables, Body::Tcp(80, 5, SYN | ACK));
    assert_eq!(confirmed(&tables), 0);
    assert_eq!(hears(&tables, Body::Tcp(5, 8080, ACK)), into(WEB));
    assert_eq!((confirmed(&tables), tables.flows()), (2, 2), "the acknowledgement of the SYN ACK");
    assert_eq!(tables.holds(WEB.endpoint), 1);
    let tables = memory();
    hears(&tables, Body::Tcp(5, 8080, SYN));
    says(&tables, Body::Tcp(80, 5, RST));
    hears(&tables, Body::Tcp(5, 8080, ACK));
    says(&tables, Body::Tcp(80, 5, RST));
    assert_eq!((confirmed(&tables), tables.flows()), (0, 2), "a refusal is no conversation");
    let tables = memory();
    hears(&tables, Body::Tcp(5, 8080, SYN));
    says(&tables, Body::Tcp(80, 5, ACK));
    assert_eq!(confirmed(&tables), 2, "the container's stack takes it for a connection");
    let tables = memory();
    hears(&tables, Body::Udp(5, 8080));
    hears(&tables, Body::Udp(5, 8080));
    assert_eq!(confirmed(&tables), 0, "nobody has answered");
    says(&tables, Body::Udp(80, 5));
    assert_eq!(confirmed(&tables), 0);
    assert_eq!(hears(&tables, Body::Udp(5, 8080)), into(WEB));
    assert_eq!(confirmed(&tables), 2, "the opener has heard the answer");
    // Beyond the share it goes on as it is.
    let tables = memory();
    tables.share.set(0);
    hears(&tables, Body::Tcp(5, 8080, SYN));
    says(&tables, Body::Tcp(80, 5, SYN | ACK));
    assert_eq!(hears(&tables, Body::Tcp(5, 8080, ACK)), into(WEB));
    assert_eq!((confirmed(&tables), tables.flows()), (0, 2));
}

/// An error by a router on the way, about all of a packet of the host's.
fn by_router(version: Version, icmp: (u8, u8), quoted: Vec<u8>) -> IcmpError {
    let (macs, src, dst) = ((UPLINK_MAC, OUTSIDE_MAC), version.address(0, 77), version.host());
    IcmpError { macs, src, dst, ttl: 64, icmp, mtu: 0, quoted, bytes: 1000 }
}

#[test]
fn an_icmp_error_neither_refreshes_nor_ends_a_flow() {
    for version in Version::BOTH {
        let tables = memory();
        let asked = sent(version, WEB, version.outside(), Body::Udp(30_001, 53));
        let (_, left) = from_container(&tables, WEB, &asked);
        let error = by_router(version, IcmpError::unreachable(version.host()), left);
        let tell = || meets_bytes(&tables, At::FromUplink(INTERFACES.uplink), error.frame()).0;
        tables.pass(flow::UDP_UNANSWERED_SECONDS - 1);
        assert_eq!(tell(), into(WEB), "{version:?}");
        let answer = arriving(version, version.host(), Body::Udp(53, 30_001));
        assert_eq!(from_uplink(&tables, &answer).0, into(WEB), "{version:?}: it has not ended");
        let tables = memory();
        from_container(&tables, WEB, &asked);
        tables.pass(flow::UDP_UNANSWERED_SECONDS - 1);
        assert_eq!(meets_bytes(&tables, At::FromUplink(INTERFACES.uplink), error.frame()).0, into(WEB));
        tables.pass(1);
        assert_eq!(from_uplink(&tables, &answer).0, Verdict::PASS, "{version:?}: it was not refreshed");
    }
}

#[test]
fn an_icmp_error_may_quote_a_packet_with_options_and_keeps_what_follows_it() {
    let version = Version::Four;
    let tables = memory();
    let asked = Frame { options: 5, ..sent(version, WEB, version.outside(), Body::Udp(30_001, 53)) };
    let (_, left) = from_container(&tables, WEB, &asked);
    // RFC 4884 extensions, or whatever a router adds.
    let quoted = [left, vec![0xee; 40]].concat();
    let error = by_router(version, IcmpError::expired(version.host()), quoted);
    let (verdict, bytes) = meets_bytes(&tables, At::FromUplink(INTERFACES.uplink), error.frame());
    assert_eq!(verdict, into(WEB));
    assert!(checksum::right(&bytes));
    let inner = Frame { ttl: 63, ..asked }.bytes();
    let told = IcmpError { quoted: [inner, vec![0xee; 40]].concat(), ttl: 63, ..error };
    assert_eq!(bytes[34..], told.frame()[34..]);
}

#[test]
fn an_icmp_error_about_a_hairpinned_packet_comes_back() {
    for (version, caller) in Version::BOTH.into_iter().flat_map(|version| [PEER, OTHER].map(|by| (version, by))) {
        let tables = memory();
        let asked = sent(version, caller, version.second(), Body::Udp(30_001, 8080));
        let (_, inside) = from_container(&tables, caller, &asked);
        let error = IcmpError {
            macs: (WEB.gateway(), WEB.mac()),
            src: WEB.address(version),
            dst: version.second(),
            ttl: 64,
            icmp: IcmpError::unreachable(version.host()),
            mtu: 0,
            quoted: inside,
            bytes: 1000,
        };
        let (verdict, bytes) = meets_bytes(&tables, At::FromContainer(INTERFACES.veth(WEB)), error.frame());
        assert_eq!(verdict, into(caller), "{version:?}: {caller:?}");
        let told = IcmpError {
            macs: (caller.mac(), caller.gateway()),
            src: version.second(),
            dst: caller.address(version),
            ttl: 63,
            quoted: Frame { ttl: 63, ..asked }.bytes(),
            ..error
        };
        assert_eq!(bytes, told.frame(), "{version:?}: {caller:?}");
    }
}

#[test]
fn what_is_refused_refreshes_no_flow() {
    let version = Version::Four;
    let tables = memory();
    from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Udp(30_001, 53)));
    tables.pass(flow::UDP_UNANSWERED_SECONDS - 1);
    // Too short of life to leave, and too large.
    let spent = Frame { ttl: 1, ..sent(version, WEB, version.outside(), Body::Udp(30_001, 53)) };
    assert_eq!(from_container(&tables, WEB, &spent).0, Verdict::stack(Reason::StackTtl));
    let large = Frame { payload: vec![0; 3000], ..sent(version, WEB, version.outside(), Body::Udp(30_001, 53)) };
    assert_eq!(from_container(&tables, WEB, &large).0, Verdict::stack(Reason::StackTooBig));
    tables.pass(1);
    let answer = arriving(version, version.host(), Body::Udp(53, 30_001));
    assert_eq!(from_uplink(&tables, &answer).0, Verdict::PASS);
}

#[test]
fn a_container_sends_no_icmp_query_but_echo() {
    let version = Version::Four;
    // Timestamp, information and mask requests; and source quench, which nobody should send.
    for query in [13, 15, 17, 4] {
        let mut bytes = sent(version, WEB, version.outside(), Body::EchoRequest(7)).bytes();
        bytes[34] = query;
        let (verdict, _) = meets_bytes(&memory(), At::FromContainer(INTERFACES.veth(WEB)), bytes);
        assert_eq!(verdict, Verdict::drop(Reason::ProtocolUnsupported), "type {query}");
    }
}

#[test]
fn an_icmp_error_in_pieces_opens_no_flow() {
    // Time exceeded, the first of several fragments.
    let version = Version::Four;
    let mut bytes = sent(version, WEB, version.outside(), Body::EchoRequest(7)).bytes();
    bytes.truncate(42);
    bytes[34] = 11;
    let mut pieces = fragments(&[bytes, vec![0; 8]].concat(), 8, 42);
    let tables = memory();
    let (verdict, out) = meets_bytes(&tables, At::FromContainer(INTERFACES.veth(WEB)), pieces[0].clone());
    assert_eq!((verdict, out), (Verdict::drop(Reason::FragmentUnsupported), pieces.remove(0)));
    assert_eq!(tables.flows(), 0);
}

#[test]
fn fragments_that_overtook_their_first_come_back_in_its_wake() {
    for version in Version::BOTH {
        let tables = memory();
        let asked = Frame {
            divisible: true,
            payload: (0..200).collect(),
            ..arriving(version, version.host(), Body::Udp(5, 8080))
        };
        let pieces = fragments(&asked.bytes(), 64, 42);
        let at = At::FromUplink(INTERFACES.uplink);
        for piece in pieces.iter().skip(1).rev() {
            assert_eq!(meets_bytes(&tables, at, piece.clone()).0, Verdict::drop(Reason::FragmentHeld), "{version:?}");
        }
        assert_eq!(meets_bytes(&tables, at, pieces[0].clone()).0, into(WEB));
        let back: Vec<_> = tables.put_back.borrow_mut().drain(..).collect();
        assert_eq!(back.len(), pieces.len() - 1);
        for (ifindex, bytes) in back {
            assert_eq!(ifindex, INTERFACES.uplink);
            assert!(pieces.contains(&bytes), "it comes as it came");
            assert_eq!(meets_bytes(&tables, at, bytes).0, into(WEB), "{version:?}");
        }
        // All there: the next datagram may have the same identification.
        assert_eq!(meets_bytes(&tables, at, pieces[0].clone()).0, into(WEB), "{version:?}");
        // Given up after a while.
        tables.pass(portlane_common::fragment::FRAGMENT_SECONDS);
        assert_eq!(meets_bytes(&tables, at, pieces[0].clone()).0, into(WEB), "{version:?}");
        assert_eq!(meets_bytes(&tables, at, pieces[0].clone()).0, Verdict::drop(Reason::FragmentOverlap));
    }
}

#[test]
fn fragments_behind_a_refused_first_one_are_refused() {
    for version in Version::BOTH {
        let tables = memory();
        // An association, and a datagram of it in pieces, whose first is refused for its checksum covers them all.
        assert_eq!(from_uplink(&tables, &arriving(version, version.host(), Body::Sctp(5, 3869, 1))).0, into(WEB));
        let whole = Frame {
            divisible: true,
            payload: vec![0; 200],
            ..arriving(version, version.host(), Body::Sctp(5, 3869, 0))
        };
        for piece in fragments(&whole.bytes(), 64, 42) {
            let (verdict, _) = meets_bytes(&tables, At::FromUplink(INTERFACES.uplink), piece);
            assert_eq!(verdict.action(), verdict::DROP, "{version:?}");
        }
    }
}

#[test]
fn a_fragment_that_contradicts_itself_reaches_no_container() {
    for version in Version::BOTH {
        for (to, wanted) in
            [(version.host(), Verdict::PASS), (WEB.address(version), Verdict::drop(Reason::DirectAccess))]
        {
            let whole = Frame { divisible: true, payload: vec![0; 200], ..arriving(version, to, Body::Udp(5, 8080)) };
            let mut pieces = fragments(&whole.bytes(), 64, 42);
            // One byte less than whole units, and more to follow.
            let bytes = &mut pieces[1];
            bytes.pop();
            let length = if version == Version::Four { 16 } else { 18 };
            bytes[length + 1] -= 1;
            let (verdict, _) = meets_bytes(&memory(), At::FromUplink(INTERFACES.uplink), pieces.remove(1));
            assert_eq!(verdict, wanted, "{version:?}");
        }
    }
}

#[test]
fn a_refused_fragment_takes_no_place_of_another() {
    for version in Version::BOTH {
        let tables = memory();
        let whole =
            Frame { divisible: true, payload: vec![0; 1800], ..arriving(version, version.host(), Body::Udp(5, 8080)) };
        let small = fragments(&whole.bytes(), 512, 42);
        let large = fragments(&whole.bytes(), 768, 42);
        let meets = |piece: &Vec<u8>| meets_bytes(&tables, At::FromUplink(INTERFACES.uplink), piece.clone()).0;
        assert_eq!(meets(&small[0]), into(WEB));
        assert_eq!(meets(&small[2]), into(WEB));
        assert_eq!(meets(&large[1]), Verdict::drop(Reason::FragmentOverlap), "its end repeats the third");
        assert_eq!(meets(&small[1]), into(WEB), "{version:?}: where its beginning was");
    }
}

#[test]
fn a_late_answer_of_a_published_udp_port_leaves_by_it() {
    for version in Version::BOTH {
        let tables = memory();
        tables.share.set(0);
        // Nobody asked, as far as is known; a port alone, and one of a range.
        for (inside, outside) in [(80, 8080), (5001, 40_001)] {
            let answer = sent(version, WEB, version.outside(), Body::Udp(inside, 9));
            let (verdict, bytes) = from_container(&tables, WEB, &answer);
            assert_eq!(verdict.action(), verdict::UPLINK, "{version:?}: no share is asked for");
            let wanted = answer.from(version.host(), outside).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
            assert_eq!(bytes, wanted.bytes(), "{version:?} {inside}");
            assert_eq!(tables.flows4(table::MAIN).len(), 0, "it waits among the unconfirmed");
            assert_eq!(from_uplink(&tables, &arriving(version, version.host(), Body::Udp(9, outside))).0, into(WEB));
        }
        // Another container's port of that number is not published, nor is its TCP.
        tables.share.set(9);
        let other = from_container(&tables, PEER, &sent(version, PEER, version.outside(), Body::Udp(80, 9)));
        assert_eq!(port(&other.1), 80, "{version:?}");
        let tcp = from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Tcp(80, 9, SYN)));
        assert_eq!(port(&tcp.1), 80, "{version:?}");
    }
}

fn full_cone() -> Memory {
    let mut tables = memory();
    let web = tables.world.veth.get_mut(&INTERFACES.veth(WEB)).expect("it has one");
    web.flags |= veth::FULL_CONE;
    tables
}

#[test]
fn under_full_cone_every_peer_sees_the_same_port() {
    for version in Version::BOTH {
        let tables = full_cone();
        // Taken by another container towards one of the peers: another port, but the same one for all.
        from_container(&tables, PEER, &sent(version, PEER, version.outside(), Body::Udp(8080, 53)));
        let ports: Vec<u16> = [version.outside(), version.address(0, 3), version.address(0, 4)]
            .map(|peer| port(&from_container(&tables, WEB, &sent(version, WEB, peer, Body::Udp(8080, 53))).1))
            .into();
        assert!(ports[0] != 8080 && ports.iter().all(|port| *port == ports[0]), "{version:?}: {ports:?}");
        let other = sent(version, PEER, version.address(0, 5), Body::Udp(ports[0], 53));
        assert_ne!(port(&from_container(&tables, PEER, &other).1), ports[0], "{version:?}: it is nobody else's");
    }
}

#[test]
fn under_full_cone_anyone_reaches_the_mapped_port() {
    for version in Version::BOTH {
        let tables = full_cone();
        let before = arriving(version, version.host(), Body::Udp(9, 30_001));
        assert_eq!(from_uplink(&tables, &before).0, Verdict::PASS, "nothing is mapped yet");
        from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Udp(30_001, 53)));
        let stranger = arriving(version, version.host(), Body::Udp(9, 30_001)).from(version.address(0, 9 + 90), 9);
        let (verdict, bytes) = from_uplink(&tables, &stranger);
        assert_eq!(verdict, into(WEB), "{version:?}");
        let wanted = stranger.clone().to(WEB.address(version), 30_001).one_hop().with_macs(WEB.mac(), WEB.gateway());
        assert_eq!(bytes, wanted.bytes());
        // And is answered from the port that it called.
        let (_, answer) = from_container(&tables, WEB, &wanted.answer());
        assert_eq!(port(&answer), 30_001);
        // TCP is as ever.
        let tcp = arriving(version, version.host(), Body::Tcp(9, 30_001, SYN));
        assert_eq!(from_uplink(&tables, &tcp).0, Verdict::PASS, "{version:?}");
        tables.pass(flow::UDP_SECONDS + flow::SWEEP_SECONDS);
        assert_eq!(from_uplink(&tables, &stranger).0, Verdict::PASS, "{version:?}: it is over");
    }
}

#[test]
fn a_container_reaches_a_full_cone_mapping_by_the_hosts_address() {
    for version in Version::BOTH {
        let tables = full_cone();
        from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Udp(30_001, 53)));
        let asked = sent(version, PEER, version.host(), Body::Udp(40, 30_001));
        let (verdict, bytes) = from_container(&tables, PEER, &asked);
        assert_eq!(verdict, into(WEB), "{version:?}");
        let wanted = asked.from(version.host(), 40).to(WEB.address(version), 30_001).one_hop();
        assert_eq!(bytes, wanted.with_macs(WEB.mac(), WEB.gateway()).bytes(), "{version:?}");
    }
}

#[test]
fn the_hosts_own_sctp_is_left_alone() {
    for version in Version::BOTH {
        let own = by_host(version, Body::Sctp(5, 6, 1));
        assert_eq!(to_uplink(&memory(), &own), (Verdict::PASS, own.bytes()), "{version:?}");
    }
}
