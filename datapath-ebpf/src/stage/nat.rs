//! Opening a flow: both entries of a pair, on a tuple that no other flow and no socket of the host uses.
//!
//! Everything here is the slow path, run once for a flow, in a program of its own: the stack is all its.

use portlane_common::{
    config::PORT_TRIES,
    endpoint::Endpoint,
    family::Address,
    flow::{Flow, FlowKey, ZONE_OUTSIDE, flag, hop},
    reason::Reason,
};

use crate::{
    header::{UDP, difference},
    packet::{Added, Net, Tables, table},
    stage::{
        cone,
        flow::{find_whole, forget, is_live},
        icmp::Quote,
        parse::Parsed,
        publish,
    },
    verdict::decision,
};

/// A flow to be: the tuple that its packets leave with, and where each direction goes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<A> {
    /// Source address of the opener's packets as they leave.
    pub src: A,
    /// Destination address of the opener's packets as they leave.
    pub dst: A,
    /// Source port wanted; another is taken if it is in use.
    pub sport: u16,
    /// Destination port as they leave.
    pub dport: u16,
    /// Zone that the replies are seen in.
    pub reply_zone: u32,
    /// Interface that the opener's packets leave by.
    pub ifindex: u32,
    /// Interface that the replies leave by.
    pub reply_ifindex: u32,
    /// Endpoint whose share the conversation counts against, 0 for nobody's.
    pub owner: u32,
    /// Endpoint that the opener's packets go to, 0 if none.
    pub endpoint: u32,
    /// Endpoint that the replies go to, 0 if none.
    pub reply_endpoint: u32,
    /// Number of the publish entry used, 0 if none.
    pub publish: u32,
    /// Its generation.
    pub generation: u32,
    /// Next hop of the opener's packets, zero if not known.
    pub dst_mac: [u8; 6],
    /// Source MAC of the opener's packets.
    pub src_mac: [u8; 6],
    /// Next hop of the replies, zero if not known.
    pub reply_dst_mac: [u8; 6],
    /// Source MAC of the replies.
    pub reply_src_mac: [u8; 6],
    /// [`hop`] of the opener's packets.
    pub hop: u8,
    /// [`hop`] of the replies.
    pub reply_hop: u8,
    /// [`flag`] bits of the opener's packets.
    pub flags: u8,
    /// [`flag`] bits of the replies, [`flag::REPLY`] left out.
    pub reply_flags: u8,
    /// MTU of the way out; 0 for none.
    pub mtu: u16,
    /// MTU of the way back; 0 for none.
    pub reply_mtu: u16,
    /// Where the conversation is kept, one of [`table`].
    pub table: u32,
    /// 1 if the port that it leaves with is its socket's own, and no other will do.
    pub keeps_port: u32,
}

/// Room for the slow path, lent by [`Tables::with_scratch`]. The opener's key is in place when it begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Scratch<A> {
    flow: Flow<A>,
    /// The packet's headers, but for the addresses.
    pub parsed: Parsed<()>,
    /// The opener's tuple, as it was seen.
    pub key: FlowKey<A>,
    /// The tuple of the replies, as they will be seen.
    pub reply_key: FlowKey<A>,
    /// The flow to be.
    pub opening: Opening<A>,
    /// What came of the port tried last.
    reserved: Added,
    /// What an ICMP error says about the flow's packet.
    pub quote: Quote<A>,
}

impl<A> Scratch<A> {
    /// The headers. IPv4's has at most 60 bytes, IPv6's with a fragment's 48: the verifier knows no more of what lies here.
    #[inline(always)]
    pub const fn parsed(&self) -> Parsed<()> {
        Parsed { l4: self.parsed.l4 & 127, ..self.parsed }
    }
}

