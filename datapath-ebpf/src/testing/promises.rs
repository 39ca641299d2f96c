//! A model of what a NAT promises, of its own making: it knows no flow table and no rewriting.
//!
//! It sees where a packet is met and where it comes out, and remembers conversations: two ends, each a place and the tuple
//! with which that end's packets are met there. What one end sends comes out at the other's place as the mirror of what
//! the other sends. From that follow the promises:
//!
//! - no two conversations have an end in common, so none outside;
//! - an answer finds its opener, and every later packet goes the way of the first;
//! - nothing reaches a container from outside but answers and what asks for a published port;
//! - a container reaches one of another network by a port that that one publishes, and no other way; one of an internal
//!   network reaches none;
//! - nobody reaches, or is kept from, a published port by what it says of its callers' addresses;
//! - what a published UDP port says leaves by the port that it is published under;
//! - nothing leaves with an inside address, unless its network is not masqueraded;
//! - what came with right checksums leaves with right ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use portlane_common::reason::Reason;

use super::{
    cases::At,
    checksum,
    place::{Place, is_inside, member, version},
    published::Published,
    sequence::{ADDED, Change, Outcome},
    wire::{Body, Head, SCTP, TCP, Tuple, UDP, Wire, quoted},
    world::{INNER, Interfaces, OUTSIDE_MAC, UPLINK_MAC},
};
use crate::{
    stage::parse::{ACK, FIN, RST, SYN},
    verdict,
};

const INTERFACES: Interfaces = Interfaces::ANY;

/// Where an end's packets are met, and their tuple there.
type End = (Place, Tuple);

/// What fragments of a datagram have in common: where they are met, addresses, protocol, identification.
type Datagram = (Place, IpAddr, IpAddr, u8, u32);

/// Where fragments come out, and with which addresses.
type Way = (Place, IpAddr, IpAddr);

#[derive(Debug)]
struct Conversation {
    /// The opener's, the other's.
    ends: [End; 2],
    /// Which of them sent FIN.
    closed: [bool; 2],
    reset: bool,
    /// The publish entry that it goes by.
    publish: Option<u32>,
    /// Whether it may be over: nothing is promised any more.
    doubtful: bool,
}

/// What is known by now.
#[derive(Debug)]
pub struct Model {
    conversations: Vec<Conversation>,
    /// Which conversation has an end, and which of the two it is.
    ends: BTreeMap<End, (usize, usize)>,
    /// What opened a conversation, but came no further itself: it was too large or too old.
    attempts: BTreeMap<End, Option<u32>>,
    /// Where the first fragment of a datagram went; nothing is known any more after a change.
    datagrams: BTreeMap<Datagram, Option<Way>>,
    published: Published,
    /// Networks whose containers do not reach each other.
    apart: BTreeSet<u32>,
    /// Networks that were, at some time, not masqueraded.
    bare: BTreeSet<u32>,
}

/// TCP flags, or those that SCTP's first chunk corresponds to.
fn flags(head: Head, bytes: &[u8]) -> u8 {
    let byte = |at: usize| bytes.get(head.l4.0 + at).copied().unwrap_or_default();
    match (head.proto, byte(12)) {
        (TCP, _) => byte(13),
        (SCTP, 1) => SYN,
        (SCTP, 2) => SYN | ACK,
        (SCTP, 6 | 14) => RST,
        (SCTP, _) => ACK,
        _ => 0,
    }
}

fn is_icmp_error(bytes: &[u8]) -> bool {
    Head::read(bytes).is_some_and(|head| head.quote_at(bytes).is_some())
}

/// A packet that nothing is wrong with, and that is no fragment.
fn is_plain(place: Place, bytes: &[u8]) -> bool {
    let Some(head) = Head::read(bytes) else { return false };
    let own = match place {
        Place::Container(veth) => {
            bytes[6..12] == member(veth).mac() && head.src == member(veth).address(version(head.src))
        }
        _ => true,
    };
    own && head.ttl > 1 && head.l4.1 - 14 <= 1500 && head.piece.is_none()
}

impl Conversation {
    fn is_over(&self) -> bool {
        self.reset || self.closed == [true; 2]
    }

    /// One of its sides sends a packet with these TCP flags.
    fn hear(&mut self, side: usize, flags: u8) {
        if side == 0 && flags & (SYN | ACK) == SYN {
            if self.is_over() {
                (self.closed, self.reset) = ([false; 2], false);
            }
        } else {
            self.closed[side] |= flags & FIN != 0;
            self.reset |= flags & RST != 0;
        }
    }
}

