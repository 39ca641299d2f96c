//! Checksums, worked out anew over all that they cover and without the packet path's help: what that adapts step by step
//! must come out the same.

use std::{net::IpAddr, ops::Range};

use super::wire::{ETHERNET, Head, SCTP, TCP, UDP, icmp};

/// Whether a frame is an IP packet whose checksums are all right.
pub fn right(frame: &[u8]) -> bool {
    Head::read(frame).is_some() && verified(frame).into_iter().flatten().all(|right| right)
}

/// Whether each checksum that was right is right still.
pub fn kept(before: &[u8], after: &[u8]) -> bool {
    verified(before).into_iter().zip(verified(after)).all(|(was, is)| was != Some(true) || is == Some(true))
}

/// Whether an IPv4 header's checksum is right.
pub fn header_is_right(header: &[u8]) -> bool {
    internet(&[header]) == 0
}

/// Makes a packet's checksums right, and that of an IPv4 header that it quotes; one that UDP over IPv4 does not have
/// stays away.
pub fn mend(frame: &mut [u8]) {
    let Some(head) = Head::read(frame) else { return };
    // The quoted header first: the checksum above it covers it.
    for header in [quoted_header(&head, frame), header(&head)].into_iter().flatten() {
        write_header(&mut frame[header]);
    }
    let l4 = &mut frame[head.l4.0..head.l4.1];
    if head.piece.is_none() && !(head.src.is_ipv4() && is_unsummed(head.proto, l4)) {
        write(head.src, head.dst, head.proto, l4);
    }
}

