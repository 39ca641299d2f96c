//! Packets of every kind that a NAT meets, built and read without any of the packet path's own code.

use std::{net::IpAddr, ops::Range};

use super::{checksum, frame::Mac};

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// IP protocol numbers.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// SCTP.
pub const SCTP: u8 = 132;
/// IPv6's fragment header.
const FRAGMENT: u8 = 44;

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants' own words say what their fields are")]
pub enum Body {
    /// Ports, flags, sequence number and acknowledgement, the byte with the header's length.
    Tcp { ports: (u16, u16), flags: u8, numbers: (u32, u32), offset: u8 },
    /// Ports, and whether there is a checksum.
    Udp { ports: (u16, u16), summed: bool },
    /// An echo request (or a reply) and its identifier.
    Echo { request: bool, id: u16 },
    /// Ports and the first chunk's type.
    Sctp { ports: (u16, u16), chunk: u8 },
    /// An ICMP error's type and code; its payload is the quoted packet.
    Error { kind: u8, code: u8 },
    /// Any other protocol, or ICMP message.
    Other { proto: u8 },
}

/// A whole IP packet on Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Destination and source MAC.
    pub macs: (Mac, Mac),
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Words of IPv4 options.
    pub options: u8,
    /// Whether IPv4 routers may cut it up.
    pub divisible: bool,
    /// What it carries.
    pub body: Body,
    /// What that carries.
    pub payload: Vec<u8>,
    /// Bytes after the end of the IP packet.
    pub padding: u8,
}

/// A packet's IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Protocol, behind IPv6's fragment header.
    pub proto: u8,
    /// Where its payload begins and ends.
    pub l4: (usize, usize),
    /// For a fragment: identification, offset in bytes, whether more follow.
    pub piece: Option<(u32, usize, bool)>,
}

/// A tuple as a NAT sees it; an echo has its identifier on the side of who asks, and 0 on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// Protocol.
    pub proto: u8,
    /// Source address and port.
    pub src: (IpAddr, u16),
    /// Destination address and port.
    pub dst: (IpAddr, u16),
}

impl Tuple {
    /// That of an answer.
    #[must_use]
    pub const fn turned(self) -> Self {
        Self { proto: self.proto, src: self.dst, dst: self.src }
    }
}

/// The protocol number of ICMP or ICMPv6.
pub const fn icmp(four: bool) -> u8 {
    if four { 1 } else { 58 }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_be_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_be_bytes)
}

impl Head {
    /// Reads that of a frame; none if it is no whole IP packet.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (ip, length) = (frame.get(ETHERNET..)?, frame.len());
        let head = match half(frame, 12)? {
            0x0800 => Self::read4(ip, length),
            0x86dd => Self::read6(ip),
            _ => None,
        }?;
        (head.l4.0 <= head.l4.1 && head.l4.1 <= length).then_some(head)
    }

    fn read4(ip: &[u8], length: usize) -> Option<Self> {
        let header = usize::from(*ip.first()? & 15) * 4;
        if ip[0] >> 4 != 4 || header < 20 || length < ETHERNET + header {
            return None;
        }
        let (id, field) = (half(ip, 4)?, half(ip, 6)?);
        let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
        Some(Self {
            src: at::<4>(ip, 12)?.into(),
            dst: at::<4>(ip, 16)?.into(),
            ttl: *ip.get(8)?,
            proto: *ip.get(9)?,
            l4: (ETHERNET + header, ETHERNET + usize::from(half(ip, 2)?)),
            piece: (offset != 0 || more).then_some((u32::from(id), offset, more)),
        })
    }

    fn read6(ip: &[u8]) -> Option<Self> {
        if ip.first()? >> 4 != 6 {
            return None;
        }
        let end = ETHERNET + 40 + usize::from(half(ip, 4)?);
        let (src, dst, ttl) = (at::<16>(ip, 8)?.into(), at::<16>(ip, 24)?.into(), *ip.get(7)?);
        let proto = *ip.get(6)?;
        if proto != FRAGMENT {
            return Some(Self { src, dst, ttl, proto, l4: (ETHERNET + 40, end), piece: None });
        }
        let field = half(ip, 42)?;
        let piece = Some((word(ip, 44)?, usize::from(field & 0xfff8), field & 1 != 0));
        Some(Self { src, dst, ttl, proto: *ip.get(40)?, l4: (ETHERNET + 48, end), piece })
    }

    /// Where the packet begins that this one quotes, if it is an ICMP error.
    pub fn quote_at(&self, frame: &[u8]) -> Option<usize> {
        let (four, kind) = (self.src.is_ipv4(), *frame[..self.l4.1].get(self.l4.0)?);
        (self.proto == icmp(four) && self.piece.is_none() && is_error(four, kind)).then_some(self.l4.0 + 8)
    }

    /// The packet that an ICMP error quotes, as a frame, however short it is cut.
    pub fn quote(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let quoted = frame[..self.l4.1].get(self.quote_at(frame)?..)?;
        Some([&frame[..ETHERNET], quoted].concat())
    }

    /// The tuple, if there are ports (or an identifier) in this packet.
    pub fn tuple(&self, frame: &[u8]) -> Option<Tuple> {
        if self.piece.is_some_and(|(_, offset, _)| offset != 0) {
            return None;
        }
        let (sport, dport) = ports(self.src.is_ipv4(), self.proto, frame.get(self.l4.0..self.l4.1)?)?;
        Some(Tuple { proto: self.proto, src: (self.src, sport), dst: (self.dst, dport) })
    }
}

