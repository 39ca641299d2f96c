//! What a container holds of the flow table, and gives back, through the host build of the packet path.

use portlane_common::{
    family::V4,
    flow::{self, flag},
    reason::Reason,
};
use portlane_datapath::{
    packet::table,
    stage::{
        parse::{ACK, FIN, RST, SYN},
        transfer::retire,
    },
    testing::{
        frame::Body,
        talk::{Connection, INTERFACES, arriving, from_container, from_uplink, memory, port, sent},
        world::{PEER, Version, WEB},
    },
    verdict::{self, Verdict},
};

#[test]
fn a_container_holds_no_more_conversations_than_its_share_and_gets_it_back() {
    let version = Version::Four;
    let tables = memory();
    tables.share.set(3);
    let hello = |by, to| from_container(&tables, by, &sent(version, by, version.outside(), Body::Udp(30_001, to))).0;
    for to in 1..=3 {
        assert_eq!(hello(WEB, to).action(), verdict::UPLINK);
    }
    assert_eq!(hello(WEB, 4), Verdict::drop(Reason::FlowShare));
    assert_eq!(hello(PEER, 4).action(), verdict::UPLINK, "the others have theirs");
    assert_eq!(hello(WEB, 3).action(), verdict::UPLINK, "what it has goes on");
    tables.pass(flow::UDP_UNANSWERED_SECONDS);
    // What is over gives back when it is met again, or swept away: here nobody does but the packet.
    assert_eq!(hello(WEB, 1).action(), verdict::UPLINK);
    assert_eq!(tables.holds(WEB.endpoint), 3);
    // A refused one takes nothing.
    *tables.sockets.borrow_mut() = (0..=u16::MAX).map(|port| (17, port)).collect();
    assert_eq!(hello(PEER, 5), Verdict::drop(Reason::PortsExhausted));
    assert_eq!(tables.holds(PEER.endpoint), 1);
}

#[test]
fn a_container_that_has_served_more_connections_than_its_share_still_calls_out() {
    for version in Version::BOTH {
        let tables = memory();
        tables.share.set(2);
        let hears =
            |from, flags| from_uplink(&tables, &arriving(version, version.host(), Body::Tcp(from, 8080, flags)));
        let says =
            |to, flags| from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Tcp(80, to, flags)));
        for client in 1..=10 {
            hears(client, SYN);
            says(client, SYN | ACK);
            hears(client, ACK);
            assert_eq!(tables.holds(WEB.endpoint), 1, "{version:?}: client {client} is served");
            hears(client, FIN | ACK);
            // Half of the answers are cut off.
            says(client, if client % 2 == 0 { FIN | ACK } else { RST | ACK });
            assert_eq!(
                hears(client, ACK).0,
                Verdict::to(verdict::ENDPOINT, INTERFACES.veth(WEB)),
                "{version:?}: the last segment of client {client}"
            );
        }
        assert_eq!(tables.holds(WEB.endpoint), 0, "{version:?}");
        let (verdict, _) = from_container(&tables, WEB, &sent(version, WEB, version.outside(), Body::Tcp(5, 6, SYN)));
        assert_eq!(verdict.action(), verdict::UPLINK, "{version:?}: {verdict:?}");
    }
}

#[test]
fn a_connection_that_is_over_takes_nothing_from_a_share_and_keeps_its_port_for_a_while() {
    let endings: [fn(&Connection); 3] = [
        |talk| {
            talk.says(FIN | ACK);
            talk.hears(FIN | ACK);
        },
        |talk| {
            talk.hears(FIN | ACK);
            talk.says(FIN | ACK);
        },
        |talk| drop(talk.says(RST)),
    ];
    let every = Version::BOTH.into_iter().flat_map(|version| (0..endings.len()).map(move |number| (version, number)));
    for (version, number) in every {
        let talk = Connection::open(version);
        assert_eq!(talk.tables.holds(WEB.endpoint), 1);
        endings[number](&talk);
        assert_eq!(talk.tables.holds(WEB.endpoint), 0, "{version:?}, ending {number}");
        // What was still on its way arrives, and does not bring it back.
        assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "{version:?}, ending {number}");
        assert_eq!(port(&talk.says(ACK).1), 5, "{version:?}, ending {number}");
        let other = sent(version, PEER, version.outside(), Body::Tcp(5, 6, SYN));
        assert_ne!(port(&from_container(&talk.tables, PEER, &other).1), 5, "{version:?}, ending {number}");
        talk.tables.pass(flow::TCP_TRANSITORY_SECONDS);
        assert_eq!(talk.hears(ACK), Verdict::PASS, "{version:?}, ending {number}");
    }
}

#[test]
fn a_connection_that_begins_anew_counts_again() {
    for version in Version::BOTH {
        let talk = Connection::open(version);
        talk.says(FIN | ACK);
        talk.hears(FIN | ACK);
        assert_eq!(talk.tables.holds(WEB.endpoint), 0);
        talk.says(SYN);
        talk.hears(SYN | ACK);
        talk.says(ACK);
        assert_eq!((talk.tables.holds(WEB.endpoint), talk.tables.flows()), (1, 2), "{version:?}");
        talk.tables.pass(flow::TCP_SECONDS - 1);
        assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "{version:?}: it is established");
    }
}

#[test]
fn a_connection_that_goes_on_after_a_forged_reset_counts_again() {
    let talk = Connection::open(Version::Four);
    talk.hears(RST);
    talk.tables.pass(flow::RESET_SECONDS);
    // What the sweep does by then, which the kernel runs.
    let confirmed = talk.tables.flows4(table::MAIN);
    let (key, _) = confirmed.iter().find(|(_, flow)| flow.flags & flag::REPLY == 0).expect("it is there");
    retire::<V4, _>(&talk.tables, key);
    assert_eq!((talk.tables.holds(WEB.endpoint), talk.tables.flows()), (0, 2));
    assert_eq!(port(&talk.says(ACK).1), 5);
    assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT);
    assert_eq!((talk.tables.holds(WEB.endpoint), talk.tables.flows()), (1, 2));
    talk.tables.pass(flow::TCP_SECONDS - 1);
    assert_eq!(talk.hears(ACK).action(), verdict::ENDPOINT, "it is established");
}
