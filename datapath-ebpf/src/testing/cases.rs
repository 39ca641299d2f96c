//! What happens to which packet: one table for every implementation of the seams, and for both IP versions.

use portlane_common::reason::Reason;

use super::{
    frame::{Body, Frame, Mac},
    world::{
        INNER, Interfaces, LEFT, MTU, Member, OTHER, OUTSIDE_MAC, PEER, QUIET, STORE, UPLINK_MAC, Version, WEB,
        bridge_mac,
    },
};
use crate::{
    stage::parse::{ACK, FIN, SYN},
    verdict,
};

/// Packets that meet hooks one after another; the flows of one are known to the next.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is shown, as a sentence.
    pub name: &'static str,
    /// The packets.
    pub steps: Vec<Step>,
}

/// A packet at a hook.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it is met.
    pub at: At,
    /// Its bytes.
    pub input: Vec<u8>,
    /// One of the actions of [`verdict`].
    pub action: u32,
    /// The interface that the action names, else 0.
    pub ifindex: u32,
    /// The one reason that is counted, once.
    pub reason: Option<Reason>,
    /// Its bytes afterwards.
    pub output: Vec<u8>,
}

/// A hook, and the interface whose hook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// tc ingress of a veth.
    FromContainer(u32),
    /// tc egress of a veth; the packet came in by the second interface, 0 for the host's own.
    ToContainer(u32, u32),
    /// tc ingress of an uplink, and XDP.
    FromUplink(u32),
    /// tc egress of an uplink, for the host's own packets.
    ToUplink(u32),
}

/// Builds steps for one IP version.
pub(super) struct Table {
    pub(super) version: Version,
    pub(super) interfaces: Interfaces,
    cases: Vec<Case>,
}

/// All cases of an IP version, for these interfaces.
pub fn cases(version: Version, interfaces: Interfaces) -> Vec<Case> {
    let mut table = Table { version, interfaces, cases: Vec::new() };
    table.masquerade();
    table.publish();
    table.hairpin();
    table.left_to_host();
    table.sources();
    table.isolation();
    table.refusals();
    table.host();
    table.errors();
    table.pieces();
    table.associations();
    table.round_trips();
    table.connections();
    table.taken_ports();
    table.strangers();
    table.cases
}

/// What opens a conversation, with the client's port (or identifier) and the server's.
pub(super) const OPENERS: [fn(u16, u16) -> Body; 3] =
    [|s, d| Body::Tcp(s, d, SYN), Body::Udp, |s, _| Body::EchoRequest(s)];

impl Table {
    pub(super) fn frame(&self, macs: (Mac, Mac), src: std::net::IpAddr, dst: std::net::IpAddr, body: Body) -> Frame {
        // Of odd length, so that a checksum's last word is half a word.
        Frame { macs, src, dst, ttl: 64, options: 0, divisible: false, body, payload: b"portlane!".to_vec() }
    }

    /// From a container, by way of its gateway.
    pub(super) fn sent(&self, by: Member, dst: std::net::IpAddr, body: Body) -> Frame {
        self.frame((by.gateway(), by.mac()), by.address(self.version), dst, body)
    }

    /// From outside to an address of the host.
    pub(super) fn arriving(&self, dst: std::net::IpAddr, body: Body) -> Frame {
        self.frame((UPLINK_MAC, OUTSIDE_MAC), self.version.outside(), dst, body)
    }

    pub(super) fn case(&mut self, name: &'static str, steps: Vec<Step>) {
        self.cases.push(Case { name, steps });
    }

    pub(super) fn of(&self, member: Member) -> At {
        At::FromContainer(self.interfaces.veth(member))
    }

    pub(super) fn uplink(&self) -> At {
        At::FromUplink(self.interfaces.uplink)
    }

    /// The packet goes into a container.
    pub(super) fn delivered(&self, at: At, input: &Frame, member: Member, output: &Frame) -> Step {
        let ifindex = self.interfaces.veth(member);
        let (input, output) = (input.bytes(), output.bytes());
        Step { at, input, action: verdict::ENDPOINT, ifindex, reason: None, output }
    }