/// Ports of a packet, or of one quoted down to its first eight bytes.
fn ports(four: bool, proto: u8, l4: &[u8]) -> Option<(u16, u16)> {
    let _: [u8; 8] = at(l4, 0)?;
    if proto != icmp(four) {
        return if matches!(proto, TCP | UDP | SCTP) { Some((half(l4, 0)?, half(l4, 2)?)) } else { None };
    }
    match (four, l4[0], l4[1], half(l4, 4)?) {
        (_, _, _, 0) => None,
        (true, 8, 0, id) | (false, 128, 0, id) => Some((id, 0)),
        (true, 0, 0, id) | (false, 129, 0, id) => Some((0, id)),
        _ => None,
    }
}

impl Wire {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let l4 = self.l4();
        let mut bytes = self.packet(&l4, None);
        bytes.extend(std::iter::repeat_n(0xa5, usize::from(self.padding)));
        bytes
    }

    /// The fragment with this part of its payload.
    pub fn piece(&self, id: u32, part: Range<usize>) -> Vec<u8> {
        let l4 = self.l4();
        let end = part.end.min(l4.len());
        self.packet(&l4[part.start.min(end)..end], Some((id, part.start, end != l4.len())))
    }

    /// Protocol number.
    pub const fn proto(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => TCP,
            Body::Udp { .. } => UDP,
            Body::Sctp { .. } => SCTP,
            Body::Echo { .. } | Body::Error { .. } => icmp(self.src.is_ipv4()),
            Body::Other { proto } => proto,
        }
    }

    /// The packet that carries this; as a fragment, with identification, offset, and whether more follow.
    pub(super) fn packet(&self, l4: &[u8], piece: Option<(u32, usize, bool)>) -> Vec<u8> {
        let mut bytes = [self.macs.0, self.macs.1].concat();
        if let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.src, self.dst) {
            let header = 20 + usize::from(self.options) * 4;
            let (id, offset, more) = piece.unwrap_or((0x1234, 0, false));
            let flags = if more { 0x2000 } else { 0 } | if piece.is_none() && !self.divisible { 0x4000 } else { 0 };
            bytes.extend([0x08, 0x00, 0x45 + self.options, 0]);
            bytes.extend(((header + l4.len()) as u16).to_be_bytes());
            bytes.extend((id as u16).to_be_bytes());
            bytes.extend((flags | (offset / 8) as u16).to_be_bytes());
            bytes.extend([self.ttl, self.proto(), 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.resize(ETHERNET + header, 1);
            checksum::write_header(&mut bytes[ETHERNET..]);
        } else if let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) {
            let extension = if piece.is_some() { 8 } else { 0 };
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(((extension + l4.len()) as u16).to_be_bytes());
            bytes.extend([if piece.is_some() { FRAGMENT } else { self.proto() }, self.ttl]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            if let Some((id, offset, more)) = piece {
                bytes.extend([self.proto(), 0]);
                bytes.extend((offset as u16 | u16::from(more)).to_be_bytes());
                bytes.extend(id.to_be_bytes());
            }
        }
        bytes.extend(l4);
        bytes
    }

    /// What the IP packet carries, with its checksum.
    pub fn l4(&self) -> Vec<u8> {
        let four = self.src.is_ipv4();
        let mut l4 = Vec::new();
        match self.body {
            Body::Tcp { ports: (sport, dport), flags, numbers: (sequence, acknowledged), offset } => {
                l4.extend([sport.to_be_bytes(), dport.to_be_bytes()].concat());
                l4.extend([sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat());
                l4.extend([offset, flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Body::Udp { ports: (sport, dport), .. } => {
                l4.extend([sport.to_be_bytes(), dport.to_be_bytes()].concat());
                l4.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                l4.extend([0, 0]);
            }
            Body::Echo { request, id } => {
                let kind = if four { u8::from(request) * 8 } else { 129 - u8::from(request) };
                l4.extend([kind, 0, 0, 0]);
                l4.extend(id.to_be_bytes());
                l4.extend([0, 1]);
            }
            Body::Error { kind, code } => l4.extend([kind, code, 0, 0, 0, 0, 0, 0]),
            Body::Sctp { ports: (sport, dport), chunk } => {
                l4.extend([sport.to_be_bytes(), dport.to_be_bytes()].concat());
                l4.extend([0, 0, 0, 9, 0, 0, 0, 0, chunk, 0, 0, 4]);
            }
            Body::Other { .. } => {}
        }
        l4.extend(&self.payload);
        if !matches!(self.body, Body::Udp { summed: false, .. } | Body::Other { .. }) {
            checksum::write(self.src, self.dst, self.proto(), &mut l4);
        }
        l4
    }

    /// Reads a frame; none for fragments, and for what contradicts itself.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let head = Head::read(frame)?;
        let four = head.src.is_ipv4();
        let l4 = &frame[head.l4.0..head.l4.1];
        let ports = ports(four, head.proto, l4);
        let (body, used) = match (head.proto, ports) {
            (TCP, Some(ports)) => {
                let [offset, flags] = at(l4, 12)?;
                (Body::Tcp { ports, flags, numbers: (word(l4, 4)?, word(l4, 8)?), offset }, 20)
            }
            (UDP, Some(ports)) => (Body::Udp { ports, summed: half(l4, 6)? != 0 }, 8),
            (SCTP, Some(ports)) => (Body::Sctp { ports, chunk: *l4.get(12)? }, 16),
            (_, Some((id, 0))) => (Body::Echo { request: true, id }, 8),
            (_, Some((_, id))) => (Body::Echo { request: false, id }, 8),
            (proto, None) if proto == icmp(four) && is_error(four, *l4.first()?) => {
                (Body::Error { kind: l4[0], code: *l4.get(1)? }, 8)
            }
            (proto, None) => (Body::Other { proto }, 0),
        };
        if head.piece.is_some() {
            return None;
        }
        Some(Self {
            macs: (at(frame, 0)?, at(frame, 6)?),
            src: head.src,
            dst: head.dst,
            ttl: head.ttl,
            options: if four { ((head.l4.0 - ETHERNET - 20) / 4) as u8 } else { 0 },
            divisible: four && frame[ETHERNET + 6] & 0x40 == 0,
            body,
            payload: l4.get(used..)?.to_vec(),
            padding: 0,
        })
    }

    /// What its receiver answers, on the same link; TCP and SCTP keep their flags.
    #[must_use]
    pub fn turned(&self) -> Self {
        let mut turned = Self { macs: (self.macs.1, self.macs.0), src: self.dst, dst: self.src, ..self.clone() };
        match &mut turned.body {
            Body::Tcp { ports, .. } | Body::Udp { ports, .. } | Body::Sctp { ports, .. } => *ports = (ports.1, ports.0),
            Body::Echo { request, .. } => *request = !*request,
            Body::Error { .. } | Body::Other { .. } => {}
        }
        turned.ttl = 64;
        turned
    }
}

/// Whether an ICMP message of this type quotes a packet (RFC 1122 §3.2.2, RFC 4443 §2.1).
pub const fn is_error(four: bool, kind: u8) -> bool {
    if four { matches!(kind, 3 | 11 | 12) } else { matches!(kind, 1..=4) }
}

/// The tuple of the packet that an ICMP error quotes: its ports are read however short it is cut.
pub fn quoted(frame: &[u8]) -> Option<Tuple> {
    let head = Head::read(frame)?;
    let four = head.src.is_ipv4();
    let mut cut = head.quote(frame)?;
    // Its header tells of more than is there: read as if that were all.
    let (place, length) = if four { (16, cut.len() - ETHERNET) } else { (18, cut.len().checked_sub(ETHERNET + 40)?) };
    cut.get_mut(place..place + 2)?.copy_from_slice(&(length as u16).to_be_bytes());
    let inner = Head::read(&cut)?;
    if inner.proto == icmp(four) {
        // An echo is known by its type and identifier, whatever its code.
        *cut.get_mut(inner.l4.0 + 1)? = 0;
    }
    let (sport, dport) = ports(four, inner.proto, &cut[inner.l4.0..inner.l4.1])?;
    if inner.piece.is_some_and(|(_, offset, _)| offset != 0) {
        return None;
    }
    Some(Tuple { proto: inner.proto, src: (inner.src, sport), dst: (inner.dst, dport) })
}
