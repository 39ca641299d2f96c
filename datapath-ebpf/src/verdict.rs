//! What a hook decides, as plain numbers: the verifier takes no enums with payload across calls (FACTS §6).

use portlane_common::{
    family::{Family, V6},
    reason::Reason,
};

/// Unchanged, or rewritten in place: on to whatever comes next on this path.
pub const PASS: u32 = 0;
/// Refused.
pub const DROP: u32 = 1;
/// Into the container behind the veth [`Verdict::ifindex`].
pub const ENDPOINT: u32 = 2;
/// Out by the uplink [`Verdict::ifindex`], MAC addresses already written.
pub const UPLINK: u32 = 3;
/// Out by the uplink [`Verdict::ifindex`]; the kernel finds the neighbour.
pub const NEIGHBOUR: u32 = 4;

/// Another program carries on: the one at the place [`Verdict::ifindex`], one of [`next`].
pub const NEXT: u32 = 5;
/// Up the host's own stack, past every other hook of ours: the packet is as its receiver shall see it.
pub const HOST: u32 = 6;
/// To the bridge [`Verdict::ifindex`] itself, as if it had arrived there, and to none of its ports.
pub const BRIDGE: u32 = 7;

/// Places of the programs that carry on with IPv4, in the order of [`portlane_common::config::program::NEXT`]; each is
/// followed by the one for IPv6.
pub mod next {
    /// A container's packet without a flow.
    pub const CONTAINER_NEW: u32 = 0;
    /// A packet from outside without a flow.
    pub const OUTSIDE_NEW: u32 = 2;
    /// A packet of the host's own without a flow.
    pub const HOST_NEW: u32 = 4;
    /// An ICMP error, from a container or from outside.
    pub const ICMP_ERROR: u32 = 6;
    /// A fragment, from a container or from outside.
    pub const FRAGMENT: u32 = 8;
    /// A packet from outside that XDP has left alone, or that has got its Ethernet header by now.
    pub const FROM_UPLINK: u32 = 10;
}

/// A hook's decision: action, reason and interface in one word, so that it stays in a register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verdict(u64);

impl Verdict {
    /// Nothing to do here.
    pub const PASS: Self = Self::new(PASS, 0, 0);

    /// An action, the interface for those that name one, and the number of the [`Reason`] to count, 0 for none.
    #[inline(always)]
    pub const fn new(action: u32, ifindex: u32, reason: u32) -> Self {
        Self(action as u64 | (reason as u64) << 8 | (ifindex as u64) << 32)
    }

    /// Refuse, and count why.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self::new(DROP, 0, reason as u32)
    }

    /// Hand to the host's stack, and count why.
    #[inline(always)]
    pub const fn stack(reason: Reason) -> Self {
        Self::new(PASS, 0, reason as u32)
    }

    /// Leave the rest to the program at this place, one of [`next`], or the one behind it for IPv6.
    #[inline(always)]
    pub const fn next<F: Family>(place: u32) -> Self {
        Self::new(NEXT, if F::AF == V6::AF { place + 1 } else { place }, 0)
    }

    /// Send to an interface.
    #[inline(always)]
    pub const fn to(action: u32, ifindex: u32) -> Self {
        Self::new(action, ifindex, 0)
    }

    /// The word, for a call that the verifier lets nothing but numbers across.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What [`Self::bits`] made a word of.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// One of the numbers above.
    #[inline(always)]
    pub const fn action(self) -> u32 {
        self.0 as u8 as u32
    }

    /// Interface for the actions that name one, else 0.
    #[inline(always)]
    pub const fn ifindex(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Number of the [`Reason`] to count, 0 for none.
    #[inline(always)]
    pub const fn reason(self) -> u32 {
        (self.0 >> 8) as u8 as u32
    }
}

#[cfg(not(target_arch = "bpf"))]
impl std::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("Verdict");
        fields
            .field("action", &self.action())
            .field("ifindex", &self.ifindex())
            .field("reason", &self.reason())
            .finish()
    }
}

/// What the slow path answers: a number, with a reason in the second byte.
pub mod decision {
    use portlane_common::reason::Reason;

    /// A flow is described and may be opened; or it was, and is to be looked up in the table that the second byte names.
    pub const OPEN: u32 = 0;
    /// Nothing of ours.
    pub const PASS: u32 = 1;
    /// Refused.
    pub const DROP: u32 = 2;

    /// Beyond the host: by which uplink is the next question.
    pub const LEAVE: u32 = 3;

    /// There is a flow, in this table.
    #[inline(always)]
    pub const fn flow_in(table: u32) -> u32 {
        OPEN | table << 8
    }

    /// The table, if there is a flow.
    #[inline(always)]
    pub const fn table(decision: u32) -> Option<u32> {
        if decision & 0xff == OPEN { Some(decision >> 8 & 3) } else { None }
    }

    /// Refused, because.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> u32 {
        DROP | (reason as u32) << 8
    }

    /// For the host's stack to answer, because.
    #[inline(always)]
    pub const fn stack(reason: Reason) -> u32 {
        PASS | (reason as u32) << 8
    }

    /// The verdict for anything but [`OPEN`].
    #[inline(always)]
    pub const fn verdict(decision: u32) -> super::Verdict {
        let action = if decision & 0xff == PASS { super::PASS } else { super::DROP };
        super::Verdict::new(action, 0, (decision >> 8) & 0x3f)
    }
}
