//! What depends on time, on other flows and on the host's sockets, through the host build of the packet path.

use portlane_common::{endpoint::veth, flow, reason::Reason};
use portlane_datapath::{
    stage::parse::{ACK, FIN, RST, SYN},
    testing::{
        checksum,
        frame::{Body, Frame},
        tables::Memory,
        talk::{Connection, INTERFACES, arriving, by_host, from_container, from_uplink, memory, port, sent, to_uplink},
        world::{OUTSIDE_MAC, PEER, UPLINK_MAC, Version, WEB},
    },
    verdict::{self, Verdict},
};

#[test]
fn two_containers_with_the_same_source_port_leave_by_different_ones() {
    for version in Version::BOTH {
        for body in [Body::Tcp(30_001, 9000, SYN), Body::Udp(30_001, 9000)] {
            let tables = memory();
            let left: Vec<u16> = [WEB, PEER]
                .map(|by| from_container(&tables, by, &sent(version, by, version.outside(), body)))
                .map(|(verdict, bytes)| {
                    assert_eq!(verdict.action(), verdict::UPLINK, "{verdict:?}");
                    port(&bytes)
                })
                .into();
            assert_eq!(left[0], 30_001, "a free source port is kept");
            assert_ne!(left[1], 30_001);
            // Each answer finds its own.
            for (by, port) in [WEB, PEER].into_iter().zip(left) {
                let answer = arriving(version, version.host(), body).to(version.host(), port);
                let answer = Frame { body: turned(answer.body, 9000, port), ..answer };
                let (verdict, bytes) = from_uplink(&tables, &answer);
                assert_eq!(verdict, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(by)), "{version:?} {body:?}");
                assert!(checksum::right(&bytes));
            }
        }
    }
}

fn turned(body: Body, sport: u16, dport: u16) -> Body {
    match body {
        Body::Tcp(..) => Body::Tcp(sport, dport, SYN | ACK),
        _ => Body::Udp(sport, dport),
    }
}

#[test]
fn a_source_port_that_a_socket_of_the_host_uses_is_left_to_it() {
    let tables = memory();
    tables.waiting.borrow_mut().push(30_001);
    let (verdict, bytes) =
        from_container(&tables, WEB, &sent(Version::Four, WEB, Version::Four.outside(), Body::Udp(30_001, 53)));
    assert_eq!(verdict.action(), verdict::UPLINK);
    assert_ne!(port(&bytes), 30_001);
}

#[test]
fn the_hosts_own_conversation_makes_way_for_a_containers() {
    for version in Version::BOTH {
        let tables = memory();
        let body = Body::Tcp(30_001, 9000, SYN);
        from_container(&tables, WEB, &sent(version, WEB, version.outside(), body));
        let own = by_host(version, body);
        // The kernel finds the host's socket at the tuple that it wants.
        tables.sockets.borrow_mut().push((6, 30_001));
        let (verdict, bytes) = to_uplink(&tables, &own);
        assert_eq!(verdict, Verdict::to(verdict::HOST, 0));
        let other = port(&bytes);
        assert_ne!(other, 30_001);
        let answer = arriving(version, version.host(), Body::Tcp(9000, other, SYN | ACK));
        let (verdict, bytes) = from_uplink(&tables, &answer);
        assert_eq!(verdict, Verdict::to(verdict::HOST, 0));
        assert_eq!(bytes, answer.clone().to(version.host(), 30_001).bytes(), "the socket sees its own port");
    }
}

#[test]
fn a_host_client_whose_port_lies_in_a_published_range_gets_its_answer_and_strangers_the_container() {
    for version in Version::BOTH {
        let tables = memory();
        tables.waiting.borrow_mut().push(45_000);
        let own = by_host(version, Body::Udp(45_000, 53));
        let host = Verdict::to(verdict::HOST, 0);
        assert_eq!(to_uplink(&tables, &own), (host, own.bytes()), "{version:?}");
        let answer = arriving(version, version.host(), Body::Udp(53, 45_000));
        assert_eq!(from_uplink(&tables, &answer), (host, answer.bytes()), "{version:?}");
        let stranger = arriving(version, version.host(), Body::Udp(54, 45_000));
        assert_eq!(from_uplink(&tables, &stranger).0, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(WEB)));
    }
}