/// Writes an IPv4 header's checksum into it.
pub(super) fn write_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = internet(&[header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Writes its checksum into what an IP packet carries, if there is a place for one.
pub(super) fn write(src: IpAddr, dst: IpAddr, proto: u8, l4: &mut [u8]) {
    let Some(place) = place(src.is_ipv4(), proto, l4) else { return };
    l4[place.clone()].fill(0);
    if proto == SCTP {
        let crc = crc32c(l4);
        return l4[place].copy_from_slice(&crc.to_le_bytes());
    }
    let sum = upper(src, dst, proto, l4);
    // RFC 768: a computed zero is sent as all ones.
    let sum = if proto == UDP && sum == 0 { 0xffff } else { sum };
    l4[place].copy_from_slice(&sum.to_be_bytes());
}

/// Whether each checksum is right: of the IPv4 header, of what the packet carries, and the same two of a packet that an
/// ICMP error quotes. None for what is not there, or covers more than is there.
fn verified(frame: &[u8]) -> [Option<bool>; 4] {
    let Some(head) = Head::read(frame) else { return [None; 4] };
    let [own, quoted] = [header(&head), quoted_header(&head, frame)];
    let of_header = |header: Range<usize>| header_is_right(&frame[header]);
    let inner = head.quote(frame).and_then(|quote| {
        // A quote need not have more than eight bytes (RFC 792): a checksum beyond them is nobody's to keep.
        let head = Head::read(&quote).filter(|head| !matches!(head.proto, TCP | SCTP))?;
        upper_is_right(&head, &quote)
    });
    [own.map(of_header), upper_is_right(&head, frame), quoted.map(of_header), inner]
}

fn upper_is_right(head: &Head, frame: &[u8]) -> Option<bool> {
    let l4 = &frame[head.l4.0..head.l4.1];
    let place = place(head.src.is_ipv4(), head.proto, l4).filter(|_| head.piece.is_none())?;
    Some(match head.proto {
        UDP if is_unsummed(UDP, l4) => head.src.is_ipv4(),
        // Zero is left to the hardware.
        SCTP if l4[place] == [0; 4] => true,
        SCTP => {
            let mut anew = l4.to_vec();
            write(head.src, head.dst, SCTP, &mut anew);
            anew == l4
        }
        proto => upper(head.src, head.dst, proto, l4) == 0,
    })
}

/// Where the header is that has a checksum, IPv4's.
fn header(head: &Head) -> Option<Range<usize>> {
    head.src.is_ipv4().then_some(ETHERNET..head.l4.0)
}

/// The same of a packet that an ICMP error quotes, however short that is cut.
fn quoted_header(head: &Head, frame: &[u8]) -> Option<Range<usize>> {
    let from = head.quote_at(frame).filter(|_| head.src.is_ipv4())?;
    let first = *frame[..head.l4.1].get(from)?;
    let to = from + usize::from(first & 15) * 4;
    (first >> 4 == 4 && first & 15 >= 5 && to <= head.l4.1).then_some(from..to)
}

/// Whether it is UDP that says it has no checksum (RFC 768).
fn is_unsummed(proto: u8, l4: &[u8]) -> bool {
    proto == UDP && l4.get(6..8) == Some(&[0; 2])
}

/// Where the checksum is in what an IP packet carries.
fn place(four: bool, proto: u8, l4: &[u8]) -> Option<Range<usize>> {
    let (place, least) = match proto {
        TCP => (16..18, 20),
        UDP => (6..8, 8),
        SCTP => (8..12, 12),
        _ if proto == icmp(four) => (2..4, 8),
        _ => return None,
    };
    (l4.len() >= least).then_some(place)
}

/// The checksum of what an IP packet carries: RFC 9293 §3.1, RFC 8200 §8.1; ICMP over IPv4 has no pseudo header.
fn upper(src: IpAddr, dst: IpAddr, proto: u8, l4: &[u8]) -> u16 {
    if proto == icmp(true) {
        return internet(&[l4]);
    }
    internet(&[&octets(src), &octets(dst), &(l4.len() as u32).to_be_bytes(), &[0, 0, 0, proto], l4])
}

/// An address, as it is in a header.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// RFC 1071, over parts of even length but for the last.
pub fn internet(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|word| {
        let low = word.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// RFC 9260 appendix A, bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        cases::cases,
        frame::Body,
        talk::sent,
        world::{Interfaces, Version, WEB},
    };

    #[test]
    fn the_checksum_is_the_internets() {
        // RFC 1071 §3.
        assert_eq!(internet(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        // Over what it is part of, it comes to nothing; an odd byte is the upper half of a word.
        assert_eq!(internet(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x22, 0x0d]]), 0);
        assert_eq!(internet(&[&[0x12]]), !0x1200);
    }

    #[test]
    fn one_wrong_bit_makes_a_checksum_wrong() {
        for version in Version::BOTH {
            for body in
                [Body::Tcp(1, 2, 2), Body::Udp(3, 4), Body::EchoRequest(5), Body::EchoReply(6), Body::Sctp(7, 8, 1)]
            {
                let frame = sent(version, WEB, version.outside(), body);
                let mut bytes = frame.bytes();
                assert!(right(&bytes), "{frame:?}");
                *bytes.last_mut().expect("it is not empty") ^= 1;
                assert!(!right(&bytes), "{frame:?}");
            }
        }
    }

    #[test]
    fn the_cases_are_right_and_damage_is_noticed_and_mended() {
        for version in Version::BOTH {
            for case in cases(version, Interfaces::ANY) {
                let bytes = &case.steps[0].input;
                if Head::read(bytes).is_none() {
                    continue;
                }
                assert!(right(bytes), "{version:?}: {}", case.name);
                let mut damaged = bytes.clone();
                damaged[if version == Version::Four { 26 } else { 40 }] ^= 1;
                let covered = version == Version::Four || !matches!(bytes[20], 0 | 44 | 47 | 60 | 132);
                assert_eq!(right(&damaged), !covered, "{version:?}: {}", case.name);
                assert_eq!(kept(bytes, &damaged), !covered, "{version:?}: {}", case.name);
                mend(&mut damaged);
                assert!(right(&damaged), "{version:?}: {}", case.name);
            }
        }
    }
}
