//! TCP trains that are longer than an IP header can say (BIG TCP): they are carried on exactly if they are what the kernel
//! makes, and are refused like anything else that contradicts itself if not.

use portlane_common::reason::Reason;
use portlane_datapath::{
    stage::parse::ACK,
    testing::{
        bytes::Bytes,
        cases::At,
        frame::Body,
        run::run,
        talk::{Connection, INTERFACES, sent},
        world::{Version, WEB},
    },
    verdict::{self, Verdict},
};

/// Bytes of Ethernet's header, of a TCP header without options, and the MTU of everybody's uplink.
const ETHERNET: usize = 14;
const TCP: u32 = 20;
const MTU: u32 = 1500;
/// The most that a length field can say.
const MOST: usize = 65_535;

/// A hop-by-hop header with how many bytes follow the IPv6 header (RFC 2675), as Linux before 7.0 puts one in.
struct Jumbogram {
    next_header: u8,
    option: [u8; 2],
    /// What it says beyond the truth.
    excess: u32,
}

const RIGHT: Jumbogram = Jumbogram { next_header: 6, option: [0xc2, 4], excess: 0 };

struct Train {
    version: Version,
    /// What the length field would have to say.
    length: usize,
    /// Payload of a segment; 0 if the packet is no train.
    segment: u32,
    jumbogram: Option<Jumbogram>,
}

impl Train {
    /// One that only just exceeds the field, in segments that only just pass.
    fn new(version: Version) -> Self {
        Self { version, length: MOST + 1, segment: MTU - header(version) as u32 - TCP, jumbogram: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = sent(self.version, WEB, self.version.outside(), Body::Tcp(5, 6, ACK)).bytes();
        let field = if self.version == Version::Four { 2 } else { 4 };
        bytes[ETHERNET + field..][..2].fill(0);
        if self.version == Version::Four {
            // The header's checksum makes up for the field.
            let sum = bytes[ETHERNET..ETHERNET + 20].chunks(2).enumerate();
            let sum: u32 =
                sum.filter(|(word, _)| *word != 5).map(|(_, w)| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            bytes[ETHERNET + 10..][..2].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        }
        let counted = if self.version == Version::Four { ETHERNET } else { ETHERNET + header(self.version) };
        if let Some(Jumbogram { next_header, option: [kind, length], excess }) = self.jumbogram {
            let [a, b, c, d] = (self.length as u32 + excess).to_be_bytes();
            bytes[ETHERNET + 6] = 0;
            bytes.splice(counted..counted, [next_header, 0, kind, length, a, b, c, d]);
        }
        bytes.resize(counted + self.length, 0xaa);
        bytes
    }

    /// Sends it in an open connection; what becomes of it, and of its bytes.
    fn pass(&self) -> (Verdict, Vec<u8>, Vec<u8>) {
        let (talk, ifindex) = (Connection::open(self.version), INTERFACES.veth(WEB));
        let input = self.bytes();
        let mut packet = Bytes { bytes: input.clone(), segment: self.segment, ..Bytes::default() };
        let verdict = run(At::FromContainer(ifindex), &mut packet, &talk.tables);
        (verdict, input, packet.bytes)
    }
}

/// Bytes of an IP header.
const fn header(version: Version) -> usize {
    if matches!(version, Version::Four) { 20 } else { 40 }
}

#[test]
fn a_train_that_its_header_cannot_measure_is_translated_like_any_other() {
    let six = || Train::new(Version::Six);
    let trains = [
        ("IPv4", Train::new(Version::Four)),
        ("IPv4, long", Train { length: 196_000, ..Train::new(Version::Four) }),
        ("IPv6", six()),
        ("IPv6 with a jumbogram's header", Train { jumbogram: Some(RIGHT), ..six() }),
        ("IPv6 with a jumbogram's header, long", Train { jumbogram: Some(RIGHT), length: 196_000, ..six() }),
    ];
    for (name, train) in trains {
        let (verdict, input, output) = train.pass();
        assert_eq!(verdict, Verdict::to(verdict::UPLINK, INTERFACES.uplink), "{name}");
        let l4 = ETHERNET + header(train.version) + if train.jumbogram.is_some() { 8 } else { 0 };
        // Addresses of both ends at once: sixteen bytes, or four, each.
        let (at, bytes) = if train.version == Version::Four { (26, 4) } else { (22, 16) };
        let host: Vec<u8> = match train.version.host() {
            std::net::IpAddr::V4(host) => host.octets().into(),
            std::net::IpAddr::V6(host) => host.octets().into(),
        };
        assert_eq!(output[at..at + bytes], host, "{name}: the source");
        assert_eq!(output[at + bytes..at + 2 * bytes], input[at + bytes..at + 2 * bytes], "{name}: the destination");
        assert_eq!(output[l4..l4 + 16], input[l4..l4 + 16], "{name}: ports are kept, and numbers are not touched");
        assert_eq!(output[l4 + 18..], input[l4 + 18..], "{name}: neither is the payload");
        assert_eq!(output.len(), input.len(), "{name}");
    }
}

#[test]
fn segments_are_measured_without_the_header_that_only_their_train_has() {
    for version in Version::BOTH {
        for jumbogram in [None, (version == Version::Six).then_some(RIGHT)] {
            let train = Train { jumbogram, ..Train::new(version) };
            let larger = Train { segment: train.segment + 1, ..train };
            let (verdict, ..) = larger.pass();
            assert_eq!(verdict.reason(), Reason::StackTooBig as u32, "{version:?}");
        }
    }
}

#[test]
fn what_only_looks_like_a_long_train_is_refused() {
    let (four, six) = (|| Train::new(Version::Four), || Train::new(Version::Six));
    let jumbo = |jumbogram| Train { jumbogram: Some(jumbogram), ..six() };
    let rows = [
        ("a length of 0 that the field could say", Train { length: MOST, ..four() }, Reason::Malformed),
        ("the same over IPv6", Train { length: MOST, ..six() }, Reason::Malformed),
        ("a length of 0 of one packet", Train { segment: 0, ..four() }, Reason::Malformed),
        ("the same over IPv6", Train { segment: 0, ..six() }, Reason::Malformed),
        ("a jumbogram of one packet", Train { segment: 0, ..jumbo(RIGHT) }, Reason::ExtensionHeader),
        ("a short jumbogram", Train { length: MOST, ..jumbo(RIGHT) }, Reason::ExtensionHeader),
        ("a jumbogram that lies", jumbo(Jumbogram { excess: 1, ..RIGHT }), Reason::ExtensionHeader),
        ("a jumbogram of datagrams", jumbo(Jumbogram { next_header: 17, ..RIGHT }), Reason::ExtensionHeader),
        ("a router alert", jumbo(Jumbogram { option: [5, 2], ..RIGHT }), Reason::ExtensionHeader),
    ];
    for (name, train, reason) in rows {
        let (verdict, input, output) = train.pass();
        assert_eq!(verdict, Verdict::drop(reason), "{name}");
        assert_eq!(output, input, "{name}");
    }
}