impl<A: Address> Opening<A> {
    /// Begins with a flow that leaves as it came and goes up the host's stack; the setters below say otherwise.
    #[inline(always)]
    pub fn begin(&mut self, key: &FlowKey<A>) {
        self.src = key.src;
        self.dst = key.dst;
        self.sport = key.sport;
        self.dport = key.dport;
        self.reply_zone = 0;
        self.ifindex = 0;
        self.reply_ifindex = 0;
        self.owner = 0;
        self.endpoint = 0;
        self.reply_endpoint = 0;
        self.publish = 0;
        self.generation = 0;
        self.dst_mac = [0; 6];
        self.src_mac = [0; 6];
        self.reply_dst_mac = [0; 6];
        self.reply_src_mac = [0; 6];
        self.hop = hop::HOST;
        self.reply_hop = hop::HOST;
        self.flags = 0;
        self.reply_flags = 0;
        self.mtu = 0;
        self.reply_mtu = 0;
        self.table = table::MAIN;
        self.keeps_port = 0;
    }

    /// Whose share the conversation takes from: in the table where the longest unused makes room, nobody's.
    #[inline(always)]
    const fn holder(&self) -> u32 {
        if self.table == table::MAIN { self.owner } else { 0 }
    }

    /// The opener's packets go to an endpoint, whose replies are seen at its veth.
    #[inline(always)]
    pub fn to_endpoint(&mut self, endpoint: &Endpoint) {
        self.reply_zone = endpoint.ifindex;
        self.ifindex = endpoint.ifindex;
        self.endpoint = endpoint.id;
        self.dst_mac = endpoint.mac;
        self.src_mac = endpoint.gateway_mac;
        self.hop = hop::ENDPOINT;
    }

    /// The replies go to an endpoint.
    #[inline(always)]
    pub fn reply_to(&mut self, endpoint: u32, ifindex: u32, mac: [u8; 6], gateway_mac: [u8; 6]) {
        self.reply_ifindex = ifindex;
        self.reply_endpoint = endpoint;
        self.reply_dst_mac = mac;
        self.reply_src_mac = gateway_mac;
        self.reply_hop = hop::ENDPOINT;
    }
}

/// Between two ports that are tried, so that a published range is not walked through port by port. A prime, and so no
/// divisor of how many there are to draw from.
const STRIDE: u32 = 7919;

/// The slow path: has `decide` say what becomes of a packet without a flow, and opens the flow that it describes.
///
/// The steps run one after the other, not one inside the other: together they would not fit the stack.
#[inline(always)]
pub fn begin<F: Net, T: Tables<F>>(
    tables: &T,
    scratch: &mut Scratch<F::Addr>,
    decide: impl FnOnce(&mut Scratch<F::Addr>) -> u32,
) -> u32 {
    let decision = decide(scratch);
    if decision != decision::OPEN {
        return decision;
    }
    make_way::<F, T>(tables, scratch);
    let holder = scratch.opening.holder();
    if !tables.hold(holder) {
        return decision::drop(Reason::FlowShare);
    }
    let reserved = match reserve_wanted::<F, T>(tables, scratch) {
        Added::Taken => reserve_other::<F, T>(tables, scratch),
        settled => settled,
    };
    let decision = match reserved {
        Added::Entered => store_opener::<F, T>(tables, scratch),
        Added::Taken => decision::drop(Reason::PortsExhausted),
        Added::Full => decision::drop(Reason::FlowsExhausted),
    };
    if decision != decision::OPEN {
        tables.release(holder);
    }
    decision
}

/// Forgets what is over under the opener's tuple.
#[inline(never)]
fn make_way<F: Net, T: Tables<F>>(tables: &T, scratch: &Scratch<F::Addr>) -> u32 {
    for table in [table::MAIN, table::NEW] {
        if tables.flow(table, &scratch.key).is_some()
            && find_whole::<F, T>(tables, &scratch.key, table, scratch.parsed.tcp).is_none()
        {
            forget::<F, T>(tables, &scratch.key, table);
        }
    }
    0
}

