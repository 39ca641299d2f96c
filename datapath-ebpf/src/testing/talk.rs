//! Packets of the world's machines, as the tests that tell a story send them.

use std::net::IpAddr;

use super::{
    bytes::Bytes,
    cases::At,
    frame::{Body, Frame},
    run::run,
    tables::Memory,
    world::{Interfaces, Member, OUTSIDE_MAC, UPLINK_MAC, Version, WEB, World},
};
use crate::{
    stage::parse::{ACK, SYN},
    verdict::Verdict,
};

/// Numbers of the interfaces.
pub const INTERFACES: Interfaces = Interfaces::ANY;

/// Tables over the world.
pub fn memory() -> Memory {
    Memory::new(World::new(&INTERFACES))
}

/// What a container sends by way of its gateway.
pub fn sent(version: Version, by: Member, dst: IpAddr, body: Body) -> Frame {
    let macs = (by.gateway(), by.mac());
    Frame { macs, src: by.address(version), dst, ttl: 64, options: 0, divisible: false, body, payload: vec![1, 2, 3] }
}

/// What the machine outside sends.
pub fn arriving(version: Version, dst: IpAddr, body: Body) -> Frame {
    let macs = (UPLINK_MAC, OUTSIDE_MAC);
    Frame { macs, src: version.outside(), dst, ttl: 64, options: 0, divisible: false, body, payload: vec![1, 2, 3] }
}

/// What the host itself sends to the machine outside.
pub fn by_host(version: Version, body: Body) -> Frame {
    Frame { macs: (OUTSIDE_MAC, UPLINK_MAC), src: version.host(), ..arriving(version, version.outside(), body) }
}

/// A frame's bytes at a hook: the verdict, and what becomes of them.
pub fn meets_bytes(tables: &Memory, at: At, bytes: Vec<u8>) -> (Verdict, Vec<u8>) {
    let mut packet = Bytes { bytes, ..Bytes::default() };
    (run(at, &mut packet, tables), packet.bytes)
}

/// A frame at a hook.
pub fn meets(tables: &Memory, at: At, frame: &Frame) -> (Verdict, Vec<u8>) {
    meets_bytes(tables, at, frame.bytes())
}

/// A frame of a container's.
pub fn from_container(tables: &Memory, by: Member, frame: &Frame) -> (Verdict, Vec<u8>) {
    meets(tables, At::FromContainer(INTERFACES.veth(by)), frame)
}

/// A frame at the uplink.
pub fn from_uplink(tables: &Memory, frame: &Frame) -> (Verdict, Vec<u8>) {
    meets(tables, At::FromUplink(INTERFACES.uplink), frame)
}

/// A frame of the host's own.
pub fn to_uplink(tables: &Memory, frame: &Frame) -> (Verdict, Vec<u8>) {
    meets(tables, At::ToUplink(INTERFACES.uplink), frame)
}

/// A TCP connection of [`WEB`]'s, from port 5, to port 6 of the machine outside: segments by their flags.
#[derive(Debug)]
pub struct Connection {
    /// Tables over the world, with nothing else in them.
    pub tables: Memory,
    version: Version,
}

impl Connection {
    /// One of which nothing is said yet.
    pub fn new(version: Version) -> Self {
        Self { tables: memory(), version }
    }

    /// One after the handshake.
    pub fn open(version: Version) -> Self {
        let connection = Self::new(version);
        connection.says(SYN);
        connection.hears(SYN | ACK);
        connection.says(ACK);
        connection
    }

    /// What the container sends.
    pub fn says(&self, flags: u8) -> (Verdict, Vec<u8>) {
        let segment = sent(self.version, WEB, self.version.outside(), Body::Tcp(5, 6, flags));
        from_container(&self.tables, WEB, &segment)
    }

    /// What the machine outside sends to it.
    pub fn hears(&self, flags: u8) -> Verdict {
        from_uplink(&self.tables, &arriving(self.version, self.version.host(), Body::Tcp(6, 5, flags))).0
    }
}

/// Source port of a TCP or UDP packet, or identifier of an echo.
pub fn port(bytes: &[u8]) -> u16 {
    let at = if bytes[14] >> 4 == 4 { 34 } else { 54 };
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
