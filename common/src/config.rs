//! Limits, names and settings that user space and the programs agree on.

use crate::flow::Timeouts;

/// Version of the maps' keys and values. Grows when one of them changes.
pub const SCHEMA: u32 = 5;

/// Flow entries a family's table holds, unless set otherwise; a conversation takes two.
pub const MAX_FLOWS: u32 = 131_072;
/// Flow entries in a family's table of conversations that someone outside has opened and not confirmed yet, or that are
/// over. A full one forgets the longest unused.
pub const MAX_NEW_FLOWS: u32 = 65_536;
/// Conversations that a container may hold, unless set otherwise: a quarter of the table.
pub const FLOW_SHARE: u32 = MAX_FLOWS / 2 / 4;
/// Endpoints on one host.
pub const MAX_ENDPOINTS: u32 = 4096;
/// Published ports and ranges on one host.
pub const MAX_PUBLISHES: u32 = 16_384;
/// Entries of a family's table of published ports: over UDP one has two, there and back; and on an address of the host one
/// port may be left out, over TCP and over UDP.
pub const PUBLISH_ROWS: u32 = 2 * (MAX_PUBLISHES + MAX_HOST_ADDRESSES);
/// Prefixes of a family that published ports are open to.
pub const MAX_SOURCES: u32 = 16_384;
/// Addresses of the host, per family.
pub const MAX_HOST_ADDRESSES: u32 = 1024;
/// Uplinks of the host.
pub const MAX_UPLINKS: u32 = 256;
/// Ports and ranges opened by links.
pub const MAX_POLICIES: u32 = 16_384;
/// Host sockets remembered per family: a full table forgets the longest unused.
pub const MAX_SOCKETS: u32 = 16_384;
/// Source ports tried for a masqueraded flow before it is refused.
pub const PORT_TRIES: u32 = 64;
/// Blocks of the set of ports that the administrator keeps for himself.
pub const RESERVED_BLOCKS: u32 = 256;

/// Those of a block of 256 ports, one bit each. Whoever reads all blocks takes a step for each: of words, that would be 1,024.
pub type ReservedBlock = [u64; 4];

/// What may change while the programs run (`pl_config`, one entry).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// [`SCHEMA`] of the maps.
    pub schema: u32,
    /// Bit `k`: some published range has class `k` (see [`crate::span`]).
    pub publish_classes: u32,
    /// Bit `k`: some opened range has class `k`.
    pub policy_classes: u32,
    /// Conversations that a container may hold, in both families together.
    pub flow_share: u32,
    /// When conversations are over.
    pub timeouts: Timeouts,
}

/// Load-time constants of the programs, by symbol name.
pub mod global {
    /// `u64`: jiffies a second (`CONFIG_HZ`).
    pub const JIFFIES_PER_SECOND: &str = "JIFFIES_PER_SECOND";
    /// `u64`: cookie of the host's network namespace; the socket hooks leave other namespaces alone.
    pub const NETNS_COOKIE: &str = "NETNS_COOKIE";
    /// `u32`: what masquerade ports are drawn with, so that nobody outside can foretell them (RFC 6056 §3.3.3).
    pub const PORT_SECRET: &str = "PORT_SECRET";
    /// `u8`: aya-log's level; 0 is off and costs nothing.
    pub const AYA_LOG_LEVEL: &str = "AYA_LOG_LEVEL";
}

