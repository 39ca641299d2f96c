//! What a hook decides, as plain numbers: the verifier takes no enums with payload across calls (FACTS §6).

use portlane_common::reason::Reason;

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

/// A hook's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of the numbers above.
    pub action: u32,
    /// Interface for the actions that name one, else 0.
    pub ifindex: u32,
    /// Number of the [`Reason`] to count, 0 for none.
    pub reason: u32,
}

impl Verdict {
    /// Nothing to do here.
    pub const PASS: Self = Self { action: PASS, ifindex: 0, reason: 0 };

    /// Refuse, and count why.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self { action: DROP, ifindex: 0, reason: reason as u32 }
    }

    /// Hand to the host's stack, and count why.
    #[inline(always)]
    pub const fn stack(reason: Reason) -> Self {
        Self { action: PASS, ifindex: 0, reason: reason as u32 }
    }

    /// Send to an interface.
    #[inline(always)]
    pub const fn to(action: u32, ifindex: u32) -> Self {
        Self { action, ifindex, reason: 0 }
    }
}

/// What the slow path answers: a number, with a reason in the second byte.
pub mod decision {
    use portlane_common::reason::Reason;

    /// A flow is described and may be opened; or it was, and is to be looked up.
    pub const OPEN: u32 = 0;
    /// Nothing of ours.
    pub const PASS: u32 = 1;
    /// Refused.
    pub const DROP: u32 = 2;

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
        super::Verdict { action, ifindex: 0, reason: (decision >> 8) & 0x3f }
    }
}