impl Default for Model {
    /// Nothing has happened yet in the world of [`Interfaces::ANY`].
    fn default() -> Self {
        Self {
            conversations: Vec::new(),
            ends: BTreeMap::new(),
            attempts: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            published: Published::default(),
            apart: [3].into(),
            bare: [4].into(),
        }
    }
}

impl Model {
    /// The world changes.
    pub fn change(&mut self, change: Change) {
        self.datagrams.values_mut().for_each(|went| *went = None);
        self.published.change(change);
        let id = match change {
            Change::Move { publish, .. } | Change::Withdraw { publish } => publish,
            Change::Add { .. } => ADDED,
            Change::Icc { network } => {
                if !self.apart.remove(&network) {
                    self.apart.insert(network);
                }
                return;
            }
            Change::Masquerade { network } => {
                self.bare.insert(network);
                return;
            }
        };
        let over = |conversation: &Conversation| conversation.publish == Some(id);
        self.ends.retain(|_, (at, _)| !over(&self.conversations[*at]));
        self.attempts.retain(|_, publish| *publish != Some(id));
    }

    /// A packet was met; what must not be, in words.
    ///
    /// # Errors
    /// The promise that is broken.
    pub fn packet(&mut self, at: At, bytes: &[u8], outcome: &Outcome) -> Result<(), String> {
        let place = match at {
            At::FromContainer(veth) => Place::Container(veth),
            At::FromUplink(_) => Place::Outside,
            At::ToUplink(_) => Place::Host,
            At::ToContainer(..) => return Ok(()),
        };
        let action = outcome.verdict.action();
        let is_error = is_icmp_error(bytes);
        let out = match (place, action) {
            (_, verdict::ENDPOINT) => Some(Place::Container(outcome.verdict.ifindex())),
            (_, verdict::UPLINK | verdict::NEIGHBOUR) | (Place::Host, verdict::HOST) => Some(Place::Outside),
            (Place::Outside, verdict::HOST) => Some(Place::Host),
            _ => None,
        };
        if action != verdict::DROP && !checksum::kept(bytes, &outcome.bytes) {
            return Err("a checksum was right, and is not any more".to_owned());
        }
        // With no hop left, the host answers it and sends it nowhere.
        let forwarded = |head: Head| is_inside(head.dst) && head.ttl > 1;
        if place == Place::Outside && action == verdict::PASS && Head::read(bytes).is_some_and(forwarded) {
            return Err("it is left to the host to forward it to a container".to_owned());
        }
        let Some(head) = Head::read(bytes) else {
            return if out.is_none() { Ok(()) } else { Err("it is no IP packet, and came through".to_owned()) };
        };
        let came = out.map(|out| (out, Head::read(&outcome.bytes)));
        let came = match came {
            Some((_, None)) => return Err("it is no IP packet any more".to_owned()),
            Some((out, Some(head))) => Some((out, head)),
            None => None,
        };
        if let (Place::Container(veth), Some((Place::Outside, after))) = (place, came)
            && !self.bare.contains(&u32::from(member(veth).network))
        {
            let shown = quoted(&outcome.bytes).map(|tuple| tuple.dst.0);
            if is_inside(after.src) || shown.is_some_and(is_inside) {
                return Err("it leaves with an inside address".to_owned());
            }
        }
        if let Some((out, after)) = came
            && place.crosses_to(out)
            && is_inside(after.src)
        {
            return Err("it goes from one network to another, and nobody asked the host for it".to_owned());
        }
        if is_error {
            return self.error(place, bytes, head, came.map(|(out, after)| (out, after, &outcome.bytes[..])));
        }
        self.fragment(place, head, came, outcome)?;
        let least = match head.proto {
            TCP => 20,
            SCTP => 16,
            _ => 8,
        };
        let Some(tuple) = head.tuple(bytes).filter(|_| head.l4.1 - head.l4.0 >= least) else { return Ok(()) };
        let came = came.and_then(|(out, after)| Some((out, after.tuple(&outcome.bytes)?)));
        self.tracked((place, tuple), came, flags(head, bytes), bytes, outcome)
    }

    /// Two containers of a network that nothing keeps apart: no conversation, and none needed.
    fn is_bridged(&self, place: Place, out: Place) -> bool {
        let (Place::Container(from), Place::Container(_)) = (place, out) else { return false };
        !place.crosses_to(out) && !self.apart.contains(&u32::from(member(from).network))
    }