/// Builds the replies' entry and stores it under the port that is wanted.
#[inline(never)]
fn reserve_wanted<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> Added {
    let Scratch { flow, key, reply_key, opening, .. } = scratch;
    reply_key.set([&opening.dst, &opening.src], [opening.dport, opening.sport], opening.reply_zone, key.proto);
    // Field by field, as there.
    flow.seen = tables.clock();
    flow.touched = tables.now();
    flow.src = key.dst;
    flow.dst = key.src;
    flow.sport = key.dport;
    flow.dport = key.sport;
    flow.ifindex = opening.reply_ifindex;
    flow.pair_zone = key.zone;
    flow.endpoint = opening.reply_endpoint;
    flow.publish = opening.publish;
    flow.generation = opening.generation;
    flow.dst_mac = opening.reply_dst_mac;
    flow.src_mac = opening.reply_src_mac;
    flow.state = 0;
    flow.hop = opening.reply_hop;
    flow.flags = opening.reply_flags | flag::REPLY;
    flow.pad = 0;
    flow.mtu = opening.reply_mtu;
    flow.pad2 = 0;
    flow.owner = opening.owner;
    flow.expected = 0;
    reserve::<F, T>(tables, scratch)
}

/// Stores the replies' entry under another port, unless none of the bounded number of tries meets a free one.
#[inline(never)]
fn reserve_other<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> Added {
    if scratch.opening.keeps_port != 0 {
        return Added::Taken;
    }
    let start = draw(&scratch.key, tables.secret());
    tables.repeat(PORT_TRIES, |n| {
        scratch.reply_key.dport = nth_port(scratch.opening.sport, start, n + 1);
        scratch.reserved = reserve::<F, T>(tables, scratch);
        // No port helps where the table is full.
        scratch.reserved != Added::Taken
    });
    scratch.reserved
}

/// Turns the replies' entry into the opener's and stores it; the number of a [`decision`].
#[inline(never)]
fn store_opener<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> u32 {
    let Scratch { flow, key, reply_key, opening, .. } = scratch;
    // The opener's entry is the mirror of the reply's.
    flow.src = opening.src;
    flow.dst = opening.dst;
    flow.sport = reply_key.dport;
    flow.dport = opening.dport;
    flow.ifindex = opening.ifindex;
    flow.pair_zone = opening.reply_zone;
    flow.endpoint = opening.endpoint;
    flow.dst_mac = opening.dst_mac;
    flow.src_mac = opening.src_mac;
    flow.hop = opening.hop;
    flow.flags = opening.flags;
    flow.mtu = opening.mtu;
    settle(key, flow);
    if tables.add_flow(opening.table, key, flow) != Added::Entered {
        tables.remove_flow(opening.table, reply_key);
        return decision::drop(Reason::FlowsExhausted);
    }
    if opening.table == table::MAIN {
        tables.watch();
    }
    decision::OPEN
}

/// Takes a tuple for a flow's replies, unless a live flow, a published port or a socket of the host has it, or the
/// administrator keeps the port for himself.
#[inline(never)]
fn reserve<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> Added {
    let Scratch { flow, reply_key: key, opening, .. } = scratch;
    settle(key, flow);
    // What keeps its own address and port takes nobody else's: the host's own conversation, or one without masquerade.
    let its_own = key.dst == flow.dst && key.dport == flow.dport;
    if key.zone == ZONE_OUTSIDE && !its_own && opening.keeps_port == 0 && is_taken::<F, T>(tables, key) {
        return Added::Taken;
    }
    let (table, other) = (opening.table, if opening.table == table::MAIN { table::NEW } else { table::MAIN });
    if is_held::<F, T>(tables, key, other) {
        return Added::Taken;
    }
    match tables.add_flow(table, key, flow) {
        Added::Taken if !is_held::<F, T>(tables, key, table) => tables.add_flow(table, key, flow),
        added => added,
    }
}

/// Whether the administrator, the host, a published port or a full-cone socket has what replies would come to.
#[inline(always)]
fn is_taken<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    tables.is_reserved(key.dport)
        || is_hosts::<F, T>(tables, key)
        || is_published::<F, T>(tables, key)
        || is_cones::<F, T>(tables, key)
}

