//! The table of cases, continued: packets that are seldom, and those that nobody should send, each with what is counted.

use std::net::IpAddr;

use portlane_common::reason::Reason;

use super::{
    cases::{At, OPENERS, Step, Table},
    checksum,
    frame::{Body, Frame},
    odd_cases::INIT,
    quote::{behind_options, fragments},
    wire::{ETHERNET, icmp},
    world::{MTU, OTHER, OUTSIDE_MAC, PEER, UPLINK_MAC, Version, WEB},
};
use crate::{
    stage::parse::{ACK, SYN},
    verdict,
};

/// Link-layer discovery (IEEE 802.1AB), which containers have no part in.
const LLDP: u16 = 0x88cc;
/// A tag, and the outer of two (IEEE 802.1Q).
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// ICMPv6 neighbour discovery (RFC 4861 §4).
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Multicast listener discovery (RFC 3810 §5).
const LISTENER_QUERY: u8 = 130;
const LISTENER_REPORT: u8 = 143;

/// The frame with a VLAN tag before its type.
fn tagged(frame: &Frame, tag: u16) -> Vec<u8> {
    let bytes = frame.bytes();
    [&bytes[..12], &tag.to_be_bytes(), &[0, 5], &bytes[12..]].concat()
}

/// The frame with another Ethernet type.
fn of_type(frame: &Frame, ethertype: u16) -> Vec<u8> {
    let mut bytes = frame.bytes();
    bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
    bytes
}

impl Table {
    pub(super) fn strangers(&mut self) {
        self.frames();
        self.lies();
        self.headers();
        self.ways();
        self.lives();
        self.sizes();
        self.strange_pieces();
    }

    fn frames(&mut self) {
        let sent = self.sent(WEB, self.version.outside(), Body::Udp(1, 2));
        let came = self.arriving(self.version.host(), Body::Udp(33_333, 8080));
        let steps = TAGS.map(|tag| self.refused_bytes(self.of(WEB), tagged(&sent, tag), Reason::Tagged)).to_vec();
        self.case("a container has no VLAN", steps);
        let steps = TAGS.map(|tag| self.passed_bytes(self.uplink(), tagged(&came, tag))).to_vec();
        self.case("a tagged frame from outside is some other interface's", steps);
        let steps = vec![
            self.refused_bytes(self.of(WEB), of_type(&sent, LLDP), Reason::NotIp),
            self.passed_bytes(self.uplink(), of_type(&came, LLDP)),
        ];
        self.case("what is no IP is refused to a container, and from outside the host's", steps);
        let padded = |frame: Frame| [frame.bytes(), vec![0xa5; 7]].concat();
        let inside = came.clone().to(WEB.address(self.version), 80).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let plain = self.delivered(self.uplink(), &came, WEB, &inside);
        let steps = vec![plain.clone(), Step { input: padded(came), output: padded(inside), ..plain }];
        self.case("what follows an IP packet in its frame travels along", steps);
    }

