//! What a fuzzer makes of packets of any bytes: one that has the length it tells, an answer to it, an error about it.

use super::wire::{ETHERNET, Head, SCTP, TCP, UDP};

/// Bytes of a packet that an error about it quotes at most.
const QUOTED: usize = 128;

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
    let (from, width) = addresses_at(bytes)?;
    Some(bytes.get(from..from + 2 * width)?.split_at(width))
}

/// Turns a packet into what its receiver could answer: addresses and ports the other way round, TCP's next flags and
/// numbers, an echo's reply.
pub fn answer(bytes: &mut [u8]) {
    let Some(head) = Head::read(bytes) else { return };
    turn(bytes);
    if head.piece.is_some() {
        return;
    }
    let l4 = &mut bytes[head.l4.0..head.l4.1];
    match (head.proto, l4.len()) {
        (TCP, 20..) => {
            l4[..4].rotate_left(2);
            let word = |at: usize| l4[at..at + 4].iter().fold(0, |word: u32, byte| word << 8 | u32::from(*byte));
            let (sequence, acknowledged) = (word(4), word(8));
            let opens = l4[13] & 0x12 == 0x02;
            l4[4..8].copy_from_slice(&acknowledged.to_be_bytes());
            l4[8..12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
            l4[13] = if opens { 0x12 } else { 0x10 };
        }
        (UDP, 8..) => l4[..4].rotate_left(2),
        (SCTP, 16..) => {
            l4[..4].rotate_left(2);
            l4[12] += u8::from(l4[12] == 1);
        }
        (1, 8..) if l4[0] == 8 => l4[0] = 0,
        (58, 8..) if l4[0] == 128 => l4[0] = 129,
        _ => {}
    }
}

/// Turns a packet into an ICMP error about it, by a machine that it was sent to: it could not be delivered.
pub fn complain(bytes: &mut Vec<u8>) {
    let Some(head) = Head::read(bytes) else { return };
    let quoted = bytes[ETHERNET..head.l4.1.min(ETHERNET + QUOTED)].to_vec();
    turn(bytes);
    if head.src.is_ipv4() {
        bytes.truncate(ETHERNET + 20);
        bytes[14] = 0x45;
        bytes[20..24].copy_from_slice(&[0, 0, 64, 1]);
        bytes.extend([3, 4, 0, 0, 0, 0, 5, 0]);
    } else {
        bytes.truncate(ETHERNET + 40);
        bytes[20..22].copy_from_slice(&[58, 64]);
        bytes.extend([2, 0, 0, 0, 0, 0, 5, 0]);
    }
    bytes.extend(quoted);
    fit(bytes);
}

/// Exchanges a packet's source and destination.
fn turn(bytes: &mut [u8]) {
    bytes[..12].rotate_left(6);
    if let Some((from, width)) = addresses_at(bytes) {
        bytes[from..from + 2 * width].rotate_left(width);
    }
}

/// Where a packet's addresses are, and how long each is.
fn addresses_at(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(12..14)? {
        [0x08, 0x00] => Some((26, 4)),
        [0x86, 0xdd] => Some((22, 16)),
        _ => None,
    }
}
