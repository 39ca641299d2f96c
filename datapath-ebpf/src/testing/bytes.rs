//! A packet in a vector.

use bytemuck::Pod;

use crate::{header, packet::Packet};

/// A packet of which every byte is readable, and where it was met.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Index of the interface whose hook runs.
    pub ifindex: u32,
    /// Index of the interface by which it came into the host; 0 if the host made it.
    pub origin: u32,
    /// Whether an 802.1Q tag travels beside it.
    pub tagged: bool,
    /// Bytes of payload in each segment of a train; 0 for an ordinary packet.
    pub segment: u32,
}

impl Packet for Bytes {
    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn origin(&self) -> u32 {
        self.origin
    }

    fn tagged(&self) -> bool {
        self.tagged
    }

    fn segment(&self) -> u32 {
        self.segment
    }

    fn pull(&mut self, _length: u32) {}

    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.bytes.get(offset..offset + size_of::<T>()).map(bytemuck::pod_read_unaligned)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> bool {
        let place = self.bytes.get_mut(offset..offset + size_of::<T>());
        place.map(|place| place.copy_from_slice(bytemuck::bytes_of(&value))).is_some()
    }

    fn checksum(&mut self, offset: usize, pseudo: u16, ports: u16, optional: bool) -> bool {
        let Some(old) = self.read::<u16>(offset) else { return false };
        if optional && old == 0 {
            return true;
        }
        let new = header::update(old, header::fold(u32::from(pseudo) + u32::from(ports)));
        self.write(offset, if optional && new == 0 { 0xffff } else { new })
    }
}