    /// A packet with a tuple.
    fn tracked(
        &mut self,
        end: End,
        came: Option<End>,
        flags: u8,
        bytes: &[u8],
        outcome: &Outcome,
    ) -> Result<(), String> {
        let (place, tuple) = end;
        let opens = flags & (SYN | ACK) == SYN;
        if let Some((at, side)) = self.ends.get(&end).copied() {
            let conversation = &mut self.conversations[at];
            if conversation.is_over() && opens && side == 1 {
                conversation.doubtful = true;
                self.datagrams.values_mut().for_each(|went| *went = None);
            }
            let (other, mirror) = conversation.ends[1 - side];
            if !conversation.doubtful || came == Some((other, mirror.turned())) {
                return match came {
                    None if is_plain(place, bytes) => Err(format!("it is lost on its way to {other:?}")),
                    None => Ok(()),
                    Some(came) if came != (other, mirror.turned()) => {
                        Err(format!("it comes to {came:?} and not to {other:?} as {:?}", mirror.turned()))
                    }
                    Some(_) => {
                        conversation.hear(side, flags);
                        Ok(())
                    }
                };
            }
        }
        let Some((out, after)) = came else {
            let reason = Reason::from_number(outcome.verdict.reason() as u8);
            if matches!(reason, Some(Reason::StackTtl | Reason::StackTooBig | Reason::TtlExpired)) {
                let publish = self.published.find(&tuple).map(|(id, ..)| id);
                self.attempts.insert(end, publish);
            }
            if reason == Some(Reason::SourceRefused) && !self.published.refuses(&tuple) {
                return Err("it may use the port that it asks for, and is refused".to_owned());
            }
            let asks = opens || tuple.proto == UDP;
            let taken = self.ends.get(&(Place::Outside, tuple.turned())).map(|(at, _)| &self.conversations[*at]);
            return match taken {
                Some(taken) if place == Place::Host && asks && !taken.doubtful && is_plain(place, bytes) => {
                    Err(format!("the host leaves by the tuple of {:?}", taken.ends[0]))
                }
                _ => Ok(()),
            };
        };
        if self.is_bridged(place, out) && tuple == after {
            return Ok(());
        }
        let mirror = (out, after.turned());
        if let Some(publish) = self.attempts.remove(&mirror) {
            return self.open([mirror, end], publish, (1, flags));
        }
        let publish = self.published.find(&tuple);
        let leads = publish.is_some_and(|(_, address, port)| after.dst == (address, port));
        match (place, out) {
            (_, Place::Container(_)) if leads && self.published.refuses(&tuple) => {
                return Err("it reaches a port that is not open to it".to_owned());
            }
            (Place::Outside, Place::Container(_)) if !leads || after.src.0 != tuple.src.0 => {
                return Err("it reaches a container that did not ask for it".to_owned());
            }
            (Place::Outside, Place::Host) => return Err("it is changed, and nobody asked for it".to_owned()),
            (Place::Container(from), Place::Container(_)) if place.crosses_to(out) && member(from) == INNER => {
                return Err("it leaves an internal network".to_owned());
            }
            (Place::Container(_), Place::Container(_))
                if (tuple != after || place.crosses_to(out)) && (!leads || after.src.0 != tuple.dst.0) =>
            {
                return Err("it reaches a container that publishes no such port".to_owned());
            }
            (_, Place::Outside) if after.dst != tuple.dst => return Err("it leaves to somebody else".to_owned()),
            (Place::Container(_), Place::Outside) => {
                let back = self.published.find(&mirror.1);
                let own = back.is_some_and(|(_, address, port)| tuple.src == (address, port));
                if back.is_some() && !(own && tuple.proto == UDP) {
                    return Err("it leaves by a published port that is not its own".to_owned());
                }
                if !own && tuple.proto == UDP && self.published.leads_to(UDP, tuple.src) {
                    return Err("it does not leave by the port that its own is published under".to_owned());
                }
                return self.open([end, mirror], back.map(|(id, ..)| id), (0, flags));
            }
            _ => {}
        }
        self.open([end, mirror], publish.filter(|_| leads).map(|(id, ..)| id), (0, flags))
    }

    /// A conversation begins; so does what is known of it, with a packet of one of its sides and that one's flags.
    fn open(&mut self, ends: [End; 2], publish: Option<u32>, (side, flags): (usize, u8)) -> Result<(), String> {
        for end in ends {
            let holder = self.ends.get(&end).map(|(at, _)| &self.conversations[*at]);
            if let Some(holder) = holder.filter(|holder| !holder.doubtful) {
                return Err(format!("{ends:?} shares {end:?} with {:?}", holder.ends));
            }
        }
        for (side, end) in ends.into_iter().enumerate() {
            self.ends.insert(end, (self.conversations.len(), side));
        }
        let mut conversation = Conversation { ends, closed: [false; 2], reset: false, publish, doubtful: false };
        conversation.hear(side, flags);
        self.conversations.push(conversation);
        Ok(())
    }

