//! Checksums of any bytes that have the shape of an IP packet, worked out anew and mended: with a wrong one, little of
//! what is done to a packet would show.

use super::frame::checksum;
use crate::header::{ETHERNET, SCTP, TCP, UDP};

/// Bytes of a packet that an error about it quotes at most.
const QUOTED: usize = 128;

/// Where things are in an IP packet, read without the packet path's help.
#[derive(Clone, Copy, Debug)]
struct Layout {
    four: bool,
    proto: u8,
    /// Not a fragment: its L4 checksum covers what is here.
    whole: bool,
    l4: usize,
    end: usize,
}

/// Whether all checksums of a frame are right, the one of an IPv4 header that an ICMP error quotes included. None for
/// what is no IP packet, or too short for its checksums.
pub fn right(bytes: &[u8]) -> Option<bool> {
    let layout = Layout::of(bytes)?;
    let mut headers = layout.headers(bytes).into_iter().flatten();
    let upper = match layout.place() {
        Some(at) if layout.proto == SCTP => {
            // Zero is left to the hardware.
            bytes[at..at + 4] == [0; 4] || bytes[at..at + 4] == layout.crc(bytes)
        }
        Some(at) if layout.proto == UDP && bytes[at..at + 2] == [0; 2] => layout.four,
        Some(_) => layout.sum(bytes) == 0,
        None => true,
    };
    Some(upper && headers.all(|(from, to)| header_is_right(&bytes[from..to])))
}

/// Whether an IPv4 header's checksum is right.
pub fn header_is_right(header: &[u8]) -> bool {
    checksum(&[header]) == 0
}