#[test]
fn a_conversation_that_another_processor_confirms_at_this_moment_stays_one() {
    for version in Version::BOTH {
        for looks in 0..10 {
            let tables = memory();
            let asked = arriving(version, version.host(), Body::Udp(53, 45_000));
            let (_, bytes) = from_uplink(&tables, &asked);
            let at = if version == Version::Four { 36 } else { 56 };
            let inside = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Udp(inside, 53)));
            tables.confirmed_after.set(Some(looks));
            let (verdict, bytes) = from_uplink(&tables, &asked);
            assert_eq!(verdict, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(WEB)), "{version:?}, look {looks}");
            assert_eq!((port(&bytes), tables.flows()), (53, 2), "{version:?}, look {looks}");
        }
    }
}

#[test]
fn without_masquerade_a_container_leaves_as_itself_and_only_answers_come_back() {
    for version in Version::BOTH {
        let mut tables = memory();
        tables.world.veth.values_mut().for_each(|veth| veth.flags = 0);
        // A socket of the host's on every address is no reason for another port.
        tables.waiting.borrow_mut().push(30_001);
        let asked = sent(version, WEB, version.outside(), Body::Udp(30_001, 53));
        let (verdict, bytes) = from_container(&tables, WEB, &asked);
        assert_eq!(verdict, Verdict::to(verdict::UPLINK, INTERFACES.uplink));
        assert_eq!(bytes, asked.clone().one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC).bytes(), "{version:?}");
        let answer = arriving(version, WEB.address(version), Body::Udp(53, 30_001));
        assert_eq!(from_uplink(&tables, &answer).0, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(WEB)));
        let stranger = arriving(version, WEB.address(version), Body::Udp(54, 30_001));
        assert_eq!(from_uplink(&tables, &stranger).0, Verdict::drop(Reason::DirectAccess), "{version:?}");
    }
}

#[test]
fn a_flow_is_over_when_its_time_is_and_not_before() {
    let version = Version::Four;
    let answer = |body| arriving(version, version.host(), body);
    for (body, reply, unanswered, answered) in [
        (Body::Udp(5, 6), Body::Udp(6, 5), flow::UDP_UNANSWERED_SECONDS, flow::UDP_SECONDS),
        (Body::Tcp(5, 6, SYN), Body::Tcp(6, 5, SYN | ACK), flow::TCP_TRANSITORY_SECONDS, flow::TCP_SECONDS),
        (Body::EchoRequest(5), Body::EchoReply(5), flow::ICMP_SECONDS, flow::ICMP_SECONDS),
    ] {
        let lives_for = |tables: &Memory, seconds: u32| {
            tables.pass(seconds - 1);
            let (verdict, _) = from_uplink(tables, &answer(reply));
            assert_eq!(verdict.action(), verdict::ENDPOINT, "{body:?} after {} s", seconds - 1);
        };
        let tables = memory();
        from_container(&tables, WEB, &sent(version, WEB, version.outside(), body));
        lives_for(&tables, unanswered);
        if let Body::Tcp(sport, dport, _) = body {
            // The handshake is done with the opener's acknowledgement.
            from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Tcp(sport, dport, ACK)));
        }
        lives_for(&tables, answered);
        tables.pass(answered);
        assert_eq!(from_uplink(&tables, &answer(reply)).0, Verdict::PASS, "{body:?} after its time");
        let tables = memory();
        from_container(&tables, WEB, &sent(version, WEB, version.outside(), body));
        tables.pass(unanswered);
        assert_eq!(from_uplink(&tables, &answer(reply)).0, Verdict::PASS, "{body:?} unanswered after its time");
    }
}