    /// An ICMP error goes where the answers to the packet go that it quotes, and quotes what that one's sender sent.
    fn error(&self, place: Place, bytes: &[u8], head: Head, came: Option<(Place, Head, &[u8])>) -> Result<(), String> {
        let about = quoted(bytes);
        let known = about.and_then(|about| self.ends.get(&(place, about.turned())));
        let known = known.map(|(at, side)| (&self.conversations[*at], *side));
        let Some((conversation, side)) = known.filter(|(conversation, _)| !conversation.doubtful) else {
            let there = came.and_then(|(out, _, after)| Some((out, quoted(after)?)));
            let here = about.map(|about| (place, about.turned()));
            let attempted = [here, there].into_iter().flatten().any(|end| self.attempts.contains_key(&end));
            let intrudes = place == Place::Outside && matches!(came, Some((Place::Container(_), ..))) && !attempted;
            return if intrudes && known.is_none() { Err("it is about nothing known".to_owned()) } else { Ok(()) };
        };
        let (other, sent) = conversation.ends[1 - side];
        match came {
            None if is_plain(place, bytes) && place != Place::Host => {
                Err(format!("it is lost on its way to {other:?}"))
            }
            None => Ok(()),
            Some((out, after, frame)) => {
                let quoted = quoted(frame);
                let meant = about.is_some_and(|about| about.src.0 == head.dst);
                if out != other || quoted != Some(sent) || (meant && after.dst != sent.src.0) {
                    return Err(format!("it comes to {out:?} and quotes {quoted:?}, not to {other:?} with {sent:?}"));
                }
                Ok(())
            }
        }
    }

    /// A later fragment goes where the first one went.
    fn fragment(
        &mut self,
        place: Place,
        head: Head,
        came: Option<(Place, Head)>,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let Some((id, offset, _)) = head.piece else { return Ok(()) };
        let datagram = (place, head.src, head.dst, head.proto, id);
        match came {
            None if offset == 0 => {
                // The host's, or refused: perhaps of another datagram with the same identification.
                let known = self.datagrams.contains_key(&datagram);
                if known || outcome.verdict.action() == verdict::PASS {
                    self.datagrams.insert(datagram, None);
                }
            }
            None => {
                let went = self.datagrams.get(&datagram).copied().flatten();
                if went.is_some() && outcome.verdict.reason() == Reason::FragmentOrphan as u32 {
                    return Err("its datagram's beginning came through, and it does not".to_owned());
                }
            }
            Some((out, after)) if offset == 0 => {
                self.datagrams.insert(datagram, Some((out, after.src, after.dst)));
            }
            Some((out, _)) if self.is_bridged(place, out) => {}
            Some((out, after)) => {
                let went = self.datagrams.get(&datagram).copied().flatten();
                if went.is_some_and(|went| went != (out, after.src, after.dst)) {
                    return Err("it leaves its datagram".to_owned());
                }
                if place == Place::Outside && !self.datagrams.contains_key(&datagram) {
                    return Err("it comes through without its datagram's beginning".to_owned());
                }
            }
        }
        Ok(())
    }

    /// A plain packet of each end of every conversation.
    pub fn probes(&self) -> Vec<(At, Wire)> {
        let live = self.ends.iter().filter(|(_, (at, _))| !self.conversations[*at].doubtful);
        live.map(|((place, tuple), _)| {
            let (src, dst) = (tuple.src.0, tuple.dst.0);
            let (at, macs) = match place {
                Place::Outside => (At::FromUplink(INTERFACES.uplink), (UPLINK_MAC, OUTSIDE_MAC)),
                Place::Host => (At::ToUplink(INTERFACES.uplink), (OUTSIDE_MAC, UPLINK_MAC)),
                Place::Container(veth) => (At::FromContainer(*veth), (member(*veth).gateway(), member(*veth).mac())),
            };
            let ports = (tuple.src.1, tuple.dst.1);
            let body = match tuple.proto {
                TCP => Body::Tcp { ports, flags: ACK, numbers: (7, 8), offset: 0x50 },
                UDP => Body::Udp { ports, summed: true },
                SCTP => Body::Sctp { ports, chunk: 0 },
                _ => Body::Echo { request: ports.1 == 0, id: ports.0 | ports.1 },
            };
            let payload = b"probe".to_vec();
            (at, Wire { macs, src, dst, ttl: 64, options: 0, divisible: false, body, payload, padding: 0 })
        })
        .collect()
    }
}