    /// What a container says of itself.
    fn lies(&mut self) {
        let mut steps = Vec::new();
        if self.version == Version::Four {
            let claim = |mac: [u8; 6], ip: u8| {
                let mut bytes = [[0xff; 6], WEB.mac()].concat();
                bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
                bytes.extend([&mac[..], &[172, 17, 0, ip], &[0; 6], &[172, 17, 0, 1]].concat());
                bytes
            };
            steps.push(self.passed_bytes(self.of(WEB), claim(WEB.mac(), WEB.host)));
            for lie in [claim(WEB.mac(), PEER.host), claim(PEER.mac(), WEB.host)] {
                steps.push(self.refused_bytes(self.of(WEB), lie, Reason::SpoofedNeighbour));
            }
        } else {
            let says = |kind, about: IpAddr| {
                let mut frame = self.sent(WEB, self.version.address(1, 1), Body::Other(icmp(false)));
                frame.payload = checksum::octets(about);
                let mut bytes = frame.bytes();
                bytes[ETHERNET + 40] = kind;
                checksum::mend(&mut bytes);
                bytes
            };
            let own = says(NEIGHBOUR_ADVERTISEMENT, WEB.address(self.version));
            let lie = says(NEIGHBOUR_ADVERTISEMENT, PEER.address(self.version));
            let router = says(ROUTER_ADVERTISEMENT, WEB.address(self.version));
            steps.push(self.passed_bytes(self.of(WEB), own));
            steps.push(self.refused_bytes(self.of(WEB), lie, Reason::SpoofedNeighbour));
            steps.push(self.refused_bytes(self.of(WEB), router, Reason::RouterAdvertisement));
        }
        self.case("a container speaks for itself to its neighbours, and for nobody else", steps);
        if self.version == Version::Six {
            let listens = |kind| {
                let mut bytes = [[0x33, 0x33, 0, 0, 0, 0x16], WEB.mac()].concat();
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 1]);
                bytes.extend(checksum::octets(WEB.address(self.version)));
                let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];
                let report = [58, 0, 5, 2, 0, 0, 1, 0, kind, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
                bytes.extend([&group[..], &report, &group].concat());
                bytes
            };
            let bridge = self.interfaces.bridges[usize::from(WEB.network) - 1];
            let told = self.passed_bytes(self.of(WEB), listens(LISTENER_REPORT));
            let steps = vec![
                Step { action: verdict::BRIDGE, ifindex: bridge, ..told },
                self.refused_bytes(self.of(WEB), listens(LISTENER_QUERY), Reason::ExtensionHeader),
            ];
            self.case("who listens to a group tells the host, and no other container", steps);
        }
        let loopback: IpAddr =
            if self.version == Version::Four { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() };
        let claim = self.arriving(self.version.host(), Body::Udp(33_333, 8080)).from(loopback, 33_333);
        let steps = vec![self.refused(self.uplink(), &claim, Reason::Martian)];
        self.case("nobody outside is the host's loopback", steps);
        let stranger = At::FromContainer(self.interfaces.bridges[0]);
        let steps = vec![self.refused(
            stranger,
            &self.sent(WEB, self.version.outside(), Body::Udp(1, 2)),
            Reason::UnknownEndpoint,
        )];
        self.case("what nobody knows the container of is refused", steps);
    }

    fn headers(&mut self) {
        let outside = self.version.outside();
        let mut query = self.sent(WEB, outside, Body::Other(icmp(self.version == Version::Four))).bytes();
        checksum::mend(&mut query);
        let steps = vec![self.refused_bytes(self.of(WEB), query, Reason::ProtocolUnsupported)];
        self.case("an ICMP message that is neither echo nor error is refused", steps);
        for opener in OPENERS {
            let mut asked = self.sent(WEB, outside, opener(30_001, 9000));
            if self.version == Version::Four {
                asked.options = 10;
                let left = asked.clone().one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC).from(self.version.host(), 30_001);
                let steps = vec![self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left)];
                self.case("a container's IPv4 options stay where they are", steps);
                continue;
            }
            let came = self.arriving(self.version.host(), opener(33_333, 8080));
            let direct = self.arriving(WEB.address(self.version), opener(33_333, 80));
            let steps = vec![
                self.refused_bytes(self.of(WEB), behind_options(&asked.bytes()), Reason::ExtensionHeader),
                self.passed_bytes(self.uplink(), behind_options(&came.bytes())),
                self.refused_bytes(self.uplink(), behind_options(&direct.bytes()), Reason::DirectAccess),
            ];
            self.case("extension headers are refused to a container, and lead to none", steps);
        }
    }

    fn ways(&mut self) {
        let sent = |network, host| self.sent(WEB, self.version.address(network, host), Body::Udp(1, 2));
        let stack = Step { reason: Some(Reason::StackRoute), ..self.passed(self.of(WEB), &sent(77, 7)) };
        let bridge = self.refused(self.of(WEB), &sent(2, 200), Reason::NoUplink);
        self.case("where nobody knows the way, the stack answers", vec![stack]);
        self.case("no way leads out by another network's bridge", vec![bridge]);
        let pings = [(0, 1), (0, 9), (1, 1), (2, 1)].map(|(network, host)| {
            let ping = self.sent(WEB, self.version.address(network, host), Body::EchoRequest(7));
            self.passed(self.of(WEB), &ping)
        });
        self.case("a ping of any of the host's addresses is the host's to answer", pings.to_vec());
    }

    /// What has one hop left.
    fn lives(&mut self) {
        let version = self.version;
        for opener in OPENERS.into_iter().chain([(|s, d| Body::Sctp(s, d, INIT)) as fn(u16, u16) -> Body]) {
            let last = Frame { ttl: 1, ..self.sent(WEB, version.outside(), opener(30_001, 9000)) };
            let steps = vec![Step { reason: Some(Reason::StackTtl), ..self.passed(self.of(WEB), &last) }];
            self.case("a container's packet at the end of its life is the stack's to answer", steps);
        }
        for (body, port) in
            [(Body::Tcp(33_333, 8080, SYN), 80), (Body::Udp(33_333, 8080), 80), (Body::Sctp(33_333, 3869, INIT), 3868)]
        {
            let came = Frame { ttl: 1, ..self.arriving(version.host(), body) };
            let inside = came.clone().to(WEB.address(version), port).with_macs(WEB.mac(), WEB.gateway());
            let asked = Frame { ttl: 1, ..self.sent(PEER, version.second(), body) };
            let round = asked.clone().from(version.second(), 33_333).to(WEB.address(version), port);
            let answer = Frame { ttl: 1, ..inside.answer() };
            let steps = vec![
                self.delivered(self.uplink(), &came, WEB, &inside),
                Step { reason: Some(Reason::StackTtl), ..self.passed(self.of(WEB), &answer) },
                self.delivered(self.of(PEER), &asked, WEB, &round.with_macs(WEB.mac(), WEB.gateway())),
            ];
            self.case("what ends at the host's address ends at the container behind it", steps);
        }
        let asked = self.sent(WEB, version.outside(), Body::Tcp(30_001, 9000, SYN));
        let left = asked.clone().from(version.host(), 30_001).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let answer = Frame { ttl: 1, ..left.answer() };
        let back = answer.clone().to(WEB.address(version), 30_001).with_macs(WEB.mac(), WEB.gateway());
        let steps = vec![
            self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left),
            self.delivered(self.uplink(), &answer, WEB, &back),
        ];
        self.case("and so does the answer to a container's packet", steps);
    }

    /// An answer by a published port that the uplink cannot carry.
    fn sizes(&mut self) {
        let version = self.version;
        let came = self.arriving(version.host(), Body::Udp(33_333, 8080));
        let inside = came.clone().to(WEB.address(version), 80).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let large = Frame { payload: vec![7; MTU as usize], ..inside.answer() };
        let whole = Step { reason: Some(Reason::StackTooBig), ..self.passed(self.of(WEB), &large) };
        let divisible = Step { input: Frame { divisible: true, ..large }.bytes(), ..whole.clone() };
        let steps = vec![self.delivered(self.uplink(), &came, WEB, &inside), whole, divisible];
        self.case("an answer larger than the way out is the stack's to answer", steps);
    }

    fn strange_pieces(&mut self) {
        let version = self.version;
        let (outside, host) = (version.outside(), version.host());
        let (from_web, uplink) = (self.of(WEB), self.uplink());
        let cut = |frame: Frame, bytes: usize, size| {
            let payload = (0..bytes).map(|at| at as u8).collect();
            fragments(&Frame { divisible: true, payload, ..frame }.bytes(), size, 11)
        };
        let sent = self.sent(WEB, outside, Body::Udp(30_001, 53));
        let left = sent.clone().from(host, 30_001).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let (own, out) = (cut(sent, 100, 40), cut(left, 100, 40));
        let leaves = |n: usize| Step {
            output: out[n].clone(),
            action: verdict::UPLINK,
            ifindex: self.interfaces.uplink,
            ..self.passed_bytes(from_web, own[n].clone())
        };
        let refused = |n: usize, reason| self.refused_bytes(from_web, own[n].clone(), reason);
        let steps = vec![
            refused(2, Reason::FragmentHeld),
            leaves(0),
            leaves(1),
            refused(1, Reason::FragmentOverlap),
            leaves(2),
        ];
        self.case("a container's fragment that overtook the first is kept until that comes", steps);
        let large = cut(self.arriving(host, Body::Udp(33_333, 8080)), 4200, 2104);
        let steps = vec![self.refused_bytes(uplink, large[1].clone(), Reason::FragmentEarly)];
        self.case("a fragment that overtook the first and is too large to keep is refused", steps);
        let apart = cut(self.sent(WEB, OTHER.address(version), Body::Udp(1, 2)), 100, 40);
        let direct = cut(self.arriving(WEB.address(version), Body::Udp(1, 80)), 100, 40);
        let steps = vec![
            self.refused_bytes(from_web, apart[0].clone(), Reason::OtherNetwork),
            self.refused_bytes(from_web, apart[1].clone(), Reason::FragmentOrphan),
            self.refused_bytes(uplink, direct[0].clone(), Reason::DirectAccess),
            self.refused_bytes(uplink, direct[1].clone(), Reason::DirectAccess),
        ];
        self.case("what follows a fragment that was refused is refused", steps);
        let pieces = |body: fn() -> Body, size| {
            [cut(self.sent(WEB, outside, body()), 100, size), cut(self.arriving(host, body()), 100, size)]
        };
        for (name, [own, came], reason) in [
            (
                "an SCTP packet in fragments is refused",
                pieces(|| Body::Sctp(33_333, 3869, INIT), 40),
                Reason::FragmentUnsupported,
            ),
            (
                "a first fragment that has no ports is refused",
                pieces(|| Body::Tcp(33_333, 8080, ACK), 8),
                Reason::Malformed,
            ),
        ] {
            let steps = vec![
                self.refused_bytes(from_web, own[0].clone(), reason),
                self.refused_bytes(uplink, came[0].clone(), reason),
            ];
            self.case(name, steps);
        }
    }
}
