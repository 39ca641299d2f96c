//! The one list of reasons for which a packet is refused, or handed on unchanged although it is not the usual way.
//!
//! Numbers never change meaning; a retired one stays reserved.

/// Reasons a hook can count: the size of its row in `pl_reason`.
pub const REASONS: u32 = 64;

/// Where a packet was seen. The number is the row in `pl_reason`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// What a container sends.
    FromContainer = 0,
    /// What the host's stack sends, or floods, to a container.
    ToContainer = 1,
    /// What arrives at an uplink, tc.
    FromUplink = 2,
    /// What the host itself sends by an uplink.
    ToUplink = 3,
    /// What arrives at an uplink, XDP.
    FromUplinkXdp = 4,
    /// What arrives at an uplink without Ethernet headers (tun, most VPNs), tc.
    FromUplinkL3 = 5,
    /// What arrives at an uplink and has passed XDP, tc.
    BehindXdp = 6,
}

impl Hook {
    /// Every hook, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::FromContainer,
        Self::ToContainer,
        Self::FromUplink,
        Self::ToUplink,
        Self::FromUplinkXdp,
        Self::FromUplinkL3,
        Self::BehindXdp,
    ];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromContainer => "from_container",
            Self::ToContainer => "to_container",
            Self::FromUplink => "from_uplink",
            Self::ToUplink => "to_uplink",
            Self::FromUplinkXdp => "from_uplink_xdp",
            Self::FromUplinkL3 => "from_uplink_l3",
            Self::BehindXdp => "behind_xdp",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $sentence:literal;)+) => {
        /// Why a packet was refused or handed to the host's stack.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $sentence] $(#[$doc])* $variant = $number,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// A stable name, for `--json` and scripts.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }

            /// The reason with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    Malformed = 1, "malformed", "the headers are cut short or contradict each other";
    NotIp = 2, "not-ip", "a container sent something that is neither ARP, IPv4 nor IPv6";
    SpoofedMac = 3, "spoofed-mac", "a container sent from a MAC address that is not its own";
    SpoofedAddress = 4, "spoofed-address", "a container sent from an IP address that is not its own";
    SpoofedNeighbour = 5, "spoofed-neighbour", "a container claimed another's address by ARP or neighbour discovery";
    RouterAdvertisement = 6, "router-advertisement", "a container posed as a router";
    IccOff = 7, "icc-off", "containers of this network may not reach each other (icc=false) and no link opens the port";
    OtherNetwork = 8, "other-network", "a container sent to a container of another network";
    InternalNetwork = 9, "internal-network", "the network is internal and reaches nothing outside";
    DirectAccess = 10, "direct-access", "someone outside sent straight to a container's address";
    NoFlow = 11, "no-flow", "a TCP packet belongs to no known flow and does not open one";
    ProtocolUnsupported = 12, "protocol-unsupported", "the protocol cannot be translated";
    FragmentUnsupported = 13, "fragment-unsupported", "a fragment cannot be translated";
    PortsExhausted = 14, "ports-exhausted", "no free source port was found for a masqueraded flow";
    NoUplink = 15, "no-uplink", "the route leads out by an interface that has no address to masquerade with";
    NoRoute = 16, "no-route", "the host cannot route the packet from the container's network";
    TtlExpired = 17, "ttl-expired", "the packet's TTL or hop limit ran out here";
    FlowsExhausted = 18, "flows-exhausted", "the flow table took no further entry";
    // 19 was masquerade-off.
    Forwarded = 20, "forwarded", "the host forwarded a packet to a container from somewhere that may not reach it";
    UnknownEndpoint = 21, "unknown-endpoint", "a container that is being taken away sent something";
    // 22 was too-big.
    Martian = 23, "martian", "someone outside sent from an address of the host or of a container";
    FlowShare = 24, "flow-share", "the container holds as many conversations as its share allows";
    FragmentOverlap = 25, "fragment-overlap", "a fragment repeats, or overlaps with, one that came before";
    FragmentOrphan = 26, "fragment-orphan", "a fragment belongs to a datagram whose beginning was refused";
    FragmentEarly = 27, "fragment-early", "a fragment came before the first of its datagram, and cannot be kept";
    QuotedUnknown = 28, "quoted-unknown", "an ICMP error quotes a packet of no known flow, or one that cannot be read";
    ExtensionHeader = 30, "extension-header", "a container sent an IPv6 extension header that cannot be seen through";
    Tagged = 31, "tagged", "a container sent a packet with a VLAN tag, and has no VLAN";
    NotLoaded = 29, "not-loaded", "a part of portlane's programs is missing: run `portlane repair`";
    StackTooBig = 32, "stack-too-big", "larger than the way out: handed to the host's stack, which answers it";
    StackTtl = 33, "stack-ttl", "TTL or hop limit ran out: handed to the host's stack, which answers it";
    StackRoute = 34, "stack-route", "no usable route: handed to the host's stack, which answers it";
    FragmentHeld = 35, "fragment-held", "a fragment came before the first of its datagram, and is kept until that comes";
    SourceRefused = 36, "source-refused", "a published port was called from an address that it is not open to (from=)";
}

const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!((Reason::ALL[i] as u32) < REASONS, "reason number outside its row");
        i += 1;
    }
};
