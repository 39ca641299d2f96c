//! Packets about packets, and packets in pieces: ICMP errors that quote, and fragments.

use std::net::IpAddr;

use super::{
    checksum::{octets, write, write_header},
    frame::Mac,
    wire::{ETHERNET, icmp},
};

/// An ICMP or ICMPv6 error about a packet that its sender saw: `quoted`, an Ethernet frame, of which only the first
/// `bytes` from the IP header on are told.
#[derive(Clone, Debug)]
pub struct IcmpError {
    /// Destination and source MAC.
    pub macs: (Mac, Mac),
    /// Who speaks.
    pub src: IpAddr,
    /// Who is told.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type and code.
    pub icmp: (u8, u8),
    /// What follows them: the MTU of a packet that was too big, else zero.
    pub mtu: u32,
    /// The packet that it is about.
    pub quoted: Vec<u8>,
    /// Bytes of it that are told.
    pub bytes: usize,
}

impl IcmpError {
    /// Destination, or port, unreachable.
    pub const fn unreachable(src: IpAddr) -> (u8, u8) {
        if src.is_ipv4() { (3, 3) } else { (1, 4) }
    }

    /// Too large for the next link.
    pub const fn too_big(src: IpAddr) -> (u8, u8) {
        if src.is_ipv4() { (3, 4) } else { (2, 0) }
    }

    /// The TTL or hop limit ran out.
    pub const fn expired(src: IpAddr) -> (u8, u8) {
        if src.is_ipv4() { (11, 0) } else { (3, 0) }
    }

    /// Its bytes.
    pub fn frame(&self) -> Vec<u8> {
        let four = self.src.is_ipv4();
        let mut error = vec![self.icmp.0, self.icmp.1, 0, 0];
        error.extend(self.mtu.to_be_bytes());
        let quoted = &self.quoted[ETHERNET..];
        error.extend(&quoted[..self.bytes.min(quoted.len())]);
        write(self.src, self.dst, icmp(four), &mut error);
        let mut bytes = [self.macs.0, self.macs.1].concat();
        if four {
            bytes.extend([0x08, 0x00]);
            let mut ip = vec![0x45, 0xc0];
            ip.extend(((20 + error.len()) as u16).to_be_bytes());
            ip.extend([0, 0, 0, 0, self.ttl, 1, 0, 0]);
            ip.extend([octets(self.src), octets(self.dst)].concat());
            write_header(&mut ip);
            bytes.extend(ip);
        } else {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend((error.len() as u16).to_be_bytes());
            bytes.extend([58, self.ttl]);
            bytes.extend([octets(self.src), octets(self.dst)].concat());
        }
        bytes.extend(error);
        bytes
    }
}

/// An IPv6 frame with an extension header of eight bytes, of options for its destination, before what it carries.
pub fn behind_options(frame: &[u8]) -> Vec<u8> {
    let (head, body) = frame.split_at(ETHERNET + 40);
    // One option, that fills the header up (RFC 8200 §4.2).
    let mut bytes = [head, &[head[20], 0, 1, 4, 0, 0, 0, 0], body].concat();
    bytes[20] = 60;
    bytes[18..20].copy_from_slice(&((8 + body.len()) as u16).to_be_bytes());
    bytes
}

/// Cuts a frame into fragments whose payload is `size` bytes, a multiple of eight; the last may be shorter.
pub fn fragments(frame: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let four = frame[12..14] == [0x08, 0x00];
    let header = ETHERNET + if four { usize::from(frame[14] & 0xf) * 4 } else { 40 };
    let payload = &frame[header..];
    let cut = |(number, piece): (usize, &[u8])| {
        let (offset, more) = (number * size, number * size + piece.len() < payload.len());
        let mut bytes = frame[..header].to_vec();
        if four {
            let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
            bytes[16..18].copy_from_slice(&((header - ETHERNET + piece.len()) as u16).to_be_bytes());
            bytes[18..20].copy_from_slice(&id.to_be_bytes());
            bytes[20..22].copy_from_slice(&field.to_be_bytes());
            write_header(&mut bytes[ETHERNET..]);
        } else {
            let field = offset as u16 | u16::from(more);
            bytes[18..20].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
            let next = std::mem::replace(&mut bytes[20], 44);
            bytes.extend([next, 0]);
            bytes.extend(field.to_be_bytes());
            bytes.extend(u32::from(id).to_be_bytes());
        }
        bytes.extend(piece);
        bytes
    };
    payload.chunks(size).enumerate().map(cut).collect()
}
