//! Conversations that someone outside opens: until both sides have shown that they mean it, they live in a table where a
//! flood pushes out its like, and what is over, but never an established conversation.
//!
//! Shown it is by the container where only its stack can tell: a TCP segment other than SYN ACK, an SCTP chunk other
//! than INIT ACK. By the opener with the acknowledgement that only the SYN ACK's receiver knows, and over UDP by
//! speaking again after it got an answer. An opener with a forged address can do neither, but for UDP.

use portlane_common::flow::{Flow, FlowKey, flag, state};

use crate::{
    packet::{Net, Packet, Tables},
    stage::{
        parse::{ACK, Parsed, RST, SYN, kind, tcp_numbers},
        transfer::promote,
    },
};

/// What a packet shows of a handshake, as plain numbers.
#[derive(Clone, Copy)]
pub struct Sign {
    /// The packet's [`kind`], its TCP flags in the second byte.
    pub bits: u32,
    /// Of a TCP SYN ACK: the acknowledgement that completes it. Of another TCP segment: what it acknowledges.
    pub number: u32,
}

/// What a packet shows.
#[inline(always)]
pub fn sign<A, P: Packet>(packet: &P, parsed: &Parsed<A>) -> Sign {
    let bits = u32::from(parsed.kind) | u32::from(parsed.tcp) << 8;
    if parsed.kind != kind::TCP {
        return Sign { bits, number: 0 };
    }
    let [sequence, acknowledged] = tcp_numbers(packet, parsed);
    Sign { bits, number: if parsed.tcp & SYN != 0 { sequence.wrapping_add(1) } else { acknowledged } }
}

impl Sign {
    #[inline(always)]
    const fn kind(self) -> u8 {
        self.bits as u8
    }

    /// TCP flags.
    #[inline(always)]
    pub const fn tcp(self) -> u8 {
        (self.bits >> 8) as u8
    }
}

/// Looks at a packet of a conversation in the table of new ones, before it is followed; whether it is one no more, and
/// in the main table.
#[inline(always)]
pub fn advance<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>, sign: Sign) -> bool {
    let reply = flow.flags & flag::REPLY != 0;
    let answered = flow.state & state::ANSWERED != 0;
    if state::is_closed(flow.state) {
        // The last acknowledgements of one that is over, or a reset: the next SYN begins anew.
        return false;
    }
    let meant = if sign.kind() == kind::UDP {
        !reply && answered
    } else if sign.tcp() & RST != 0 {
        false
    } else if sign.tcp() & SYN != 0 {
        if reply && sign.kind() == kind::TCP && sign.tcp() & ACK != 0 {
            tables.expect_of_flow(&key.mirror(flow), sign.number);
        }
        false
    } else if reply {
        true
    } else {
        sign.kind() == kind::TCP && answered && flow.expected != 0 && sign.number == flow.expected
    };
    meant && promote::<F, T>(tables, key)
}