#[test]
fn a_closed_or_reset_connection_is_forgotten_within_minutes() {
    for ending in [FIN | ACK, RST] {
        let talk = Connection::open(Version::Six);
        talk.says(ending);
        if ending != RST {
            talk.hears(FIN | ACK);
        }
        talk.tables.pass(flow::TCP_TRANSITORY_SECONDS - 1);
        assert_eq!(talk.hears(RST).action(), verdict::ENDPOINT, "{ending:#x}");
        talk.tables.pass(flow::TCP_TRANSITORY_SECONDS);
        assert_eq!(talk.hears(ACK), Verdict::PASS, "{ending:#x}");
    }
}

#[test]
fn a_reset_that_was_not_believed_does_not_end_a_connection() {
    for version in Version::BOTH {
        let talk = Connection::open(version);
        talk.hears(RST);
        assert_eq!(talk.tables.holds(WEB.endpoint), 1, "{version:?}: no flood pushes it out");
        talk.tables.pass(2);
        assert_eq!(talk.says(ACK).0.reason(), 0);
        talk.tables.pass(flow::TCP_SECONDS - 1);
        assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "{version:?}");
    }
}

#[test]
fn a_half_closed_connection_lives_for_hours() {
    for version in Version::BOTH {
        let talk = Connection::open(version);
        talk.says(FIN | ACK);
        for _ in 0..3 {
            talk.tables.pass(flow::TCP_SECONDS - 1);
            assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "{version:?}");
        }
    }
}

#[test]
fn a_tcp_simultaneous_open_connects() {
    for version in Version::BOTH {
        let talk = Connection::new(version);
        assert_eq!(talk.says(SYN).0.action(), verdict::UPLINK);
        assert_eq!(talk.hears(SYN).action(), verdict::ENDPOINT);
        assert_eq!(talk.says(SYN | ACK).0.action(), verdict::UPLINK);
        assert_eq!(talk.hears(SYN | ACK).action(), verdict::ENDPOINT);
        talk.says(ACK);
        talk.hears(ACK);
        talk.tables.pass(flow::TCP_SECONDS - 1);
        assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "{version:?}: it is established");
    }
}

#[test]
fn a_new_syn_opens_anew_on_the_tuple_of_a_connection_that_is_over() {
    for version in Version::BOTH {
        let talk = Connection::new(version);
        talk.says(SYN);
        // Said again, it is the same connection.
        assert_eq!(port(&talk.says(SYN).1), 5);
        talk.hears(SYN | ACK);
        talk.says(ACK);
        talk.says(FIN | ACK);
        talk.hears(FIN | ACK);
        // By the opener: the old way, and not established before it is answered.
        assert_eq!(port(&talk.says(SYN).1), 5, "{version:?}");
        talk.hears(SYN | ACK);
        talk.says(ACK);
        talk.hears(RST);
        // By the far side: that is no answer to anything, and the host's to refuse. If the reset was forged, so may this be.
        assert_eq!(talk.hears(SYN), Verdict::PASS, "{version:?}");
        assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "{version:?}");
        assert_eq!(port(&talk.says(ACK).1), 5, "{version:?}");
    }
}

#[test]
fn what_is_over_by_the_clock_that_counts_suspension_is_over() {
    let version = Version::Four;
    let tables = memory();
    from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Udp(5, 6)));
    let answer = arriving(version, version.host(), Body::Udp(6, 5));
    assert_eq!(from_uplink(&tables, &answer).0.action(), verdict::ENDPOINT);
    tables.suspend(flow::UDP_SECONDS + 1);
    // By the other clock no time has passed; the sweep, which the kernel runs on the first, has taken the entry away by now. Here
    // nobody does, and a second later the flow is over all the same.
    tables.ticks.set(tables.ticks.get() + portlane_datapath::testing::tables::SECOND);
    assert_eq!(from_uplink(&tables, &answer).0, Verdict::PASS);
}

