//! What `--link` opens under `icc=false`: `pl_policy`, one entry for a port or a range, in one direction.

use crate::span::Span;

/// From one endpoint to another's ports. See [`crate::span`] for `class` and `block`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Number of the endpoint that may open flows.
    pub from: u32,
    /// Number of the endpoint whose ports are opened.
    pub to: u32,
    /// IP protocol number.
    pub proto: u8,
    /// Class of the range.
    pub class: u8,
    /// Block of the range.
    pub block: u16,
}

impl PolicyKey {
    /// The key of a range.
    pub const fn new(from: u32, to: u32, proto: u8, span: Span) -> Self {
        Self { from, to, proto, class: span.class(), block: span.block() }
    }
}

/// The ports that are open.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// First container port.
    pub first: u16,
    /// Last container port.
    pub last: u16,
}