    /// The packet leaves by the uplink.
    pub(super) fn leaves(&self, at: At, input: &Frame, action: u32, output: &Frame) -> Step {
        let (input, output) = (input.bytes(), output.bytes());
        Step { at, input, action, ifindex: self.interfaces.uplink, reason: None, output }
    }

    fn masquerade(&mut self) {
        let (host, outside) = (self.version.host(), self.version.outside());
        for opener in OPENERS {
            let asked = self.sent(WEB, outside, opener(30_001, 9000));
            let left = asked.clone().from(host, 30_001).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
            let answer = left.answer();
            let back = answer.clone().to(WEB.address(self.version), 30_001).one_hop();
            let back = back.with_macs(WEB.mac(), WEB.gateway());
            let steps = vec![
                self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left),
                self.delivered(self.uplink(), &answer, WEB, &back),
                self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left),
            ];
            self.case("a container reaches out as the host, and the answer comes back to it", steps);
        }
    }

    fn publish(&mut self) {
        let version = self.version;
        let mut bodies = vec![
            ("a published TCP port leads to the container", Body::Tcp(33_333, 8080, SYN), version.host(), WEB, 80),
            ("a published UDP port leads to the container", Body::Udp(33_333, 8080), version.second(), WEB, 80),
            ("a port of a range leads to its place", Body::Udp(33_333, 45_001), version.host(), WEB, 10_001),
            ("the first of a range", Body::Udp(33_333, 40_000), version.host(), WEB, 5000),
            ("the last of a range", Body::Udp(33_333, 55_999), version.host(), WEB, 20_999),
            ("an address of its own beats every address", Body::Tcp(5, 9090, SYN), version.host(), WEB, 90),
            ("another address goes to every address's", Body::Tcp(5, 9090, SYN), version.second(), PEER, 91),
        ];
        if version == Version::Four {
            let none = Body::UdpUnsummed(33_333, 8080);
            bodies.push(("a UDP packet without a checksum stays without", none, version.host(), WEB, 80));
        }
        for (name, body, host, member, port) in bodies {
            let asked = self.arriving(host, body);
            let inside = asked.clone().to(member.address(version), port).one_hop();
            let inside = inside.with_macs(member.mac(), member.gateway());
            let answer = inside.answer();
            let hop = answer.clone().one_hop();
            let left = match asked.answer().body {
                Body::Tcp(port, ..) | Body::Udp(port, _) | Body::UdpUnsummed(port, _) => hop.from(host, port),
                _ => hop,
            };
            let steps = vec![
                self.delivered(self.uplink(), &asked, member, &inside),
                // The next hop is not known yet: the kernel fills the MAC addresses in.
                self.leaves(self.of(member), &answer, verdict::NEIGHBOUR, &left),
                self.leaves(
                    self.of(member),
                    &answer,
                    verdict::UPLINK,
                    &left.clone().with_macs(OUTSIDE_MAC, UPLINK_MAC),
                ),
                self.delivered(self.uplink(), &asked, member, &inside),
            ];
            self.case(name, steps);
        }
        if version == Version::Four {
            let mut asked = self.arriving(version.host(), Body::Tcp(1, 8080, SYN));
            asked.options = 3;
            let inside = asked.clone().to(WEB.address(version), 80).one_hop().with_macs(WEB.mac(), WEB.gateway());
            let steps = vec![self.delivered(self.uplink(), &asked, WEB, &inside)];
            self.case("IPv4 options stay where they are", steps);
        }
    }

    fn hairpin(&mut self) {
        let version = self.version;
        let (by_address, by_gateway) = (version.second(), version.address(PEER.network, 1));
        for (name, caller, called) in [
            ("a container reaches a neighbour's published port by the host's address", WEB, by_address),
            ("and one of another network does", OTHER, by_address),
            ("by that network's gateway too", OTHER, by_gateway),
            ("also one whose neighbours are closed to it", QUIET, by_address),
        ] {
            let asked = self.sent(caller, called, Body::Tcp(40_002, 9090, SYN));
            // The called address stands in for the caller, so that the answer comes back through here.
            let inside = asked.clone().from(called, 40_002).to(PEER.address(version), 91).one_hop();
            let inside = inside.with_macs(PEER.mac(), PEER.gateway());
            let answer = inside.answer();
            let back = answer.clone().from(called, 9090).to(caller.address(version), 40_002).one_hop();
            let back = back.with_macs(caller.mac(), caller.gateway());
            let steps = vec![
                self.delivered(self.of(caller), &asked, PEER, &inside),
                self.delivered(self.of(PEER), &answer, caller, &back),
            ];
            self.case(name, steps);
        }
        let by_inner = self.sent(INNER, by_address, Body::Tcp(40_002, 9090, SYN));
        let steps = vec![self.refused(self.of(INNER), &by_inner, Reason::InternalNetwork)];
        self.case("but none of an internal network", steps);
    }

    fn left_to_host(&mut self) {
        let version = self.version;
        for body in [Body::Tcp(33_333, LEFT, SYN), Body::Udp(33_333, LEFT)] {
            let asked = self.arriving(version.host(), body);
            let inside = asked.clone().to(WEB.address(version), 5353).one_hop().with_macs(WEB.mac(), WEB.gateway());
            let kept = [OTHER, QUIET, INNER].map(|by| (by, self.sent(by, version.address(by.network, 1), body)));
            let by_host = self.sent(OTHER, version.host(), body);
            let by_peer = self.sent(PEER, version.address(1, 1), body);
            let into_web = |asked: &Frame, called| {
                let inside = asked.clone().from(called, 33_333).to(WEB.address(version), 5353).one_hop();
                inside.with_macs(WEB.mac(), WEB.gateway())
            };
            let mut steps: Vec<_> = kept.iter().map(|(by, frame)| self.passed(self.of(*by), frame)).collect();
            steps.extend([
                self.delivered(self.uplink(), &asked, WEB, &inside),
                self.delivered(self.of(PEER), &by_peer, WEB, &into_web(&by_peer, version.address(1, 1))),
                self.delivered(self.of(OTHER), &by_host, WEB, &into_web(&by_host, version.host())),
            ]);
            self.case("a port on every address leads to the container, but where it is the host's own", steps);
        }
    }

    fn sources(&mut self) {
        let version = self.version;
        for body in [Body::Tcp(33_333, 9191, SYN), Body::Udp(33_333, 9191)] {
            let asked = self.arriving(version.host(), body);
            let inside = asked.clone().to(PEER.address(version), 81).one_hop().with_macs(PEER.mac(), PEER.gateway());
            let near = asked.clone().from(version.address(0, 77), 33_333);
            let near_inside = inside.clone().from(version.address(0, 77), 33_333);
            let by_web = self.sent(WEB, version.second(), body);
            let web_inside = by_web.clone().from(version.second(), 33_333).to(PEER.address(version), 81).one_hop();
            let web_inside = web_inside.with_macs(PEER.mac(), PEER.gateway());
            let steps = vec![
                self.delivered(self.uplink(), &asked, PEER, &inside),
                self.delivered(self.uplink(), &near, PEER, &near_inside),
                self.delivered(self.of(WEB), &by_web, PEER, &web_inside),
            ];
            self.case("a port that is open to some serves them, those of a prefix and a neighbour too", steps);
            let others = [version.farther(), version.address(0, 63), version.address(0, 128)];
            let others = others.map(|other| asked.clone().from(other, 33_333));
            let mut steps: Vec<_> =
                others.iter().map(|frame| self.refused(self.uplink(), frame, Reason::SourceRefused)).collect();
            let by_itself = self.sent(PEER, version.second(), body);
            steps.push(self.refused(self.of(PEER), &by_itself, Reason::SourceRefused));
            let by_other = self.sent(OTHER, version.second(), body);
            steps.push(self.refused(self.of(OTHER), &by_other, Reason::SourceRefused));
            self.case("and is closed to all others, outside, on its network and on others", steps);
        }
        // It speaks first, and by the port that it is published under.
        let said = self.sent(PEER, version.farther(), Body::Udp(81, 53));
        let left = said.clone().from(version.host(), 9191).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let answer = left.answer();
        let back = answer.clone().to(PEER.address(version), 81).one_hop().with_macs(PEER.mac(), PEER.gateway());
        let other = self.arriving(version.host(), Body::Udp(54, 9191)).from(version.farther(), 54);
        let steps = vec![
            self.leaves(self.of(PEER), &said, verdict::UPLINK, &left),
            self.delivered(self.uplink(), &answer, PEER, &back),
            self.refused(self.uplink(), &other, Reason::SourceRefused),
        ];
        self.case("whom its container speaks to may answer, and nothing else", steps);
    }

    fn isolation(&mut self) {
        let version = self.version;
        let straight = |from: Member, to: Member, body| {
            self.frame((to.mac(), from.mac()), from.address(version), to.address(version), body)
        };
        let hello = straight(WEB, PEER, Body::Tcp(1, 2, SYN));
        let linked = straight(QUIET, STORE, Body::Tcp(3, 80, SYN));
        let unlinked = straight(QUIET, STORE, Body::Tcp(3, 81, SYN));
        let backwards = straight(STORE, QUIET, Body::Tcp(3, 80, SYN));
        let datagram = straight(QUIET, STORE, Body::Udp(3, 80));
        let steps = vec![self.delivered(self.of(WEB), &hello, PEER, &hello)];
        self.case("containers of a network reach each other unchanged", steps);
        let steps = vec![
            self.delivered(self.of(QUIET), &linked, STORE, &linked),
            self.delivered(self.of(STORE), &linked.answer(), QUIET, &linked.answer()),
            self.refused(self.of(QUIET), &unlinked, Reason::IccOff),
            self.refused(self.of(QUIET), &datagram, Reason::IccOff),
            self.refused(self.of(STORE), &backwards, Reason::IccOff),
        ];
        self.case("without icc only what a link opens passes, and its answers", steps);
        let steps = vec![
            self.refused(self.of(WEB), &self.sent(WEB, OTHER.address(version), Body::Udp(1, 2)), Reason::OtherNetwork),
            self.refused(
                self.of(OTHER),
                &self.sent(OTHER, WEB.address(version), Body::Tcp(1, 80, SYN)),
                Reason::OtherNetwork,
            ),
        ];
        self.case("two networks do not reach each other's addresses", steps);
        let out = self.sent(INNER, version.outside(), Body::Udp(1, 2));
        let steps = vec![self.refused(self.of(INNER), &out, Reason::InternalNetwork)];
        self.case("an internal network reaches nothing outside", steps);
        let mac = self.sent(WEB, version.outside(), Body::Udp(1, 2)).with_macs(WEB.gateway(), PEER.mac());
        let address = self.sent(WEB, version.outside(), Body::Udp(1, 2)).from(PEER.address(version), 1);
        let steps = vec![
            self.refused(self.of(WEB), &mac, Reason::SpoofedMac),
            self.refused(self.of(WEB), &address, Reason::SpoofedAddress),
        ];
        self.case("a container sends only as itself", steps);
        let direct = self.arriving(WEB.address(version), Body::Tcp(1, 80, SYN));
        let steps = vec![self.refused(self.uplink(), &direct, Reason::DirectAccess)];
        self.case("nobody outside reaches a container's own address", steps);
        let claims = [PEER.address(version), version.second()]
            .map(|src| self.arriving(version.host(), Body::Udp(33_333, 8080)).from(src, 33_333));
        let steps = claims.iter().map(|claim| self.refused(self.uplink(), claim, Reason::Martian)).collect();
        self.case("nobody outside poses as a container or the host", steps);
    }

    fn refusals(&mut self) {
        let outside = self.version.outside();
        let sent = |body| self.sent(WEB, outside, body);
        let mut large = sent(Body::Udp(3, 4));
        large.payload = vec![7; MTU as usize];
        let short = Step { input: sent(Body::Tcp(5, 6, SYN)).bytes(), ..self.passed(self.of(WEB), &large) };
        // The kernel runs no program over less than an IP header.
        let l4 = if self.version == Version::Four { 34 } else { 54 };
        let cut = |length: usize| self.refused_bytes(short.at, short.input[..length].to_vec(), Reason::Malformed);
        let divisible = Frame { divisible: true, ..large.clone() };
        let too_large =
            Step { reason: Some(Reason::StackTooBig), input: divisible.bytes(), ..self.passed(self.of(WEB), &large) };
        let stack = |frame: &Frame, reason| Step { reason: Some(reason), ..self.passed(self.of(WEB), frame) };
        let cases = [
            (
                "another protocol is refused",
                vec![self.refused(self.of(WEB), &sent(Body::Other(47)), Reason::ProtocolUnsupported)],
            ),
            (
                "a TCP packet out of nowhere is refused",
                vec![self.refused(self.of(WEB), &sent(Body::Tcp(1, 2, ACK | FIN)), Reason::NoFlow)],
            ),
            (
                "an answer to no echo is refused",
                vec![self.refused(self.of(WEB), &sent(Body::EchoReply(7)), Reason::NoFlow)],
            ),
            ("a packet larger than the way out is the stack's to answer", vec![stack(&large, Reason::StackTooBig)]),
            (
                "the stack does not cut up what it would send on untranslated, but says how large it may be",
                vec![too_large],
            ),
            ("headers that are cut short are refused", [l4, l4 + 3, l4 + 19].map(cut).to_vec()),
        ];
        for (name, steps) in cases {
            self.case(name, steps);
        }
    }

    fn host(&mut self) {
        let version = self.version;
        let unpublished = self.arriving(version.host(), Body::Tcp(1, 22, SYN));
        let fragment = self.arriving(version.host(), Body::FirstFragment(1, 8080));
        let echo = self.arriving(version.host(), Body::EchoRequest(3));
        let beside = self.arriving(version.host(), Body::Udp(1, 56_000));
        let steps = [&unpublished, &fragment, &echo, &beside].map(|frame| self.passed(self.uplink(), frame)).to_vec();
        self.case("what is not published is the host's, unchanged", steps);
        let gateway = version.address(1, 1);
        let service = self.sent(WEB, gateway, Body::Tcp(1, 22, SYN));
        let steps = vec![self.passed(self.of(WEB), &service)];
        self.case("a container reaches the host's own services", steps);
        let own = self.frame((OUTSIDE_MAC, UPLINK_MAC), version.host(), version.outside(), Body::Tcp(50_000, 80, SYN));
        let steps = vec![self.passed(At::ToUplink(self.interfaces.uplink), &own)];
        self.case("the host's own conversations stay as they are", steps);
        let veth = self.interfaces.veth(WEB);
        let to_web = |mac| self.frame((WEB.mac(), mac), version.address(1, 1), WEB.address(version), Body::Udp(1, 2));
        let forwarded = to_web(bridge_mac(1));
        let steps = vec![
            self.passed(At::ToContainer(veth, 0), &forwarded),
            self.refused(At::ToContainer(veth, self.interfaces.uplink), &forwarded, Reason::Forwarded),
        ];
        self.case("the host reaches its containers, and forwards nothing to them", steps);
    }

    pub(super) fn passed(&self, at: At, frame: &Frame) -> Step {
        self.passed_bytes(at, frame.bytes())
    }

    pub(super) fn passed_bytes(&self, at: At, input: Vec<u8>) -> Step {
        Step { at, output: input.clone(), input, action: verdict::PASS, ifindex: 0, reason: None }
    }

    pub(super) fn refused(&self, at: At, frame: &Frame, reason: Reason) -> Step {
        self.refused_bytes(at, frame.bytes(), reason)
    }

    pub(super) fn refused_bytes(&self, at: At, input: Vec<u8>, reason: Reason) -> Step {
        Step { action: verdict::DROP, reason: Some(reason), ..self.passed_bytes(at, input) }
    }
}