/// Makes all checksums right that [`right`] looks at; of UDP over IPv4, one that is not there stays away.
pub fn mend(bytes: &mut [u8]) {
    let Some(layout) = Layout::of(bytes) else { return };
    // The quoted header first: the checksum above it covers it.
    for (from, to) in layout.headers(bytes).into_iter().flatten() {
        bytes[from + 10..from + 12].fill(0);
        let sum = checksum(&[&bytes[from..to]]);
        bytes[from + 10..from + 12].copy_from_slice(&sum.to_be_bytes());
    }
    match layout.place() {
        Some(at) if layout.proto == SCTP => {
            let crc = layout.crc(bytes);
            bytes[at..at + 4].copy_from_slice(&crc);
        }
        Some(at) if layout.proto != UDP || !layout.four || bytes[at..at + 2] != [0; 2] => {
            bytes[at..at + 2].fill(0);
            let sum = layout.sum(bytes);
            // RFC 768: a computed zero is sent as all ones.
            let sum = if layout.proto == UDP && sum == 0 { 0xffff } else { sum };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {}
    }
}

/// Makes the IP header tell the length that the frame has.
pub fn fit(bytes: &mut [u8]) {
    let (four, six) = (bytes.len().saturating_sub(ETHERNET), bytes.len().saturating_sub(ETHERNET + 40));
    let (at, length) = match bytes.get(12..14) {
        Some([0x08, 0x00]) => (16, four),
        Some([0x86, 0xdd]) => (18, six),
        _ => return,
    };
    if let (Some(field), Ok(length)) = (bytes.get_mut(at..at + 2), u16::try_from(length)) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Source and destination address of an IP packet, whatever length it claims.
pub fn addresses(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (from, width) = match bytes.get(12..14)? {
        [0x08, 0x00] => (26, 4),
        [0x86, 0xdd] => (22, 16),
        _ => return None,
    };
    Some(bytes.get(from..from + 2 * width)?.split_at(width))
}

/// Turns a packet into what its receiver could answer: addresses and ports the other way round, TCP's next flags and
/// numbers, an echo's reply.
pub fn answer(bytes: &mut [u8]) {
    let Some(layout) = Layout::of(bytes) else { return };
    let Layout { l4, .. } = layout;
    let (source, width) = if layout.four { (26, 4) } else { (22, 16) };
    bytes[..12].rotate_left(6);
    bytes[source..source + 2 * width].rotate_left(width);
    match layout.proto {
        _ if !layout.whole => {}
        TCP => {
            bytes[l4..l4 + 4].rotate_left(2);
            let word =
                |bytes: &[u8], at: usize| bytes[at..at + 4].iter().fold(0, |word: u32, b| word << 8 | u32::from(*b));
            let (sequence, acknowledged) = (word(bytes, l4 + 4), word(bytes, l4 + 8));
            let opens = bytes[l4 + 13] & 0x12 == 0x02;
            bytes[l4 + 4..l4 + 8].copy_from_slice(&acknowledged.to_be_bytes());
            bytes[l4 + 8..l4 + 12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
            bytes[l4 + 13] = if opens { 0x12 } else { 0x10 };
        }
        UDP => bytes[l4..l4 + 4].rotate_left(2),
        SCTP => {
            bytes[l4..l4 + 4].rotate_left(2);
            bytes[l4 + 12] += u8::from(bytes[l4 + 12] == 1);
        }
        1 if bytes[l4] == 8 => bytes[l4] = 0,
        58 if bytes[l4] == 128 => bytes[l4] = 129,
        _ => {}
    }
}

/// Turns a packet into an ICMP error about it, by a machine that it was sent to: it could not be delivered.
pub fn complain(bytes: &mut Vec<u8>) {
    let Some(layout) = Layout::of(bytes) else { return };
    let quoted = bytes[ETHERNET..layout.end.min(ETHERNET + QUOTED)].to_vec();
    let (header, source, width) = if layout.four { (20, 26, 4) } else { (40, 22, 16) };
    bytes.truncate(ETHERNET + header);
    bytes[..12].rotate_left(6);
    bytes[source..source + 2 * width].rotate_left(width);
    if layout.four {
        bytes[14] = 0x45;
        bytes[20..24].copy_from_slice(&[0, 0, 64, 1]);
        bytes.extend([3, 4, 0, 0, 0, 0, 5, 0]);
    } else {
        bytes[20..22].copy_from_slice(&[58, 64]);
        bytes.extend([2, 0, 0, 0, 0, 0, 5, 0]);
    }
    bytes.extend(quoted);
    fit(bytes);
}

impl Layout {
    fn of(bytes: &[u8]) -> Option<Self> {
        let four = match bytes.get(12..14)? {
            [0x08, 0x00] => true,
            [0x86, 0xdd] => false,
            _ => return None,
        };
        let ip = bytes.get(ETHERNET..)?;
        let header = if four { usize::from(ip.first()? & 0xf) * 4 } else { 40 };
        let version = ip.first()? >> 4;
        if ip.len() < header.max(20) || header < 20 || version != if four { 4 } else { 6 } {
            return None;
        }
        let field = usize::from(u16::from_be_bytes(if four { [ip[2], ip[3]] } else { [ip[4], ip[5]] }));
        let (l4, end) = (ETHERNET + header, ETHERNET + field + if four { 0 } else { header });
        let proto = ip[if four { 9 } else { 6 }];
        let whole = if four { ip[6] & 0x3f == 0 && ip[7] == 0 } else { proto != 44 };
        let least = match proto {
            _ if !whole => 0,
            TCP => 20,
            UDP => 8,
            SCTP => 16,
            1 if four => 8,
            58 if !four => 8,
            _ => 0,
        };
        (end >= l4 + least && end <= bytes.len()).then_some(Self { four, proto, whole, l4, end })
    }

    /// IPv4 headers, from and to: one that is quoted, and the packet's own.
    fn headers(&self, bytes: &[u8]) -> [Option<(usize, usize)>; 2] {
        let quotes = self.four && self.whole && self.proto == 1 && matches!(bytes[self.l4], 3 | 11 | 12);
        let inner = self.l4 + 8;
        let quoted = bytes[..self.end].get(inner).filter(|first| quotes && **first >> 4 == 4 && **first & 0xf >= 5);
        let quoted = quoted.map(|first| (inner, inner + usize::from(first & 0xf) * 4));
        [quoted.filter(|(_, to)| *to <= self.end), self.four.then_some((ETHERNET, self.l4))]
    }

    /// Where the L4 checksum is, if there is one over what is here.
    fn place(&self) -> Option<usize> {
        let offset = match self.proto {
            _ if !self.whole => return None,
            TCP => 16,
            UDP => 6,
            SCTP => 8,
            1 if self.four => 2,
            58 if !self.four => 2,
            _ => return None,
        };
        Some(self.l4 + offset)
    }

    /// RFC 9293 §3.1, RFC 8200 §8.1; ICMP over IPv4 has no pseudo header.
    fn sum(&self, bytes: &[u8]) -> u16 {
        let upper = &bytes[self.l4..self.end];
        if self.four && self.proto == 1 {
            return checksum(&[upper]);
        }
        let addresses = if self.four { &bytes[26..34] } else { &bytes[22..54] };
        checksum(&[addresses, &(upper.len() as u32).to_be_bytes(), &[0, 0, 0, self.proto], upper])
    }

    /// RFC 9260 appendix A.
    fn crc(&self, bytes: &[u8]) -> [u8; 4] {
        let bit = |crc: u32| crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 };
        let byte = |crc: u32, byte: u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc));
        let upper = bytes[self.l4..self.end].iter().enumerate();
        let upper = upper.map(|(at, byte)| if (8..12).contains(&at) { 0 } else { *byte });
        (!upper.fold(!0, byte)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::{mend, right};
    use crate::testing::{
        cases::cases,
        world::{Interfaces, Version},
    };

    #[test]
    fn the_cases_are_right_and_damage_is_noticed_and_mended() {
        for version in Version::BOTH {
            for case in cases(version, Interfaces::ANY) {
                let bytes = &case.steps[0].input;
                let Some(good) = right(bytes) else { continue };
                assert!(good, "{version:?}: {}", case.name);
                let mut damaged = bytes.clone();
                damaged[if version == Version::Four { 26 } else { 40 }] ^= 1;
                let covered = version == Version::Four || !matches!(bytes[20], 44 | 47 | 132);
                assert_eq!(right(&damaged), Some(!covered), "{version:?}: {}", case.name);
                mend(&mut damaged);
                assert_eq!(right(&damaged), Some(true), "{version:?}: {}", case.name);
            }
        }
    }
}
