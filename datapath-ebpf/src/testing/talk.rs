//! Packets of the world's machines, as the tests that tell a story send them.

use std::net::IpAddr;

use super::{
    bytes::Bytes,
    cases::At,
    frame::{Body, Frame},
    run::run,
    tables::Memory,
    world::{Interfaces, Member, OUTSIDE_MAC, UPLINK_MAC, Version, World},
};
use crate::verdict::Verdict;

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

/// Source port of a TCP or UDP packet, or identifier of an echo.
pub fn port(bytes: &[u8]) -> u16 {
    let at = if bytes[14] >> 4 == 4 { 34 } else { 54 };
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
