//! Counters, all per CPU: what was refused, and what passed.

/// Packets and bytes of one hook and one reason (`pl_reason`, index `hook * REASONS + reason`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, Ethernet header included.
    pub bytes: u64,
}

/// Packets and bytes each way, as the container sees them (`pl_traffic` by endpoint, `pl_pub_traffic` by publish entry).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets towards the container.
    pub rx_packets: u64,
    /// Bytes towards the container, Ethernet header included.
    pub rx_bytes: u64,
    /// Packets from the container.
    pub tx_packets: u64,
    /// Bytes from the container, Ethernet header included.
    pub tx_bytes: u64,
}