/// The maps, by the name that `bpftool map` shows and under which they are pinned.
pub mod map {
    /// Flows, IPv4.
    pub const FLOW4: &str = "pl_flow4";
    /// Flows, IPv6.
    pub const FLOW6: &str = "pl_flow6";
    /// Conversations not confirmed yet, or over, IPv4.
    pub const NEW4: &str = "pl_new4";
    /// Conversations not confirmed yet, or over, IPv6.
    pub const NEW6: &str = "pl_new6";
    /// What takes away conversations that are over.
    pub const SWEEP: &str = "pl_sweep";
    /// Conversations that each endpoint holds.
    pub const SHARE: &str = "pl_share";
    /// Ports that the administrator keeps for himself.
    pub const RESERVED: &str = "pl_reserved";
    /// What full-cone containers' sockets are outside, IPv4.
    pub const CONE4: &str = "pl_cone4";
    /// What full-cone containers' sockets are outside, IPv6.
    pub const CONE6: &str = "pl_cone6";
    /// Datagrams in pieces, IPv4.
    pub const DATAGRAM4: &str = "pl_datagram4";
    /// Datagrams in pieces, IPv6.
    pub const DATAGRAM6: &str = "pl_datagram6";
    /// Fragments that came before their first, IPv4.
    pub const HELD4: &str = "pl_held4";
    /// Fragments that came before their first, IPv6.
    pub const HELD6: &str = "pl_held6";
    /// The programs that carry on where a tc hook's first one leaves off.
    pub const NEXT: &str = "pl_next";
    /// The same for XDP.
    pub const NEXT_XDP: &str = "pl_next_xdp";
    /// Published ports, IPv4.
    pub const PUBLISH4: &str = "pl_publish4";
    /// Published ports, IPv6.
    pub const PUBLISH6: &str = "pl_publish6";
    /// Who may use published ports, IPv4.
    pub const SOURCE4: &str = "pl_source4";
    /// Who may use published ports, IPv6.
    pub const SOURCE6: &str = "pl_source6";
    /// Endpoints by IPv4 address.
    pub const ENDPOINT4: &str = "pl_endpoint4";
    /// Endpoints by IPv6 address.
    pub const ENDPOINT6: &str = "pl_endpoint6";
    /// The host's IPv4 addresses.
    pub const HOST4: &str = "pl_host4";
    /// The host's IPv6 addresses.
    pub const HOST6: &str = "pl_host6";
    /// Endpoints by veth.
    pub const VETH: &str = "pl_veth";
    /// Changes whenever a row of the three above does: [`crate::endpoint::EPOCH_SETTLED`].
    pub const EPOCH: &str = "pl_epoch";
    /// Uplinks by interface index.
    pub const UPLINK: &str = "pl_uplink";
    /// Ports opened by links.
    pub const POLICY: &str = "pl_policy";
    /// Settings.
    pub const CONFIG: &str = "pl_config";
    /// Generation of each publish entry.
    pub const GENERATION: &str = "pl_generation";
    /// Refusals per hook and reason.
    pub const REASON: &str = "pl_reason";
    /// Traffic per endpoint.
    pub const TRAFFIC: &str = "pl_traffic";
    /// Traffic per publish entry.
    pub const PUB_TRAFFIC: &str = "pl_pub_traffic";
    /// Host sockets sent to containers, IPv4.
    pub const SOCKET4: &str = "pl_socket4";
    /// Host sockets sent to containers, IPv6.
    pub const SOCKET6: &str = "pl_socket6";

    /// Every map.
    pub const ALL: [&str; 34] = [
        FLOW4,
        FLOW6,
        NEW4,
        NEW6,
        SWEEP,
        SHARE,
        RESERVED,
        CONE4,
        CONE6,
        DATAGRAM4,
        DATAGRAM6,
        HELD4,
        HELD6,
        NEXT,
        NEXT_XDP,
        PUBLISH4,
        PUBLISH6,
        SOURCE4,
        SOURCE6,
        ENDPOINT4,
        ENDPOINT6,
        HOST4,
        HOST6,
        VETH,
        EPOCH,
        UPLINK,
        POLICY,
        CONFIG,
        GENERATION,
        REASON,
        TRAFFIC,
        PUB_TRAFFIC,
        SOCKET4,
        SOCKET6,
    ];
}

/// The programs, by the name that `bpftool prog` shows and under which they are pinned.
pub mod program {
    /// tc, ingress of a container's host-side veth.
    pub const FROM_CONTAINER: &str = "from_container";
    /// tc, egress of a container's host-side veth.
    pub const TO_CONTAINER: &str = "to_container";
    /// tc, ingress of an uplink.
    pub const FROM_UPLINK: &str = "from_uplink";
    /// tc, egress of an uplink.
    pub const TO_UPLINK: &str = "to_uplink";
    /// tc, ingress of an uplink without Ethernet headers.
    pub const FROM_UPLINK_L3: &str = "from_uplink_l3";
    /// The same, at an uplink with XDP.
    pub const BEHIND_XDP: &str = "behind_xdp";
    /// XDP, native, of an uplink.
    pub const FROM_UPLINK_XDP: &str = "from_uplink_xdp";

    /// The tc programs that carry on, each at its place in `pl_next`: packets without a flow of a container, from outside
    /// and of the host's own; ICMP errors; fragments; what XDP has left alone, or has got its Ethernet header by now.
    pub const NEXT: [&str; 11] = [
        "container_new4",
        "container_new6",
        "outside_new4",
        "outside_new6",
        "host_new4",
        "host_new6",
        "icmp_error4",
        "icmp_error6",
        "fragment4",
        "fragment6",
        FROM_UPLINK,
    ];
    /// The XDP programs that carry on, each at its place in `pl_next_xdp`: packets without a flow from outside.
    pub const NEXT_XDP: [&str; 2] = ["outside_xdp4", "outside_xdp6"];

    /// Every tc program that is attached.
    pub const TC: [&str; 6] = [FROM_CONTAINER, TO_CONTAINER, FROM_UPLINK, FROM_UPLINK_L3, BEHIND_XDP, TO_UPLINK];
    /// Every cgroup socket-address program; the name is the hook.
    pub const SOCK_ADDR: [&str; 10] = [
        "connect4",
        "connect6",
        "sendmsg4",
        "sendmsg6",
        "recvmsg4",
        "recvmsg6",
        "getpeername4",
        "getpeername6",
        "bind4",
        "bind6",
    ];
}