#[test]
fn a_port_published_anew_ends_the_flows_of_before() {
    let version = Version::Four;
    let mut tables = memory();
    let asked = arriving(version, version.host(), Body::Udp(33_333, 8080));
    assert_eq!(from_uplink(&tables, &asked).0, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(WEB)));
    // The same port, to another container and with another generation.
    tables.world.generation.insert(2, 99);
    for (key, row) in &mut tables.world.publish4 {
        if key.proto == 17 && row.id == 2 {
            row.addr = portlane_datapath::testing::world::four(PEER.address(version));
            row.generation = 99;
        }
    }
    assert_eq!(from_uplink(&tables, &asked).0, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(PEER)));
}

#[test]
fn a_full_table_and_exhausted_ports_are_reasons() {
    let version = Version::Four;
    let hello = |port| sent(version, WEB, version.outside(), Body::Udp(port, 53));
    let tables = memory();
    // One entry of a pair fits, the other does not: neither stays.
    tables.room.set(1);
    assert_eq!(from_container(&tables, WEB, &hello(1025)).0, Verdict::drop(Reason::FlowsExhausted));
    assert_eq!(tables.flows(), 0);
    tables.room.set(2);
    assert_eq!(from_container(&tables, WEB, &hello(1025)).0.action(), verdict::UPLINK);
    // Nothing fits any more, by whatever port.
    assert_eq!(from_container(&tables, WEB, &hello(1026)).0, Verdict::drop(Reason::FlowsExhausted));
    assert_eq!((tables.flows(), tables.holds(WEB.endpoint)), (2, 1));
    let tables = memory();
    // Every port has a socket of the host's.
    *tables.sockets.borrow_mut() = (0..=u16::MAX).map(|port| (17, port)).collect();
    assert_eq!(from_container(&tables, WEB, &hello(1025)).0, Verdict::drop(Reason::PortsExhausted));
    assert_eq!(tables.flows(), 0);
}

#[test]
fn what_passes_is_counted_for_the_container_and_the_published_port() {
    let version = Version::Six;
    let tables = memory();
    let asked = arriving(version, version.host(), Body::Tcp(33_333, 8080, SYN));
    let answer = sent(version, WEB, version.outside(), Body::Tcp(80, 33_333, SYN | ACK));
    from_uplink(&tables, &asked);
    from_container(&tables, WEB, &answer);
    let bytes = asked.bytes().len() as u64;
    for counted in [tables.traffic(WEB.endpoint), tables.published(1)] {
        assert_eq!((counted.rx_packets, counted.rx_bytes, counted.tx_packets, counted.tx_bytes), (1, bytes, 1, bytes));
    }
}

#[test]
fn without_masquerade_and_an_address_outside_a_published_udp_port_speaks_with_its_own() {
    for version in Version::BOTH {
        for (masquerade, addressed) in [(true, true), (false, true), (false, false)] {
            let mut tables = memory();
            for veth in tables.world.veth.values_mut().filter(|_| !masquerade) {
                veth.flags &= !veth::MASQUERADE;
            }
            for uplink in tables.world.uplink.values_mut().filter(|_| !addressed) {
                (uplink.addr4, uplink.addr6) = Default::default();
            }
            let said = sent(version, WEB, version.outside(), Body::Udp(80, 9000));
            let (verdict, bytes) = from_container(&tables, WEB, &said);
            assert_eq!(verdict.action(), verdict::UPLINK, "{version:?} {masquerade} {addressed}");
            // By the way back of the port that is published for it, where there is an address for that.
            let from = if addressed { (version.host(), 8080) } else { (WEB.address(version), 80) };
            let left = said.clone().from(from.0, from.1).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
            assert_eq!(bytes, left.bytes(), "{version:?} {masquerade} {addressed}");
        }
    }
}