/// Whether a full-cone socket may have a port of the address that the opener's packets leave with.
#[inline(always)]
pub fn is_free<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>, port: u16) -> bool {
    let Scratch { key, reply_key: answer, opening, .. } = scratch;
    answer.set([&key.dst, &opening.src], [key.dport, port], ZONE_OUTSIDE, key.proto);
    !is_taken::<F, T>(tables, answer)
}

/// Whether a full-cone socket would take the replies.
#[inline(never)]
fn is_cones<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    key.proto == UDP && cone::holds::<F, T>(tables, key.dst, key.dport)
}

/// Whether a socket of the host would take the replies.
#[inline(never)]
fn is_hosts<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    tables.host_receives(key)
}

/// Whether a published port would take the replies.
#[inline(never)]
fn is_published<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    publish::find::<F, T>(tables, &key.dst, key.proto, key.dport, true).is_some()
}

/// Whether a live flow has the tuple. One that is over makes way.
#[inline(never)]
fn is_held<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, table: u32) -> bool {
    match tables.flow(table, key) {
        Some(holder) if is_live::<F, T>(tables, key.proto, holder) => true,
        Some(_) => {
            forget::<F, T>(tables, key, table);
            false
        }
        None => false,
    }
}

/// Works out what an entry does to checksums, and whether it does anything. What stays as it is makes a difference of
/// 0, not of 0xffff.
#[inline(never)]
pub fn settle<A: Address>(key: &FlowKey<A>, flow: &mut Flow<A>) -> u32 {
    let same_addresses = flow.src == key.src && flow.dst == key.dst;
    let same_ports = flow.sport == key.sport && flow.dport == key.dport;
    flow.addr_delta =
        if same_addresses { 0 } else { difference(key.src.sum() + key.dst.sum(), flow.src.sum() + flow.dst.sum()) };
    flow.port_delta =
        if same_ports { 0 } else { difference(ports(key.sport, key.dport), ports(flow.sport, flow.dport)) };
    if same_addresses && same_ports {
        flow.flags &= !flag::NAT;
    } else {
        flow.flags |= flag::NAT;
    }
    0
}

/// The sum of two ports as they lie in a packet.
#[inline(always)]
fn ports(sport: u16, dport: u16) -> u32 {
    sport.to_be() as u32 + dport.to_be() as u32
}

/// The `n`th port to try: first the wanted one, then others.
#[inline(always)]
pub fn nth_port(wanted: u16, start: u32, n: u32) -> u16 {
    if n == 0 { wanted } else { candidate(wanted, start.wrapping_add((n - 1).wrapping_mul(STRIDE))) }
}

/// The same for a socket, whoever it talks to.
#[inline(always)]
pub fn draw_for_socket<A: Address>(key: &FlowKey<A>, secret: u32) -> u32 {
    draw(&FlowKey { dst: key.src, dport: key.sport, ..*key }, secret)
}

/// A number that only who knows the secret can foretell (RFC 6056 §3.3.3).
#[inline(always)]
pub(crate) fn draw<A: Address>(key: &FlowKey<A>, secret: u32) -> u32 {
    let ports = u32::from(key.sport) << 16 | u32::from(key.dport);
    let mut mixed = secret;
    for word in [key.src.sum(), key.dst.sum(), ports, key.zone] {
        // The finishing steps of MurmurHash3, after each word.
        mixed ^= word;
        mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85eb_ca6b);
        mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
        mixed ^= mixed >> 16;
    }
    mixed
}

/// A port of the same class as the wanted one, below 1024 or above (RFC 4787 REQ-3), and of the same parity (REQ-4).
#[inline(always)]
fn candidate(wanted: u16, draw: u32) -> u16 {
    let even = if wanted < 1024 { 512 + (draw & 255) * 2 } else { 1024 + draw % ((65536 - 1024) / 2) * 2 };
    even as u16 | (wanted & 1)
}
